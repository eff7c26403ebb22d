"""How numbers are encoded."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen


class IdentityNumbers(Frozen):
    """Each number enters as it is; one that ``scaling: quantile`` has spread over [0, 1] with mean 0 and deviation 1, as the others."""

    kind: Literal["identity"] = "identity"


class PiecewiseLinearNumbers(Frozen):
    """Each number becomes `bins` inputs that fill one after the other as it grows.

    Gorishniy, Rubachev, Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022. Bin edges
    are quantiles: exact for numbers of ``scaling: quantile``, those of the normal distribution for standardised ones.
    """

    kind: Literal["piecewise_linear"] = "piecewise_linear"
    bins: int = pydantic.Field(default=16, ge=2)
    """Inputs that each number becomes."""


class PeriodicNumbers(Frozen):
    """Each number becomes sines and cosines of `frequencies` trained multiples of it, beside itself (same paper)."""

    kind: Literal["periodic"] = "periodic"
    frequencies: int = pydantic.Field(default=8, ge=1)
    """Trained multiples of each number, each with a sine and a cosine."""
    sigma: float = pydantic.Field(default=0.3, gt=0)
    """Standard deviation of the initial frequencies, in cycles per unit."""


NumbersConfig = Annotated[
    IdentityNumbers | PiecewiseLinearNumbers | PeriodicNumbers,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]
