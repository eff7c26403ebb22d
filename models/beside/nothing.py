"""Nothing beside trunk and head."""

from __future__ import annotations

import tensorflow as tf

from models.beside.beside import Beside
from models.config import NothingBeside
from models.heads.scores import Score
from models.lookups import Embedded


class Nothing(Beside):
    """The head's scores are final.

    Shapes:
        input and output: {output: score of (batch,)}.
    """

    CONFIG = NothingBeside

    def call(
        self,
        scores: dict[str, Score],
        embedded: Embedded,
        position: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> dict[str, Score]:
        """The scores as they are."""
        del embedded, position, training
        return scores
