"""Gates of every kind behind one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from models.config import GateConfig
from models.layers.dselect_k_gates import DselectKGates
from models.layers.softmax_gates import SoftmaxGates
from models.layers.top_k_gates import TopKGates

GATES: Mapping[str, Any] = {"softmax": SoftmaxGates, "top_k": TopKGates, "dselect_k": DselectKGates}


def make_gates(config: GateConfig, gates: int, experts: int, **kwargs: Any) -> tf.keras.layers.Layer:
    """`gates` gates of the configured kind over `experts` experts each.

    All are layers called as ``gates(inputs, training=...)``, (batch, in) or (batch, gates, in) to (batch, gates, experts);
    what they add to the loss they give to ``add_loss``, in training only.

    Example:
        >>> from models.config import SoftmaxGate
        >>> make_gates(SoftmaxGate(), gates=3, experts=5)(tf.ones((2, 4))).shape
        TensorShape([2, 3, 5])
    """
    layer: tf.keras.layers.Layer = GATES[config.kind].initial(config, gates, experts, **kwargs)
    return layer
