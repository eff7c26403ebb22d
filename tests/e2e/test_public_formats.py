"""Whole pipelines on small logs written as public ones are: one of joined CSV files, official test rows and a chain of tasks, one of
JSON Lines with a regression. Other configurations: test_catalog_runs.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import run_pipeline, versions
from tests.features.catalog import samples, samples_ali_ccp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TINY = "model.trunk={units: [16]}"


def _read(record, stage: str, output: str, file: str) -> dict:
    return json.loads((record.output(stage, output) / file).read_text())


def _pushed(folder, record) -> Path:
    """The version that was pushed, after both blessings."""
    verdict = _read(record, "evaluate", "evaluation", "evaluation.json")["verdict"]
    assert verdict["blessed"], verdict
    check = _read(record, "check_serving", "blessing", "check.json")
    assert check["verdict"]["blessed"], check["verdict"]
    serving = folder.directory.parents[1] / "serving"
    (version,) = versions(serving)
    return serving / str(version)


def test_ali_ccp(tmp_path: Path) -> None:
    from pipeline import scoring

    log = tmp_path / "log"
    log.mkdir()
    train = samples_ali_ccp.write_part(log, "train", 3000, seed=1)
    test = samples_ali_ccp.write_part(log, "test", 1500, seed=2)
    overrides = [f"output={tmp_path / 'runs'}", f"data.path={log}", "train={epochs: 1, batch_size: 256}", TINY]
    folder, record = run_pipeline("ali_ccp.yaml", overrides)
    manifest = _read(record, "ingest", "manifest", "manifest.json")
    assert manifest["rows_read"] == 4500
    assert manifest["quarantined"]["rows"] == train.orphans + test.orphans
    assert manifest["rows_out"]["test"] == 1500 - test.orphans
    tasks = _read(record, "evaluate", "evaluation", "evaluation.json")["tasks"]
    found = {name: (task["rows"], task["positives"]) for name, task in tasks.items()}
    assert found == {
        "click": (1500 - test.orphans, test.clicks),
        "conversion": (1500 - test.orphans, test.conversions - test.orphans),
    }

    # The model carries the common features of both parts.
    pushed = _pushed(folder, record)
    result = scoring.score(pushed, str(log / "sample_skeleton_test.csv"), str(tmp_path / "scores.parquet"))
    assert (result.rows, result.unmatched) == (1500, {"common_features": 0})


def test_yelp_reviews(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    samples.write_yelp_reviews(log, 1200)
    folder, record = run_pipeline(
        "yelp_reviews.yaml",
        [
            f"output={tmp_path / 'runs'}",
            f"data.path={log}",
            "train={batch_size: 64, epochs: 1}",
            "validate={max_drift: 1.0, max_numeric_drift: 1.0}",  # so few rows differ by chance
            "model={trunk: {units: [8]}, embedding_dim: 4}",
        ],
    )
    manifest = _read(record, "ingest", "manifest", "manifest.json")
    assert manifest["rows_read"] == 1200 == sum(manifest["rows_out"].values()) + manifest["quarantined"]["rows"]
    evaluation = _read(record, "evaluate", "evaluation", "evaluation.json")
    assert evaluation["rows"] == manifest["rows_out"]["test"] > 0
    # The stars' own mean is the best constant: its error is their variance, 1.27 by the shares they are drawn with.
    assert set(evaluation["tasks"]) == {"like", "rating"}
    assert 0 < evaluation["tasks"]["rating"]["mse"] < 2
    _pushed(folder, record)
