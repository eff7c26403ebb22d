"""Whole pipelines on small logs written as public ones are: joined tables, official test files, chains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import run_pipeline, versions
from tests.features.catalog import samples_ali_ccp, samples_aliexpress

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


def test_aliexpress_of_another_country(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    written = {
        part: samples_aliexpress.write_part(log, "ES", part, 250, seed)
        for seed, part in enumerate(("train", "test"), 1)
    }
    country = ["dataset.source.files=ES_item_*.csv", "dataset.tables.searches.source.files=ES_user_*.csv"]
    overrides = [
        f"output={tmp_path / 'runs'}",
        f"data.path={log}",
        "train={epochs: 1, batch_size: 256}",
        TINY,
        *country,
    ]
    folder, record = run_pipeline("aliexpress.yaml", overrides)
    kept = {part: [item for item in items if item[0] != "250"] for part, items in written.items()}
    manifest = _read(record, "ingest", "manifest", "manifest.json")
    assert manifest["rows_read"] == sum(map(len, written.values()))
    assert manifest["quarantined"]["rows"] == manifest["rows_read"] - sum(map(len, kept.values()))
    tasks = _read(record, "evaluate", "evaluation", "evaluation.json")["tasks"]
    assert {name: (task["rows"], task["positives"]) for name, task in tasks.items()} == {
        "click": (len(kept["test"]), sum(item[-1] != "0" for item in kept["test"])),
        "conversion": (len(kept["test"]), sum(item[-1] == "2" for item in kept["test"])),
    }
    _pushed(folder, record)
