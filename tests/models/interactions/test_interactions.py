"""Interactions against loops over features, written from the papers' equations, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from features.errors import ModelError
from models.config import DcnV2Interactions, DotInteractions, FmInteractions, NoInteractions, common_width
from models.interactions.dcn_v2 import DcnV2
from models.interactions.dot import Dot
from models.interactions.fm import Fm
from models.interactions.interactions import Interactions
from models.interactions.unchanged import Unchanged
from models.layers.cross import Cross
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
        (Unchanged, NoInteractions(), 11),
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


def naive_dcn(values: Values, x: tf.Tensor, group: int = 0) -> tf.Tensor:
    rows = []
    for first in x:
        crossed = first
        for kernel, bias in zip(values[::2], values[1::2], strict=True):
            crossed = first * (tf.linalg.matvec(kernel[group], crossed, transpose_a=True) + bias[group]) + crossed
        rows.append(crossed)
    return tf.stack(rows)


def naive_low_rank(values: Values, x: tf.Tensor, group: int = 0) -> tf.Tensor:
    full = [tf.matmul(u, v) for u, v in zip(values[::3], values[1::3], strict=True)]
    return naive_dcn([v for pair in zip(full, values[2::3], strict=True) for v in pair], x, group)


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


def naive_fm_of(values: Values, x: tf.Tensor, group: int) -> tf.Tensor:
    del group
    return naive_fm(values, x)


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (Fm(WIDTHS, FmInteractions()), naive_fm_of),
        (Dot(WIDTHS, BOTTOM), naive_dot),
        (DcnV2(WIDTHS, DcnV2Interactions(layers=2)), naive_dcn),
        (DcnV2(WIDTHS, DcnV2Interactions(layers=2, rank=2)), naive_low_rank),
    ],
)
def test_each_group_interacts_by_itself(layer: Interactions, reference: Callable[..., tf.Tensor]):
    def groups(values: Values, x: tf.Tensor) -> tf.Tensor:
        return tf.stack([reference(values, x[:, group], group) for group in range(2)], axis=1)

    check_parity(layer, (GROUPED,), groups)


@pytest.mark.parametrize("rank", [None, 2])
def test_cross_is_tfrs_own_with_the_same_weights(rank: int | None):
    ours = Cross(rank)
    first, inputs = GROUPED, tf.reverse(GROUPED, [0])
    found = ours(first, inputs)
    peers = [tfrs.layers.feature_interaction.Cross(projection_dim=rank) for _ in range(2)]
    for group, peer in enumerate(peers):
        peer(first[:, group], inputs[:, group])
        *kernels, bias = (tf.random.stateless_normal(v.shape, (group, i)) for i, v in enumerate(peer.variables))
        for theirs, mine, value in zip(peer.variables, ours.variables, [*kernels, bias], strict=True):
            theirs.assign(value)
            mine[group].assign(value)
    expected = [peer(first[:, group], inputs[:, group]) for group, peer in enumerate(peers)]
    assert not np.allclose(ours(first, inputs), found)
    np.testing.assert_allclose(ours(first, inputs), tf.stack(expected, axis=1), rtol=1e-4, atol=1e-5)


# -- embeddings of several widths --------------------------------------------------------------------------------------

MIXED = {"user": 3, "age": 2, "item": 3, "city": 1}


def mapped(values: Values, row: tf.Tensor, group: int) -> list[tf.Tensor]:
    """Of two maps, `age`'s and `city`'s, and a row of nine numbers of embeddings: four vectors of three numbers."""
    age, city = values
    maps = (None, age, None, city)
    places = ((0, 3), (3, 5), (5, 8), (8, 9))
    found = []
    for (begin, end), kernel in zip(places, maps, strict=True):
        vector = row[begin:end]
        if kernel is not None:
            vector = tf.stack([sum(vector[i] * kernel[group, i, o] for i in range(end - begin)) for o in range(3)])
        found.append(vector)
    return found


def naive_mixed_fm(values: Values, x: tf.Tensor, group: int) -> tf.Tensor:
    rows = [tf.concat([row, sum(a * b for a, b in combinations(mapped(values, row, group), 2))], 0) for row in x]
    return tf.stack(rows)


def naive_mixed_dot(values: Values, x: tf.Tensor, group: int) -> tf.Tensor:
    *maps, kernel, bias = values
    rows = []
    for row in x:
        bottom = tf.nn.relu(tf.linalg.matvec(kernel[group], row[9:], transpose_a=True) + bias[group, 0])
        vectors = [*mapped(maps, row, group), bottom]
        dots = [tf.reduce_sum(vectors[i] * vectors[j]) for i in range(5) for j in range(i)]
        rows.append(tf.concat([row, bottom, tf.stack(dots)], 0))
    return tf.stack(rows)


@pytest.mark.parametrize("inputs", [FLAT, GROUPED], ids=["flat", "grouped"])
@pytest.mark.parametrize(
    ("layer", "config", "reference"),
    [(Fm, FmInteractions(), naive_mixed_fm), (Dot, DotInteractions(bottom_units=()), naive_mixed_dot)],
)
def test_embeddings_of_another_width_are_mapped_to_the_common_one(layer, config, reference, inputs):
    def groups(values: Values, x: tf.Tensor) -> tf.Tensor:
        if x.shape.rank == 2:
            return reference(values, x, 0)
        return tf.stack([reference(values, x[:, group], group) for group in range(2)], axis=1)

    check_parity(layer(MIXED, config), (inputs,), groups)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [([4, 16, 16], 16), ([16, 4, 4], 4), ([4, 16], 16), ([8], 8), ([], 1)],
    ids=["most", "most, though smaller", "as many of both: the larger", "one", "none"],
)
def test_the_width_in_which_vectors_meet(widths: list[int], expected: int):
    assert common_width({str(i): width for i, width in enumerate(widths)}) == expected


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_dots_by_hand():
    layer = Dot({"a": 2, "b": 2}, DotInteractions(bottom_units=()))
    row = tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0]])
    layer(row)
    kernel, bias = layer.trainable_variables
    kernel.assign([[[1.0, -1.0]]])
    bias.assign([[[2.0, 1.0]]])
    # bottom: relu(5 + 2, -5 + 1) = (7, 0); b.a = 3 + 8, bottom.a = 7, bottom.b = 21
    np.testing.assert_array_equal(layer(row), [[1, 2, 3, 4, 5, 7, 0, 11, 7, 21]])


def test_one_embedding_and_the_numbers_are_a_pair():
    layer = Dot({"a": 2}, DotInteractions(bottom_units=()))
    row = tf.constant([[1.0, 2.0, 5.0]])
    layer(row)
    kernel, bias = layer.trainable_variables
    kernel.assign([[[1.0, -1.0]]])
    bias.assign([[[2.0, 6.0]]])
    # bottom: relu(5 + 2, -5 + 6) = (7, 1); bottom.a = 7 + 2
    np.testing.assert_array_equal(layer(row), [[1, 2, 5, 7, 1, 9]])


@pytest.mark.parametrize("layer", [Dot, Fm])
@pytest.mark.parametrize(
    ("widths", "numbers", "said"),
    [
        ({"user": 4}, 0, r"an embedding: user; allowed: two or more"),
        ({}, 1, r"an embedding: \(none\) beside numbers"),
    ],
)
def test_vectors_that_do_not_fit_are_named(layer, widths, numbers, said):
    config = DotInteractions() if layer is Dot else FmInteractions()
    with pytest.raises(ModelError, match=said):
        layer(widths, config)(tf.ones((2, sum(widths.values()) + numbers)))


def test_fm_has_no_vector_of_the_numbers():
    with pytest.raises(ModelError, match="an embedding: user beside numbers; allowed: two or more, or another"):
        Fm({"user": 4}, FmInteractions())(tf.ones((2, 5)))
