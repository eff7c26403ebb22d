"""The choices that make a ranker and its training: one frozen class a part, presets on top.

``model: dlen`` in YAML stands for ``model: {preset: dlen}``; what is written beside `preset` overrides it. This module
loads no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

import pydantic

from features.frozen import BareKind, Frozen, SpecError, unknown

Units = Annotated[tuple[pydantic.PositiveInt, ...], pydantic.Field(min_length=1)]
Rate = Annotated[float, pydantic.Field(ge=0, lt=1)]
PAPER_UNITS = (256, 128, 64)


# -- inputs ----------------------------------------------------------------------------------------------------------


class IdentityNumbers(Frozen):
    """Each number enters as it is."""

    kind: Literal["identity"] = "identity"


class PiecewiseLinearNumbers(Frozen):
    """Each number becomes `bins` inputs that fill one after the other as it grows.

    Gorishniy, Rubachev, Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022. Bin edges
    are quantiles: exact for numbers of ``scaling: quantile``, those of the normal distribution for standardised ones.
    """

    kind: Literal["piecewise_linear"] = "piecewise_linear"
    bins: int = pydantic.Field(default=16, ge=2)


class PeriodicNumbers(Frozen):
    """Each number becomes sines and cosines of `frequencies` trained multiples of it, beside itself (same paper)."""

    kind: Literal["periodic"] = "periodic"
    frequencies: int = pydantic.Field(default=8, ge=1)
    sigma: float = pydantic.Field(default=0.3, gt=0)
    """Standard deviation of the initial frequencies, in cycles per unit."""


NumbersConfig = Annotated[
    IdentityNumbers | PiecewiseLinearNumbers | PeriodicNumbers,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]


# -- trunks ----------------------------------------------------------------------------------------------------------


class SharedBottomTrunk(Frozen):
    """One network for all tasks (Caruana, Multitask Learning, 1997)."""

    kind: Literal["shared_bottom"] = "shared_bottom"
    units: Units = PAPER_UNITS
    dropout: Rate = 0.0
    """Share of each hidden layer's outputs dropped in training."""


class MmoeTrunk(Frozen):
    """Shared experts, one gate a task (Ma et al., MMoE, KDD 2018)."""

    kind: Literal["mmoe"] = "mmoe"
    experts: int = pydantic.Field(default=5, ge=1)
    units: Units = PAPER_UNITS
    """Layers of each expert."""
    dropout: Rate = 0.0


class PleTrunk(Frozen):
    """Stacked layers of shared and task-specific experts (Tang et al., PLE, RecSys 2020). One layer is CGC."""

    kind: Literal["ple"] = "ple"
    layers: int = pydantic.Field(default=2, ge=1)
    shared_experts: int = pydantic.Field(default=5, ge=1)
    task_experts: int = pydantic.Field(default=2, ge=1)
    """Experts that each task has for itself, in each layer."""
    units: Units = PAPER_UNITS
    """Layers of each expert."""
    dropout: Rate = 0.0


AnyTrunk = SharedBottomTrunk | MmoeTrunk | PleTrunk
TrunkConfig = Annotated[AnyTrunk, pydantic.Field(discriminator="kind"), BareKind()]


# -- heads -----------------------------------------------------------------------------------------------------------


class IndependentHead(Frozen):
    """One tower a task; tasks meet only in the trunk."""

    kind: Literal["independent"] = "independent"
    tower_units: tuple[pydantic.PositiveInt, ...] = (64,)
    """Hidden layers of each tower; may be empty."""
    dropout: Rate = 0.0


UP = "up"
"""The output of a DLEN head that estimates P(user prefers the item)."""


def and_up(task: str) -> str:
    """The output of a DLEN head that estimates P(task and UP)."""
    return f"{task}_and_up"


class DlenHead(Frozen):
    """Tasks composed by Bayes' rule over a latent preference UP (Zhang et al., Deep Latent Emotion Network)."""

    kind: Literal["dlen"] = "dlen"
    tower_units: tuple[pydantic.PositiveInt, ...] = (64,)
    state_units: Units = PAPER_UNITS
    """Layers of the hidden-state network that gives P(UP)."""
    ratio: float = pydantic.Field(default=0.3, gt=0, lt=1)
    """P(task | not UP) stays below `ratio` times the task's rate; the paper found 0.1 to 0.5 good (section 3.1)."""
    ratios: dict[str, Annotated[float, pydantic.Field(gt=0, lt=1)]] = pydantic.Field(default_factory=dict)
    """Ratios of single tasks, where they differ from `ratio`."""
    prior: float | None = pydantic.Field(default=None, gt=0, lt=1)
    """P(UP) before training; by default the chance of any interaction if tasks were independent."""
    dropout: Rate = 0.0


AnyHead = IndependentHead | DlenHead
HeadConfig = Annotated[AnyHead, pydantic.Field(discriminator="kind"), BareKind()]


# -- presets ---------------------------------------------------------------------------------------------------------


class Preset(NamedTuple):
    """A point of the product space that has a name."""

    description: str
    paper: str
    parts: Mapping[str, Any]
    """As a user would write them under ``model:``."""


PRESETS: Mapping[str, Preset] = {
    "shared_bottom": Preset(
        "One shared network, one tower a task: the baseline.",
        "Caruana, Multitask Learning, Machine Learning 28, 1997",
        {"trunk": "shared_bottom", "head": "independent"},
    ),
    "mmoe": Preset(
        "Shared experts, a softmax gate for each task.",
        "Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018",
        {"trunk": "mmoe", "head": "independent"},
    ),
    "ple": Preset(
        "Shared and task-specific experts in stacked layers.",
        "Tang et al., Progressive Layered Extraction (PLE), RecSys 2020",
        {"trunk": "ple", "head": "independent"},
    ),
    "mmoe_dlen": Preset(
        "MMoE below a latent preference that all tasks share.",
        "Zhang et al., Deep Latent Emotion Network for Multi-Task Learning, Tencent",
        {"trunk": "mmoe", "head": "dlen"},
    ),
    "ple_dlen": Preset(
        "PLE below a latent preference that all tasks share.",
        "Zhang et al., Deep Latent Emotion Network for Multi-Task Learning, Tencent",
        {"trunk": "ple", "head": "dlen"},
    ),
}
ALIASES: Mapping[str, str] = {"dlen": "mmoe_dlen"}


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


def _preset_of(model: Mapping[str, Any]) -> str | None:
    """The preset that has a model's kinds of trunk and head, if there is one."""
    parts = {part: _kind(model[part]) for part in ("trunk", "head")}
    kinds = {part: p.get("kind") if isinstance(p, Mapping) else getattr(p, "kind", None) for part, p in parts.items()}
    return next((name for name, preset in PRESETS.items() if preset.parts == kinds), None)


def change_preset(model: Mapping[str, Any], preset: str) -> dict[str, Any]:
    """Settings of a model, as under ``model:``, carried over to another preset, so that presets compare like for like.

    Inputs stay; trunk and head become the preset's and keep every setting that the new one has as well. What only
    the old one has (``experts`` on the way from MMoE to PLE) is dropped; what none has stays, to be refused.
    """
    parts = PRESETS[ALIASES.get(preset, preset)].parts
    changed = {**model, "preset": preset}
    for part, variants in (("trunk", AnyTrunk), ("head", AnyHead)):
        if isinstance(below := _kind(model.get(part)), Mapping):
            fields = {v.model_fields["kind"].default: set(v.model_fields) for v in get_args(variants)}
            dropped = set().union(*fields.values()) - fields[parts[part]]
            changed[part] = {key: value for key, value in below.items() if key not in dropped} | {"kind": parts[part]}
    return changed


class ModelConfig(Frozen):
    """A ranker: inputs x trunk x head.

    Example:
        >>> ModelConfig.model_validate({"preset": "dlen", "trunk": {"experts": 3}}).trunk.experts
        3
    """

    SHORTHAND: ClassVar[str | None] = "preset"

    preset: str | None = pydantic.Field(default=None, json_schema_extra={"enum": [*PRESETS, *ALIASES, None]})
    """Where `trunk` and `head` start from; a part that is given as well overrides it. Afterwards the preset whose kinds
    they are, or null."""
    embedding_dim: int = pydantic.Field(default=16, ge=1)
    """Width of tables that name none of their own."""
    embedding_l2: float = pydantic.Field(default=0.0, ge=0)
    """Times the squared length of a row's embeddings, mean over rows, in the loss: table rows not looked up stay. A list
    counts by its pooled vector. Taken before `input_dropout`."""
    input_dropout: Rate = 0.0
    """Share of the trunk's inputs dropped in training."""
    numbers: NumbersConfig = IdentityNumbers()
    trunk: TrunkConfig = MmoeTrunk()
    head: HeadConfig = IndependentHead()

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


# -- training --------------------------------------------------------------------------------------------------------


class Adam(Frozen):
    """Kingma and Ba, Adam, ICLR 2015. For dense variables."""

    kind: Literal["adam"] = "adam"
    learning_rate: float = pydantic.Field(default=0.001, gt=0)
    beta_1: float = pydantic.Field(default=0.9, ge=0, lt=1)
    beta_2: float = pydantic.Field(default=0.999, ge=0, lt=1)
    epsilon: float = pydantic.Field(default=1e-7, gt=0)


class LazyAdam(Adam):
    """Adam that touches only the rows that were looked up. For embedding tables."""

    kind: Literal["lazy_adam"] = "lazy_adam"  # type: ignore[assignment]


class Adagrad(Frozen):
    """Duchi et al., Adaptive Subgradient Methods, JMLR 2011. Touches only the rows that were looked up."""

    kind: Literal["adagrad"] = "adagrad"
    learning_rate: float = pydantic.Field(default=0.05, gt=0)
    initial_accumulator: float = pydantic.Field(default=0.1, ge=0)
    epsilon: float = pydantic.Field(default=1e-7, gt=0)


DenseOptimizer = Annotated[Adam | Adagrad, pydantic.Field(discriminator="kind"), BareKind()]
EmbeddingOptimizer = Annotated[Adagrad | LazyAdam, pydantic.Field(discriminator="kind"), BareKind()]


class TrainConfig(Frozen):
    """How a ranker is trained."""

    batch_size: int = pydantic.Field(default=2048, ge=1)
    epochs: int = pydantic.Field(default=10, ge=1)
    """At most; early stopping may end sooner."""
    patience: int = pydantic.Field(default=2, ge=0)
    """Epochs in a row without a better validation mean AUC after which training stops, as Keras counts: 0 and 1 both stop
    at the first. The best epoch's weights are kept."""
    seed: int = pydantic.Field(default=1, ge=0, lt=2**32)
    dense_optimizer: DenseOptimizer = Adam()
    embedding_optimizer: EmbeddingOptimizer = Adagrad()
    clip_norm: float | None = pydantic.Field(default=None, gt=0)
    """Largest norm of all gradients together."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile the dense part. ``auto``: on GPU and TPU only; on CPU plain graphs are faster."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    shuffle_rows: int = pydantic.Field(default=200_000, ge=0)
    """Rows held in memory to draw batches from; 0 keeps the files' order."""
    checkpoint_every_steps: int = pydantic.Field(default=1000, ge=1)
    keep_checkpoints: int = pydantic.Field(default=2, ge=1)
