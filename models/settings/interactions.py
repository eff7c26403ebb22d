"""What is computed between features before the trunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen


class NoInteractions(Frozen):
    """The trunk reads features side by side."""

    kind: Literal["none"] = "none"


class DotInteractions(Frozen):
    """Dot products of all pairs of features' vectors, beside the features (Naumov et al., DLRM, 2019). Vectors of another width than
    most are mapped to theirs."""

    kind: Literal["dot"] = "dot"
    bottom_units: tuple[pydantic.PositiveInt, ...] = (64,)
    """Hidden layers of the network that makes one more vector of all numbers."""


class FmInteractions(Frozen):
    """Sum of the products of all pairs of features' vectors (Rendle, Factorization Machines, ICDM 2010; He and Chua, NFM, SIGIR 2017).
    Vectors of another width than most are mapped to theirs."""

    kind: Literal["fm"] = "fm"


class DcnV2Interactions(Frozen):
    """Cross layers: each one raises the degree of the interactions by one (Wang et al., DCN V2, WWW 2021)."""

    kind: Literal["dcn_v2"] = "dcn_v2"
    layers: int = pydantic.Field(default=2, ge=1)
    """Cross layers: n of them make interactions of up to n + 1 features."""
    rank: int | None = pydantic.Field(default=None, ge=1)
    """Of each layer's low-rank kernel; null: full rank."""


InteractionsConfig = Annotated[
    NoInteractions | DotInteractions | FmInteractions | DcnV2Interactions,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]


def pairs_problem(interactions: InteractionsConfig, features: Collection[str], numbers: bool) -> str | None:
    """Why features cannot interact so; None if they can.

    Args:
        interactions: the kind.
        features: those with an embedding.
        numbers: whether there are numbers, too: `DotInteractions` makes one more vector of them.
    """
    if interactions.kind not in ("dot", "fm"):
        return None
    fewest, allowed = (1, "two or more, or one beside numbers") if interactions.kind == "dot" else (2, "two or more")
    if len(features) >= (fewest if numbers else 2):
        return None
    return (
        f"interactions '{interactions.kind}' are products of pairs of features' vectors; features with an embedding: "
        f"{', '.join(features) or '(none)'}{' beside numbers' if numbers else ''}; allowed: {allowed}, or another kind"
    )


def common_width(widths: Mapping[str, int]) -> int:
    """In which vectors of several widths meet: that of most features, of equally frequent ones the largest."""
    counts = Counter(widths.values())
    return max(counts, key=lambda width: (counts[width], width), default=1)
