"""One run of a pipeline at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.errors import ConfigError
from pipeline import commands
from pipeline.loading import CONFIGS
from pipeline.runs import PipelinePaths, RunFolder

HOLD = """
import sys
from pathlib import Path
from pipeline.runs import PipelinePaths, RunFolder
with RunFolder.create(PipelinePaths(root=Path(sys.argv[1]))) as folder:
    print(folder.run_id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def paths(tmp_path: Path) -> PipelinePaths:
    return PipelinePaths(root=tmp_path / "demo")


@pytest.fixture
def other(paths: PipelinePaths) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run in another process, and its id."""
    command = [sys.executable, "-c", HOLD, str(paths.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_second_run_ends_at_once_and_names_the_first(
    paths: PipelinePaths, other: tuple[subprocess.Popen[str], str]
) -> None:
    process, run_id = other
    day = f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}"
    holder = rf"{paths.root} is in use by run {run_id}, since {day} \d\d:\d\d:\d\d UTC, process {process.pid}; one run"
    with pytest.raises(ConfigError, match=holder), RunFolder.create(paths):
        pass
    assert [folder.name for folder in paths.history.iterdir()] == [run_id]
    another = PipelinePaths(root=paths.root.parent / "another")
    with RunFolder.create(another) as folder:
        assert folder.directory.is_dir()


def test_a_killed_run_leaves_no_lock(paths: PipelinePaths, other: tuple[subprocess.Popen[str], str]) -> None:
    process, run_id = other
    process.kill()
    process.wait()
    with RunFolder.create(paths) as folder:
        assert folder.run_id > run_id
        assert paths.lock.read_text().startswith(f"run {folder.run_id}, since ")


def test_a_run_that_ended_or_failed_lets_the_next_one_start(paths: PipelinePaths) -> None:
    with RunFolder.create(paths) as first:
        pass
    with pytest.raises(KeyError), RunFolder.create(paths):
        raise KeyError
    with RunFolder.create(paths) as third:
        assert third.run_id > first.run_id
    assert paths.lock.read_text() == ""


def test_the_command_says_so(paths: PipelinePaths, other: tuple[subprocess.Popen[str], str]) -> None:
    with pytest.raises(ConfigError, match="is in use by run"):
        commands.run(CONFIGS / "demo.yaml", [f"output={paths.root.parent}", f"data.path={paths.root.parent / 'log'}"])
    assert not (paths.root.parent / "log").exists()
