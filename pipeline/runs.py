"""Where a pipeline keeps its things, and the record of one run. Loads no TensorFlow."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from features import folders
from features.errors import ConfigError
from features.paths import remote
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
    def owner(self) -> Path:
        """The mark of this history, which its artifacts bear, too, where they lie elsewhere (:func:`claim_artifacts`)."""
        return self.root / "owner"

    @property
    def history(self) -> Path:
        """One folder a run: its configuration, record, log and report."""
        return self.root / "history"

    @property
    def lock(self) -> Path:
        """Locked while a run goes on, whose name is in it then."""
        return self.root / "lock"


def claim_artifacts(root: str, owner: Path) -> None:
    """Makes a folder of artifacts that of one history: executions are numbered from 1 in each, so that another one would write over what
    lies there.

    Args:
        root: the folder.
        owner: file with the history's mark, made at its first run.

    Raises:
        ConfigError: if the folder is another history's, or holds anything else.
        DataError: if a store does not answer or refuses.
    """
    mine = owner.read_text("utf-8") if owner.exists() else ""
    mark = os.path.join(root, owner.name)
    if folders.exists(mark):
        if mine == (found := folders.read_text(mark)):
            return
        told = f"are of another history ('{found}'; that in {owner.parent} is '{mine}')"
    elif folders.is_folder(root) and folders.list_files(root):
        told = "are none of this pipeline's"
    else:
        mine = mine or uuid.uuid4().hex
        folders.make(root)
        folders.write_text(mark, mine)
        owner.write_text(mine, "utf-8")
        return
    raise ConfigError(
        f"artifacts: the files in {root} {told}; allowed: an empty folder, or the `output` that belongs to it"
    )


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

    def uri(self, stage: str, name: str) -> str | None:
        """Folder of a stage's first output of that name, on a disk or in a store, if there is one."""
        found = self.stage(stage)
        uris = found.outputs.get(name, ()) if found else ()
        return uris[0] if uris else None

    def output(self, stage: str, name: str) -> Path | None:
        """The same where artifacts are known to lie on a disk."""
        uri = self.uri(stage, name)
        assert uri is None or remote(uri) is None, uri
        return None if uri is None else Path(uri)


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
        """What feedrank had to say, all errors that libraries log, and the traceback of a failure."""
        return self.directory / "log.txt"

    @property
    def library_log(self) -> Path:
        """Everything that TFX, Beam and TensorFlow had to say, and all that was printed, by other processes, too."""
        return self.directory / "log_libraries.txt"

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
