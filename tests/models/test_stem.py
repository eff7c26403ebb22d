"""STEM: tables with a vector for each task beside the shared one, of which a task trains its own and the shared one alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from features.layout import Layout
from models.config import TrainConfig
from models.optimizers import build_optimizer
from models.ranker import Ranker, build_ranker
from tests.models.rankers import LAYOUT, RATES, TASKS, batch_of, model_config

ATTENTIVE = Layout(
    inputs=tuple(
        i.model_copy(update={"pooling": "din_attention", "target": "item"}) if i.name == "history" else i
        for i in LAYOUT.inputs
    ),
    tables=LAYOUT.tables,
)
PLE = {"kind": "ple", "layers": 2}
CASES = [
    (LAYOUT, {}),
    (LAYOUT, {"trunk": PLE}),
    (LAYOUT, {"trunk": PLE, "gate": "dselect_k"}),
    (ATTENTIVE, {"interactions": "dcn_v2"}),
]
GROUPS = [*TASKS, "shared"]


def stem(layout: Layout = LAYOUT, **parts: Any) -> Ranker:
    """Of small sizes, its weights large enough to tell a small gradient from none."""
    tf.keras.utils.set_random_seed(1)
    ranker = build_ranker(layout, TASKS, model_config("stem", **parts), RATES)
    for variable in ranker.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.3))
    return ranker


def gradients(ranker: Ranker, task: str, batch: dict[str, tf.Tensor]) -> list[Any]:
    """Of one task's loss, to all trainable variables."""
    with tf.GradientTape() as tape:
        loss = ranker.dense_loss(ranker.embed(batch), ranker.labels(batch), training=True)[1][task]
    return tape.gradient(loss, ranker.trainable_variables)


def by_group(table: Any) -> dict[str, np.ndarray]:
    """{task, or "shared": the columns of a table, or of a gradient to it, that are its own}."""
    dense = tf.convert_to_tensor(table).numpy()
    return dict(zip(GROUPS, np.split(dense, len(GROUPS), axis=1), strict=True))


@pytest.mark.parametrize(("layout", "parts"), CASES)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains_its_own_and_the_shared_vectors_alone(task: str, layout: Layout, parts: dict[str, Any]):
    ranker, batch = stem(layout, **parts), batch_of(32)
    tables = {variable.ref() for variable in ranker.embedding_variables}
    for variable, gradient in zip(ranker.trainable_variables, gradients(ranker, task, batch), strict=True):
        if variable.ref() not in tables:
            continue
        assert isinstance(gradient, tf.IndexedSlices)
        for group, values in by_group(gradient).items():
            if group in (task, "shared"):
                assert (np.abs(values).max(axis=0) > 0).all()
            else:
                assert (values == 0).all()


@pytest.mark.parametrize("head", ["esmm", "escm2", "aitm"])
def test_through_a_chain_a_task_trains_its_parents_vectors_too(head: str):
    ranker = stem(head={"kind": head})
    found = dict(
        zip((v.ref() for v in ranker.trainable_variables), gradients(ranker, "buy", batch_of(32)), strict=True)
    )
    for table in ranker.embedding_variables:
        trained = {group for group, values in by_group(found[table.ref()]).items() if np.abs(values).max() > 0}
        assert trained == {"buy", "click", "shared"}


@pytest.mark.parametrize(("head", "heard"), [("independent", {"buy"}), ("dlen", {"buy"}), ("esmm", {"buy", "click"})])
def test_hmoe_trains_the_networks_of_a_task_and_of_its_ancestors_in_a_chain(head: str, heard: set[str]):
    tf.keras.utils.set_random_seed(1)
    ranker, batch = build_ranker(LAYOUT, TASKS, model_config("hmoe", head={"kind": head}), RATES), batch_of(32)
    for variable in ranker.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.3))
    found = dict(zip((v.ref() for v in ranker.trainable_variables), gradients(ranker, "buy", batch), strict=True))
    kernel = np.abs(found[ranker.trunk.networks.trainable_variables[0].ref()]).reshape(len(TASKS), -1).max(axis=1)
    assert {task for task, moved in zip(TASKS, kernel, strict=True) if moved > 0} == heard


@pytest.mark.parametrize("interactions", ["none", "dot", "fm", "dcn_v2"])
def test_groups_share_no_weights_below_the_experts(interactions: str):
    ranker, batch = stem(ATTENTIVE, interactions=interactions, embedding_dim=6), batch_of(32)
    weights = [*ranker.inputs_layer.trainable_variables, *ranker.interactions.trainable_variables]
    assert len(weights) == 8 + {"none": 0, "dot": 4, "fm": 0, "dcn_v2": 4}[interactions]
    for group in range(len(GROUPS)):
        with tf.GradientTape() as tape:
            found = ranker.interactions(ranker.represent(ranker.embed(batch)))[:, group]
            loss = tf.reduce_sum(tf.square(found))
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            moved = np.abs(gradient.numpy()).reshape(len(GROUPS), -1).max(axis=1) > 0
            assert list(np.flatnonzero(moved)) == [group], weight.name


@pytest.mark.parametrize("trunk", ["cgc", "ple"])
def test_a_task_hears_the_others_all_the_same(trunk: str):
    ranker, batch = stem(trunk={"kind": trunk}), batch_of(16)
    before = ranker(batch)["click"].numpy()
    users = ranker.lookups.tables["user"].table
    own = np.repeat(np.array(GROUPS) == "like", 4)
    users.assign(tf.where(own, users + 1, users))
    assert (ranker(batch)["click"].numpy() != before).mean() > 0.9


@pytest.mark.parametrize("optimizer", ["adagrad", "rowwise_adagrad"])
def test_other_tasks_vectors_stay_to_the_bit(optimizer: str):
    ranker, batch = stem(), batch_of(32)
    apply = build_optimizer(ranker, TrainConfig.model_validate({"embedding_optimizer": optimizer})).apply_gradients
    before = [by_group(table) for table in ranker.embedding_variables]
    for _ in range(3):
        apply(zip(gradients(ranker, "like", batch), ranker.trainable_variables, strict=True))
    for old, table in zip(before, ranker.embedding_variables, strict=True):
        new = by_group(table)
        for group in GROUPS:
            assert np.array_equal(old[group], new[group]) == (group not in ("like", "shared"))


def naive(ranker: Ranker, values: dict[int, tf.Tensor], batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """STEM-Net with a loop over layers, tasks, experts and gates, in float64: {task: logit}."""
    value = lambda variable: values[id(variable)]  # noqa: E731
    tables = {name: tf.split(value(t.table), len(GROUPS), axis=1) for name, t in ranker.lookups.tables.items()}
    age, popularity, missing = (tf.cast(batch[name], tf.float64) for name in ("age", "popularity", "age_missing"))
    numbers = tf.stack([age, 12**0.5 * (popularity - 0.5), missing], axis=1)

    def represent(group: int) -> tf.Tensor:
        users, items = tables["user"][group], tables["item"][group]
        present = tf.cast(batch["history"] > 0, tf.float64)[..., None]
        history = tf.reduce_sum(tf.gather(items, batch["history"]) * present, 1) / tf.maximum(
            tf.reduce_sum(present, 1), 1
        )
        return tf.concat([tf.gather(users, batch["user"]), tf.gather(items, batch["item"]), history, numbers], 1)

    def expert(cgc: Any, e: int, x: tf.Tensor) -> tf.Tensor:
        for kernel, bias in zip(cgc.bank.kernels, cgc.bank.biases, strict=True):
            x = tf.nn.relu(x @ value(kernel)[e] + value(bias)[e])
        return x

    own, shared = ranker.config.trunk.task_experts, ranker.config.trunk.shared_experts
    x = [represent(group) for group in range(len(GROUPS))]
    for number, cgc in enumerate(ranker.trunk.layers, 1):
        outputs = [(k, expert(cgc, k * own + i, x[k])) for k in range(len(TASKS)) for i in range(own)]
        outputs += [(None, expert(cgc, len(TASKS) * own + i, x[-1])) for i in range(shared)]
        gates = [(k, x[k] + x[-1], value(cgc.task_gates.kernel)[k]) for k in range(len(TASKS))]
        if number < len(ranker.trunk.layers):
            gates.append((None, x[-1], value(cgc.all_gate.kernel)[0]))
        x = []
        for k, read, kernel in gates:
            weights = tf.nn.softmax(read @ kernel)
            heard = [output if owner in (k, None) else tf.stop_gradient(output) for owner, output in outputs]
            x.append(sum(weights[:, e : e + 1] * output for e, output in enumerate(heard)))
    logits = {}
    for k, task in enumerate(TASKS):
        hidden = x[k]
        tower = ranker.head.towers[task]
        for layer in tower.hidden.layers:
            hidden = tf.nn.relu(hidden @ value(layer.kernel) + value(layer.bias))
        logits[task] = (hidden @ value(tower.output_layer.kernel) + value(tower.output_layer.bias))[:, 0]
    return logits


@pytest.mark.parametrize("trunk", [{}, PLE])
def test_it_is_the_papers_network(trunk: dict[str, Any]):
    ranker, batch = stem(trunk={**trunk, "shared_experts": 1, "task_experts": 2}), batch_of(12)
    copies = {id(v): tf.cast(v, tf.float64) for v in ranker.trainable_variables}
    y = {task: tf.cast(batch[f"label_{task}"], tf.float64) for task in TASKS}
    shown = tf.cast(batch["mask_like"], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(list(copies.values()))
        logits = naive(ranker, copies, batch)
        losses = {t: tf.nn.sigmoid_cross_entropy_with_logits(y[t], logits[t]) for t in ("click", "like", "buy")}
        like = tf.reduce_sum(losses["like"] * shown) / tf.reduce_sum(shown)
        watch = tf.reduce_mean(tf.square(logits["watch"] - y["watch"]))
        total = tf.reduce_mean(losses["click"]) + 2 * like + watch + tf.reduce_mean(losses["buy"])
    found = ranker(batch)
    for task in ("click", "like", "buy"):
        np.testing.assert_allclose(found[task], tf.sigmoid(logits[task]), rtol=1e-4)
    np.testing.assert_allclose(found["watch"], logits["watch"], rtol=1e-4, atol=1e-5)
    with tf.GradientTape() as ours:
        loss = ranker.compute_loss(batch, training=True)
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    expected = tape.gradient(total, [copies[id(v)] for v in ranker.trainable_variables])
    for variable, one, other in zip(
        ranker.trainable_variables, expected, ours.gradient(loss, ranker.trainable_variables), strict=True
    ):
        found_, wanted = tf.convert_to_tensor(other).numpy(), tf.convert_to_tensor(one).numpy()
        np.testing.assert_allclose(found_, wanted, rtol=1e-3, atol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_all_parts_together_learn(precision: str):
    """`trunk: ple, gate: dselect_k, head: dlen, embeddings: stem`, with a position tower."""
    parts = {"trunk": "ple", "gate": "dselect_k", "head": "dlen", "embeddings": "stem", "beside": "position_tower"}
    config = model_config("ple", **{**parts, "trunk": {"kind": "ple"}, "head": {"kind": "dlen"}})
    assert {part: getattr(config, part).kind for part in parts} == parts
    tf.keras.utils.set_random_seed(1)
    ranker, batch = build_ranker(LAYOUT, TASKS, config, RATES, precision), batch_of(64)
    optimizer = build_optimizer(ranker, TrainConfig())

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = ranker.compute_loss(batch, training=True)
        gradients = tape.gradient(loss, ranker.trainable_variables)
        optimizer.apply_gradients(zip(gradients, ranker.trainable_variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(30)]
    assert losses[-1] < 0.9 * losses[0]
