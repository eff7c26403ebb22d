"""What every interaction layer is."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from features.errors import ModelError
from models.config import InteractionsConfig, width_problem
from models.layers.configured import Configured


class Interactions(Configured, abc.ABC):
    """Computes between features, so that the trunk need not learn to.

    A new kind is a subclass in a file of its own, a class of its settings in `models.settings.interactions` (to be named in
    `models.config`, too), and its name in `models.ranker.INTERACTIONS`.

    Args:
        widths: of each feature's embedding, {feature: width}, in the order in which the input begins with them; behind them
            it has numbers and flags.
        config: the interactions' part of the model's configuration.

    Shapes:
        input: (batch, in), or (batch, groups, in) if tasks have embeddings of their own: then groups share no weights.
        output: (batch, out), or (batch, groups, out).

    Raises:
        ModelError: if the embeddings do not fit the kind.
    """

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {"widths": dict[str, int], "config": InteractionsConfig}

    def __init__(self, widths: Mapping[str, int], config: InteractionsConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths, self.config = dict(widths), config

    def build(self, input_shape: Any) -> None:
        """Checks that the embeddings fit the kind."""
        if problem := width_problem(self.config, self.widths, int(input_shape[-1]) > sum(self.widths.values())):
            raise ModelError(problem)
        super().build(input_shape)

    @abc.abstractmethod
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, out) or (batch, groups, out)."""

    def split(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings of one width (batch, groups, features, width), and the rest (batch, groups, rest); a group at least."""
        grouped = inputs if inputs.shape.rank == 3 else inputs[:, None]
        end = sum(self.widths.values())
        shape = (-1, grouped.shape[1], len(self.widths), end // len(self.widths))
        return tf.reshape(grouped[..., :end], shape), grouped[..., end:]
