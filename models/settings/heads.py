"""What is predicted from the tasks' representations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen, SpecError, unknown
from features.outputs import UP, and_up
from features.spec import Task
from models.settings.base import PAPER_UNITS, Rate, Units


class IndependentHead(Frozen):
    """One tower a task; tasks meet only in the trunk."""

    kind: Literal["independent"] = "independent"
    tower_units: tuple[pydantic.PositiveInt, ...] = (64,)
    """Hidden layers of each tower; may be empty."""
    dropout: Rate = 0.0
    """Share of each hidden layer's outputs dropped in training."""


class DlenHead(Frozen):
    """Tasks composed by Bayes' rule over a latent preference UP (Zhang et al., Deep Latent Emotion Network)."""

    kind: Literal["dlen"] = "dlen"
    tower_units: tuple[pydantic.PositiveInt, ...] = (64,)
    """Hidden layers of each tower; may be empty."""
    state_units: Units = PAPER_UNITS
    """Layers of the hidden-state network that gives P(UP)."""
    ratio: float = pydantic.Field(default=0.3, gt=0, lt=1)
    """P(task | not UP) stays below `ratio` times the task's rate; the paper found 0.1 to 0.5 good (section 3.1)."""
    ratios: dict[str, Annotated[float, pydantic.Field(gt=0, lt=1)]] = pydantic.Field(default_factory=dict)
    """Ratios of single tasks, where they differ from `ratio`."""
    prior: float | None = pydantic.Field(default=None, gt=0, lt=1)
    """P(UP) before training; by default the chance of any interaction if tasks were independent."""
    dropout: Rate = 0.0
    """Share of each hidden layer's outputs dropped in training."""


def dlen_problem(head: DlenHead, tasks: Mapping[str, Task]) -> str | None:
    """Why a DLEN head does not fit these tasks; None if it does."""
    binary = [name for name, task in tasks.items() if task.kind == "binary"]
    if not binary:
        return f"needs a binary task; got only regressions: {', '.join(tasks)}"
    if strange := [name for name in head.ratios if name not in binary]:
        return f"has ratios of an {unknown('binary task', strange[0], binary)}"
    if taken := sorted(set(tasks) & {UP, *map(and_up, binary)}):
        return f"has outputs of its own named {', '.join(taken)}; rename the task"
    return None


class ChainHead(Frozen):
    """What heads along a chain of tasks share: each task's tower, and a chain that `Task.parent` declares."""

    kind: str
    tower_units: tuple[pydantic.PositiveInt, ...] = (64,)
    """Hidden layers of each tower; may be empty."""
    dropout: Rate = 0.0
    """Share of each hidden layer's outputs dropped in training."""


class EsmmHead(ChainHead):
    """P(task) = P(parent) P(task | parent), learned over all impressions (Ma et al., ESMM)."""

    kind: Literal["esmm"] = "esmm"


class Escm2Head(ChainHead):
    """ESMM with a counterfactual risk of P(task | parent) beside (Wang et al., ESCM2)."""

    kind: Literal["escm2"] = "escm2"
    form: Literal["ipw", "dr"] = "dr"
    """Inverse propensity weights alone, or doubly robust: with errors imputed where the parent did not happen."""
    counterfactual_weight: float = pydantic.Field(default=0.5, ge=0)
    """The paper's lambda_c, times the task's own weight. The paper tunes both per dataset; the defaults are those of the
    published configuration for Ali-CCP (PaddleRec)."""
    global_weight: float = pydantic.Field(default=0.5, ge=0)
    """The paper's lambda_g: of the loss of P(task) of a task with a parent, times the task's own weight."""
    min_propensity: float = pydantic.Field(default=0.01, gt=0, le=1)
    """Smaller P(parent) weigh as this one does: no row weighs more than 1 / `min_propensity`."""
    imputation_units: Units = PAPER_UNITS
    """Layers of the network that imputes errors, which `form: dr` alone has."""

    @pydantic.model_validator(mode="after")
    def _imputation_is_read(self) -> Escm2Head:
        # By value: a configuration that was saved gives every key, defaults included.
        if self.form == "ipw" and self.imputation_units != PAPER_UNITS:
            raise SpecError(
                f"imputation_units {list(self.imputation_units)} with `form: ipw`, which imputes no errors; allowed: none, or "
                "`form: dr`"
            )
        return self


class AitmHead(ChainHead):
    """Each task's representation attends to what its parent transfers (Xi et al., AITM)."""

    kind: Literal["aitm"] = "aitm"
    calibrator_weight: float = pydantic.Field(default=0.6, ge=0)
    """The paper's alpha: of the penalty on P(task) > P(parent)."""


AnyHead = IndependentHead | DlenHead | EsmmHead | AitmHead | Escm2Head
HeadConfig = Annotated[AnyHead, pydantic.Field(discriminator="kind"), BareKind()]
