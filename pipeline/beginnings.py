"""What is said of how a training began. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING_PUSHED = "no pushed model from before these rows: begins at random"


def told_beginning(warm_start: str, taken: Mapping[str, Any] | None) -> str | None:
    """Where the weights came from; None if the configuration asks for no warm start.

    Args:
        warm_start: `train.warm_start`.
        taken: a `models.training.WarmStart` as JSON; None if there was no earlier model.
    """
    if not taken:
        return None if warm_start == "none" else NOTHING_PUSHED
    copied, fresh = taken["copied"], len(taken["fresh"])
    return f"begins with {copied} of {copied + fresh} variables of {taken['model']}"
