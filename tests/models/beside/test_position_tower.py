"""The position tower against loops in float64, and what becomes of it in the ranker and in training."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from features.errors import ModelError
from features.layout import Input, Layout, Table
from features.spec import POSITION, Task
from models.beside.nothing import Nothing
from models.beside.position_tower import PositionTower
from models.config import ModelConfig, NoBeside, TrainConfig
from models.config import PositionTowerBeside as Config
from models.heads.scores import Score
from models.lookups import Embedded
from models.ranker import Ranker, build_ranker
from models.training.step import TrainStep
from tests.models import rankers
from tests.models.layer_contract import assert_close, check_layer
from tests.models.rankers import LAYOUT, RATES, batch_of, model_config

TASKS = {name: rankers.TASKS[name] for name in ("click", "like", "watch")}
ROWS = 6
DRAW = np.random.default_rng(5)
VECTORS, NUMBERS, FLAGS = DRAW.normal(size=(ROWS, 4)), DRAW.normal(size=(ROWS, 2)), np.eye(ROWS)[:, :1]
POSITIONS = np.array([0, 1, 7, 3, 3, 5])
CONFIG = Config(units=(3,), context=("user", "age"), max_position=6)


def constant(values: npt.NDArray[np.float64]) -> tf.Tensor:
    return tf.constant(values, tf.float32)


EMBEDDED = Embedded({"user": constant(VECTORS)}, {}, {}, constant(NUMBERS), constant(FLAGS))


def naive(weights: list[npt.NDArray[np.float64]], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(rows, tasks): logits by loops, relu between the two layers."""
    w1, b1, w2, b2 = weights
    found = np.zeros((ROWS, 2))
    for row in range(ROWS):
        code = [1.0 if k == positions[row] else 0.0 for k in range(8)]
        x = [*code, *VECTORS[row], NUMBERS[row, 0], FLAGS[row, 0]]
        hidden = [max(0.0, b1[j] + sum(x[i] * w1[i, j] for i in range(len(x)))) for j in range(3)]
        for task in range(2):
            found[row, task] = b2[task] + sum(hidden[j] * w2[j, task] for j in range(3))
    return found


def weights_of(layer: PositionTower) -> list[npt.NDArray[np.float64]]:
    return [variable.numpy().astype(np.float64) for variable in layer.trainable_variables]


def built() -> PositionTower:
    tf.keras.utils.set_random_seed(3)
    layer = PositionTower(LAYOUT, TASKS, CONFIG)
    layer(EMBEDDED)
    for variable in layer.trainable_variables:
        variable.assign(constant(np.random.default_rng(len(variable.shape)).normal(size=variable.shape)))
    return layer


@pytest.mark.parametrize("positions", [POSITIONS, None])
def test_outputs_equal_the_formula(positions: npt.NDArray[np.int64] | None) -> None:
    layer = built()
    found = layer(EMBEDDED, None if positions is None else tf.constant(positions))
    expected = naive(weights_of(layer), np.zeros(ROWS, int) if positions is None else positions)
    for place, task in enumerate(("click", "like")):
        np.testing.assert_allclose(found[task], expected[:, place], rtol=1e-4, atol=1e-5)
    assert set(found) == {"click", "like"}, "regressions get none"


def test_positions_beyond_the_last_count_as_it() -> None:
    layer = built()
    found = layer(EMBEDDED, tf.constant([0, 1, 8, 10**12, 7, 5]))
    expected = naive(weights_of(layer), np.array([0, 1, 7, 7, 7, 5]))
    np.testing.assert_allclose(found["click"], expected[:, 0], rtol=1e-4, atol=1e-5)
    assert PositionTower(LAYOUT, TASKS, Config()).config.max_position == 100


def test_gradients_equal_differences_of_the_formula() -> None:
    layer, y = built(), np.array([[1, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 0]])

    def loss(weights: list[npt.NDArray[np.float64]]) -> float:
        z = naive(weights, POSITIONS)
        return sum(math.log1p(math.exp(-z[i, t] if y[i, t] else z[i, t])) for i in range(ROWS) for t in range(2))

    with tf.GradientTape() as tape:
        found = layer(EMBEDDED, tf.constant(POSITIONS))
        total = tf.add_n(
            [
                tf.reduce_sum(tf.math.softplus(tf.where(y[:, t] > 0, -found[n], found[n])))
                for t, n in enumerate(("click", "like"))
            ]
        )
    weights = weights_of(layer)
    assert float(total) == pytest.approx(loss(weights), rel=1e-5)
    for number, gradient in enumerate(tape.gradient(total, layer.trainable_variables)):
        for index in np.ndindex(weights[number].shape):
            up, down = ([w.copy() for w in weights] for _ in range(2))
            up[number][index] += 1e-6
            down[number][index] -= 1e-6
            assert float(gradient[index]) == pytest.approx((loss(up) - loss(down)) / 2e-6, abs=1e-3)


def test_contracts(tmp_path: pathlib.Path) -> None:
    shapes = {"click": (ROWS,), "like": (ROWS,)}
    arguments = {"layout": LAYOUT, "tasks": TASKS, "config": CONFIG}
    check_layer(PositionTower, arguments, (EMBEDDED, tf.constant(POSITIONS)), shapes, tmp_path)
    assert Nothing(LAYOUT, TASKS, NoBeside())(EMBEDDED) == {}


@pytest.mark.parametrize(
    ("layout", "tasks", "context", "said"),
    [
        (LAYOUT.model_copy(update={"position": False}), TASKS, (), "give the dataset `position`"),
        (LAYOUT, {"watch": TASKS["watch"]}, (), "only regressions"),
        (LAYOUT, TASKS, ("user", "history"), "names 'history' as context, which is a list; allowed: user, item, age"),
        (LAYOUT, TASKS, ("shoe",), "names 'shoe' as context, which is no feature"),
        (LAYOUT, TASKS, ("age_missing",), "which is no feature; allowed: user, item, age, popularity$"),
    ],
)
def test_what_does_not_fit_is_refused(layout: Layout, tasks: dict[str, Task], context: tuple[str, ...], said: str):
    with pytest.raises(ModelError, match=said):
        PositionTower(layout, tasks, Config(context=context))


# -- in the ranker ---------------------------------------------------------------------------------------------------


def ranker_of(preset: str = "mmoe", **beside: object) -> Ranker:
    tf.keras.utils.set_random_seed(1)
    config = model_config(preset, beside={"kind": "position_tower", "units": (), **beside})
    return build_ranker(LAYOUT, rankers.TASKS, config, RATES)


def perturbed(preset: str, **parts: object) -> Ranker:
    """Far from where training starts, and with a tower that says much."""
    ranker, draw = ranker_of(preset, **parts), np.random.default_rng(4)
    towers = [*ranker.head.towers.values(), ranker.beside]
    for variable in [v for tower in towers for v in tower.trainable_variables]:
        variable.assign_add(constant(draw.normal(0, 1.5, variable.shape)))
    return ranker


def without_tower(ranker: Ranker, batch: dict[str, tf.Tensor]) -> dict[str, Score]:
    """What the head says alone."""
    embedded = ranker.embed(batch)
    features = ranker.represent(embedded)
    return ranker.head(ranker.trunk(features), features)


def log_odds(score: Score) -> npt.NDArray[np.float64]:
    return score.log_p.numpy().astype(np.float64) - score.log_not_p.numpy()


def scores_at(ranker: Ranker, batch: dict[str, tf.Tensor], serving: bool) -> dict[str, Score]:
    embedded = ranker.embed(batch)
    return ranker.score(embedded, ranker.represent(embedded), position=None if serving else batch[POSITION])


@pytest.mark.parametrize("preset", ["mmoe", "dlen", "esmm", "escm2", "aitm"])
def test_predictions_know_no_position_and_the_tower_is_one_number_a_task(preset: str) -> None:
    ranker, batch = perturbed(preset), batch_of(64)
    predictions = ranker(batch)
    without = {name: values for name, values in batch.items() if name != POSITION}
    assert_close(predictions, ranker(without), rtol=0, atol=0)
    scores, alone = scores_at(ranker, batch, serving=True), without_tower(ranker, batch)
    np.testing.assert_array_equal(predictions["watch"], alone["watch"].prediction)
    towers = {"mmoe": ("click", "like", "buy"), "aitm": ("click", "like", "buy"), "dlen": ()}
    for output in towers.get(preset, ("click", "like", "buy_given_click")):
        shift = log_odds(scores[output]) - log_odds(alone[output])
        np.testing.assert_allclose(shift, shift[0], atol=1e-3)
        assert abs(shift[0]) > 0.1, "the tower says nothing"
        assert np.argsort(scores[output].log_p).tolist() == np.argsort(alone[output].log_p).tolist()


def probability(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit))


def biases_of(ranker: Ranker, batch: dict[str, tf.Tensor], serving: bool) -> dict[str, npt.NDArray[np.float64]]:
    found = ranker.beside(ranker.embed(batch), None if serving else batch[POSITION])
    return {name: logit.numpy().astype(np.float64) for name, logit in found.items()}


@pytest.mark.parametrize("serving", [False, True])
@pytest.mark.parametrize("preset", ["esmm", "escm2"])
def test_a_childs_probability_is_its_parents_times_its_own_with_the_tower_too(preset: str, serving: bool) -> None:
    ranker, batch = perturbed(preset), batch_of(64)
    p = {name: s.prediction.numpy().astype(np.float64) for name, s in scores_at(ranker, batch, serving).items()}
    np.testing.assert_allclose(p["buy"], p["click"] * p["buy_given_click"], rtol=1e-5)
    alone, biases = without_tower(ranker, batch), biases_of(ranker, batch, serving)
    for task, output in (("click", "click"), ("like", "like"), ("buy", "buy_given_click")):
        np.testing.assert_allclose(p[output], probability(log_odds(alone[output]) + biases[task]), rtol=1e-4)


@pytest.mark.parametrize("serving", [False, True])
def test_dlen_stays_bayes_rule_with_the_tower(serving: bool) -> None:
    ranker, batch = perturbed("dlen"), batch_of(64)
    p = {name: s.prediction.numpy().astype(np.float64) for name, s in scores_at(ranker, batch, serving).items()}
    alone, biases = without_tower(ranker, batch), biases_of(ranker, batch, serving)
    np.testing.assert_array_equal(p["up"], alone["up"].prediction)
    assert np.abs(p["up"] - 0.5).max() < 0.4, "one term of eq. 1 is lost in the other"
    by_task = ranker.trunk(ranker.represent(ranker.embed(batch)))
    for task in ("click", "like", "buy"):
        a, b = (x + biases[task] for x in ranker.head.towers[task](by_task[task]).numpy().astype(np.float64).T)
        bound = 0.3 * RATES[task]
        np.testing.assert_allclose(p[f"{task}_and_up"], probability(a) * p["up"], rtol=1e-4)
        expected = probability(a) * p["up"] + bound * probability(b) * (1 - p["up"])
        np.testing.assert_allclose(p[task], expected, rtol=1e-4)
        assert (p[f"{task}_and_up"] <= p[task] * (1 + 1e-6)).all()
        assert (p[task] - p[f"{task}_and_up"] <= bound * (1 - p["up"]) + 1e-6).all()


def test_losses_beside_the_tasks_see_the_probabilities_that_are_trained() -> None:
    batch = batch_of(64)
    aitm = perturbed("aitm", position_dropout=0.0)
    embedded = aitm.embed(batch)
    scores = aitm.score(embedded, aitm.represent(embedded), True, batch[POSITION])
    excess = tf.reduce_mean(tf.nn.relu(scores["buy"].prediction - scores["click"].prediction))
    assert float(aitm.head.auxiliary_loss(scores, aitm.labels(batch), {})) == pytest.approx(
        float(0.6 * excess), rel=1e-5
    )
    alone = without_tower(aitm, batch)
    assert abs(float(excess - tf.reduce_mean(tf.nn.relu(alone["buy"].prediction - alone["click"].prediction)))) > 1e-3

    escm2 = perturbed("escm2", position_dropout=0.0)
    scores, labels = scores_at(escm2, batch, serving=False), escm2.labels(batch)
    p, o = np.maximum(scores["click"].prediction, escm2.config.head.min_propensity), labels["label_click"]
    r, y = scores["buy_given_click"].prediction.numpy(), labels["label_buy"].numpy()
    error = -(y * np.log(r) + (1 - y) * np.log(1 - r))
    imputed = scores["imputed/buy"].prediction if "imputed/buy" in scores else 0.0
    rows = (
        o * error / p
        if escm2.config.head.form == "ipw"
        else imputed + o * (error - imputed + (error - imputed) ** 2) / p
    )
    assert float(escm2.head.risk("buy", scores, labels)) == pytest.approx(float(np.mean(rows)), rel=1e-3)


def test_a_tenth_of_the_rows_drops_its_position_unless_said_otherwise() -> None:
    assert Config().position_dropout == 0.1  # as in the paper


def test_only_training_reads_the_position_and_some_rows_are_dropped() -> None:
    ranker, batch = ranker_of(position_dropout=0.3), batch_of(4_000)
    embedded, labels = ranker.embed(batch), ranker.labels(batch)
    moved = labels | {POSITION: (labels[POSITION] + 1) % 8}
    assert float(ranker.dense_loss(embedded, labels)[0]) == float(ranker.dense_loss(embedded, moved)[0])
    everywhere = tf.fill([4_000], tf.constant(5, tf.int64))
    seen, missing = (ranker.beside(embedded, position)["click"] for position in (everywhere, None))
    trained = ranker.beside(embedded, everywhere, training=True)["click"]
    dropped = np.isclose(trained, missing, rtol=0, atol=1e-6)
    assert (dropped | np.isclose(trained, seen, rtol=0, atol=1e-6)).all()
    assert dropped.mean() == pytest.approx(0.3, abs=0.03)  # 4 standard deviations


def test_context_is_read_in_serving_too() -> None:
    ranker, batch = ranker_of(context=("age",)), batch_of(16)
    added = log_odds(scores_at(ranker, batch, serving=True)["click"]) - log_odds(without_tower(ranker, batch)["click"])
    assert np.ptp(added) > 1e-3


# -- what it is for --------------------------------------------------------------------------------------------------

FEED = Layout(
    inputs=(Input(name="item", kind="index", table="item"),), tables=(Table(name="item", rows=41),), position=True
)


def feed(rows: int, tastes: npt.NDArray[np.float64], seed: int) -> dict[str, npt.NDArray[np.generic]]:
    """Clicks fall with the position, and the feed shows first what is worst."""
    draw = np.random.default_rng(seed)
    item = draw.integers(0, 40, rows)
    position = np.clip(np.rint(5 + 2 * tastes[item] + draw.normal(0, 1.5, rows)), 0, 10).astype(np.int64)
    clicked = draw.random(rows) < 1 / (1 + np.exp(-(tastes[item] + 2 - 0.8 * position)))
    return {"item": item + 1, POSITION: position + 1, "label_click": clicked.astype(np.float32)}


@pytest.mark.slow
def test_the_tower_takes_the_position_bias_upon_itself() -> None:
    tastes = np.random.default_rng(7).normal(size=40)
    log = feed(40_000, tastes, seed=8)
    wanted = np.random.default_rng(9).random((40, 500)) < 1 / (1 + np.exp(-tastes[:, None]))
    specs = {name: tf.TensorSpec((None,), values.dtype) for name, values in log.items()}

    def unbiased_auc(beside: str) -> float:
        tf.keras.utils.set_random_seed(1)
        config = ModelConfig.model_validate({"preset": "shared_bottom", "trunk": {"units": [8]}, "beside": beside})
        ranker = build_ranker(
            FEED, {"click": Task(label="clicked")}, config, {"click": float(log["label_click"].mean())}
        )
        step = TrainStep(
            ranker, TrainConfig.model_validate({"dense_optimizer": {"kind": "adam", "learning_rate": 0.01}}), specs
        )
        for _ in range(3):
            for start in range(0, 40_000, 200):
                step({name: tf.constant(values[start : start + 200]) for name, values in log.items()})
        scores = ranker({"item": tf.range(1, 41, dtype=tf.int64)})["click"].numpy()
        return float(roc_auc_score(wanted.reshape(-1), np.repeat(scores, 500)))

    with_tower, without = unbiased_auc("position_tower"), unbiased_auc("none")
    best = roc_auc_score(wanted.reshape(-1), np.repeat(tastes, 500))
    assert without < 0.6, "the log's own order would do"
    assert with_tower > best - 0.02
