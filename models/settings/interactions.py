"""What is computed between features before the trunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen


class NoInteractions(Frozen):
    """The trunk reads features side by side."""

    kind: Literal["none"] = "none"


class DotInteractions(Frozen):
    """Dot products of all pairs of features' vectors, beside the features (Naumov et al., DLRM, 2019)."""

    kind: Literal["dot"] = "dot"
    bottom_units: tuple[pydantic.PositiveInt, ...] = (64,)
    """Hidden layers of the network that makes one more vector of all numbers."""


class FmInteractions(Frozen):
    """Sum of the products of all pairs of features' vectors (Rendle, Factorization Machines, ICDM 2010; He and Chua, NFM, SIGIR 2017)."""

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


def width_problem(interactions: InteractionsConfig, widths: Mapping[str, int], numbers: bool) -> str | None:
    """Why features cannot interact so; None if they can.

    Args:
        interactions: the kind.
        widths: of features' embeddings, {feature: width}.
        numbers: whether there are numbers, too: `DotInteractions` makes one more vector of them.
    """
    if interactions.kind not in ("dot", "fm"):
        return None
    fewest, allowed = (1, "two or more, or one beside numbers") if interactions.kind == "dot" else (2, "two or more")
    if len(widths) < (fewest if numbers else 2):
        return (
            f"interactions '{interactions.kind}' are products of pairs of features' vectors; features with an embedding: "
            f"{', '.join(widths) or '(none)'}{' beside numbers' if numbers else ''}; allowed: {allowed}, or another kind"
        )
    usual = Counter(widths.values()).most_common(1)[0][0]
    others = [f"'{name}' has {width}" for name, width in widths.items() if width != usual]
    if not others:
        return None
    return (
        f"interactions '{interactions.kind}' are products of features' vectors, which must have one width; most have "
        f"{usual}, but {', '.join(others)}; allowed: the same `dim` for all features, or another kind"
    )
