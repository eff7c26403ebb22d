"""What stands beside trunk and head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen
from features.spec import Task
from models.settings.base import Rate


class NoBeside(Frozen):
    """The head's towers are all there is."""

    kind: Literal["none"] = "none"


class PositionTowerBeside(Frozen):
    """A shallow network of the position whose logit is added to that of each task's tower (Zhao et al., RecSys 2019, section 4.3).

    The served model is not told the position: there it counts as missing.
    """

    kind: Literal["position_tower"] = "position_tower"
    units: tuple[pydantic.PositiveInt, ...] = (32,)
    """Hidden layers; may be empty."""
    max_position: int = pydantic.Field(default=100, ge=1)
    """Positions beyond count as this one; those up to it, from 0 on, are told apart."""
    position_dropout: Rate = 0.1
    """Share of training rows whose position counts as missing. With 0, and no position missing in the log, what the tower adds
    in serving is never learned: orders by one tower do not suffer, probabilities do."""
    context: tuple[str, ...] = ()
    """Features (device, page; no lists) that the tower reads too, in serving as well; the trunk keeps them."""


def tower_problem(tower: PositionTowerBeside, tasks: Mapping[str, Task], lists: Mapping[str, bool]) -> str | None:
    """Why a position tower does not fit; None if it does.

    Args:
        tower: its settings.
        tasks: what is predicted.
        lists: {feature: whether it is a list}.
    """
    if all(task.kind != "binary" for task in tasks.values()):
        return f"needs a binary task; got only regressions: {', '.join(tasks)}"
    allowed = [name for name, is_list in lists.items() if not is_list]
    for name in tower.context:
        if name not in allowed:
            what = "which is a list" if name in lists else "which is no feature"
            return f"names '{name}' as context, {what}; allowed: {', '.join(allowed)}"
    return None


BesideConfig = Annotated[NoBeside | PositionTowerBeside, pydantic.Field(discriminator="kind"), BareKind()]
