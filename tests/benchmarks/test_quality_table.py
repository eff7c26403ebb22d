"""The tables that `benchmarks.quality` writes, against numbers worked out by hand."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from benchmarks.quality import table


def result(model: str, seed: int, **areas: float) -> dict[str, Any]:
    tasks = {task: {"auc": a, "gauc": None, "log_loss": 0.5, "calibration": 0.9} for task, a in areas.items()}
    return {"model": model, "seed": seed, "revision": "abc", "tasks": tasks, "parameters": 1000, "examples_per_s": 2e3}


@pytest.fixture
def written(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "log").mkdir()
    results = [
        result("worse", 1, click=0.6, like=0.7),
        result("better", 1, click=0.70, like=0.80),
        result("better", 2, click=0.74, like=0.82),
        {"model": "unfit", "seed": 1, "revision": "abc", "error": "Traceback\nno chain"},
    ]
    for r in results:
        (tmp_path / "log" / f"{r['model']}-{r['seed']}.json").write_text(json.dumps(r))
    table.write(tmp_path)
    return tmp_path


def test_means_and_half_ranges_best_first(written: pathlib.Path) -> None:
    lines = (written / "quality.md").read_text().splitlines()
    assert lines[lines.index("| model | click | like | mean | seeds |") + 2 :][:2] == [
        "| better | 0.7200 ± 0.0200 | 0.8100 ± 0.0100 | 0.7650 ± 0.0150 | 2 |",
        "| worse | 0.6000 | 0.7000 | 0.6500 | 1 |",
    ]
    assert "| better |  | 0.5000 ± 0.0000 | 0.1000 ± 0.0000 | 1,000 | 2,000 |" in lines


def test_what_was_refused_is_told_with_its_reason(written: pathlib.Path) -> None:
    assert "unfit: not measured (1 of 1): no chain" in (written / "quality.md").read_text()


def test_json_holds_every_result(written: pathlib.Path) -> None:
    held = json.loads((written / "quality.json").read_text())
    assert {model: len(results) for model, results in held["log"].items()} == {"better": 2, "unfit": 1, "worse": 1}
