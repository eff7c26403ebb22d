"""The tables that `benchmarks.quality` writes, against numbers worked out by hand."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from benchmarks.quality import table
from benchmarks.quality.__main__ import shares_of_cores


def result(model: str, seed: int, **areas: float) -> dict[str, Any]:
    tasks = {task: {"auc": a, "gauc": None, "log_loss": 0.5, "calibration": 0.9} for task, a in areas.items()}
    about = {"dataset": "log", "model": model, "seed": seed, "revision": "abc", "cores": 1}
    return {**about, "tasks": tasks, "parameters": 1000, "examples_per_s": 2e3}


@pytest.fixture
def written(tmp_path: pathlib.Path) -> pathlib.Path:
    results = table.Results(tmp_path)
    results.add(result("worse", 1, click=0.6, like=0.7))
    results.add(result("better", 2, click=0.74, like=0.82))
    results.add(result("better", 1, click=0.70, like=0.80))
    unfit = {"dataset": "log", "model": "unfit", "seed": 1, "revision": "abc", "cores": 1}
    results.add({**unfit, "error": "Traceback\nno chain"})
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


def test_json_holds_every_result_and_is_read_again(written: pathlib.Path) -> None:
    held = json.loads((written / "quality.json").read_text())
    assert [(r["model"], r["seed"]) for r in held] == [("better", 1), ("better", 2), ("unfit", 1), ("worse", 1)]
    again = table.Results(written)
    assert again.has("log", "better", 2)
    assert not again.has("log", "better", 3)
    assert not again.has("another", "better", 2)
    assert again.markdown() == (written / "quality.md").read_text()


def test_jobs_share_the_cores() -> None:
    assert shares_of_cores([0, 1, 4, 5, 6], 2) == [{0, 1}, {4, 5, 6}]
    assert shares_of_cores([3], 1) == [{3}]
    with pytest.raises(ValueError, match="got 3; allowed: 1 to 2"):
        shares_of_cores([0, 1], 3)
