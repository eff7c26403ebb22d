"""The second-order term of a factorization machine."""

from __future__ import annotations

import tensorflow as tf

from models.interactions.pair_products import PairProducts


class Fm(PairProducts):
    """Sum of the products of all pairs of embeddings, beside the features.

    ``y = [x, sum_{i<j} v_i * v_j] = [x, ((sum_i v_i)^2 - sum_i v_i^2) / 2]``, number by number (bi-interaction pooling; its own sum is
    Rendle's second-order term of features that are there with 1). Embeddings of another
    width than most are mapped to it (`PairProducts`). Numbers have no vectors and take no part.

    Shapes:
        input: (batch, in) or (batch, groups, in).
        output: (batch, in + width) or (batch, groups, in + width).

    Example:
        >>> from models.config import FmInteractions
        >>> Fm({"user": 2, "item": 2}, FmInteractions())(tf.constant([[1.0, 2.0, 3.0, 4.0]])).numpy()
        array([[1., 2., 3., 4., 3., 8.]], dtype=float32)

    Paper: Rendle, Factorization Machines, ICDM 2010; He and Chua, Neural Factorization Machines for Sparse Predictive
    Analytics, SIGIR 2017 (eq. 4).
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, in + width) or (batch, groups, in + width)."""
        # In full precision: two large sums of bfloat16 would leave little of their difference.
        vectors = tf.cast(self.split(inputs)[0], tf.float32)
        products = (tf.square(tf.reduce_sum(vectors, axis=2)) - tf.reduce_sum(tf.square(vectors), axis=2)) / 2
        products = products if inputs.shape.rank == 3 else products[:, 0]
        return tf.concat([inputs, tf.cast(products, inputs.dtype)], axis=-1)
