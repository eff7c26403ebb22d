"""All that the page shows, as plain data: it can be made by hand, kept as JSON and rendered again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import pydantic

from features.frozen import Frozen

Json = dict[str, Any]
OTHERS = "others"
"""Label of the bar that stands for all values without a bar of their own."""
State = Literal["done", "cached", "failed"]


class Stage(Frozen):
    """One box of the flow."""

    name: str
    state: State = "done"
    seconds: float | None = None
    rows: int | None = None
    note: str = ""


class Bar(Frozen):
    """One bar of a histogram: a range of numbers, or a value."""

    label: str
    share: float
    """Of the rows with a value, 0 to 1."""


class ColumnStatistics(Frozen):
    """One column in one split."""

    name: str
    type: str
    rows: int
    missing: float
    """Share of the rows, 0 to 1."""
    distinct: int | None = None
    mean: float | None = None
    deviation: float | None = None
    minimum: float | None = None
    median: float | None = None
    maximum: float | None = None
    mean_length: float | None = None
    """Values a row, of lists."""
    bars: tuple[Bar, ...] = ()


class Artifact(Frozen):
    """What an execution read or made."""

    name: str
    """Under which that execution knows it."""
    type: str
    id: int
    """In MLMD."""
    uri: str
    """Below the pipeline's folder where it lies there."""
    run: str = ""
    """The run that made it."""
    note: str = ""
    """A blessing, where it was pushed to."""


class Execution(Frozen):
    """One stage of a run as MLMD knows it."""

    stage: str
    id: int
    """In MLMD."""
    state: State = "done"
    read: tuple[Artifact, ...] = ()
    made: tuple[Artifact, ...] = ()
    """By this execution or, where it is cached, by the one that the cache found."""
    found: tuple[Artifact, ...] = ()
    """Looked up among what earlier runs made."""


class ReportData(Frozen):
    """Everything about one run. Dicts have the shape of the artifacts' own JSON files."""

    name: str
    """Of the pipeline."""
    dataset: Json
    """The spec."""
    config: Json
    created: str
    """When the page was made: date, time and time zone, for people."""
    stages: tuple[Stage, ...] = ()
    manifest: Json = pydantic.Field(default={})
    manifest_file: str = ""
    """Where the manifest lies."""
    statistics: dict[str, tuple[ColumnStatistics, ...]] = pydantic.Field(default={})
    """By split."""
    verdict: Json = pydantic.Field(default={})
    """Of data validation."""
    training: Json = pydantic.Field(default={})
    gates: Json = pydantic.Field(default={})
    evaluation: Json = pydantic.Field(default={})
    check: Json = pydantic.Field(default={})
    """Of check_serving."""
    blessed: bool = False
    infra_blessed: bool = False
    version: str | None = None
    """The pushed version, if there is one."""
    run: str = ""
    """Id of the run; empty where only a runner knows it."""
    error: str | None = None
    """Why the run stopped before its end."""
    lineage: tuple[Execution, ...] = ()
    """In the order of the run."""
    versions: dict[str, str] = pydantic.Field(default={})
    truth: Json | None = None
    """Synthetic logs: ``{"auc": {output or "sum": AUC against the true preference}, "rows"}``."""


class FinishedStage(Protocol):
    """How a runner tells what a stage did (`pipeline.runs.StageResult`)."""

    @property
    def name(self) -> str:
        """As in the graph."""

    @property
    def state(self) -> State:
        """How it ended."""

    @property
    def seconds(self) -> float:
        """What it took."""

    @property
    def rows(self) -> int | None:
        """What it handled, if it told."""

    @property
    def note(self) -> str:
        """More, in a few words."""


def with_stages(data: ReportData, finished: Iterable[FinishedStage]) -> ReportData:
    """`data` with the times and states that the runner measured; rows and notes that it lacks are kept.

    Of a failed stage only what was measured is told: why it failed is the error of the run.
    """
    known = {stage.name: stage for stage in data.stages}
    stages = []
    for result in finished:
        if result.state == "failed":
            stages.append(Stage(name=result.name, state="failed", seconds=result.seconds, rows=result.rows))
            continue
        before = known.get(result.name)
        rows = result.rows if result.rows is not None else (before.rows if before else None)
        note = result.note or (before.note if before else "")
        stages.append(Stage(name=result.name, state=result.state, seconds=result.seconds, rows=rows, note=note))
    return data.model_copy(update={"stages": tuple(stages)})
