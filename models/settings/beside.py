"""What stands beside trunk and head."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen
from models.settings.base import Rate


class NothingBeside(Frozen):
    """The head's towers are all there is."""

    kind: Literal["none"] = "none"


class PositionTower(Frozen):
    """A shallow network of the position whose logit is added to that of each task's tower (Zhao et al., RecSys 2019, section 4.3).

    The served model is not told the position: there it counts as missing.
    """

    kind: Literal["position_tower"] = "position_tower"
    units: tuple[pydantic.PositiveInt, ...] = (32,)
    """Hidden layers; may be empty."""
    position_dropout: Rate = 0.1
    """Share of training rows whose position counts as missing. With 0, and no position missing in the log, what the tower adds
    in serving is never learned: orders by one tower do not suffer, probabilities do."""
    context: tuple[str, ...] = ()
    """Features (device, page; no lists) that the tower reads too, in serving as well; the trunk keeps them."""


BesideConfig = Annotated[NothingBeside | PositionTower, pydantic.Field(discriminator="kind"), BareKind()]
