"""Nothing beside trunk and head."""

from __future__ import annotations

import tensorflow as tf

from models.beside.beside import Beside
from models.lookups import Embedded


class Nothing(Beside):
    """Adds nothing.

    Shapes:
        input: the batch after its lookups, and int64 (batch,) positions.
        output: {}.
    """

    def call(
        self, embedded: Embedded, position: tf.Tensor | None = None, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """{}."""
        del embedded, position, training
        return {}
