"""Whether one model's weights mean anything to another."""

from __future__ import annotations

from models.settings.model import ModelConfig

ARCHITECTURE = ("trunk", "head", "embeddings")
"""Parts whose kind must be the same: the variables of one kind mean nothing to another."""


def architecture_problem(now: ModelConfig, was: ModelConfig, path: str) -> str | None:
    """Why a model cannot begin with the weights of an earlier one; None if it can.

    Args:
        now: the model.
        was: the earlier one.
        path: where that lies.
    """
    for part in ARCHITECTURE:
        kinds = getattr(now, part).kind, getattr(was, part).kind
        if kinds[0] != kinds[1]:
            return (
                f"train.warm_start: model.{part} is '{kinds[0]}' and that of {path} is '{kinds[1]}', so its weights mean nothing "
                f"here; allowed: the same {', '.join(ARCHITECTURE)}, or train.warm_start: none"
            )
    return None
