"""Progressive layered extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import CgcTrunk, PleTrunk
from models.layers.cgc import Cgc
from models.trunks.gated import GatedTrunk


class Ple(GatedTrunk):
    """Stacked CGC layers; the shared part passes on between layers and ends before the last.

    ``(y_1 .. y_K, y_s)^j = CGC^j((y_1 .. y_K, y_s)^{j-1})`` with ``x`` for all parts at first (section 4.2, eq. 6); see
    `models.layers.cgc.Cgc`. With a `CgcTrunk` it is one layer, CGC (section 4.1). With `own_inputs` (STEM) tasks hear each other's experts
    in every layer and train their own only.

    Args:
        tasks: names of the tasks.
        config: the trunk's part of the model's configuration.
        own_inputs: whether each task has an input of its own, the shared one last (`models.config.StemEmbeddings`).
        kwargs: those of `GatedTrunk`.

    Shapes:
        input: (batch, in), or (batch, tasks + 1, in) with `own_inputs`.
        output: {task: (batch, units[-1])}.

    Example:
        >>> Ple(["click", "like"], PleTrunk(layers=2, units=(8,)))(tf.ones((2, 4)))["like"].shape
        TensorShape([2, 8])

    Paper: Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
    Recommendations, RecSys 2020.
    """

    ARGUMENTS = {**GatedTrunk.ARGUMENTS, "own_inputs": bool}

    def __init__(
        self, tasks: Sequence[str], config: PleTrunk | CgcTrunk, own_inputs: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(tasks, config, **kwargs)
        self.own_inputs = own_inputs
        sizes = config.stacked()
        self.layers = [
            Cgc(
                len(self.tasks),
                layer,
                self.gate,
                shared_gate=i < len(sizes),
                all_forward=self.own_inputs,
                name=f"cgc_{i}",
                dtype=self.dtype_policy,
            )
            for i, layer in enumerate(sizes, 1)
        ]

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        hidden = inputs
        for layer in self.layers:
            hidden = layer(hidden, training=training)
        return self.by_task(hidden)

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"layer/task": (batch, experts)}, and "layer/shared" for all but the last layer."""
        weights = {}
        hidden = inputs
        for i, layer in enumerate(self.layers, 1):
            gates = layer.gate_weights(hidden, training=False)
            weights.update({f"{i}/{task}": gates[0][:, k] for k, task in enumerate(self.tasks)})
            if layer.shared_gate:
                weights[f"{i}/shared"] = gates[1][:, 0]
            hidden = layer(hidden, training=False)
        return weights

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"layer/task": its own experts (with `own_inputs` all tasks'), then the shared ones; "layer/shared": all}."""
        names = {}
        for i, layer in enumerate(self.layers, 1):
            shared = tuple(f"shared {n + 1}" for n in range(layer.config.shared_experts))
            own = {task: tuple(f"{task} {n + 1}" for n in range(layer.config.task_experts)) for task in self.tasks}
            every = tuple(name for task in self.tasks for name in own[task]) + shared
            names.update({f"{i}/{task}": every if self.own_inputs else own[task] + shared for task in self.tasks})
            if layer.shared_gate:
                names[f"{i}/shared"] = every
        return names
