"""What every interaction layer is."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from models.config import InteractionsConfig
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
    """

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {"widths": dict[str, int], "config": InteractionsConfig}

    def __init__(self, widths: Mapping[str, int], config: InteractionsConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths, self.config = dict(widths), config

    @abc.abstractmethod
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, out) or (batch, groups, out)."""
