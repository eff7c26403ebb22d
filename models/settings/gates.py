"""How experts are weighed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from features.frozen import BareKind, Frozen, SpecError


class SoftmaxGate(Frozen):
    """Every expert gets a weight above 0 (Ma et al., MMoE, KDD 2018)."""

    kind: Literal["softmax"] = "softmax"


class TopKGate(Frozen):
    """Only the `k` best experts get a weight (Shazeer et al., Outrageously Large Neural Networks, ICLR 2017)."""

    kind: Literal["top_k"] = "top_k"
    k: int = pydantic.Field(default=2)
    """Experts that a row uses: 2 or more."""
    noise: bool = True
    """Whether training adds trained Gaussian noise to the logits before the choice (eq. 4)."""
    importance_weight: float = pydantic.Field(default=0.1, ge=0)
    """Of the squared coefficient of variation of the experts' summed weights in the loss (eq. 7)."""
    load_weight: float = pydantic.Field(default=0.1, ge=0)
    """Of the squared coefficient of variation of the experts' expected rows in the loss (eq. 11); without `noise` there is none, and 0."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _no_load_without_noise(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or value.get("noise") is not False:
            return value
        if value.get("load_weight", 0.0) != 0:
            raise SpecError(
                f"load_weight {value['load_weight']} with `noise: false`: rows are expected at an expert by its noise alone (eq. 8 to "
                "10); allowed: 0, or `noise: true`"
            )
        return {**value, "load_weight": 0.0}

    @pydantic.field_validator("k")
    @classmethod
    def _check_k(cls, k: int) -> int:
        if k < 2:
            raise SpecError(
                f"k is {k}; a softmax over the only expert kept is 1 whatever its logit, so that the tasks would not train "
                "the gate; allowed: 2 or more"
            )
        return k


class DselectKGate(Frozen):
    """Differentiable selection of `k` experts by binary codes (Hazimeh et al., DSelect-k, NeurIPS 2021)."""

    kind: Literal["dselect_k"] = "dselect_k"
    k: int = pydantic.Field(default=2, ge=1)
    """Single-expert selectors of a gate: at most so many experts get a weight once training has settled."""
    gamma: float = pydantic.Field(default=1.0, gt=0)
    """Width of the smooth step: outside of [-gamma/2, gamma/2] it is exactly 0 or 1."""
    entropy: float = pydantic.Field(default=0.001, ge=0)
    """Of the selectors' entropy in the loss, which drives them to binary codes."""
    unreachable: float = pydantic.Field(default=1.0, ge=0)
    """Of what drives selectors away from codes without an expert in the loss, where experts are no power of 2; 1 in the paper."""
    per_example: bool = True
    """Whether the choice depends on the row, or is one for all rows (static)."""


AnyGate = SoftmaxGate | TopKGate | DselectKGate
GateConfig = Annotated[AnyGate, pydantic.Field(discriminator="kind"), BareKind()]
