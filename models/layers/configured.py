"""A layer that Keras can make again from settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pydantic
import tensorflow as tf


class Configured(tf.keras.layers.Layer):
    """A layer whose constructor takes settings: `ARGUMENTS` names them, and ``get_config`` and ``from_config`` follow.

    Example:
        >>> from features.losses import LogLoss
        >>> class Scored(Configured):
        ...     ARGUMENTS = {"loss": LogLoss}
        ...
        ...     def __init__(self, loss, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.loss = loss
        >>> Scored.from_config(Scored(LogLoss(label_smoothing=0.1)).get_config()).loss.label_smoothing
        0.1
    """

    ARGUMENTS: ClassVar[Mapping[str, Any]]
    """{argument of the constructor: its type}, of all but Keras' own. Each is an attribute of its name, and none a list,
    which Keras would wrap into what pydantic takes for an empty one."""

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON values only."""
        values = {name: getattr(self, name) for name in self.ARGUMENTS}
        # Keras wraps dicts, too, into what pydantic does not know.
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
        found = {n: pydantic.TypeAdapter(kind).dump_python(plain[n], mode="json") for n, kind in self.ARGUMENTS.items()}
        return {**super().get_config(), **found}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Configured:
        """The layer that `get_config` describes (its weights are drawn anew)."""
        made = {n: pydantic.TypeAdapter(kind).validate_python(config[n]) for n, kind in cls.ARGUMENTS.items()}
        return cls(**{**config, **made})
