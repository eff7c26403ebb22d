"""Gates of every kind behind one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from models.config import GateConfig
from models.layers.softmax_gates import SoftmaxGates

GATES: Mapping[str, Any] = {"softmax": SoftmaxGates}


def make_gates(config: GateConfig, gates: int, experts: int, **kwargs: Any) -> tf.keras.layers.Layer:
    """`gates` gates of the configured kind over `experts` experts each.

    All are layers called as ``gates(inputs, training=...)``, (batch, in) or (batch, gates, in) to (batch, gates, experts);
    what they add to the loss they give to ``add_loss``, in training only.
    """
    layer: tf.keras.layers.Layer = GATES[config.kind].initial(config, gates, experts, **kwargs)
    return layer
