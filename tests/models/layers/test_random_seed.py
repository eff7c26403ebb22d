from __future__ import annotations

import types

import numpy as np
import pytest

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from models.layers.random_seed import next_normal, next_uniform


def test_copies_that_train_together_draw_numbers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for draw in (next_uniform, next_normal):
        drawn = []
        for copy in range(3):
            monkeypatch.setattr(
                tf.distribute,
                "get_replica_context",
                lambda copy=copy: types.SimpleNamespace(replica_id_in_sync_group=tf.constant(copy)),
            )
            state = tf.Variable([5, 0], dtype=tf.int64)
            drawn += [draw(state, (4,)).numpy() for _ in range(2)]
            assert state.numpy().tolist() == [5, 2]
        assert len(np.unique(drawn)) == 3 * 2 * 4


def test_the_same_state_draws_the_same_numbers() -> None:
    first, again = (next_uniform(tf.Variable([5, 7], dtype=tf.int64), (4,)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
