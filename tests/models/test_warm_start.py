from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf
import tensorflow_transform as tft

from features.errors import ModelError
from features.layout import Input, Layout, Table
from features.spec import Task
from models.config import ModelConfig
from models.ranker import Ranker, build_ranker
from models.training import Earlier, WarmStart, take_over
from models.training.warm_start import TableStart
from tests.models.rankers import model_config

TASKS = {"click": Task(label="is_click"), "like": Task(label="is_like")}
RATES = {"click": 0.3, "like": 0.02}
BUCKETS = 3
OLD = {"user": [b"ann", b"bob", b"cy"], "item": [b"7", b"5", b"-3"]}
NEW = {"user": [b"dora", b"bob", b"eve", b"ann"], "item": [b"5", b"12", b"7", b"-3"]}


def layout(
    vocabularies: dict[str, list[bytes]], buckets: int = BUCKETS, hours: int = 5, more: Sequence[Input] = ()
) -> Layout:
    tables = [Table(name=name, rows=1 + len(tokens) + buckets) for name, tokens in vocabularies.items()]
    return Layout(
        inputs=(
            Input(name="user", kind="index", table="user"),
            Input(name="seen", kind="indices", table="item", length=2, pooling="mean"),
            Input(name="hour", kind="index", table="hour"),
            Input(name="age", kind="number"),
            *more,
        ),
        tables=(*tables, Table(name="hour", rows=hours)),
    )


def ranker_of(
    vocabularies: dict[str, list[bytes]], seed: int, config: ModelConfig | None = None, **changes: Any
) -> Ranker:
    tf.keras.utils.set_random_seed(seed)
    tasks = changes.pop("tasks", TASKS)
    rates = changes.pop("rates", RATES)
    return build_ranker(layout(vocabularies, **changes), tasks, config or model_config("mmoe"), rates)


def earlier_of(ranker: Ranker, vocabularies: dict[str, list[bytes]]) -> Earlier:
    weights = {variable.name.removesuffix(":0"): variable.numpy() for variable in ranker.variables}
    return Earlier("models/1", "f", ranker.layout, ranker.tasks, ranker.config, weights, vocabularies)


@pytest.fixture
def earlier() -> Earlier:
    return earlier_of(ranker_of(OLD, seed=1), OLD)


def transformed(
    folder: pathlib.Path, vocabularies: dict[str, list[bytes]], users: Sequence[str], items: Sequence[Sequence[int]]
) -> dict[str, tf.Tensor]:
    """Tokens as Transform indexes them: by TFT's own op, over a vocabulary file."""

    def index(name: str, values: tf.Tensor) -> tf.Tensor:
        file = folder / f"{name}-{len(vocabularies[name])}"
        file.write_bytes(b"".join(token + b"\n" for token in vocabularies[name]))
        indexed = tft.apply_vocabulary(values, tf.constant(str(file)), num_oov_buckets=BUCKETS) + 1
        # It notes its tensors in the default graph, where a later Transform of this process would stumble over them.
        graph = tf.compat.v1.get_default_graph()
        for collection in list(graph.collections):
            graph.clear_collection(collection)
        return indexed

    return {
        "user": index("user", tf.constant(users)),
        "seen": index("item", tf.constant(items, tf.int64)),
        "hour": tf.range(len(users), dtype=tf.int64) % 5,
        "age": tf.linspace(-1.0, 1.0, len(users)),
    }


def test_a_warm_ranker_answers_as_the_earlier_one_for_known_new_and_unknown_tokens(tmp_path: pathlib.Path) -> None:
    old, new = ranker_of(OLD, seed=1), ranker_of(NEW, seed=2)
    users = ["ann", "bob", "dora", "eve", "who", "else"]
    items = [[7, 5], [-3, 12], [12, 12], [999, -4], [5, 1000], [12, 8]]
    then = transformed(tmp_path, OLD, users, items)
    now = transformed(tmp_path, NEW, users, items)
    assert (then["user"].numpy() != now["user"].numpy()).any()
    found = take_over(new, NEW, earlier_of(old, OLD))
    for task, expected in old(then).items():
        np.testing.assert_array_equal(new(now)[task].numpy(), expected.numpy())
    assert found.tables == {"user": TableStart(matched=2, new=2, gone=1), "item": TableStart(matched=3, new=1, gone=0)}
    assert found.fresh == {}
    assert found.copied == len(new.trainable_variables)
    assert WarmStart.model_validate_json(found.model_dump_json()) == found


def test_rows_go_where_their_tokens_are(earlier: Earlier) -> None:
    new = ranker_of(NEW, seed=2)
    take_over(new, NEW, earlier)
    was, now = earlier.weights["ranker/lookups/table_user/table"], new.lookups.tables["user"].table.numpy()
    assert (now[0] == was[0]).all()  # missing
    assert (now[2] == was[2]).all()  # bob
    assert (now[4] == was[1]).all()  # ann
    assert (now[5:] == was[4:]).all()  # unknown
    for row in (1, 3):  # dora, eve: one of the buckets
        assert (now[row] == was[4:]).all(axis=1).any()
    hours = earlier.weights["ranker/lookups/table_hour/table"]
    assert (new.lookups.tables["hour"].table.numpy() == hours).all()


def test_other_numbers_of_buckets_share_what_there_was(earlier: Earlier) -> None:
    new = ranker_of(NEW, seed=2, buckets=5)
    take_over(new, NEW, earlier)
    was, now = earlier.weights["ranker/lookups/table_user/table"], new.lookups.tables["user"].table.numpy()
    assert (now[5:] == was[[4, 5, 6, 4, 5]]).all()


def reasons(found: WarmStart) -> set[str]:
    return set(found.fresh.values())


def test_what_does_not_match_stays_fresh_and_says_why(earlier: Earlier) -> None:
    wider = ranker_of(NEW, 2, model_config("mmoe", trunk={"units": [12, 9]}))
    drawn = {variable.name: variable.numpy() for variable in wider.variables}
    found = take_over(wider, NEW, earlier)
    assert found.fresh == {
        "ranker/trunk/experts/kernel_1": "its shape is (5, 12, 9), was (5, 12, 8)",
        "ranker/trunk/experts/bias_1": "its shape is (5, 1, 9), was (5, 1, 8)",
        "ranker/head/tower_click/hidden/dense_0/kernel": "its shape is (9, 5), was (8, 5)",
        "ranker/head/tower_like/hidden/dense_0/kernel": "its shape is (9, 5), was (8, 5)",
    }
    for variable in wider.dense_variables:
        name = variable.name.removesuffix(":0")
        expected = drawn[variable.name] if name in found.fresh else earlier.weights[name]
        np.testing.assert_array_equal(variable.numpy(), expected)


def test_other_inputs_leave_the_dense_part_fresh_and_the_tables_warm(earlier: Earlier) -> None:
    found = take_over(ranker_of(NEW, 2, more=[Input(name="height", kind="number")]), NEW, earlier)
    assert reasons(found) == {"the inputs differ: height"}
    assert (found.copied, set(found.tables)) == (3, {"user", "item"})


def test_other_tasks_leave_the_dense_part_fresh(earlier: Earlier) -> None:
    swapped = {"like": TASKS["like"], "click": TASKS["click"]}
    assert reasons(take_over(ranker_of(NEW, 2, tasks=swapped), NEW, earlier)) == {"the tasks differ: their order"}
    other = {"click": TASKS["click"], "like": Task(label="x", kind="regression")}
    assert reasons(take_over(ranker_of(NEW, 2, tasks=other), NEW, earlier)) == {"the tasks differ: like"}
    logged = other | {"like": Task(label="x", kind="regression", loss={"kind": "mse", "transform": "log1p"})}
    earlier = dataclasses.replace(earlier, tasks=logged)
    assert reasons(take_over(ranker_of(NEW, 2, tasks=other), NEW, earlier)) == {"the tasks differ: like"}


def test_numbers_scaled_otherwise_and_buckets_of_other_boundaries_are_fresh() -> None:
    def of(scale: str, boundaries: tuple[float, ...] | None, seed: int) -> Ranker:
        tf.keras.utils.set_random_seed(seed)
        was = layout(OLD)
        inputs = tuple(i.model_copy(update={"scale": scale}) if i.name == "age" else i for i in was.inputs)
        hour = was.table("hour").model_copy(update={"boundaries": boundaries})
        made = Layout(inputs=inputs, tables=(*was.tables[:-1], hour))
        return build_ranker(made, TASKS, model_config("mmoe"), RATES)

    old = earlier_of(of("standard", (1.0, 2.0, 3.0), seed=1), OLD)
    tokens = {name: OLD[name] for name in OLD}
    assert take_over(of("standard", (1.0, 2.0, 3.0), seed=2), tokens, old).fresh == {}
    moved = take_over(of("standard", (10.0, 200.0, 3000.0), seed=2), tokens, old)
    assert moved.fresh == {"ranker/lookups/table_hour/table": "its buckets' boundaries are 10, 200, 3000, were 1, 2, 3"}
    quantiles = take_over(of("standard", None, seed=2), tokens, old)
    assert quantiles.fresh == {"ranker/lookups/table_hour/table": "its buckets' boundaries are quantiles, were 1, 2, 3"}
    new = of("log_standard", (1.0, 2.0, 3.0), seed=2)
    assert {take_over(new, tokens, old).fresh[v.name.removesuffix(":0")] for v in new.dense_variables} == {
        "the inputs differ: age"
    }


def test_tables_of_other_widths_and_buckets_are_fresh(earlier: Earlier) -> None:
    found = take_over(ranker_of(NEW, 2, hours=7), NEW, earlier)
    assert found.fresh == {"ranker/lookups/table_hour/table": "its shape is (7, 4), was (5, 4)"}
    found = take_over(ranker_of(NEW, 2, model_config("mmoe", embedding_dim=5)), NEW, earlier)
    assert found.fresh["ranker/lookups/table_user/table"] == "its shape is (8, 5), was (7, 4)"
    assert "the embeddings' widths differ" in reasons(found)
    tokens = {**NEW, "hour": [b"1"]}
    new = ranker_of(NEW, 2)
    assert take_over(new, tokens, earlier).fresh == {"ranker/lookups/table_hour/table": "its rows were buckets"}


def test_a_list_pooled_otherwise_leaves_the_dense_part_fresh(earlier: Earlier) -> None:
    new = ranker_of(NEW, 2)
    seen = Input(name="seen", kind="indices", table="item", length=2, pooling="mean")
    assert seen in earlier.layout.inputs
    for changes, said in (
        ({"pooling": "sum"}, {"the inputs differ: seen"}),
        ({"pooling": "din_attention", "target": "user"}, {"the inputs differ: seen"}),
        ({"length": 9}, set()),
    ):
        inputs = [i.model_copy(update=changes) if i == seen else i for i in earlier.layout.inputs]
        other = earlier.layout.model_copy(update={"inputs": tuple(inputs)})
        found = take_over(new, NEW, dataclasses.replace(earlier, layout=other))
        assert reasons(found) == said
        assert set(found.tables) == {"user", "item"}


@pytest.mark.parametrize("part", [{"interactions": "dcn_v2"}, {"numbers": {"kind": "piecewise_linear", "bins": 2}}])
def test_what_the_trunk_reads_otherwise_leaves_the_dense_part_fresh(earlier: Earlier, part: dict[str, Any]) -> None:
    (name,) = part
    new = ranker_of(NEW, 2, model_config("mmoe", **part))
    found = take_over(new, NEW, earlier)
    assert reasons(found) == {f"model.{name} differs"}
    assert len(found.fresh) == len(new.dense_variables)


def test_another_parent_matters_to_heads_along_chains_alone() -> None:
    chained = TASKS | {"like": Task(label="is_like", parent="click")}
    third = {"buy": Task(label="bought", parent="click")}
    rates = RATES | {"buy": 0.01}
    esmm = ranker_of(OLD, 1, model_config("esmm"), tasks=chained | third, rates=rates)
    other = chained | {"buy": Task(label="bought", parent="like")}
    found = take_over(ranker_of(OLD, 2, model_config("esmm"), tasks=other, rates=rates), OLD, earlier_of(esmm, OLD))
    assert reasons(found) == {"the tasks differ: buy"}
    mmoe = ranker_of(OLD, 1, tasks=chained)
    assert take_over(ranker_of(OLD, 2), OLD, earlier_of(mmoe, OLD)).fresh == {}


@pytest.mark.parametrize("trunk", ["cgc", "ple"])
def test_experts_that_belong_to_others_now_stay_fresh(trunk: str) -> None:
    """Two tasks with an expert of their own and three shared ones are five experts; with two of their own and one shared, too."""

    def ranker(seed: int, own: int, shared: int) -> Ranker:
        return ranker_of(OLD, seed, model_config(trunk, trunk={"task_experts": own, "shared_experts": shared}))

    old, new = ranker(1, 1, 3), ranker(2, 2, 1)
    bank = new.trunk.layers[0].bank.kernels[0]
    drawn = bank.numpy()
    assert drawn.shape == old.trunk.layers[0].bank.kernels[0].shape
    found = take_over(new, OLD, earlier_of(old, OLD))
    assert set(found.fresh) == {v.name.removesuffix(":0") for v in new.trunk.trainable_variables}
    assert all("its layers' experts, a task's own and shared, are [(2, 1)" in why for why in found.fresh.values())
    np.testing.assert_array_equal(bank.numpy(), drawn)
    assert take_over(ranker(3, 1, 3), OLD, earlier_of(old, OLD)).fresh == {}


@pytest.mark.parametrize(
    ("gate", "experts", "reason"),
    [
        ({}, 6, "2 of 6 experts with gamma 1.0, a choice for each row; chose 2 of 5 experts with gamma 1.0, a choice"),
        ({"gamma": 2}, 5, "2 of 5 experts with gamma 2.0, a choice for each row; chose 2 of 5 experts with gamma 1.0"),
        ({"k": 3}, 5, "3 of 5 experts with gamma 1.0, a choice for each row; chose 2 of 5 experts with gamma 1.0"),
        ({"per_example": False}, 5, "2 of 5 experts with gamma 1.0, one choice for all rows; chose 2 of 5 experts"),
        ({"entropy": 0.1}, 5, None),
    ],
)
def test_gates_that_code_other_experts_stay_fresh(gate: dict[str, Any], experts: int, reason: str | None) -> None:
    """Three binary digits name five experts and six: the kernels' shapes are the same, and code 5 is another expert."""

    def ranker(seed: int, experts: int, **settings: Any) -> Ranker:
        chosen = {"kind": "dselect_k", **settings}
        return ranker_of(OLD, seed, model_config("mmoe", trunk={"experts": experts}, gate=chosen))

    old, new = ranker(1, 5), ranker(2, experts, **gate)
    drawn = [variable.numpy() for variable in new.trunk.gates.trainable_variables]
    found = take_over(new, OLD, earlier_of(old, OLD))
    names = {v.name.removesuffix(":0") for v in new.trunk.gates.trainable_variables}
    if reason is None:
        assert found.fresh == {}
        return
    assert all(f"its gates choose {reason}" in found.fresh[name] for name in names)
    for variable, values in zip(new.trunk.gates.trainable_variables, drawn, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)
    if experts == 5:
        assert set(found.fresh) == names


def test_gates_of_stacked_layers_stay_fresh_under_another_gamma() -> None:
    def ranker(seed: int, gamma: float) -> Ranker:
        return ranker_of(OLD, seed, model_config("ple", gate={"kind": "dselect_k", "gamma": gamma}))

    new = ranker(2, 2.0)
    layers = new.trunk.layers
    gates = [layer.task_gates for layer in layers] + [layer.all_gate for layer in layers if layer.shared_gate]
    found = take_over(new, OLD, earlier_of(ranker(1, 1.0), OLD))
    assert set(found.fresh) == {v.name.removesuffix(":0") for gate in gates for v in gate.trainable_variables}


@pytest.mark.parametrize("trunk", ["snr_trans", "snr_aver"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"zeta": 1.5}, "from -0.1 to 1.5, was from -0.1 to 1.1"),
        ({"gamma": -0.5}, "from -0.5 to 1.1, was"),
        ({"beta": 1}, ""),
    ],
)
def test_connections_that_are_cut_elsewhere_stay_fresh(trunk: str, change: dict[str, float], reason: str) -> None:
    """A connection is ``sigmoid(log_alpha) (zeta - gamma) + gamma``, cut to [0, 1]: of beta it is drawn in training only."""
    old, new = (ranker_of(OLD, seed, model_config(trunk, trunk=cut)) for seed, cut in ((1, {}), (2, change)))
    found = take_over(new, OLD, earlier_of(old, OLD))
    alphas = {v.name.removesuffix(":0") for v in new.trunk.trainable_variables if "log_alpha" in v.name}
    assert set(found.fresh) == (alphas if reason else set())
    assert all(f"the distribution of its connections goes {reason}" in why for why in found.fresh.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"context": ["hour", "user"]}, "reads positions up to 100, hour, user, read positions up to 100, user, hour"),
        ({"max_position": 50}, "reads positions up to 50, user, hour, read positions up to 100, user, hour"),
        ({"position_dropout": 0.5}, None),
    ],
)
def test_a_position_tower_of_other_columns_stays_fresh(change: dict[str, Any], reason: str | None) -> None:
    def ranker(seed: int, **settings: Any) -> Ranker:
        tf.keras.utils.set_random_seed(seed)
        tower = {"kind": "position_tower", "context": ["user", "hour"], **settings}
        return build_ranker(positions, TASKS, model_config("mmoe", beside=tower), RATES)

    positions = layout(OLD).model_copy(update={"position": True})
    old, new = ranker(1), ranker(2, **change)
    found = take_over(new, OLD, earlier_of(old, OLD))
    assert set(found.fresh) == (
        {v.name.removesuffix(":0") for v in new.beside.trainable_variables} if reason else set()
    )
    assert all(why == f"the position tower {reason}" for why in found.fresh.values())


def test_another_architecture_is_refused(earlier: Earlier) -> None:
    with pytest.raises(ModelError, match=r"model.trunk is 'ple' and that of models/1 is 'mmoe'"):
        take_over(ranker_of(NEW, 2, model_config("ple")), NEW, earlier)
    with pytest.raises(ModelError, match=r"model.head is 'dlen' and that of models/1 is 'independent'"):
        take_over(ranker_of(NEW, 2, model_config("dlen")), NEW, earlier)
