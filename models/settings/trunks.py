"""Networks from one representation of a row to one for each task."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic

from features.frozen import BareKind, Frozen
from models.settings.base import PAPER_UNITS, Rate, Units


class Trunk(Frozen):
    """What every trunk has."""

    GATED: ClassVar[bool] = False
    """Whether its experts are weighed by gates of the kind ``model.gate``."""
    OWN_EXPERTS: ClassVar[bool] = False
    """Whether tasks have experts of their own, which ``embeddings: stem`` gives the task's own vectors."""

    units: Units = PAPER_UNITS
    """Hidden layers; of each expert where there are experts."""
    dropout: Rate = 0.0
    """Share of each hidden layer's outputs dropped in training."""


class SingleTaskTrunk(Trunk):
    """One independent network a task; only embeddings are shared."""

    kind: Literal["single_task"] = "single_task"


class SharedBottomTrunk(Trunk):
    """One network for all tasks (Caruana, Multitask Learning, 1997)."""

    kind: Literal["shared_bottom"] = "shared_bottom"


class MoeTrunk(Trunk):
    """Shared experts, one gate for all tasks (OMoE; Jacobs et al., 1991, as in Ma et al., MMoE, KDD 2018)."""

    GATED: ClassVar[bool] = True

    kind: Literal["moe"] = "moe"
    experts: int = pydantic.Field(default=5, ge=1)


class MmoeTrunk(Trunk):
    """Shared experts, one gate a task (Ma et al., MMoE, KDD 2018)."""

    GATED: ClassVar[bool] = True

    kind: Literal["mmoe"] = "mmoe"
    experts: int = pydantic.Field(default=5, ge=1)


class _TaskExperts(Trunk):
    GATED: ClassVar[bool] = True
    OWN_EXPERTS: ClassVar[bool] = True

    shared_experts: int = pydantic.Field(default=5, ge=1)
    task_experts: int = pydantic.Field(default=2, ge=1)
    """Experts that each task has for itself, in each layer."""


class CgcTrunk(_TaskExperts):
    """Shared and task-specific experts, one layer (Tang et al., PLE, RecSys 2020, section 4.2)."""

    kind: Literal["cgc"] = "cgc"


class PleTrunk(_TaskExperts):
    """Stacked layers of shared and task-specific experts (Tang et al., PLE, RecSys 2020). One layer is CGC."""

    kind: Literal["ple"] = "ple"
    layers: int = pydantic.Field(default=2, ge=1)


AnyTrunk = SingleTaskTrunk | SharedBottomTrunk | MoeTrunk | MmoeTrunk | CgcTrunk | PleTrunk
TrunkConfig = Annotated[AnyTrunk, pydantic.Field(discriminator="kind"), BareKind()]
