"""Networks from one representation of a row to one for each task."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pydantic

from features.frozen import BareKind, Frozen, SpecError
from models.settings.base import PAPER_UNITS, Rate, Units


class TrunkSettings(Frozen):
    """What every trunk has."""

    GATED: ClassVar[bool] = False
    """Whether its experts are weighed by gates of the kind ``model.gate``."""
    OWN_EXPERTS: ClassVar[bool] = False
    """Whether tasks have experts of their own, which ``embeddings: stem`` gives the task's own vectors."""

    READS_SEQUENCES: ClassVar[bool] = False
    """Whether it reads sequences token by token, beside the row's features."""

    units: Units = PAPER_UNITS
    """Hidden layers; of each expert where there are experts."""
    dropout: Rate = 0.0
    """Share of each hidden layer's outputs dropped in training."""

    def fewest_experts(self) -> int:
        """Of those that a gate chooses from; 0 without gates."""
        return 0


class SingleTaskTrunk(TrunkSettings):
    """One independent network a task; only embeddings are shared."""

    kind: Literal["single_task"] = "single_task"


class SharedBottomTrunk(TrunkSettings):
    """One network for all tasks (Caruana, Multitask Learning, 1997)."""

    kind: Literal["shared_bottom"] = "shared_bottom"


class _SharedExperts(TrunkSettings):
    GATED: ClassVar[bool] = True

    experts: int = pydantic.Field(default=5, ge=1)
    """Experts that all tasks share."""

    def fewest_experts(self) -> int:
        """Of those that a gate chooses from."""
        return self.experts


class MoeTrunk(_SharedExperts):
    """Shared experts, one gate for all tasks (OMoE; Jacobs et al., 1991, as in Ma et al., MMoE, KDD 2018)."""

    kind: Literal["moe"] = "moe"


class MmoeTrunk(_SharedExperts):
    """Shared experts, one gate a task (Ma et al., MMoE, KDD 2018)."""

    kind: Literal["mmoe"] = "mmoe"


class HmoeTrunk(_SharedExperts):
    """MMoE, whose tasks then weigh each other's networks without training them (Li et al., HMoE, CIKM 2020).

    Below a head that composes along a chain (esmm, escm2, aitm) a task's loss trains its ancestors' networks through the head.
    """

    kind: Literal["hmoe"] = "hmoe"
    task_units: Units = (64,)
    """Layers of each task's network, which all tasks weigh."""


class _TaskExperts(TrunkSettings):
    GATED: ClassVar[bool] = True
    OWN_EXPERTS: ClassVar[bool] = True

    shared_experts: int = pydantic.Field(default=5, ge=1)
    """Experts that all tasks share, in each layer."""
    task_experts: int = pydantic.Field(default=2, ge=1)
    """Experts that each task has for itself, in each layer."""


class CgcTrunk(_TaskExperts):
    """Shared and task-specific experts, one layer (Tang et al., PLE, RecSys 2020, section 4.1)."""

    kind: Literal["cgc"] = "cgc"

    def stacked(self) -> tuple[CgcTrunk, ...]:
        """Its layers, from the input on."""
        return (self,)

    def fewest_experts(self) -> int:
        """Of those that a gate chooses from: a task's own and the shared ones."""
        return self.shared_experts + self.task_experts


class PleLayer(Frozen):
    """Sizes of one layer of `PleTrunk`; what it does not say is the trunk's."""

    units: Units | None = None
    """Hidden layers of each expert; null: the trunk's."""
    shared_experts: int | None = pydantic.Field(default=None, ge=1)
    """Experts that all tasks share; null: as many as the trunk says."""
    task_experts: int | None = pydantic.Field(default=None, ge=1)
    """Experts that each task has for itself; null: as many as the trunk says."""


def _number_or_list(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "list"
    return "number" if isinstance(value, int) and not isinstance(value, bool) else None


PleLayers = Annotated[
    Annotated[int, pydantic.Field(ge=1), pydantic.Tag("number")]
    | Annotated[tuple[PleLayer, ...], pydantic.Field(min_length=1), pydantic.Tag("list")],
    pydantic.Discriminator(
        _number_or_list,
        custom_error_type="layers",
        custom_error_message="allowed: a number >= 1, or a list of {units, shared_experts, task_experts}",
    ),
]


class PleTrunk(_TaskExperts):
    """Stacked layers of shared and task-specific experts (Tang et al., PLE, RecSys 2020, section 4.2). One layer is CGC."""

    kind: Literal["ple"] = "ple"
    layers: PleLayers = 2
    """How many of one size, or each one's sizes."""

    def stacked(self) -> tuple[CgcTrunk, ...]:
        """Its layers, from the input on."""
        layers = (PleLayer(),) * self.layers if isinstance(self.layers, int) else self.layers
        common = self.model_dump(exclude={"kind", "layers"})
        return tuple(CgcTrunk(**{**common, **layer.model_dump(exclude_none=True)}) for layer in layers)

    def fewest_experts(self) -> int:
        """Of those that a gate of any layer chooses from."""
        return min(layer.fewest_experts() for layer in self.stacked())


class CrossStitchTrunk(TrunkSettings):
    """One network a task, their activations mixed after each layer (Misra et al., Cross-stitch Networks, CVPR 2016)."""

    kind: Literal["cross_stitch"] = "cross_stitch"
    own_share: float = pydantic.Field(default=0.9, ge=0, le=1)
    """Of a task's own activations in its mixture before training, the rest by even parts; 0.9 did best in the paper."""


class SluiceTrunk(TrunkSettings):
    """One network a task, subspaces of each layer and the layers of each task mixed (Ruder et al., AAAI 2019)."""

    kind: Literal["sluice"] = "sluice"
    subspaces: int = pydantic.Field(default=2, ge=1)
    """Equal parts of each layer's units; the paper's layers have two."""
    orthogonality: float = pydantic.Field(default=0.001, ge=0)
    """Weight in the loss of how much subspaces of a layer look for the same. The authors' 0.1 stands beside a sum over the
    words of a sentence; this one beside a mean over rows."""

    @pydantic.model_validator(mode="after")
    def _subspaces_divide_units(self) -> SluiceTrunk:
        if odd := [units for units in self.units if units % self.subspaces]:
            raise SpecError(
                f"{self.subspaces} subspaces do not divide a layer of {odd[0]} units; every layer of a sluice network falls "
                f"into equal parts, and units are {', '.join(map(str, self.units))}"
            )
        return self


class _SnrTrunk(TrunkSettings):
    networks: int = pydantic.Field(default=4, ge=1)
    """Sub-networks of each level; a level is a layer of `units`."""
    l0: float = pydantic.Field(default=0.0001, ge=0)
    """Weight in the loss of the expected number of open connections."""
    beta: float = pydantic.Field(default=2 / 3, gt=0)
    """Temperature of the hard concrete distribution that connections are drawn from (Louizos et al., ICLR 2018)."""
    gamma: float = pydantic.Field(default=-0.1, lt=0)
    """From where that distribution is cut at 0."""
    zeta: float = pydantic.Field(default=1.1, gt=1)
    """Up to where it is cut at 1."""


class SnrTransTrunk(_SnrTrunk):
    """Levels of shared sub-networks, gated matrices between them (Ma et al., Sub-Network Routing, AAAI 2019)."""

    kind: Literal["snr_trans"] = "snr_trans"


class SnrAverTrunk(_SnrTrunk):
    """Levels of shared sub-networks, gated sums between them (Ma et al., Sub-Network Routing, AAAI 2019)."""

    kind: Literal["snr_aver"] = "snr_aver"


class MoseTrunk(_SharedExperts):
    """Sequential experts: LSTMs over the row's Sequence features (Qin et al., MoSE, KDD 2020)."""

    READS_SEQUENCES: ClassVar[bool] = True

    kind: Literal["mose"] = "mose"
    units: Units = (64,)
    """LSTM layers of each expert."""
    shared_units: int = pydantic.Field(default=64, ge=1)
    """Of the LSTM below the experts."""
    tower_units: int = pydantic.Field(default=64, ge=1)
    """Of each task's LSTM above the experts."""


SoftSharing = CrossStitchTrunk | SluiceTrunk | SnrTransTrunk | SnrAverTrunk
SharedExperts = MoeTrunk | MmoeTrunk | HmoeTrunk | MoseTrunk
AnyTrunk = SingleTaskTrunk | SharedBottomTrunk | SharedExperts | CgcTrunk | PleTrunk | SoftSharing
TrunkConfig = Annotated[AnyTrunk, pydantic.Field(discriminator="kind"), BareKind()]
