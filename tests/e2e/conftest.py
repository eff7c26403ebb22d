"""Whole pipelines on small logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline import loading
from pipeline.runs import RunFolder, RunRecord

CONFIGS = Path(__file__).parents[2] / "pipeline" / "configs"


class Listener:
    """Remembers the stages' names in the order in which they started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def stage_started(self, name: str) -> None:
        self.started.append(name)

    def stage_finished(self, result) -> None:
        assert result.name == self.started[-1]


def run_pipeline(config: str, overrides: Sequence[str]) -> tuple[RunFolder, RunRecord]:
    """What `feedrank run` does, without the console."""
    from features.synthesis import synthesize
    from pipeline.runners import local

    loaded = loading.load(CONFIGS / config, overrides)
    if loaded.data.synthesize is not None:
        synthesize(loaded.data.synthesize, Path(loaded.data.path))
    with RunFolder.create(loaded) as folder:
        return folder, local.run(loaded, folder, Listener())


def versions(serving: Path) -> list[int]:
    """Versions pushed so far, oldest first."""
    return sorted(int(path.name) for path in serving.iterdir()) if serving.exists() else []


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> list[str]:
    """Overrides that make the demo small."""
    folder = tmp_path_factory.mktemp("small")
    return [
        f"output={folder / 'runs'}",
        f"data.path={folder / 'log'}",
        "data.synthesize={rows: 30000, users: 400, items: 200, seed: 3}",
        "train={batch_size: 256, epochs: 2}",
        "evaluate.thresholds.click=null",
    ]


@pytest.fixture(scope="session")
def first_run(small) -> tuple[RunFolder, RunRecord]:
    return run_pipeline("demo.yaml", small)
