"""Whole pipelines on small logs written as public ones are: one of joined CSV files, official test rows and a chain of tasks, one of
JSON Lines with a regression. The first one's artifacts lie in a store. Other configurations: test_catalog_runs.py.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from features import folders
from pipeline import commands, history, loading
from pipeline.history import read_json
from pipeline.pushed import find_model
from tests.e2e.conftest import run_pipeline, versions
from tests.features.catalog import samples, samples_ali_ccp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NEVER_CACHED = ("previous_statistics", "baseline")
TINY = "model.trunk={units: [16]}"


def _read(record, stage: str, output: str, file: str) -> dict:
    return read_json(record.uri(stage, output), file)


def _pushed(folder, record) -> Path:
    """The version that was pushed, after both blessings."""
    verdict = _read(record, "evaluate", "evaluation", "evaluation.json")["verdict"]
    assert verdict["blessed"], verdict
    check = _read(record, "check_serving", "blessing", "check.json")
    assert check["verdict"]["blessed"], check["verdict"]
    serving = folder.directory.parents[1] / "serving"
    (version,) = versions(serving)
    return serving / str(version)


def test_ali_ccp(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.mkdir()
    train = samples_ali_ccp.write_part(log, "train", 3000, seed=1)
    test = samples_ali_ccp.write_part(log, "test", 1500, seed=2)
    runs = tmp_path / "runs"
    overrides = [f"output={runs}", f"data.path={log}", "train={epochs: 1, batch_size: 256}", TINY]
    folder, record = run_pipeline("ali_ccp.yaml", [*overrides, f"artifacts={store}/artifacts"])
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

    # What stages made lies in the store and nowhere else.
    pushed = _pushed(folder, record)
    root = f"{store}/artifacts/ali_ccp"
    made = [uri for stage in record.stages for uris in stage.outputs.values() for uri in uris]
    assert all(uri.startswith(f"{root}/") for uri in made)
    assert not [uri for uri in made if not folders.list_files(uri) and "/tables/" not in uri]
    assert {path.name for path in (runs / "ali_ccp").iterdir()} == {
        *("checkpoints", "history", "lock", "metadata.sqlite", "owner", "serving"),
    }
    left = [name for name in folders.list_files(root) if any(part in name for part in ("temp", "tmp", "work/"))]
    assert not left
    assert "not pushed" not in folder.report.read_text()

    again, repeated = run_pipeline(str(folder.config), [])
    assert {stage.state for stage in repeated.stages if stage.name not in NEVER_CACHED} == {"cached"}
    shown = history.outcome(again, repeated, loading.load(again.config))
    assert shown.aucs == {name: task["auc"] for name, task in tasks.items()}
    assert (shown.blessed, shown.serves, shown.pushed) == (True, True, str(pushed))

    # The model carries the common features of both parts.
    model = find_model("ali_ccp", runs)
    assert model == record.uri("push", "pushed_model")
    commands.score(
        model, str(log / "sample_skeleton_test.csv"), tmp_path / "scores.parquet", commands.Beside(None, None)
    )
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert scores.num_rows == 1500
    assert "common_features" not in capsys.readouterr().out  # no row without a match there


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
