"""Interactions against loops over features, written from the papers' equations, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf

from features.errors import ModelError
from models.config import DcnV2Interactions, DotInteractions, FmInteractions, NoInteractions
from models.interactions.dcn_v2 import DcnV2
from models.interactions.dot import Dot
from models.interactions.fm import Fm
from models.interactions.interactions import Interactions
from models.interactions.nothing import Nothing
from tests.models.layer_contract import check_layer
from tests.models.naive import Values, check_parity

DRAW = np.random.default_rng(0)
WIDTHS = {"user": 3, "item": 3, "tag": 3}
FLAT = tf.constant(DRAW.normal(size=(5, 11)), tf.float32)  # three embeddings, two numbers
GROUPED = tf.constant(DRAW.normal(size=(5, 2, 11)), tf.float32)
BOTTOM = DotInteractions(bottom_units=(4,))


@pytest.mark.parametrize(
    ("kind", "config", "width"),
    [
        (Nothing, NoInteractions(), 11),
        (Dot, BOTTOM, 11 + 3 + 6),
        (Dot, DotInteractions(bottom_units=()), 11 + 3 + 6),
        (Fm, FmInteractions(), 11 + 3),
        (DcnV2, DcnV2Interactions(layers=2), 11),
        (DcnV2, DcnV2Interactions(layers=1, rank=2), 11),
    ],
)
@pytest.mark.parametrize(("inputs", "shape"), [(FLAT, (5,)), (GROUPED, (5, 2))])
def test_contract(kind, config, width, inputs, shape, tmp_path):
    check_layer(kind, {"widths": WIDTHS, "config": config}, inputs, (*shape, width), tmp_path)


def each_group(reference: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """For all groups: the variables come group by group."""

    def run(values: Values, x: tf.Tensor) -> tf.Tensor:
        mine = len(values) // x.shape[1]
        parts = [reference(values[g * mine : (g + 1) * mine], x[:, g]) for g in range(x.shape[1])]
        return tf.stack(parts, axis=1)

    return run


def vectors(row: tf.Tensor) -> list[tf.Tensor]:
    return [row[3 * i : 3 * i + 3] for i in range(3)]


def naive_fm(values: Values, x: tf.Tensor) -> tf.Tensor:
    del values
    rows = [tf.concat([row, sum(a * b for a, b in combinations(vectors(row), 2))], 0) for row in x]
    return tf.stack(rows)


def naive_dot(values: Values, x: tf.Tensor, group: int = 0) -> tf.Tensor:
    kernel_1, bias_1, kernel_2, bias_2 = values
    rows = []
    for row in x:
        hidden = tf.nn.relu(tf.linalg.matvec(kernel_1[group], row[9:], transpose_a=True) + bias_1[group, 0])
        bottom = tf.nn.relu(tf.linalg.matvec(kernel_2[group], hidden, transpose_a=True) + bias_2[group, 0])
        all_vectors = [*vectors(row), bottom]
        # By rows of the lower triangle, as TFRS orders its pairs.
        dots = [tf.reduce_sum(all_vectors[i] * all_vectors[j]) for i in range(4) for j in range(i)]
        rows.append(tf.concat([row, bottom, tf.stack(dots)], 0))
    return tf.stack(rows)


def naive_dcn(values: Values, x: tf.Tensor) -> tf.Tensor:
    rows = []
    for first in x:
        crossed = first
        for kernel, bias in zip(values[::2], values[1::2], strict=True):
            crossed = first * (tf.linalg.matvec(kernel, crossed, transpose_a=True) + bias) + crossed
        rows.append(crossed)
    return tf.stack(rows)


def naive_low_rank(values: Values, x: tf.Tensor) -> tf.Tensor:
    full = [tf.matmul(u, v) for u, v in zip(values[::3], values[1::3], strict=True)]
    return naive_dcn([v for pair in zip(full, values[2::3], strict=True) for v in pair], x)


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (Fm(WIDTHS, FmInteractions()), naive_fm),
        (Dot(WIDTHS, BOTTOM), naive_dot),
        (DcnV2(WIDTHS, DcnV2Interactions(layers=3)), naive_dcn),
        (DcnV2(WIDTHS, DcnV2Interactions(layers=2, rank=2)), naive_low_rank),
    ],
)
def test_it_is_the_papers(layer: Interactions, reference: Callable[..., tf.Tensor]):
    check_parity(layer, (FLAT,), reference)


def groups_of_dot(values: Values, x: tf.Tensor) -> tf.Tensor:
    return tf.stack([naive_dot(values, x[:, group], group) for group in range(2)], axis=1)


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (Fm(WIDTHS, FmInteractions()), each_group(naive_fm)),
        (Dot(WIDTHS, BOTTOM), groups_of_dot),
        (DcnV2(WIDTHS, DcnV2Interactions(layers=2)), each_group(naive_dcn)),
    ],
)
def test_each_group_interacts_by_itself(layer: Interactions, reference: Callable[..., tf.Tensor]):
    check_parity(layer, (GROUPED,), reference)


def test_dots_by_hand():
    layer = Dot({"a": 2, "b": 2}, DotInteractions(bottom_units=()))
    row = tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0]])
    layer(row)
    kernel, bias = layer.trainable_variables
    kernel.assign([[[1.0, -1.0]]])
    bias.assign([[[2.0, 1.0]]])
    # bottom: relu(5 + 2, -5 + 1) = (7, 0); b.a = 3 + 8, bottom.a = 7, bottom.b = 21
    np.testing.assert_array_equal(layer(row), [[1, 2, 3, 4, 5, 7, 0, 11, 7, 21]])


@pytest.mark.parametrize("config", [DotInteractions(), FmInteractions()])
@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ({"user": 4, "item": 6, "tag": 4}, "most have 4, but 'item' has 6; allowed: the same `dim`"),
        ({"user": 4}, r"an embedding: user; allowed: two or more"),
        ({}, r"an embedding: \(none\)"),
    ],
)
def test_vectors_that_do_not_fit_are_named(config, widths, said):
    with pytest.raises(ModelError, match=said):
        (Dot if config.kind == "dot" else Fm)(widths, config)
