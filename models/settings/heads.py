"""What is predicted from the tasks' representations."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen
from models.settings.base import PAPER_UNITS, Rate, Units


class IndependentHead(Frozen):
    """One tower a task; tasks meet only in the trunk."""

    kind: Literal["independent"] = "independent"
    tower_units: tuple[pydantic.PositiveInt, ...] = (64,)
    """Hidden layers of each tower; may be empty."""
    dropout: Rate = 0.0


UP = "up"
"""The output of a DLEN head that estimates P(user prefers the item)."""


def and_up(task: str) -> str:
    """The output of a DLEN head that estimates P(task and UP)."""
    return f"{task}_and_up"


class DlenHead(Frozen):
    """Tasks composed by Bayes' rule over a latent preference UP (Zhang et al., Deep Latent Emotion Network)."""

    kind: Literal["dlen"] = "dlen"
    tower_units: tuple[pydantic.PositiveInt, ...] = (64,)
    state_units: Units = PAPER_UNITS
    """Layers of the hidden-state network that gives P(UP)."""
    ratio: float = pydantic.Field(default=0.3, gt=0, lt=1)
    """P(task | not UP) stays below `ratio` times the task's rate; the paper found 0.1 to 0.5 good (section 3.1)."""
    ratios: dict[str, Annotated[float, pydantic.Field(gt=0, lt=1)]] = pydantic.Field(default_factory=dict)
    """Ratios of single tasks, where they differ from `ratio`."""
    prior: float | None = pydantic.Field(default=None, gt=0, lt=1)
    """P(UP) before training; by default the chance of any interaction if tasks were independent."""
    dropout: Rate = 0.0


AnyHead = IndependentHead | DlenHead
HeadConfig = Annotated[AnyHead, pydantic.Field(discriminator="kind"), BareKind()]
