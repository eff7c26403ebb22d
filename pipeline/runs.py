"""Where a pipeline keeps its things, and the record of one run. Loads no TensorFlow."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from features.errors import ConfigError
from features.spec import Frozen
from pipeline.config import RunConfig

StageState = Literal["done", "cached", "failed"]

STOPPED = "stopped"
_RUN_ID = "%Y%m%dT%H%M%S%f"
"""Of the time when a run starts, in UTC."""


def stopped_folder(output: str) -> str:
    """Where a stage that stops a run keeps what explains it, beside its outputs: TFX deletes those of a stage that failed.

    Args:
        output: folder of one of its outputs; ``<root>/ingest/quarantine/7`` gives ``<root>/ingest/stopped/7``.
    """
    outputs, execution = os.path.split(output.rstrip("/"))
    return os.path.join(os.path.dirname(outputs), STOPPED, execution)


class PipelinePaths(Frozen):
    """The folder of one pipeline: ``<output>/<name>/``."""

    root: Path

    @property
    def metadata(self) -> Path:
        """The MLMD store (SQLite)."""
        return self.root / "metadata.sqlite"

    @property
    def artifacts(self) -> Path:
        """TFX's pipeline root: one folder a stage, output and execution."""
        return self.root / "artifacts"

    def stopped(self, stage: str, execution: int) -> Path:
        """What a stage kept as it stopped a run (:func:`stopped_folder`)."""
        return self.artifacts / stage / STOPPED / str(execution)

    @property
    def history(self) -> Path:
        """One folder a run: its configuration, record, log and report."""
        return self.root / "history"

    @property
    def lock(self) -> Path:
        """Locked while a run goes on, whose name is in it then."""
        return self.root / "lock"


class StageResult(Frozen):
    """How one stage of a run ended."""

    name: str
    state: StageState
    seconds: float
    rows: int | None = None
    outputs: dict[str, tuple[str, ...]] = {}
    """URIs by output name."""
    pushed_to: str | None = None
    """Where Pusher put the model; of a cached stage, where the run did that made it."""
    note: str = ""


class RunRecord(Frozen):
    """What ``history/<run_id>/run.json`` holds."""

    run_id: str
    pipeline: str
    status: Literal["done", "failed"]
    started: datetime.datetime
    seconds: float
    stages: tuple[StageResult, ...]
    error: str | None = None

    def stage(self, name: str) -> StageResult | None:
        """The stage of that name, if the run reached it."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def output(self, stage: str, name: str) -> Path | None:
        """Folder of a stage's first output of that name, if there is one."""
        found = self.stage(stage)
        uris = found.outputs.get(name, ()) if found else ()
        return Path(uris[0]) if uris else None


class StageListener(Protocol):
    """Who wants to know how a run goes on (the console)."""

    def stage_started(self, name: str) -> None:
        """A stage begins."""

    def stage_finished(self, result: StageResult) -> None:
        """A stage ended, well or not."""


class RunFolder:
    """``history/<run_id>/`` of one run.

    Args:
        paths: the pipeline's folder.
        run_id: sorts by time, such as ``20220430T101500123456``.
    """

    def __init__(self, paths: PipelinePaths, run_id: str) -> None:
        self.run_id = run_id
        self.directory = paths.history / run_id

    @classmethod
    @contextlib.contextmanager
    def create(cls, config: RunConfig) -> Iterator[RunFolder]:
        """A new, empty folder for a run that starts now and ends with the context; until then no other run can start.

        Raises:
            ConfigError: if a path is remote, TF_CONFIG does not make the cluster that the training needs, or another run of this pipeline goes on.
        """
        config.check_paths()
        config.check_cluster(os.environ.get("TF_CONFIG"))
        paths = PipelinePaths(root=config.directory)
        now = datetime.datetime.now(datetime.timezone.utc)
        folder = cls(paths, now.strftime(_RUN_ID))
        with _only_run(paths, f"run {folder.run_id}, since {now:%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}"):
            folder.directory.mkdir(parents=True)
            yield folder

    def is_named_by_time(self) -> bool:
        """Whether it is a run's, and not another folder that someone put there."""
        return re.fullmatch(r"\d{8}T\d{12}", self.run_id) is not None

    @property
    def started(self) -> datetime.datetime:
        """When the run started, as its id says."""
        return datetime.datetime.strptime(self.run_id, _RUN_ID).replace(tzinfo=datetime.timezone.utc)

    @property
    def config(self) -> Path:
        """The resolved configuration: running from it gives the same graph."""
        return self.directory / "config.yaml"

    @property
    def log(self) -> Path:
        """Everything that TFX, Beam and TensorFlow had to say, and the traceback of a failure."""
        return self.directory / "log.txt"

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.directory / "report.html"

    @property
    def record_file(self) -> Path:
        """The :class:`RunRecord` as JSON."""
        return self.directory / "run.json"

    def write_record(self, record: RunRecord) -> None:
        """Writes the record in place of an earlier one."""
        self.record_file.write_text(record.model_dump_json(indent=2))

    def read_record(self) -> RunRecord:
        """Reads the record.

        Raises:
            FileNotFoundError: if the run wrote none.
            pydantic.ValidationError: if the file is no record.
        """
        return RunRecord.model_validate_json(self.record_file.read_text())


@contextlib.contextmanager
def _only_run(paths: PipelinePaths, who: str) -> Iterator[None]:
    """Two runs would write each other's metadata and checkpoints. The system unlocks when a process ends, killed or not."""
    paths.root.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise ConfigError(
                f"{paths.root} is in use by {lock.read() or 'another run'}; one run at a time is allowed: wait for its end, "
                "or give this one another `name` or `output`"
            ) from error
        lock.truncate(0)
        lock.write(who)
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)
            fcntl.flock(lock, fcntl.LOCK_UN)
