from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from features.errors import ConfigError
from models.config import PRESETS, TrainConfig
from models.optimizers import DecayingAdam, LazyAdam, RowwiseAdagrad, build_optimizer, clip_gradients
from models.ranker import build_ranker
from tests.models.rankers import LAYOUT, RATES, TASKS, batch_of, model_config

ROWS = tf.constant([3, 1, 3], tf.int64)  # row 3 twice
VALUES = tf.constant([[1.0, 2.0], [4.0, -5.0], [0.5, 0.5]])
SUMMED = {3: np.array([1.5, 2.5]), 1: np.array([4.0, -5.0])}


def slices() -> tf.IndexedSlices:
    return tf.IndexedSlices(VALUES, ROWS, tf.constant([6, 2], tf.int64))


def test_lazy_adam_moves_looked_up_rows_as_adam_and_no_other():
    start = np.arange(12, dtype=np.float32).reshape(6, 2)
    lazy, dense = tf.Variable(start), tf.Variable(start)
    LazyAdam(0.1).apply_gradients([(slices(), lazy)])
    full = np.zeros((6, 2), np.float32)
    for row, gradient in SUMMED.items():
        full[row] = gradient
    tf.keras.optimizers.legacy.Adam(0.1).apply_gradients([(tf.constant(full), dense)])
    np.testing.assert_allclose(lazy.numpy(), dense.numpy(), rtol=1e-6)
    untouched = [0, 2, 4, 5]
    assert (lazy.numpy()[untouched] == start[untouched]).all()


def test_lazy_adam_by_hand_over_two_steps_with_a_row_left_out():
    table, optimizer = tf.Variable(tf.zeros((2, 1))), LazyAdam(0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-8)

    def step(row: int, gradient: float) -> None:
        optimizer.apply_gradients([(tf.IndexedSlices([[gradient]], [row], [2, 1]), table)])

    step(0, 2.0)
    step(1, 3.0)
    step(0, 1.0)
    # Row 0: its moments saw steps 1 and 3 only; the bias correction counts all three.
    m, v = 0.9 * (0.1 * 2.0) + 0.1 * 1.0, 0.99 * (0.01 * 4.0) + 0.01 * 1.0
    row_0 = -0.1 * np.sqrt(1 - 0.99) / (1 - 0.9) * 0.2 / np.sqrt(0.04)
    row_0 -= 0.1 * np.sqrt(1 - 0.99**3) / (1 - 0.9**3) * m / np.sqrt(v)
    row_1 = -0.1 * np.sqrt(1 - 0.99**2) / (1 - 0.9**2) * 0.3 / np.sqrt(0.09)
    np.testing.assert_allclose(table.numpy()[:, 0], [row_0, row_1], rtol=1e-5)


def test_sparse_adagrad_sums_duplicate_rows_before_it_squares():
    table = tf.Variable(tf.zeros((6, 2)))
    optimizer = tf.keras.optimizers.legacy.Adagrad(0.1, initial_accumulator_value=0.1, epsilon=0.0)
    optimizer.apply_gradients([(slices(), table)])
    for row, gradient in SUMMED.items():
        np.testing.assert_allclose(table.numpy()[row], -0.1 * gradient / np.sqrt(0.1 + gradient**2), rtol=1e-5)
    assert (table.numpy()[[0, 2, 4, 5]] == 0).all()


def naive_rowwise_adagrad(table: np.ndarray, batches: list[tuple[np.ndarray, np.ndarray]], rate: float) -> np.ndarray:
    """Row by row from the equations, in float64."""
    table, sums = table.astype(np.float64), np.full(len(table), 0.1)
    for rows, values in batches:
        for row in set(rows.tolist()):
            gradient = sum(value.astype(np.float64) for at, value in zip(rows, values, strict=True) if at == row)
            sums[row] += sum(x * x for x in gradient) / len(gradient)
            table[row] -= rate * gradient / (np.sqrt(sums[row]) + 1e-7)
    return table


def test_rowwise_adagrad_is_the_naive_loop_and_leaves_other_rows():
    draw = np.random.default_rng(0)
    start = draw.normal(size=(9, 3)).astype(np.float32)
    batches = [(draw.integers(0, 7, 12), draw.normal(size=(12, 3)).astype(np.float32)) for _ in range(4)]
    table, optimizer = tf.Variable(start), RowwiseAdagrad(0.1, initial_accumulator_value=0.1)
    for rows, values in batches:
        assert len(set(rows.tolist())) < len(rows)
        optimizer.apply_gradients([(tf.IndexedSlices(values, rows, [9, 3]), table)])
    np.testing.assert_allclose(table.numpy(), naive_rowwise_adagrad(start, batches, 0.1), rtol=1e-5, atol=1e-6)
    assert (table.numpy()[7:] == start[7:]).all()
    assert optimizer.get_slot(table, "accumulator").shape == (9, 1)


def test_rowwise_adagrad_of_a_dense_gradient_is_the_naive_loop_over_all_rows():
    draw = np.random.default_rng(1)
    start = draw.normal(size=(5, 3)).astype(np.float32)
    batches = [(np.arange(5), draw.normal(size=(5, 3)).astype(np.float32)) for _ in range(3)]
    table, optimizer = tf.Variable(start), RowwiseAdagrad(0.1, initial_accumulator_value=0.1)
    for _, values in batches:
        optimizer.apply_gradients([(tf.constant(values), table)])
    np.testing.assert_allclose(table.numpy(), naive_rowwise_adagrad(start, batches, 0.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [LazyAdam, tf.keras.optimizers.legacy.Adagrad])
def test_sparse_updates_are_dense_ones_on_touched_rows(kind: type[tf.keras.optimizers.legacy.Optimizer]):
    """Over steps that hold the same rows; the dense optimizer of lazy Adam is Adam."""
    dense_kind = tf.keras.optimizers.legacy.Adam if kind is LazyAdam else kind
    start = np.arange(12, dtype=np.float32).reshape(6, 2)
    (sparse, optimizer), (dense, dense_optimizer) = (
        (tf.Variable(start), kind(0.1)),
        (tf.Variable(start), dense_kind(0.1)),
    )
    for scale in (1.0, -0.3, 2.0):
        optimizer.apply_gradients([(tf.IndexedSlices(scale * VALUES, ROWS, [6, 2]), sparse)])
        full = np.zeros((6, 2), np.float32)
        for row, gradient in SUMMED.items():
            full[row] = scale * gradient
        dense_optimizer.apply_gradients([(tf.constant(full), dense)])
    np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=1e-5)
    assert (sparse.numpy()[[1, 3]] != start[[1, 3]]).all()
    assert (sparse.numpy()[[0, 2, 4, 5]] == start[[0, 2, 4, 5]]).all()


def test_weight_decay_shrinks_kernels_beside_adam_s_step():
    kernel = tf.Variable([[1.0, -2.0]], name="tower/dense_0/kernel")
    bias = tf.Variable([3.0], name="tower/dense_0/bias")
    optimizer = DecayingAdam(0.1, weight_decay=0.5, beta_1=0.9, beta_2=0.99, epsilon=1e-8)
    m = v = 0.0
    expected, expected_bias = np.array([[1.0, -2.0]]), 3.0
    for step, gradient in enumerate((2.0, -1.0), 1):
        optimizer.apply_gradients([(tf.fill([1, 2], gradient), kernel), (tf.fill([1], gradient), bias)])
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
        moved = 0.1 * (m / (1 - 0.9**step)) / np.sqrt(v / (1 - 0.99**step))
        expected = expected - 0.1 * 0.5 * expected - moved
        expected_bias -= moved
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(bias.numpy(), [expected_bias], rtol=1e-5)


STAY = re.compile(
    "(bias|slope|alpha|beta|log_alpha|noise_kernel|digits|selectors|coefficients)(_[0-9]+)?:0"  # see DecayingAdam
)


@pytest.mark.parametrize("preset", PRESETS)
def test_weight_decay_reaches_every_matrix_of_a_ranker_and_no_other(preset: str):
    train = TrainConfig.model_validate({"dense_optimizer": {"kind": "adam", "learning_rate": 0.1, "weight_decay": 0.5}})
    ranker = build_ranker(LAYOUT, TASKS, model_config(preset, numbers="periodic", embedding_dim=6), RATES)
    variables = ranker.dense_variables
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    build_optimizer(ranker, train).apply_gradients([(tf.zeros_like(v), v) for v in variables])
    stay = {variable.name for variable in variables if STAY.fullmatch(variable.name.split("/")[-1])}
    assert len(stay) < len(variables)
    for variable in variables:
        factor = 1.0 if variable.name in stay else 1 - 0.1 * 0.5
        np.testing.assert_allclose(variable.numpy(), factor, rtol=1e-6, err_msg=variable.name)


def test_rowwise_adagrad_takes_each_group_of_a_row_for_a_row():
    draw = np.random.default_rng(0)
    start = draw.normal(size=(9, 6)).astype(np.float32)
    batches = [(draw.integers(0, 7, 12), draw.normal(size=(12, 6)).astype(np.float32)) for _ in range(3)]
    table, optimizer = tf.Variable(start), RowwiseAdagrad(0.1, groups=2, initial_accumulator_value=0.1)
    for rows, values in batches:
        optimizer.apply_gradients([(tf.IndexedSlices(values, rows, [9, 6]), table)])
    for part in (slice(0, 3), slice(3, 6)):
        expected = naive_rowwise_adagrad(start[:, part], [(rows, values[:, part]) for rows, values in batches], 0.1)
        np.testing.assert_allclose(table.numpy()[:, part], expected, rtol=1e-5, atol=1e-6)


def test_a_ranker_of_own_embeddings_has_an_accumulator_a_group():
    train = TrainConfig.model_validate({"embedding_optimizer": "rowwise_adagrad"})
    ranker = build_ranker(LAYOUT, TASKS, model_config("ple", embeddings="stem"), RATES)
    table, *_ = ranker.embedding_variables
    optimizer = build_optimizer(ranker, train)
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in ranker.trainable_variables])
    (accumulator,) = [v for v in optimizer.variables() if v.shape == (table.shape[0], len(TASKS) + 1)]
    np.testing.assert_allclose(accumulator, 0.1)


def test_clipping_sees_the_norm_of_summed_rows():
    dense = tf.constant([3.0])
    norm = np.sqrt(1.5**2 + 2.5**2 + 4**2 + 5**2 + 3**2)
    clipped_slices, clipped_dense = clip_gradients([slices(), dense], 1.0)
    np.testing.assert_allclose(clipped_dense.numpy(), [3.0 / norm], rtol=1e-5)
    table = tf.convert_to_tensor(clipped_slices).numpy()
    np.testing.assert_allclose(table[3], SUMMED[3] / norm, rtol=1e-5)
    assert clip_gradients([dense], None)[0] is dense


@pytest.mark.parametrize(("clip_norm", "is_clipped"), [(0.5, True), (1e3, False), (None, False)])
def test_an_update_is_that_of_gradients_scaled_together(clip_norm: float | None, is_clipped: bool):
    """Adagrad's first step from an accumulator of 0.1, by hand; tables by rows that occur twice, dense variables in full."""
    adagrad = {"kind": "adagrad", "learning_rate": 0.1, "initial_accumulator": 0.1, "epsilon": 1e-7}
    settings = {"clip_norm": clip_norm, "dense_optimizer": adagrad, "embedding_optimizer": adagrad}
    ranker = build_ranker(LAYOUT, TASKS, model_config("mmoe"), RATES)
    table, *_ = ranker.embedding_variables
    kernel = ranker.dense_variables[0]
    before = table.numpy(), kernel.numpy()
    values = tf.ones((3, table.shape[1])) * [[1.0], [4.0], [0.5]]
    gradients = {table.ref(): tf.IndexedSlices(values, ROWS, table.shape), kernel.ref(): 2 * tf.ones_like(kernel)}
    optimizer = build_optimizer(ranker, TrainConfig.model_validate(settings))
    optimizer.apply_gradients([(gradients.get(v.ref()), v) for v in ranker.trainable_variables])
    width, cells = table.shape[1], kernel.shape.num_elements()
    norm = np.sqrt(width * (1.5**2 + 4.0**2) + cells * 2.0**2)
    scale = 0.5 / norm if is_clipped else 1.0
    for row, gradient in ((3, 1.5 * scale), (1, 4.0 * scale)):
        expected = before[0][row] - 0.1 * gradient / np.sqrt(0.1 + gradient**2)
        np.testing.assert_allclose(table.numpy()[row], expected, rtol=1e-4)
    expected = before[1] - 0.1 * 2 * scale / np.sqrt(0.1 + (2 * scale) ** 2)
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("steps", [40, 41])
def test_a_warm_up_in_steps_ends_before_training(steps: int):
    def build(steps: int):
        schedule = {"kind": "constant", "warmup": {"steps": steps}}
        return build_optimizer(ranker, TrainConfig.model_validate({"epochs": 5, "schedule": schedule}), 8)

    ranker = build_ranker(LAYOUT, TASKS, model_config("mmoe"), RATES)
    with pytest.raises(ConfigError, match=rf"takes {steps} steps and training 40 .*8 steps .* 5\).*; allowed: 0 to 39"):
        build(steps)
    build(39)


def test_a_warm_up_in_epochs_ends_before_training_though_steps_are_whole():
    """Of 5 epochs of 8 steps 4.95 are 39.6 steps, rounded 40: all; 4.9 are 39.2, rounded 39."""

    def build(epochs: float):
        schedule = {"kind": "constant", "warmup": {"epochs": epochs}}
        return build_optimizer(ranker, TrainConfig.model_validate({"epochs": 5, "schedule": schedule}), 8)

    ranker = build_ranker(LAYOUT, TASKS, model_config("mmoe"), RATES)
    said = r"warmup takes 4.95 epochs, which are 40 steps, and training 40 at most \(8 steps an epoch, epochs: 5\).*; allowed: 0 to 39 steps"
    with pytest.raises(ConfigError, match=said):
        build(4.95)
    build(4.9)


@pytest.mark.parametrize("embedding", ["adagrad", "rowwise_adagrad", "lazy_adam"])
def test_a_step_keeps_gradients_sparse_and_leaves_other_rows(embedding: str):
    ranker = build_ranker(LAYOUT, TASKS, model_config("mmoe", embedding_l2=0.1), RATES)
    optimizer = build_optimizer(ranker, TrainConfig.model_validate({"embedding_optimizer": embedding}))
    batch = batch_of(8)
    batch["user"] = tf.fill([8], tf.constant(7, tf.int64))
    (users, _) = ranker.embedding_variables
    before = users.numpy()
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, ranker.trainable_variables)
    sparse = [isinstance(g, tf.IndexedSlices) for g in gradients]
    tables = {variable.ref() for variable in ranker.embedding_variables}
    assert sparse == [variable.ref() in tables for variable in ranker.trainable_variables]
    optimizer.apply_gradients(zip(gradients, ranker.trainable_variables, strict=True))
    changed = np.flatnonzero((users.numpy() != before).any(axis=1))
    assert changed.tolist() == [7]


@pytest.mark.parametrize("embedding", ["adagrad", "rowwise_adagrad", "lazy_adam"])
def test_a_checkpoint_resumes_exactly(tmp_path, embedding: str):
    schedule = {"kind": "cosine", "warmup": {"steps": 2}, "over": {"epochs": 1}}
    train = TrainConfig.model_validate({"embedding_optimizer": embedding, "clip_norm": 1.0, "schedule": schedule})
    batches = [batch_of(16, seed) for seed in range(4)]

    def trainer(seed: int):
        tf.keras.utils.set_random_seed(seed)
        ranker = build_ranker(LAYOUT, TASKS, model_config("dlen", trunk={"dropout": 0.3}), RATES)
        optimizer = build_optimizer(ranker, train, steps_per_epoch=6)

        @tf.function
        def step(batch):
            with tf.GradientTape() as tape:
                loss = ranker.compute_loss(batch, training=True)
            variables = ranker.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        return ranker, step, tf.train.Checkpoint(ranker=ranker, optimizer=optimizer)

    ranker, step, checkpoint = trainer(1)
    for batch in batches[:2]:
        step(batch)
    path = checkpoint.write(str(tmp_path / "half"))
    for batch in batches[2:]:
        step(batch)

    resumed, step, checkpoint = trainer(2)
    checkpoint.read(path)
    for batch in batches[2:]:
        step(batch)
    for expected, found in zip(ranker.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(expected.numpy(), found.numpy())
