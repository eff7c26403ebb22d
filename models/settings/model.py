"""A ranker's configuration: its parts, and how presets fill them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

import pydantic

from features.frozen import Frozen, SpecError, unknown
from models.settings.base import Rate
from models.settings.beside import BesideConfig, NoBeside
from models.settings.embeddings import EmbeddingsConfig, SharedEmbeddings
from models.settings.gates import GateConfig, SoftmaxGate
from models.settings.heads import HeadConfig, IndependentHead
from models.settings.interactions import InteractionsConfig, NoInteractions
from models.settings.numbers import IdentityNumbers, NumbersConfig
from models.settings.presets import ALIASES, PRESETS
from models.settings.trunks import MmoeTrunk, TrunkConfig

_PARTS = {
    "interactions": InteractionsConfig,
    "trunk": TrunkConfig,
    "gate": GateConfig,
    "head": HeadConfig,
    "embeddings": EmbeddingsConfig,
    "beside": BesideConfig,
}
"""What a preset chooses; the rest of a model is its inputs."""
MODEL_PARTS = tuple(_PARTS)
_DEFAULTS = {"interactions": "none", "gate": "softmax", "embeddings": "shared", "beside": "none"}


def _kind(value: Any) -> Any:
    """``trunk: ple`` is short for ``trunk: {kind: ple}``."""
    return {"kind": value} if isinstance(value, str) else value


def _overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`; a part of another kind replaces the base's part instead of mixing with it."""
    merged = dict(base)
    for key, value in over.items():
        below, above = _kind(base.get(key)), _kind(value)
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            same = above.get("kind", below.get("kind")) == below.get("kind")
            merged[key] = {**below, **above} if same else dict(above)
        else:
            merged[key] = value
    return merged


def _kinds(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The kind of every part, those not given with their defaults."""
    kinds = {}
    for part in _PARTS:
        value = _kind(parts.get(part, _DEFAULTS.get(part)))
        kinds[part] = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kinds


def _preset_of(model: Mapping[str, Any]) -> str | None:
    """The preset that has a model's kinds of parts, if there is one."""
    kinds = _kinds(model)
    return next((name for name, preset in PRESETS.items() if _kinds(preset.parts) == kinds), None)


def change_kind(part: str, settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A part's settings, as under ``model.trunk:``, carried over to another kind of that part.

    What the new kind has as well stays. What only other kinds have (``experts`` on the way from MMoE to PLE) is dropped;
    what none has stays, to be refused.
    """
    variants = get_args(get_args(_PARTS[part])[0])
    fields = {variant.model_fields["kind"].default: set(variant.model_fields) for variant in variants}
    dropped = set().union(*fields.values()) - fields.get(kind, set())
    return {key: value for key, value in settings.items() if key not in dropped} | {"kind": kind}


def change_preset(model: Mapping[str, Any], preset: str) -> dict[str, Any]:
    """Settings of a model, as under ``model:``, carried over to another preset, so that presets compare like for like.

    Inputs stay. Every part takes the preset's kind, the default one (no interactions, softmax gates, shared embeddings,
    nothing beside) where the preset names none: a name always means the model that ``feedrank models NAME`` shows,
    whatever the file chose, and the way back from ``mmoe_dcn_v2`` is ``mmoe``. Who wants the other trunk with the file's
    own interactions changes the trunk alone, or sets them after the preset. Within a part settings stay as
    `change_kind` says.
    """
    kinds = _kinds(PRESETS[ALIASES.get(preset, preset)].parts)
    changed = {**model, "preset": preset}
    for part, kind in kinds.items():
        if isinstance(below := _kind(model.get(part)), Mapping):
            changed[part] = change_kind(part, below, kind)
    return changed


class ModelConfig(Frozen):
    """A ranker: inputs x interactions x embeddings x trunk x gate x head x what stands beside.

    Example:
        >>> ModelConfig.model_validate({"preset": "dlen", "trunk": {"experts": 3}}).trunk.experts
        3
    """

    SHORTHAND: ClassVar[str | None] = "preset"

    preset: str | None = pydantic.Field(default=None, json_schema_extra={"enum": [*PRESETS, *ALIASES, None]})
    """Where the parts start from; one that is given as well overrides it. Afterwards the preset whose kinds they are, or
    null."""
    embedding_dim: int = pydantic.Field(default=16, ge=1)
    """Width of tables that name none of their own."""
    embedding_l2: float = pydantic.Field(default=0.0, ge=0)
    """Times the squared length of a row's embeddings, mean over rows, in the loss: table rows not looked up stay. A list
    counts by its pooled vector. Taken before `input_dropout`. Rows count alike, whatever they weigh."""
    input_dropout: Rate = 0.0
    """Share of the trunk's inputs dropped in training."""
    numbers: NumbersConfig = IdentityNumbers()
    """How numbers are encoded."""
    interactions: InteractionsConfig = NoInteractions()
    """What is computed between features before the trunk."""
    embeddings: EmbeddingsConfig = SharedEmbeddings()
    """Which tasks share which embedding tables."""
    trunk: TrunkConfig = MmoeTrunk()
    """The network from one representation of a row to one for each task."""
    gate: GateConfig = SoftmaxGate()
    """How experts are weighed, of a trunk that has gates."""
    head: HeadConfig = IndependentHead()
    """What is predicted from the tasks' representations."""
    beside: BesideConfig = NoBeside()
    """What stands beside trunk and head."""

    def chosen(self) -> dict[str, Any]:
        """The parts that a preset chooses, with all their settings: as JSON."""
        return self.model_dump(mode="json", include={"preset", *_PARTS})

    @pydantic.model_validator(mode="after")
    def _embeddings_fit_trunk(self) -> ModelConfig:
        if self.embeddings.kind == "stem" and not self.trunk.OWN_EXPERTS:
            fit = [t.model_fields["kind"].default for t in get_args(get_args(TrunkConfig)[0]) if t.OWN_EXPERTS]
            raise SpecError(
                f"embeddings: stem gives each task's own experts vectors of their own, and trunk {self.trunk.kind} has no "
                f"such experts; allowed with stem: {', '.join(fit)}"
            )
        return self

    @pydantic.model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        value = {"preset": value} if isinstance(value, str) else value
        if not isinstance(value, Mapping) or not isinstance(value.get("preset"), str):
            return value
        name = ALIASES.get(value["preset"], value["preset"])
        if name not in PRESETS:
            raise SpecError(unknown("preset", name, [*PRESETS, *ALIASES]))
        merged = _overlay(PRESETS[name].parts, value)
        return {**merged, "preset": _preset_of(merged)}

    @pydantic.model_validator(mode="after")
    def _gate_fits_trunk(self) -> ModelConfig:
        if self.gate.kind == "softmax":
            return self
        trunk, gate = self.trunk, self.gate
        if not trunk.GATED:
            gated = [t.model_fields["kind"].default for t in get_args(get_args(TrunkConfig)[0]) if t.GATED]
            raise SpecError(
                f"gate: trunk {trunk.kind} has no gates; got {gate.kind}; trunks with gates: {', '.join(gated)}"
            )
        fewest = trunk.fewest_experts()
        if gate.k > fewest or fewest < 2:
            least = 2 if gate.kind == "top_k" else 1
            allowed = f"{least} to {fewest}" if fewest >= 2 else "another kind of gate, or more experts"
            raise SpecError(
                f"gate.k: a gate of trunk {trunk.kind} chooses from {fewest} experts; got {gate.k}, allowed: {allowed}"
            )
        return self
