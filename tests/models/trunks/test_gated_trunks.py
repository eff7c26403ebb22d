"""Trunks with gates of every kind against loops in float64, and gradients that must be exactly zero."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.config import (
    CgcTrunk,
    DselectKGate,
    HmoeTrunk,
    MmoeTrunk,
    ModelConfig,
    MoeTrunk,
    PleLayer,
    PleTrunk,
    SharedBottomTrunk,
    SingleTaskTrunk,
    SoftmaxGate,
    TopKGate,
)
from models.ranker import TRUNKS
from models.trunks.hmoe import Hmoe
from models.trunks.mmoe import Mmoe
from models.trunks.moe import Moe
from models.trunks.ple import Ple
from models.trunks.shared_bottom import SharedBottom
from models.trunks.single_task import SingleTask
from models.trunks.trunk import Trunk
from tests.models.layer_contract import check_layer
from tests.models.naive import check_parity

TASKS = ("click", "like", "share")
UNITS = (4, 3)
DRAW = np.random.default_rng(0)
FLAT = tf.constant(DRAW.normal(size=(5, 4)), tf.float32)
OWN = tf.constant(DRAW.normal(size=(5, len(TASKS) + 1, 4)), tf.float32)
SOFTMAX, TOP_K, DSELECT_K = SoftmaxGate(), TopKGate(k=2, noise=False), DselectKGate(k=2)
MOE, MMOE = MoeTrunk(experts=3, units=UNITS), MmoeTrunk(experts=4, units=UNITS)
HMOE = HmoeTrunk(experts=3, units=UNITS, task_units=(4, 2))
CGC = CgcTrunk(shared_experts=2, task_experts=2, units=UNITS)
PLE = PleTrunk(layers=(PleLayer(shared_experts=3), PleLayer(task_experts=1, units=(5,))), shared_experts=1, units=UNITS)
Function = Callable[[tf.Tensor], tf.Tensor]


# -- loops, on variables in the order in which layers create them ------------------------------------------------------


def relu_network(kernels: list[tf.Tensor], biases: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    for kernel, bias in zip(kernels, biases, strict=True):
        x = tf.nn.relu(x @ kernel + bias)
    return x


def networks(values: Iterator[tf.Tensor], count: int, layers: int) -> list[Function]:
    stacked = [(next(values), next(values)) for _ in range(layers)]
    return [
        functools.partial(relu_network, [kernel[n] for kernel, _ in stacked], [bias[n] for _, bias in stacked])
        for n in range(count)
    ]


def softmax_gate(kernel: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    powers = tf.exp(x @ kernel)
    return powers / tf.reduce_sum(powers, axis=1, keepdims=True)


def top_2_gate(kernel: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    powers = tf.exp(x @ kernel)
    open_ = [[float(p) >= sorted(map(float, row))[-2] for p in row] for row in powers]
    powers *= tf.constant(open_, tf.float64)
    return powers / tf.reduce_sum(powers, axis=1, keepdims=True)


def dselect_gate(digits: tf.Tensor, selectors: tf.Tensor, experts: int, x: tf.Tensor) -> tf.Tensor:
    logits, shares, bits = x @ digits, softmax_gate(selectors, x), (experts - 1).bit_length()
    steps = tf.where(abs(logits) < 0.5, 0.5 + 1.5 * logits - 2 * logits**3, tf.cast(logits > 0, tf.float64))
    columns = [tf.zeros(x.shape[0], tf.float64)] * experts
    for expert in range(experts):
        for selector in range(selectors.shape[1]):
            chance = shares[:, selector]
            for j, digit in enumerate(format(expert, f"0{bits}b")):
                step = steps[:, selector * bits + j]
                chance *= step if digit == "1" else 1 - step
            columns[expert] += chance
    return tf.stack(columns, axis=1)


def gates(values: Iterator[tf.Tensor], kind: str, count: int, experts: int) -> list[Function]:
    if kind == "dselect_k":
        digits, selectors = next(values), next(values)
        return [functools.partial(dselect_gate, digits[g], selectors[g], experts) for g in range(count)]
    kernel = next(values)
    return [functools.partial(softmax_gate if kind == "softmax" else top_2_gate, kernel[g]) for g in range(count)]


def mixture(weights: tf.Tensor, outputs: list[tf.Tensor]) -> tf.Tensor:
    assert weights.shape[1] == len(outputs)
    return tf.add_n([weights[:, e : e + 1] * output for e, output in enumerate(outputs)])


def naive_mmoe(kind: str, config: Any, variables: list[tf.Tensor], x: tf.Tensor) -> dict[str, tf.Tensor]:
    values = iter(variables)
    outputs = [expert(x) for expert in networks(values, config.experts, len(config.units))]
    count = 1 if config.kind == "moe" else len(TASKS)
    mixed = [mixture(gate(x), outputs) for gate in gates(values, kind, count, config.experts)]
    return dict(zip(TASKS, mixed * 3 if config.kind == "moe" else mixed, strict=True))


def naive_hmoe(kind: str, config: Any, variables: list[tf.Tensor], x: tf.Tensor) -> dict[str, tf.Tensor]:
    split = 2 * len(config.units) + (2 if kind == "dselect_k" else 1)
    mixed = naive_mmoe(kind, config, variables[:split], x)
    values = iter(variables[split:])
    own = [network(mixed[t]) for t, network in zip(TASKS, networks(values, 3, len(config.task_units)), strict=True)]
    relations = gates(values, "softmax", 3, 3)
    heard = {}
    for k, task in enumerate(TASKS):
        opinions = [s if j == k else tf.stop_gradient(s) for j, s in enumerate(own)]
        heard[task] = mixture(relations[k](x), opinions)
    return heard


def naive_ple(kind: str, config: Any, variables: list[tf.Tensor], x: tf.Tensor) -> dict[str, tf.Tensor]:
    values, own_inputs = iter(variables), x.shape.rank == 3
    parts = tf.unstack(x, axis=1) if own_inputs else [x] * 4
    for i, layer in enumerate(config.stacked(), 1):
        m, n, last = layer.task_experts, layer.shared_experts, i == len(config.stacked())
        experts = networks(values, 3 * m + n, len(layer.units))
        task_gates = gates(values, kind, 3, 3 * m + n if own_inputs else m + n)
        own = [[expert(parts[k]) for expert in experts[k * m : (k + 1) * m]] for k in range(3)]
        shared = [expert(parts[3]) for expert in experts[3 * m :]]
        stopped = [[tf.stop_gradient(output) for output in outputs] for outputs in own]
        mixed = []
        for k in range(3):
            seen = [o for j in range(3) for o in (own if j == k else stopped)[j]] if own_inputs else own[k]
            mixed.append(mixture(task_gates[k](parts[k] + parts[3] if own_inputs else parts[k]), seen + shared))
        if not last:
            [shared_gate] = gates(values, kind, 1, 3 * m + n)
            seen = [o for outputs in (stopped if own_inputs else own) for o in outputs]
            mixed.append(mixture(shared_gate(parts[3]), seen + shared))
        parts = mixed
    return dict(zip(TASKS, parts, strict=True))


CASES: list[tuple[type[Trunk], Any, Any, Any]] = [
    *((kind, config, gate, naive_mmoe) for kind, config in ((Moe, MOE), (Mmoe, MMOE)) for gate in (TOP_K, DSELECT_K)),
    *((kind, config, SOFTMAX, naive_mmoe) for kind, config in ((Moe, MOE), (Mmoe, MMOE))),
    *((Hmoe, HMOE, gate, naive_hmoe) for gate in (SOFTMAX, TOP_K)),
    *((Ple, config, gate, naive_ple) for config in (CGC, PLE) for gate in (SOFTMAX, TOP_K, DSELECT_K)),
]
STEM: list[tuple[type[Trunk], Any, Any]] = [
    (Ple, CGC, SOFTMAX),
    (Ple, PLE, SOFTMAX),
    (Ple, CGC, DSELECT_K),
    (Ple, PLE, DSELECT_K),
]


@pytest.mark.parametrize(("kind", "config", "gate", "reference"), CASES)
def test_batched_equals_loop(kind: type[Trunk], config: Any, gate: Any, reference: Any):
    check_parity(kind(TASKS, config, gate=gate), (FLAT,), functools.partial(reference, gate.kind, config))


def test_shared_bottom_equals_its_loop():
    def reference(variables: list[tf.Tensor], x: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict.fromkeys(TASKS, relu_network(variables[::2], variables[1::2], x))

    check_parity(SharedBottom(TASKS, SharedBottomTrunk(units=UNITS)), (FLAT,), reference)


def test_single_task_equals_its_loop():
    def reference(variables: list[tf.Tensor], x: tf.Tensor) -> dict[str, tf.Tensor]:
        own = networks(iter(variables), len(TASKS), len(UNITS))
        return {task: network(x) for task, network in zip(TASKS, own, strict=True)}

    check_parity(SingleTask(TASKS, SingleTaskTrunk(units=UNITS)), (FLAT,), reference)


@pytest.mark.parametrize(("kind", "config", "gate"), STEM)
def test_batched_equals_loop_with_own_inputs(kind: type[Trunk], config: Any, gate: Any):
    trunk = kind(TASKS, config, gate=gate, own_inputs=True)
    check_parity(trunk, (OWN,), functools.partial(naive_ple, gate.kind, config))


@pytest.mark.parametrize(
    ("kind", "config", "gate", "own_inputs"),
    [(Hmoe, HMOE, DSELECT_K, False), (Ple, CGC, TOP_K, False), (Ple, PLE, SOFTMAX, True), (Moe, MOE, SOFTMAX, False)],
)
def test_contract(kind: type[Trunk], config: Any, gate: Any, own_inputs: bool, tmp_path):
    arguments = {"tasks": list(TASKS), "config": config, "gate": gate, **({"own_inputs": True} if own_inputs else {})}
    width = {"hmoe": 2, "ple": 5}.get(config.kind, 3)
    check_layer(kind, arguments, OWN if own_inputs else FLAT, dict.fromkeys(TASKS, (5, width)), tmp_path)


@pytest.mark.parametrize(("kind", "config"), [(Moe, MOE), (Mmoe, MMOE), (Hmoe, HMOE), (Ple, CGC), (Ple, PLE)])
def test_top_k_gate_weights_sum_to_one_over_k_named_experts(kind: type[Trunk], config: Any):
    trunk = kind(TASKS, config, gate=TopKGate(k=2))
    trunk(FLAT, training=True)
    weights, names = trunk.gate_weights(FLAT), trunk.expert_names()
    assert list(weights) == list(names)
    for key, gate in weights.items():
        assert gate.shape == (5, len(names[key]))
        np.testing.assert_allclose(tf.reduce_sum(gate, axis=1), np.ones(5), rtol=1e-5)
        if not (kind is Hmoe and key.startswith("2/")):
            assert (np.count_nonzero(gate, axis=1) == 2).all()


def test_names_with_own_inputs_and_of_sizes():
    names = Ple(("a", "b"), PLE, own_inputs=True).expert_names()
    assert names["1/b"] == names["1/shared"] == ("a 1", "a 2", "b 1", "b 2", "shared 1", "shared 2", "shared 3")
    assert names["2/a"] == ("a 1", "b 1", "shared 1")
    assert Hmoe(("a", "b"), HMOE).expert_names()["2/b"] == ("a", "b")


# -- stopped gradients -------------------------------------------------------------------------------------------------


def moved(trunk: Trunk, inputs: tf.Tensor) -> Trunk:
    """With biases that keep every network alive."""
    tf.keras.utils.set_random_seed(2)
    trunk(inputs)
    for variable in trunk.trainable_variables:
        variable.assign_add(tf.fill(variable.shape, 0.1))
    return trunk


def gradients(trunk: Trunk, inputs: tf.Tensor, task: str, sources: list[Any]) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(trunk(inputs)[task] ** 2)
    return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, sources)]


@pytest.mark.parametrize(("kind", "config", "gate"), STEM)
def test_a_task_with_own_inputs_trains_nothing_of_other_tasks(kind: type[Trunk], config: Any, gate: Any):
    trunk = moved(kind(TASKS, config, gate=gate, own_inputs=True), OWN)
    [to_inputs] = gradients(trunk, OWN, "like", [OWN])
    assert (to_inputs[:, [0, 2]] == 0).all()
    assert (np.abs(to_inputs[:, [1, 3]]).sum(axis=(0, 2)) > 0).all()
    for layer in trunk.layers:
        m = layer.config.task_experts
        for gradient in gradients(trunk, OWN, "like", [*layer.bank.kernels, *layer.bank.biases]):
            others = [*range(m), *range(2 * m, 3 * m)]
            assert (gradient[others] == 0).all()
            assert np.abs(gradient[m : 2 * m]).sum() > 0
            assert np.abs(gradient[3 * m :]).sum() > 0
        for gradient in gradients(trunk, OWN, "like", layer.task_gates.trainable_variables):
            assert (gradient[[0, 2]] == 0).all()
            assert np.abs(gradient[1]).sum() > 0


def test_a_task_with_own_inputs_hears_other_tasks():
    trunk = moved(Ple(TASKS, CGC, own_inputs=True), OWN)
    silenced = tf.concat([tf.zeros_like(OWN[:, :1]), OWN[:, 1:]], axis=1)
    assert (trunk(OWN)["like"].numpy() != trunk(silenced)["like"].numpy()).any()


def test_hmoe_hears_other_tasks_and_does_not_train_them():
    trunk = moved(Hmoe(TASKS, HMOE), FLAT)
    sources = [*trunk.networks.kernels, *trunk.networks.biases, trunk.gates.kernel, trunk.relations.kernel]
    for gradient in gradients(trunk, FLAT, "like", sources):
        assert (gradient[[0, 2]] == 0).all()
        assert np.abs(gradient[1]).sum() > 0
    before = trunk(FLAT)["like"].numpy()
    trunk.networks.biases[-1].assign_add([[[1.0] * 2], [[0.0] * 2], [[0.0] * 2]])
    assert (trunk(FLAT)["like"].numpy() != before).any()


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_trunk_takes_no_option_that_it_cannot_use(kind: str):
    config = ModelConfig.model_validate({"trunk": kind}).trunk
    for option, is_used in (({"gate": TOP_K}, config.GATED), ({"own_inputs": True}, config.OWN_EXPERTS)):
        if is_used:
            made = TRUNKS[kind](TASKS, config, **option).get_config()
            assert (made["gate"]["kind"], made.get("own_inputs", False)) in (("top_k", False), ("softmax", True))
        else:
            with pytest.raises(TypeError, match=next(iter(option))):
                TRUNKS[kind](TASKS, config, **option)
