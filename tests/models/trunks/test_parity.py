"""Trunks against naive loops of Keras' Dense layers, written from the papers' equations, with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.config import MmoeTrunk, MoeTrunk, PleTrunk, SharedBottomTrunk, SingleTaskTrunk
from models.layers.cgc import Cgc
from models.layers.expert_bank import ExpertBank
from models.layers.softmax_gates import SoftmaxGates
from models.trunks.mmoe import Mmoe
from models.trunks.moe import Moe
from models.trunks.ple import Ple
from models.trunks.shared_bottom import SharedBottom
from models.trunks.single_task import SingleTask
from models.trunks.trunk import Trunk
from tests.models.layer_contract import assert_close, check_layer

TASKS = ("click", "like", "share")
UNITS = (7, 6)
INPUT = tf.constant(np.random.default_rng(0).normal(size=(9, 5)), tf.float32)
Network = Callable[[tf.Tensor], tf.Tensor]
Variables = list[tf.Variable]


class Naive:
    """Dense layers one by one. `slices` says which part of which batched variable each copied variable is."""

    def __init__(self) -> None:
        self.copies: list[tuple[tf.Variable, tf.Variable, int | None]] = []

    def dense(self, width: int, kernel: tf.Variable, bias: tf.Variable | None, part: int | None, activation: str):
        layer = tf.keras.layers.Dense(kernel.shape[-1], activation=activation, use_bias=bias is not None)
        layer.build((None, width))
        for copy, variable in ((layer.kernel, kernel), (layer.bias, bias)):
            if copy is not None and variable is not None:
                whole = variable if part is None else variable[part]
                copy.assign(tf.reshape(whole, copy.shape))
                self.copies.append((copy, variable, part))
        return layer

    def experts(self, bank: ExpertBank) -> list[Network]:
        def expert(e: int) -> Network:
            layers = [
                self.dense(kernel.shape[1], kernel, bias, e, "relu")
                for kernel, bias in zip(bank.kernels, bank.biases, strict=True)
            ]
            return tf.keras.Sequential(layers)

        return [expert(e) for e in range(bank.experts)]

    def gates(self, gates: SoftmaxGates) -> list[Network]:
        return [self.dense(gates.kernel.shape[1], gates.kernel, None, g, "softmax") for g in range(gates.gates)]


def mixture(weights: tf.Tensor, outputs: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([weights[:, e : e + 1] * output for e, output in enumerate(outputs)])


def naive_shared_bottom(trunk: SharedBottom, naive: Naive) -> Network:
    layers = [
        naive.dense(layer.kernel.shape[0], layer.kernel, layer.bias, None, "relu") for layer in trunk.bottom.layers
    ]
    return lambda x: {task: tf.keras.Sequential(layers)(x) for task in TASKS}


def naive_single_task(trunk: SingleTask, naive: Naive) -> Network:
    networks = naive.experts(trunk.bank)
    return lambda x: {task: network(x) for task, network in zip(TASKS, networks, strict=True)}


def naive_moe(trunk: Moe, naive: Naive) -> Network:
    experts, (gate,) = naive.experts(trunk.bank), naive.gates(trunk.gates)
    return lambda x: {task: mixture(gate(x), [expert(x) for expert in experts]) for task in TASKS}


def naive_mmoe(trunk: Mmoe, naive: Naive) -> Network:
    experts, gates = naive.experts(trunk.bank), naive.gates(trunk.gates)

    def run(x: tf.Tensor):
        outputs = [expert(x) for expert in experts]
        return {task: mixture(gate(x), outputs) for task, gate in zip(TASKS, gates, strict=True)}

    return run


def naive_cgc(layer: Cgc, naive: Naive):
    """Inputs and outputs are lists: each task's, then the shared part's."""
    experts, gates = naive.experts(layer.bank), naive.gates(layer.task_gates)
    shared_gate = naive.gates(layer.all_gate)[0] if layer.shared_gate else None
    m = layer.config.task_experts

    def run(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        own = [[expert(inputs[k]) for expert in experts[k * m : (k + 1) * m]] for k in range(layer.tasks)]
        shared = [expert(inputs[-1]) for expert in experts[layer.tasks * m :]]
        outputs = [mixture(gates[k](inputs[k]), own[k] + shared) for k in range(layer.tasks)]
        if shared_gate is not None:
            outputs.append(mixture(shared_gate(inputs[-1]), [o for outs in own for o in outs] + shared))
        return outputs

    return run


def naive_ple(trunk: Ple, naive: Naive) -> Network:
    layers = [naive_cgc(layer, naive) for layer in trunk.layers]

    def run(x: tf.Tensor):
        hidden = [x] * (len(TASKS) + 1)
        for layer in layers:
            hidden = layer(hidden)
        return dict(zip(TASKS, hidden, strict=True))

    return run


CASES = [
    (SingleTask, SingleTaskTrunk(units=UNITS), naive_single_task),
    (SharedBottom, SharedBottomTrunk(units=UNITS), naive_shared_bottom),
    (Moe, MoeTrunk(experts=4, units=UNITS), naive_moe),
    (Mmoe, MmoeTrunk(experts=4, units=UNITS), naive_mmoe),
    (Ple, PleTrunk(layers=1, shared_experts=3, task_experts=2, units=UNITS), naive_ple),
    (Ple, PleTrunk(layers=2, shared_experts=1, task_experts=2, units=UNITS), naive_ple),
]


@pytest.mark.parametrize(("kind", "config", "reference"), CASES)
def test_batched_equals_loop(kind: type[Trunk], config, reference):
    tf.keras.utils.set_random_seed(5)
    trunk = kind(TASKS, config)
    trunk(INPUT)
    for variable in trunk.trainable_variables:  # biases start at 0; a parity test must see them
        variable.assign(variable + tf.random.normal(variable.shape, stddev=0.1))
    naive = Naive()
    run = reference(trunk, naive)

    def loss(outputs: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.add_n([(i + 1.0) * tf.reduce_sum(outputs[task] ** 2) for i, task in enumerate(TASKS)])

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(INPUT)
        batched, looped = trunk(INPUT), run(INPUT)
        losses = loss(batched), loss(looped)
    assert_close(looped, batched)
    assert_close(tape.gradient(losses[1], INPUT), tape.gradient(losses[0], INPUT), rtol=1e-4, atol=1e-4)

    copied = {id(variable) for _, variable, _ in naive.copies}
    assert copied == {id(variable) for variable in trunk.trainable_variables}, "a variable that the loop does not have"
    batched_gradients = dict(
        zip(map(id, trunk.trainable_variables), tape.gradient(losses[0], trunk.trainable_variables), strict=True)
    )
    looped_gradients = tape.gradient(losses[1], [copy for copy, _, _ in naive.copies])
    for (_, variable, part), expected in zip(naive.copies, looped_gradients, strict=True):
        found = batched_gradients[id(variable)] if part is None else batched_gradients[id(variable)][part]
        assert_close(expected, tf.reshape(found, expected.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "config", "reference"), CASES)
def test_contract(kind: type[Trunk], config, reference, tmp_path):
    check_layer(kind, {"tasks": list(TASKS), "config": config}, INPUT, dict.fromkeys(TASKS, (9, 6)), tmp_path)


@pytest.mark.parametrize(("kind", "config", "reference"), CASES)
def test_gate_weights_sum_to_one_and_every_expert_has_a_name(kind: type[Trunk], config, reference):
    trunk = kind(TASKS, config)
    trunk(INPUT)
    weights, names = trunk.gate_weights(INPUT), trunk.expert_names()
    assert list(weights) == list(names)
    for key, gates in weights.items():
        assert gates.shape == (9, len(names[key]))
        np.testing.assert_allclose(tf.reduce_sum(gates, axis=1), 1, rtol=1e-5)


def test_the_names_of_ples_experts():
    trunk = Ple(("a", "b"), PleTrunk(layers=2, shared_experts=1, task_experts=2, units=(3,)))
    assert trunk.expert_names() == {
        "1/a": ("a 1", "a 2", "shared 1"),
        "1/b": ("b 1", "b 2", "shared 1"),
        "1/shared": ("a 1", "a 2", "b 1", "b 2", "shared 1"),
        "2/a": ("a 1", "a 2", "shared 1"),
        "2/b": ("b 1", "b 2", "shared 1"),
    }


def test_a_task_of_ple_never_reaches_another_tasks_experts():
    trunk = Ple(TASKS, PleTrunk(layers=1, shared_experts=1, task_experts=2, units=(4,)))
    trunk(INPUT)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(trunk(INPUT)["click"] ** 2)
    gradient = tape.gradient(loss, trunk.layers[0].bank.kernels[0]).numpy()
    reached = np.abs(gradient).sum(axis=(1, 2)) > 0
    assert reached.tolist() == [True, True, False, False, False, False, True]
