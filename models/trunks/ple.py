"""Progressive layered extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import PleTrunk
from models.layers.cgc import Cgc
from models.trunks.trunk import Trunk


class Ple(Trunk):
    """Stacked CGC layers; the shared part passes on between layers and ends before the last.

    ``(y_1 .. y_K, y_s)^j = CGC^j((y_1 .. y_K, y_s)^{j-1})`` with ``x`` for all parts at first (section 4.3, eq. 6 and 7); see `Cgc`.

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}.

    Example:
        >>> Ple(["click", "like"], PleTrunk(layers=2, units=(8,)))(tf.ones((2, 4)))["like"].shape
        TensorShape([2, 8])

    Paper: Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
    Recommendations, RecSys 2020.
    """

    CONFIG = PleTrunk

    def __init__(self, tasks: Sequence[str], config: PleTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        self.sizes = config
        self.layers = [
            Cgc(
                len(self.tasks),
                config.task_experts,
                config.shared_experts,
                config.units,
                shared_gate=i + 1 < config.layers,
                dropout=config.dropout,
                name=f"cgc_{i + 1}",
                dtype=self.dtype_policy,
            )
            for i in range(config.layers)
        ]

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        hidden = inputs
        for layer in self.layers:
            hidden = layer(hidden, training=training)
        return dict(zip(self.tasks, tf.unstack(hidden, axis=1), strict=True))

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"layer/task": (batch, experts)}, and "layer/shared" for all but the last layer."""
        weights = {}
        hidden = inputs
        for i, layer in enumerate(self.layers, 1):
            gates = layer.gate_weights(hidden)
            weights.update({f"{i}/{task}": gates[0][:, k] for k, task in enumerate(self.tasks)})
            if layer.shared_gate:
                weights[f"{i}/shared"] = gates[1][:, 0]
            hidden = layer(hidden, training=False)
        return weights

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"layer/task": its own experts, then the shared ones}; "layer/shared": all."""
        shared = tuple(f"shared {i + 1}" for i in range(self.sizes.shared_experts))
        own = {task: tuple(f"{task} {i + 1}" for i in range(self.sizes.task_experts)) for task in self.tasks}
        names = {}
        for i, layer in enumerate(self.layers, 1):
            names.update({f"{i}/{task}": own[task] + shared for task in self.tasks})
            if layer.shared_gate:
                names[f"{i}/shared"] = tuple(name for task in self.tasks for name in own[task]) + shared
        return names
