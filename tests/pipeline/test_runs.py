"""Where and when a run may start: one of a pipeline at a time, on paths of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pydantic
import pytest

from features import folders
from features.errors import ConfigError, ModelError
from pipeline import commands
from pipeline.config import RunConfig
from pipeline.loading import CONFIGS
from pipeline.runs import PipelinePaths, RunFolder, claim_artifacts

HOLD = """
import sys
from pipeline.config import RunConfig
from pipeline.runs import RunFolder
with RunFolder.create(RunConfig(name="demo", output=sys.argv[1], dataset="synthetic")) as folder:
    print(folder.run_id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig.model_validate({"name": "demo", "output": str(tmp_path), "dataset": "synthetic"})


@pytest.fixture
def paths(config: RunConfig) -> PipelinePaths:
    return PipelinePaths(root=config.directory)


@pytest.fixture
def other(paths: PipelinePaths) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run in another process, and its id."""
    command = [sys.executable, "-c", HOLD, str(paths.root.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_second_run_ends_at_once_and_names_the_first(
    config: RunConfig, paths: PipelinePaths, other: tuple[subprocess.Popen[str], str]
) -> None:
    process, run_id = other
    day = f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}"
    holder = rf"{paths.root} is in use by run {run_id}, since {day} \d\d:\d\d:\d\d UTC, process {process.pid}; one run"
    with pytest.raises(ConfigError, match=holder), RunFolder.create(config):
        pass
    assert [folder.name for folder in paths.history.iterdir()] == [run_id]
    with RunFolder.create(config.model_copy(update={"name": "another"})) as folder:
        assert folder.directory.is_dir()


def test_a_killed_run_leaves_no_lock(
    config: RunConfig, paths: PipelinePaths, other: tuple[subprocess.Popen[str], str]
) -> None:
    process, run_id = other
    process.kill()
    process.wait()
    with RunFolder.create(config) as folder:
        assert folder.run_id > run_id
        assert paths.lock.read_text().startswith(f"run {folder.run_id}, since ")


def test_a_run_that_ended_or_failed_lets_the_next_one_start(config: RunConfig, paths: PipelinePaths) -> None:
    with RunFolder.create(config) as first:
        pass
    with pytest.raises(KeyError), RunFolder.create(config):
        raise KeyError
    with RunFolder.create(config) as third:
        assert third.run_id > first.run_id
    assert paths.lock.read_text() == ""


def test_the_command_says_so(paths: PipelinePaths, other: tuple[subprocess.Popen[str], str]) -> None:
    with pytest.raises(ConfigError, match="is in use by run"):
        commands.run(CONFIGS / "demo.yaml", [f"output={paths.root.parent}", f"data.path={paths.root.parent / 'log'}"])
    assert not (paths.root.parent / "log").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("output=gs://bucket/runs", "output: 'gs://bucket/runs' is no path of this machine; .*allowed: a local path"),
        (
            "data={path: 'abfs://b/log', synthesize: null}",
            "data.path: 'abfs://b/log' is of no file system .* gs://, hdfs://",
        ),
        ("data.hash_key=s3://bucket/key", "data.hash_key: 's3://bucket/key' is no path of this machine"),
        (
            "data.path=s3://bucket/log",
            "data.path: 's3://bucket/log' is no path of this machine",
        ),  # the demo makes its log
        (
            "data={path: 's3:/bucket/log', synthesize: null}",
            "data.path: 's3:/bucket/log' is of no file system that is read",
        ),
        ("data={path: 's3://', synthesize: null}", "data.path: 's3://' names no bucket; allowed: s3://BUCKET/FOLDER"),
        ("data={path: 's3://a:secret@b/c', synthesize: null}", "data.path: a password stands in the path"),
        ("push.directory=abfs://b/models", "push.directory: 'abfs://b/models' is of no file system that is written"),
        ("push.directory=s3:///models", "push.directory: 's3:///models' names no bucket; allowed: s3://BUCKET/FOLDER"),
        ("artifacts=abfs://b/x", "artifacts: 'abfs://b/x' is of no file system that is written"),
        (
            "artifacts=hdfs://host:1/x",
            "artifacts: 'hdfs://host:1/x'; allowed: s3://BUCKET/FOLDER or gs://BUCKET/FOLDER",
        ),
        (
            "artifacts=s3://b/x?region=r",
            r"artifacts: 's3://b/x\?region=r'; allowed: .* without options, .*AWS_ENDPOINT_URL",
        ),
        ("dataset.source=wasb://bucket/*.csv", r"dataset.source: 'wasb://bucket/\*.csv' is of no file system"),
        ("dataset.source.files=[a.csv, 'https://host/b.csv']", "dataset.source: 'https://host/b.csv' is"),
        (
            "dataset.source={files: 'log/dt={day}/*.parquet', success: 'ftp://bucket/{day}/_SUCCESS'}",
            "dataset.source.success: 'ftp://bucket/{day}/_SUCCESS' is of no file system",
        ),
        (
            "dataset.tables.users.source=ftp://bucket/users.csv",
            "dataset.tables.users.source: 'ftp://bucket/users.csv' is",
        ),
    ],
)
def test_remote_paths_are_refused_before_anything_is_made(
    setting: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^(--set .*\n +)?{said}"):
        commands.run(CONFIGS / "demo.yaml", [setting])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["disk", "store"])
def test_a_folder_of_artifacts_is_of_one_history(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = f"{tmp_path if place == 'disk' else request.getfixturevalue('store')}/artifacts/demo"
    mine, other = (tmp_path / name / "owner" for name in ("mine", "other"))
    mine.parent.mkdir()
    claim_artifacts(root, mine)
    folders.make(f"{root}/ingest")
    folders.write_text(f"{root}/ingest/x", "x")
    claim_artifacts(root, mine)
    with pytest.raises(ConfigError, match=rf"^artifacts: the files in {root} are of another history .*allowed: an emp"):
        claim_artifacts(root, other)
    assert not other.exists()
    with pytest.raises(ConfigError, match="are none of this pipeline's"):
        claim_artifacts(f"{root}/ingest", mine)
    claim_artifacts(f"{root}2", mine)
    assert folders.list_files(root) == ["ingest/x", "owner"]


def test_artifacts_in_a_store_are_for_a_training_on_one_machine() -> None:
    spec = {"name": "x", "dataset": "synthetic", "artifacts": "s3://b/x"}
    with pytest.raises(
        pydantic.ValidationError, match=r"is copied to one machine for the training, and train\.strategy"
    ):
        RunConfig.model_validate({**spec, "train": {"strategy": "parameter_server"}})
    made = RunConfig.model_validate({**spec, "train": {"strategy": "mirrored"}})
    assert made.artifacts_directory == "s3://b/x/x"
    assert made.model_copy(update={"artifacts": None}).artifacts_directory == "runs/x/artifacts"


@pytest.mark.parametrize("strategy", ["multi_worker_mirrored", "parameter_server"])
def test_a_training_without_its_cluster_is_refused_before_anything_is_made(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    said = f"^train.strategy: '{strategy}' needs the environment variable TF_CONFIG, which is not set"
    with pytest.raises(ConfigError, match=said):
        commands.run(CONFIGS / "demo.yaml", [f"train.strategy={strategy}"])
    monkeypatch.setenv("TF_CONFIG", '{"cluster"')
    with pytest.raises(ConfigError, match="which cannot be read: Invalid JSON"):
        commands.run(CONFIGS / "demo.yaml", [f"train.strategy={strategy}"])
    assert not list(tmp_path.iterdir())


def test_a_model_to_begin_with_that_is_none_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError,
        match=r"^train.warm_start: '/nowhere' names no model; allowed: a folder with.*; or .* none, last_pushed\.$",
    ):
        commands.run(CONFIGS / "demo.yaml", ["train.warm_start=/nowhere"])
    with pytest.raises(ModelError, match=r"Did you mean 'last_pushed'\?$"):
        commands.run(CONFIGS / "demo.yaml", ["train.warm_start=last-pushed"])
    assert not list(tmp_path.iterdir())


def test_a_missing_key_of_hashes_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hashed = [f"dataset.{of}columns.user_id.personal=hash" for of in ("", "tables.users.")]
    with pytest.raises(
        ConfigError, match=r"^user_id of 'synthetic' are hashed .*, and no key was given; allowed: a file"
    ):
        commands.run(CONFIGS / "demo.yaml", hashed)
    with pytest.raises(ConfigError, match=r"^cannot read the key of hashes nofile: No such file"):
        commands.run(CONFIGS / "demo.yaml", [*hashed, "data.hash_key=nofile"])
    assert not list(tmp_path.iterdir())


NOTHING = commands.Beside(tables=None, hash_key=None)


@pytest.mark.parametrize(
    "command",
    [partial(commands.score, beside=NOTHING), partial(commands.evaluate, slices=(), as_json=False, beside=NOTHING)],
)
def test_remote_outputs_are_refused(command: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match=r"^--output: 'gs:/bucket/x.parquet' is"):
        command("model", "data", Path("gs://bucket/x.parquet"))


def test_a_remote_synthetic_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^directory: 'gs:/bucket/log' is"):
        commands.synth(Path("gs://bucket/log"), [])
    assert not list(tmp_path.iterdir())
