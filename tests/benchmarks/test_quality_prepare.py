"""What is there before a dataset's pipeline runs."""

from __future__ import annotations

import pathlib

import pytest

from benchmarks.quality import __main__ as quality
from benchmarks.quality import prepare
from features.logs.files import resolve_log
from pipeline.config import RunConfig
from pipeline.runs import RunFolder


class Started(Exception):
    """The pipeline would run now."""


def test_the_synthetic_log_is_made_first(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(config: RunConfig, run: RunFolder, listener: object) -> None:
        assert len(resolve_log(config.dataset, config.data.path)) == 7  # a file a day
        raise Started

    monkeypatch.setattr(prepare.local, "run", start)
    overrides = [f"data.path={tmp_path / 'log'}", "data.synthesize={rows: 500, users: 20, items: 20}"]
    with pytest.raises(Started):
        prepare.prepare(quality.CONFIGS["synthetic"], overrides, tmp_path / "problem")
