"""A pipeline that runs day by day, each training beginning with the model pushed before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs import RunRecord
from serving.weights import read_vocabularies
from tests.e2e.conftest import run_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DAYS = [f"2026-01-{day:02}" for day in range(5, 12)]


def run(folder: Path, first_day: int, *overrides: str) -> RunRecord:
    """Trains on two days of the log, validates on the next, tests on the one after."""
    days = DAYS[first_day : first_day + 4]
    split = {"by": "time", "train": days[:2], "validation": [days[2]] * 2, "test": [days[3]] * 2}
    source = {"files": [f"log/dt={day}/part-*.parquet" for day in days], "format": "parquet"}
    _, record = run_pipeline(
        "demo.yaml",
        [
            f"output={folder / 'runs'}",
            f"data.path={folder / 'log'}",
            "data.synthesize={rows: 70000, users: 1500, items: 800, seed: 3}",
            f"dataset={json.dumps({'extends': 'synthetic', 'split': split, 'source': source})}",
            "validate={max_drift: 1.0, max_numeric_drift: 1.0}",
            "train={batch_size: 256, epochs: 2}",
            "evaluate={max_regression: 1.0}",
            "evaluate.thresholds.click=null",
            *overrides,
        ],
    )
    return record


def curves(record: RunRecord) -> dict[str, Any]:
    return json.loads((record.output("train", "model_run") / "curves.json").read_text())


def exported(record: RunRecord) -> Path:
    return record.output("train", "model") / "Format-Serving"


def test_a_second_day_begins_where_the_first_one_ended(tmp_path: Path) -> None:
    warm = "train.warm_start=last_pushed"
    first = run(tmp_path, 0, warm)
    assert curves(first)["warm_start"] is None
    second = run(tmp_path, 2, warm)
    begun = curves(second)["warm_start"]
    assert begun["model"] == str(exported(first))
    assert begun["fresh"] == {}
    vocabularies = [read_vocabularies(exported(record), begun["tables"]) for record in (first, second)]
    for table, counts in begun["tables"].items():
        was, now = (set(each[table]) for each in vocabularies)
        assert counts == {"matched": len(was & now), "new": len(now - was), "gone": len(was - now)}, table
    assert begun["tables"]["user_id"]["matched"] > 0
    assert begun["tables"]["user_id"]["new"] > 0

    cold = run(tmp_path, 2, "train.warm_start=none")
    assert cold.stage("transform").state == "cached"
    starts = [curves(record)["epochs"][0]["validation"]["mean_auc"] for record in (second, cold)]
    assert starts[0] > starts[1] + 0.01

    # Its own model is the last one pushed by now; a repeated run begins all the same where it began.
    assert run(tmp_path, 2, warm).stage("train").state == "cached"
    named = run(tmp_path, 2, f"train.warm_start={exported(first)}")
    assert named.stage("train").state == "done"
    assert curves(named)["epochs"][0]["validation"] == curves(second)["epochs"][0]["validation"]
