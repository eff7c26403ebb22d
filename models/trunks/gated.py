"""What every trunk with gates is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from models.config import GateConfig, SoftmaxGate, TrunkConfig
from models.trunks.trunk import Trunk


class GatedTrunk(Trunk):
    """A trunk whose experts are weighed by gates; its configuration has ``GATED``.

    Args:
        tasks: names of the tasks.
        config: the trunk's part of the model's configuration.
        gate: how experts are weighed.
    """

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {**Trunk.ARGUMENTS, "gate": GateConfig}

    def __init__(
        self, tasks: Sequence[str], config: TrunkConfig, gate: GateConfig | None = None, **kwargs: Any
    ) -> None:
        super().__init__(tasks, config, **kwargs)
        self.gate: GateConfig = gate or SoftmaxGate()
