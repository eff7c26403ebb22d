from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from features.errors import ModelError
from features.layout import Input, Layout, Table
from features.spec import Task
from models.config import PRESETS, ModelConfig
from models.ranker import Ranker, build_ranker
from tests.models.layer_contract import assert_close
from tests.models.rankers import LAYOUT, RATES, TASKS, batch_of, model_config

EXTRA_OUTPUTS = {
    "dlen": ("up", "click_and_up", "like_and_up", "buy_and_up"),
    "esmm": ("buy_given_click",),
    "escm2": ("buy_given_click",),
}


def ranker_of(preset: str, precision: str = "float32", **parts) -> Ranker:
    tf.keras.utils.set_random_seed(1)
    return build_ranker(LAYOUT, TASKS, model_config(preset, **parts), RATES, precision)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_predicts_and_learns_in_every_variable(preset: str, precision: str):
    ranker, batch = ranker_of(preset, precision, embedding_dim=6), batch_of(32)  # as wide as `item`: for dot and fm
    assert isinstance(ranker, tfrs.Model)
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(batch, training=True)
    assert loss.shape == ()
    assert loss.dtype == tf.float32
    assert all(g is not None for g in tape.gradient(loss, ranker.trainable_variables))
    predictions = ranker(batch)
    for name, values in predictions.items():
        assert values.shape == (32,)
        assert values.dtype == tf.float32
        if name != "watch":
            assert 0 < values.numpy().min() <= values.numpy().max() < 1
    assert tuple(predictions) == (*TASKS, *EXTRA_OUTPUTS.get(ModelConfig.model_validate(preset).head.kind, ()))


@pytest.mark.parametrize("preset", ["mmoe", "dlen"])
def test_the_loss_is_the_weighted_sum_over_unmasked_rows(preset: str):
    ranker, batch = ranker_of(preset, embedding_l2=0.5), batch_of(64)
    p = {name: values.numpy().astype(np.float64) for name, values in ranker(batch).items()}
    y = {name: batch[f"label_{name}"].numpy() for name in TASKS}
    rows = {n: -(y[n] * np.log(p[n]) + (1 - y[n]) * np.log(1 - p[n])) for n in ("click", "like", "buy")}
    mask = batch["mask_like"].numpy() == 1
    vectors = ranker.represent(ranker.embed(batch)).numpy()[:, : 4 + 6 + 6]  # user, item, history
    expected = (
        rows["click"].mean()
        + 2.0 * rows["like"][mask].mean()
        + rows["buy"].mean()
        + ((p["watch"] - y["watch"]) ** 2).mean()
        + 0.5 * (vectors**2).sum(axis=1).mean()
    )
    assert float(ranker.compute_loss(batch)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", ["ipw", "dr"])
def test_escm2_weighs_its_three_terms_in_training_alone(form: str):
    head = {"form": form, "counterfactual_weight": 0.3, "global_weight": 0.2}
    ranker, batch = ranker_of("escm2", head=head), batch_of(32)
    plain, losses = ranker.dense_loss(ranker.embed(batch), ranker.labels(batch))
    expected = losses["click"] + 2.0 * losses["like"] + losses["watch"] + 0.2 * losses["buy"]
    assert float(plain) == pytest.approx(float(expected), rel=1e-5)
    embedded = ranker.embed(batch)
    scores = ranker.score(embedded, ranker.represent(embedded))
    risk = ranker.head.risk("buy", scores, ranker.labels(batch))
    assert float(ranker.compute_loss(batch, training=True)) == pytest.approx(float(expected + 0.3 * risk), rel=1e-5)


def test_aitm_adds_its_calibrator_in_training():
    ranker, batch = ranker_of("aitm", head={"calibrator_weight": 5.0}), batch_of(32)
    ranker.head.towers["buy"].output_layer.bias.assign([2.0])
    p = ranker(batch)
    excess = np.maximum(p["buy"] - p["click"], 0).mean()
    assert excess > 0.1
    difference = ranker.compute_loss(batch, training=True) - ranker.compute_loss(batch)
    assert float(difference) == pytest.approx(5 * excess, rel=1e-4)


@pytest.mark.parametrize("preset", ["mmoe", "dlen"])
def test_sample_weights_weigh_rows_and_predictions_keep_the_labels_scale(preset: str):
    tasks = {
        "click": Task(label="is_click", sample_weight="trust"),
        "like": Task(label="is_like", mask="is_shown", sample_weight="trust", loss={"kind": "focal", "gamma": 1}),
        "watch": Task(label="watch_s", kind="regression", loss={"kind": "mse", "transform": "log1p"}),
        "stay": Task(label="stay_s", kind="regression", loss="weighted_logistic"),
    }
    draw = np.random.default_rng(3)
    batch = batch_of(64)
    for name in ("click", "like"):
        batch[f"weight_{name}"] = tf.constant(draw.integers(0, 4, 64).astype(np.float32) / 2)
    for name in ("watch", "stay"):
        batch[f"label_{name}"] = tf.constant(np.where(draw.random(64) < 0.5, 0, draw.lognormal(2, 1, 64)), tf.float32)
    ranker = build_ranker(LAYOUT, tasks, model_config(preset), RATES | {"watch": 5.0, "stay": 6.0})
    p = {name: values.numpy().astype(np.float64) for name, values in ranker(batch).items()}
    y = {name: batch[f"label_{name}"].numpy() for name in tasks}
    w = {name: batch[f"weight_{name}"].numpy() for name in ("click", "like")}
    w["like"] = w["like"] * batch["mask_like"].numpy()
    rows = {
        "click": -(y["click"] * np.log(p["click"]) + (1 - y["click"]) * np.log(1 - p["click"])),
        "like": -(
            y["like"] * (1 - p["like"]) * np.log(p["like"]) + (1 - y["like"]) * p["like"] * np.log(1 - p["like"])
        ),
        "watch": (np.log1p(y["watch"]) - np.log1p(p["watch"])) ** 2,
        "stay": np.where(y["stay"] > 0, y["stay"] * np.log1p(1 / p["stay"]), np.log1p(p["stay"])),
    }
    total, losses = ranker.dense_loss(ranker.embed(batch), ranker.labels(batch))
    expected = {
        name: (w[name] * rows[name]).sum() / w[name].sum() if name in w else rows[name].mean() for name in tasks
    }
    for name in tasks:
        assert float(losses[name]) == pytest.approx(expected[name], rel=1e-4), name
    assert float(total) == pytest.approx(sum(expected.values()), rel=1e-4)


def test_task_weights_decay_with_what_training_counts():
    tasks = {**TASKS, "like": TASKS["like"].model_copy(update={"weight_gamma": 0.5})}
    ranker, batch = build_ranker(LAYOUT, tasks, model_config("mmoe"), RATES), batch_of(32)
    for t, like in ((0, 2.0), (1, 1.0), (3, 0.25)):
        ranker.decays.assign(t)
        total, losses = ranker.dense_loss(ranker.embed(batch), ranker.labels(batch))
        expected = sum(float(loss) * (like if name == "like" else 1) for name, loss in losses.items())
        assert float(total) == pytest.approx(expected, rel=1e-6)


def test_a_mean_that_the_loss_cannot_predict_is_refused():
    tasks = {"watch": Task(label="watch_s", kind="regression", loss="weighted_logistic")}
    with pytest.raises(ModelError, match=r"'watch' starts from 0, which its loss weighted_logistic cannot predict"):
        build_ranker(LAYOUT, tasks, model_config("mmoe"), {"watch": 0.0})


def test_masked_labels_do_not_matter():
    ranker, batch = ranker_of("dlen"), batch_of(64)
    hidden = batch["mask_like"] == 0
    changed = {**batch, "label_like": tf.where(hidden, 1 - batch["label_like"], batch["label_like"])}
    assert float(ranker.compute_loss(batch)) == float(ranker.compute_loss(changed))


def test_inputs_side_by_side_in_the_layouts_order():
    ranker = ranker_of("mmoe")
    batch = batch_of(3)
    users, items = (table.numpy() for table in ranker.embedding_variables)
    embedded = ranker.represent(ranker.embed(batch)).numpy()
    np.testing.assert_allclose(embedded[:, :4], users[batch["user"]])
    np.testing.assert_allclose(embedded[:, 4:10], items[batch["item"]])
    for row in range(3):
        kept = [i for i in batch["history"].numpy()[row] if i > 0]
        np.testing.assert_allclose(embedded[row, 10:16], items[kept].mean(axis=0), rtol=1e-5)
    standardised = 12**0.5 * (batch["popularity"].numpy() - 0.5)  # from 0 to 1 in the layout
    np.testing.assert_allclose(embedded[:, 16], batch["age"])
    np.testing.assert_allclose(embedded[:, 17], standardised, rtol=1e-5)
    np.testing.assert_allclose(embedded[:, 18], batch["age_missing"])


@pytest.mark.parametrize(("numbers", "width"), [("identity", 2), ("piecewise_linear", 32), ("periodic", 2 * 17)])
def test_numbers_are_encoded_and_flags_are_not(numbers: str, width: int):
    batch = batch_of(3)
    ranker = ranker_of("shared_bottom", numbers=numbers)
    embedded = ranker.represent(ranker.embed(batch)).numpy()
    assert embedded.shape[1] == 16 + width + 1
    np.testing.assert_allclose(embedded[:, -1], batch["age_missing"])


def test_piecewise_edges_follow_the_numbers_scale():
    layout = Layout(inputs=LAYOUT.inputs[3:5], tables=())
    config = model_config("shared_bottom", numbers={"kind": "piecewise_linear", "bins": 4})
    ranker = build_ranker(layout, TASKS, config, RATES)
    normal, unit = ranker.inputs_layer.encoding.edges
    assert unit == (0, 0.25, 0.5, 0.75, 1)
    np.testing.assert_allclose(normal, [-1.1503, -0.6745, 0, 0.6745, 1.1503], atol=1e-4)  # 1/8, 1/4, 1/2, ... quantiles


def test_a_missing_input_is_named():
    batch = batch_of(3)
    del batch["history"]
    with pytest.raises(ModelError, match="not given: history; given: age"):
        ranker_of("mmoe")(batch)


@pytest.mark.parametrize("rate", [0.0, 1.0, None])
def test_a_task_without_both_classes_is_refused(rate: float | None):
    rates = {"click": 0.3} if rate is None else {**RATES, "like": rate}
    with pytest.raises(ModelError, match=f"'like' has rate {rate}"):
        build_ranker(LAYOUT, TASKS, model_config("mmoe"), rates)


def test_a_model_without_embeddings_and_one_without_numbers():
    tasks = {"click": Task(label="is_click")}
    numbers = Layout(inputs=(Input(name="age", kind="number"),), tables=())
    ids = Layout(inputs=(Input(name="user", kind="index", table="user"),), tables=(Table(name="user", rows=50),))
    for layout in (numbers, ids):
        ranker = build_ranker(layout, tasks, model_config("dlen"), {"click": 0.3})
        assert ranker(batch_of(5))["click"].shape == (5,)
        assert len(ranker.embedding_variables) == len(layout.tables)


def test_the_config_is_json_and_makes_the_same_model():
    ranker, batch = ranker_of("ple_dlen"), batch_of(6)
    again = Ranker.from_config(json.loads(json.dumps(ranker.get_config())))
    assert again.get_config() == ranker.get_config()
    again.set_weights(ranker.get_weights())
    assert_close(ranker(batch), again(batch))


def test_one_seed_gives_one_model():
    one, other = ranker_of("dlen"), ranker_of("dlen")
    for first, second in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("preset", ["shared_bottom", "ple_dlen", "aitm", "escm2"])
def test_the_dense_part_compiles_and_table_gradients_stay_sparse(preset: str):
    ranker, batch = ranker_of(preset, trunk={"dropout": 0.0}), batch_of(32)

    def gradients(jit: bool):
        dense = tf.function(ranker.dense_loss, jit_compile=jit)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss, _ = dense(ranker.embed(batch), ranker.labels(batch), training=True)
            return loss, tape.gradient(loss, ranker.trainable_variables)

        return step()

    (plain_loss, plain), (loss, compiled) = gradients(False), gradients(True)
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    tables = {variable.ref() for variable in ranker.embedding_variables}
    for variable, expected, found in zip(ranker.trainable_variables, plain, compiled, strict=True):
        assert isinstance(found, tf.IndexedSlices) == (variable.ref() in tables)
        np.testing.assert_allclose(tf.convert_to_tensor(found), tf.convert_to_tensor(expected), rtol=1e-3, atol=1e-5)


def test_gates_of_each_task_in_each_layer():
    ranker, batch = ranker_of("ple"), batch_of(7)
    gates = ranker.gate_weights(batch)
    assert list(gates) == [*(f"1/{task}" for task in TASKS), "1/shared", *(f"2/{task}" for task in TASKS)]
    assert {name: gate.shape[1] for name, gate in gates.items()} == {
        n: len(e) for n, e in ranker.expert_names().items()
    }
    assert ranker_of("shared_bottom").gate_weights(batch) == {}


def test_dropout_acts_in_training_only():
    ranker, batch = ranker_of("mmoe", input_dropout=0.5), batch_of(16)
    assert_close(ranker(batch)["click"], ranker(batch)["click"])
    assert (ranker(batch, training=True)["click"].numpy() != ranker(batch)["click"].numpy()).any()


def test_embedding_l2_is_of_the_vectors_before_dropout():
    batch = batch_of(16)
    ranker = ranker_of("mmoe", input_dropout=0.5, embedding_l2=1e6)
    vectors = ranker.represent(ranker.embed(batch)).numpy()[:, : 4 + 6 + 6]
    assert float(ranker.compute_loss(batch, training=True)) == pytest.approx(
        1e6 * (vectors**2).sum(axis=1).mean(), rel=1e-3
    )


@pytest.mark.parametrize("interactions", ["dot", "fm", "dcn_v2"])
def test_interactions_are_before_dropout_and_after_what_l2_sees(interactions: str):
    batch, item = batch_of(16), LAYOUT.tables[1].model_copy(update={"dim": None})
    layout = LAYOUT.model_copy(update={"tables": (LAYOUT.tables[0], item)})
    config = model_config("mmoe", interactions=interactions, input_dropout=0.5, embedding_l2=1e7)
    tf.keras.utils.set_random_seed(1)
    ranker = build_ranker(layout, TASKS, config, RATES)
    vectors = ranker.represent(ranker.embed(batch)).numpy()[:, : 3 * 4]
    expected = 1e7 * (vectors**2).sum(axis=1).mean()
    assert float(ranker.compute_loss(batch, training=True)) == pytest.approx(expected, rel=1e-3)
    assert ranker.gate_weights(batch)["1/click"].shape == (16, 5)
    again = Ranker.from_config(json.loads(json.dumps(ranker.get_config())))
    again.set_weights(ranker.get_weights())
    assert_close(ranker(batch), again(batch))


@pytest.mark.parametrize("kind", ["dot", "fm"])
def test_vectors_of_several_widths_meet_in_that_of_most(kind: str):
    ranker = ranker_of("mmoe", interactions=kind)
    mapped = {
        variable.name: tuple(variable.shape) for variable in ranker.dense_variables if "kernel_user" in variable.name
    }
    assert mapped == {"ranker/interactions/kernel_user:0": (1, 4, 6)}


def test_unscaled_numbers_are_not_cut_into_bins():
    layout = Layout(inputs=(Input(name="seconds", kind="number", scale="raw"),), tables=())
    with pytest.raises(ModelError, match=r"unscaled: seconds; give these features `scaling: quantile`"):
        build_ranker(layout, TASKS, model_config("mmoe", numbers="piecewise_linear"), RATES)


def test_the_paper_sizes_build_and_count():
    ranker = build_ranker(LAYOUT, TASKS, ModelConfig.model_validate("mmoe"), RATES)
    width = 16 + 6 + 6 + 3
    expert = width * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64
    tower = 64 * 64 + 64 + 64 + 1
    expected = 5 * expert + len(TASKS) * (5 * width + tower)
    assert sum(int(np.prod(v.shape)) for v in ranker.dense_variables) == expected
