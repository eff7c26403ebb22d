"""Whole pipelines on the public logs, counted again with Python's csv module."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from serving.bundle import Bundle
from tests.e2e.conftest import run_pipeline, versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KUAIRAND = "log_standard_4_25_to_4_30_pure.csv"
LABELS = {
    "click": "is_click", "long_view": "long_view", "like": "is_like", "profile_enter": "is_profile_enter",
    "comment": "is_comment", "follow": "is_follow", "forward": "is_forward",
}  # fmt: skip


def _evaluation(record) -> dict:
    return json.loads((record.output("evaluate", "evaluation") / "evaluation.json").read_text())


def _manifest(record) -> dict:
    return json.loads((record.output("ingest", "manifest") / "manifest.json").read_text())


def _pushed(folder, record) -> Path:
    """The version that was pushed, after both blessings."""
    verdict = _evaluation(record)["verdict"]
    assert verdict["blessed"], verdict
    check = json.loads((record.output("check_serving", "blessing") / "check.json").read_text())
    assert check["verdict"]["blessed"], check["verdict"]
    assert 0 <= check["max_difference"] <= 1e-5
    serving = folder.directory.parents[1] / "serving"
    (version,) = versions(serving)
    assert (serving / str(version) / "saved_model.pb").is_file()
    return serving / str(version)


def test_kuairand(test_data, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    from pipeline import scoring

    log = test_data / "kuairand" / KUAIRAND
    overrides = [f"output={tmp_path / 'runs'}", f"data.path={log.parent}", "train={epochs: 1, batch_size: 512}"]
    folder, record = run_pipeline("kuairand.yaml", [*overrides, "model.trunk={experts: 3, units: [64, 32]}"])
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    test = [row for row in rows if row["date"] == "20220430"]
    validation = sum(row["date"] == "20220429" for row in rows)
    manifest = _manifest(record)
    assert manifest["rows_read"] == len(rows)
    assert manifest["quarantined"]["rows"] == 0
    assert manifest["rows_out"] == {
        "train": len(rows) - validation - len(test),
        "validation": validation,
        "test": len(test),
    }
    tasks = _evaluation(record)["tasks"]
    assert set(tasks) == set(LABELS)
    for name, label in LABELS.items():
        assert (tasks[name]["rows"], tasks[name]["positives"]) == (len(test), sum(int(row[label]) for row in test))
    assert min(tasks[name]["auc"] for name in ("click", "long_view", "like")) > 0.6, tasks
    assert "follow" in folder.report.read_text()

    # The test day's own lines, asked of the pushed model: the metrics of the run, by another library.
    lines = log.read_text().splitlines(keepends=True)
    date = lines[0].split(",").index("date")
    raw = tmp_path / "day.csv"
    raw.write_text("".join([lines[0], *(line for line in lines[1:] if line.split(",")[date] == "20220430")]))
    result = scoring.score(_pushed(folder, record), str(raw), str(tmp_path / "scores.parquet"))
    assert result.rows == len(test)
    scores = pq.read_table(result.output)
    for name, label in LABELS.items():
        expected = metrics.roc_auc_score([int(row[label]) for row in test], scores[name].to_numpy())
        assert tasks[name]["auc"] == pytest.approx(expected, abs=1e-5)


def test_kuairand_watch_time(test_data, tmp_path):
    """Every tenth row: a regression beside the binary tasks, and histories that attend to the candidate."""
    from pipeline import scoring

    log = test_data / "kuairand" / KUAIRAND
    folder = tmp_path / "kuairand"
    folder.mkdir()
    for other in log.parent.iterdir():
        (folder / other.name).symlink_to(other)
    (folder / KUAIRAND).unlink()
    header, *lines = log.read_text().splitlines(keepends=True)
    (folder / KUAIRAND).write_text("".join([header, *lines[::10]]))
    (tmp_path / "day.csv").write_text("".join([header, *(line for line in lines[::10] if ",20220430," in line)]))

    overrides = [f"output={tmp_path / 'runs'}", f"data.path={folder}", "train={epochs: 1, batch_size: 128}"]
    loose = ["evaluate.thresholds={click: null, long_view: null}", "validate={max_drift: 1.0, max_numeric_drift: 1.0}"]
    model = "model={trunk: {experts: 2, units: [16]}, head: {tower_units: [8]}}"
    run, record = run_pipeline("kuairand_watch_time.yaml", [*overrides, *loose, model])
    with (tmp_path / "day.csv").open(newline="") as file:
        watched = np.array([float(row["play_time_ms"]) for row in csv.DictReader(file)])
    found = _evaluation(record)["tasks"]["watch_time"]
    assert found["rows"] == len(watched)

    pushed = _pushed(run, record)
    sequences = {i.name: (i.pooling, i.target) for i in Bundle(pushed).layout().sequences()}
    assert sequences == dict.fromkeys(("watch_seq", "like_seq", "long_watch_seq"), ("din_attention", "video_id"))
    result = scoring.score(pushed, str(tmp_path / "day.csv"), str(tmp_path / "scores.parquet"))
    scores = pq.read_table(result.output)["watch_time"].to_numpy().astype(np.float64)
    assert found["mse"] == pytest.approx(((scores - watched) ** 2).mean(), rel=1e-3)
    # On the scale of the loss: about the right mean from the start on, and after one epoch some of the order.
    logarithms = np.log1p([scores, watched])
    assert logarithms[0].mean() == pytest.approx(logarithms[1].mean(), abs=0.5)
    assert np.corrcoef(logarithms)[0, 1] > 0.1


def test_census_income(test_data, tmp_path):
    log = test_data / "census_income"
    overrides = [f"output={tmp_path / 'runs'}", f"data.path={log}", "train.epochs=2"]
    folder, record = run_pipeline("census_income.yaml", overrides)
    with gzip.open(log / "census-income.test.gz", "rt", newline="") as file:
        rows = [[value.strip() for value in row] for row in csv.reader(file)]
    manifest = _manifest(record)
    assert manifest["rows_read"] == sum(manifest["rows_out"].values()) == len(rows)
    shares = {split: rows_out / len(rows) for split, rows_out in manifest["rows_out"].items()}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.005)
    # Last column: income; eighth: marital status.
    positives = {
        "income": sum(row[-1] == "50000+." for row in rows),
        "never_married": sum(row[7] == "Never married" for row in rows),
    }
    for name, count in positives.items():
        assert sum(part["positives"] for part in manifest["tasks"][name].values()) == count
    tasks = _evaluation(record)["tasks"]
    assert set(tasks) == set(positives)
    assert min(task["auc"] for task in tasks.values()) > 0.9, tasks
    _pushed(folder, record)
