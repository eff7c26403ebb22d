"""Bias and relu of a bank: the same numbers as TensorFlow's own operations, in both precisions and however it is called."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.layers.biased_relu import biased_relu
from models.layers.expert_bank import ExpertBank

DTYPES = (tf.float32, tf.bfloat16)
DRAW = np.random.default_rng(0)
PRODUCTS, BIASES, UPSTREAM = (DRAW.normal(size=shape) for shape in ((3, 6, 5), (3, 1, 5), (3, 6, 5)))


def values_and_gradients(activate: Callable[..., tf.Tensor], dtype: tf.DType) -> list[np.ndarray]:
    products, biases, upstream = (tf.cast(values, dtype) for values in (PRODUCTS, BIASES, UPSTREAM))
    with tf.GradientTape() as tape:
        tape.watch([products, biases])
        outputs = activate(products, biases)
    gradients = tape.gradient(outputs, [products, biases], output_gradients=upstream)
    return [tf.cast(tensor, tf.float32).numpy() for tensor in (outputs, *gradients)]


def plain(products: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(products + biases)


def any_batch(dtype: tf.DType, **options: bool) -> Callable[..., tf.Tensor]:
    signature = [tf.TensorSpec((3, None, 5), dtype), tf.TensorSpec((3, 1, 5), dtype)]
    return tf.function(biased_relu, input_signature=signature, autograph=False, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("how", ["eager", "function", "xla"])
def test_values_and_gradients_are_those_of_plain_operations(dtype: tf.DType, how: str) -> None:
    called = biased_relu if how == "eager" else any_batch(dtype, jit_compile=how == "xla")
    outputs, to_products, to_biases = values_and_gradients(called, dtype)
    expected, expected_products, expected_biases = values_and_gradients(plain, dtype)
    np.testing.assert_array_equal(outputs, expected)
    assert 0 < (outputs == 0).mean() < 1
    np.testing.assert_array_equal(to_products, expected_products)
    # A sum of six rows in another order: the last bit may differ, bfloat16's is 2^-8 of a number.
    np.testing.assert_allclose(to_biases, expected_biases, rtol=1e-6 if dtype == tf.float32 else 2**-7, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 6, 7])
def test_one_function_takes_batches_of_every_size(rows: int) -> None:
    products = tf.cast(DRAW.normal(size=(3, rows, 5)), tf.bfloat16)
    biases = tf.cast(BIASES, tf.bfloat16)
    found = any_batch(tf.bfloat16)(products, biases)
    np.testing.assert_array_equal(tf.cast(found, tf.float32), tf.cast(plain(products, biases), tf.float32))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_bank_that_is_given_experts_first_is_the_bank(policy: str) -> None:
    bank = ExpertBank(3, (5, 4), dtype=policy)
    inputs = tf.cast(DRAW.normal(size=(6, 3, 2)), bank.compute_dtype)
    expected = bank(inputs)
    found = bank(tf.transpose(inputs, (1, 0, 2)), experts_first=True)
    np.testing.assert_array_equal(tf.cast(found, tf.float32), tf.cast(expected, tf.float32))
