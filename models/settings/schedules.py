"""How the learning rates change as training goes on."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen, SpecError


class Duration(Frozen):
    """A length of training, in steps or in epochs: ``{steps: 500}``, ``{epochs: 0.5}``."""

    steps: int | None = pydantic.Field(default=None, ge=0)
    """Batches; either this or `epochs`."""
    epochs: float | None = pydantic.Field(default=None, ge=0)
    """Passes over the training rows, also parts of one; either this or `steps`."""

    @pydantic.model_validator(mode="after")
    def _check_one(self) -> Duration:
        if (self.steps is None) == (self.epochs is None):
            raise SpecError(
                f"a duration needs either `steps` or `epochs`; got steps {self.steps}, epochs {self.epochs}"
            )
        return self


def _some(duration: Duration) -> Duration:
    if not (duration.steps or duration.epochs):
        raise SpecError("a length of 0; allowed: more than 0 steps or epochs")
    return duration


NONE = Duration(steps=0)
Stretch = Annotated[Duration, pydantic.AfterValidator(_some)]
"""A length that is not 0."""
Floor = Annotated[float, pydantic.Field(ge=0, le=1)]


class _Schedule(Frozen):
    kind: str
    warmup: Duration = NONE
    """Steps in which the rates grow evenly from near 0: step t of w has t / w of them, t from 1."""


class ConstantSchedule(_Schedule):
    """The learning rates as they are, after a warm-up."""

    kind: Literal["constant"] = "constant"


class CosineSchedule(_Schedule):
    """After the warm-up half a cosine wave down to the floor (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    over: Stretch | None = None
    """How long it takes, after the warm-up; null: what is left of `train.epochs`, whether or not training stops early."""
    floor: Floor = 0.0
    """Share of the rates that is left in the end."""


class ExponentialSchedule(_Schedule):
    """After the warm-up the rates are multiplied by `factor` in each `every`, smoothly."""

    kind: Literal["exponential"] = "exponential"
    factor: float = pydantic.Field(default=0.5, gt=0, lt=1)
    """What is left of the rates after each `every`."""
    every: Stretch = Duration(epochs=1)
    """How long it takes until the rates have been multiplied by `factor` once."""
    floor: Floor = 0.0
    """Share of the rates below which they never fall."""


class InverseSqrtSchedule(_Schedule):
    """After a warm-up of w steps (1 if there is none) step t has ``sqrt(w / t)`` of the rates (Vaswani et al., Attention Is
    All You Need, NeurIPS 2017)."""

    kind: Literal["inverse_sqrt"] = "inverse_sqrt"
    floor: Floor = 0.0
    """Share of the rates below which they never fall."""


ScheduleConfig = Annotated[
    ConstantSchedule | CosineSchedule | ExponentialSchedule | InverseSqrtSchedule,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]
