"""Peers' weights behind one set of names: what each peer calls its parts, and how it lays them out. Needs NumPy alone.

A network is its hidden layers, ``[(kernel (in, out), bias (out,)), ..]``. What was read is remembered, so that none can
be overlooked.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.problem import TASK_EXPERTS, TASKS, Array

Layer = tuple[Array, Array]
Network = list[Layer]


class PeerWeights(abc.ABC):
    """One model's weights."""

    NOTES: Mapping[str, str]
    """{model, or "all models": where the peer differs from the paper, and how that is switched off}."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self._values, self.unread = values, set(values)

    def read(self, name: str) -> Any:
        """One array by the peer's own name."""
        self.unread.discard(name)
        return self._values[name]

    @abc.abstractmethod
    def table(self, feature: str) -> Array:
        """(rows, dim)."""

    @abc.abstractmethod
    def bottom(self, task: int | None = None) -> Network:
        """The shared network, or a task's own below its tower; of ESMM all hidden layers."""

    @abc.abstractmethod
    def expert(self, i: int, level: int | None = None, task: int | None = None) -> Network:
        """Of MMoE; of a PLE's layer, where `task` None means a shared one."""

    @abc.abstractmethod
    def gate(self, task: int | None, level: int | None = None) -> Array:
        """(in, experts): a task's gate; None: the shared one of a PLE's layer."""

    @abc.abstractmethod
    def tower(self, task: int) -> tuple[Network, Layer]:
        """A task's hidden layers, and what gives its logit."""

    @abc.abstractmethod
    def esmm_output(self, task: int) -> Layer:
        """What gives the logit of P(task | parent)."""


class DeepCtr(PeerWeights):
    """DeepCTR's: ``layer/kernel0:0``, tasks by name, the logit's kernel and bias in two layers."""

    NOTES = {"all models": "nothing: its defaults, gates without hidden layers and no batch norm, are the papers'"}

    def table(self, feature: str) -> Array:
        return self.read(f"sparse_emb_{feature}/embeddings:0")

    def bottom(self, task: int | None = None) -> Network:
        return self._network(_numbered("dnn", task or 0))

    def expert(self, i: int, level: int | None = None, task: int | None = None) -> Network:
        if level is None:
            return self._network(f"expert_{i}")
        kind = "expert_shared" if task is None else f"task_{TASKS[task]}_expert_specific"
        return self._network(f"level_{level}_{kind}_{i}")

    def gate(self, task: int | None, level: int | None = None) -> Array:
        if level is None:
            return self.read(f"gate_softmax_{TASKS[task or 0]}/kernel:0")
        kind = "shared" if task is None else f"specific_{TASKS[task]}"
        return self.read(f"level_{level}_gate_softmax_{kind}/kernel:0")

    def tower(self, task: int) -> tuple[Network, Layer]:
        kernel = self.read(f"{_numbered('dense', task)}/kernel:0")
        return self._network(f"tower_{TASKS[task]}"), (kernel, self.read(f"{TASKS[task]}/global_bias:0"))

    def esmm_output(self, task: int) -> Layer:
        bias = self.read(f"{'prediction_layer' if task else TASKS[0]}/global_bias:0")
        return self.read(f"{_numbered('dense', task)}/kernel:0"), bias

    def _network(self, name: str) -> Network:
        depth = sum(key.startswith(f"{name}/kernel") for key in self._values)
        return [(self.read(f"{name}/kernel{i}:0"), self.read(f"{name}/bias{i}:0")) for i in range(depth)]


class Rechub(PeerWeights):
    """torch-rechub's: ``network.mlp.N.weight`` (out, in), with a batch norm behind each, which is folded into it."""

    NOTES = {
        "all models": "a batch norm after every dense layer: in evaluation mode, folded into the layer",
        "mmoe": "gates have a bias: set to 0",
        "ple": "gates have a bias: set to 0",
        "esmm": "takes id features alone: ours without numbers",
        "aitm": "an attention for each pair of tasks, where the paper has one: all set to the same",
    }
    EPSILON = 1e-5
    """Of its batch norms."""
    STEP = 4
    """From one dense layer to the next: batch norm, activation and dropout lie between them."""

    def table(self, feature: str) -> Array:
        return self.read(f"embedding.embed_dict.{feature}.weight")

    def bottom(self, task: int | None = None) -> Network:
        if task is None:
            return self._network("bottom_mlp")
        if self._has("bottoms.0"):
            return self._network(f"bottoms.{task}")
        return self._network(_esmm_tower(task))

    def expert(self, i: int, level: int | None = None, task: int | None = None) -> Network:
        if level is None:
            return self._network(f"experts.{i}")
        kind = f"experts_shared.{i}" if task is None else f"experts_specific.{task * TASK_EXPERTS + i}"
        return self._network(f"cgc_layers.{level}.{kind}")

    def gate(self, task: int | None, level: int | None = None) -> Array:
        kind = "gate_shared" if task is None else f"gates_specific.{task}"
        [(kernel, bias)] = self._network(f"gates.{task}" if level is None else f"cgc_layers.{level}.{kind}")
        if np.any(bias):
            raise ValueError(f"the gate of task {task} in layer {level} has a bias, which ours cannot have: {bias}")
        return kernel

    def tower(self, task: int) -> tuple[Network, Layer]:
        return self._network(f"towers.{task}"), self._output(f"towers.{task}")

    def esmm_output(self, task: int) -> Layer:
        return self._output(_esmm_tower(task))

    def transfer(self, parent: int) -> Network:
        """AITM: what a task tells the next one."""
        return self._network(f"info_gates.{parent}")

    def attention(self, pairs: int) -> dict[str, Array]:
        """AITM: (in, out) of query, key and value.

        Raises:
            ValueError: if the pairs of tasks have different ones.
        """
        found = {}
        for ours, theirs in (("query", "q_layer"), ("key", "k_layer"), ("value", "v_layer")):
            first, *others = (self.read(f"aits.{pair}.{theirs}.weight") for pair in range(pairs))
            if not all(np.array_equal(first, other) for other in others):
                raise ValueError(f"{theirs} differs between pairs of tasks; ours is one for all")
            found[ours] = first.T
        return found

    def _has(self, name: str) -> bool:
        return f"{name}.mlp.0.weight" in self._values

    def _dense(self, name: str, at: int) -> Layer:
        return self.read(f"{name}.mlp.{at}.weight").T, self.read(f"{name}.mlp.{at}.bias")

    def _network(self, name: str) -> Network:
        layers, at = [], 0
        while f"{name}.mlp.{at + 1}.running_var" in self._values:
            layers.append(self._fold(*self._dense(name, at), f"{name}.mlp.{at + 1}"))
            at += self.STEP
        return layers

    def _fold(self, kernel: Any, bias: Any, norm: str) -> Layer:
        """A dense layer and its batch norm as one: ``gamma (x W + b - mean) / sqrt(var + epsilon) + beta``."""
        gamma, beta, mean, var = (
            self.read(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
        )
        self.read(f"{norm}.num_batches_tracked")
        scale = gamma / np.sqrt(var + self.EPSILON)
        return kernel * scale, (bias - mean) * scale + beta

    def _output(self, name: str) -> Layer:
        at = 0
        while f"{name}.mlp.{at + 1}.running_var" in self._values:
            at += self.STEP
        return self._dense(name, at)


def _numbered(name: str, i: int) -> str:
    """Keras' names: the first without a number."""
    return f"{name}_{i}" if i else name


def _esmm_tower(task: int) -> str:
    return "tower_cvr" if task else "tower_ctr"
