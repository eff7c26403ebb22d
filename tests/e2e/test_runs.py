"""What one run, a repeated one, one with new data and one with a worse model do."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from features.errors import DataError
from features.spec import ROW_ID
from pipeline import loading
from pipeline.loading import load
from tests.e2e.conftest import CONFIGS, run_pipeline, versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STAGES = (
    "ingest", "schema", "statistics", "anomalies", "validate", "transform", "train", "evaluate", "check_serving", "push",
    "report",
)  # fmt: skip


def _serving(folder) -> Path:
    return folder.directory.parents[1] / "serving"


def _evaluation(record) -> dict:
    return json.loads((record.output("evaluate", "evaluation") / "evaluation.json").read_text())


def test_a_run_pushes_a_model_and_accounts_for_every_row(first_run):
    folder, record = first_run
    assert record.status == "done"
    assert all(record.stage(name).state == "done" for name in STAGES)
    notes = {stage.name: stage.note for stage in record.stages if stage.note}
    assert notes == {"ingest": "0 quarantined", "check_serving": "blessed"}
    assert record.stage("push").pushed_to == str(_serving(folder) / str(versions(_serving(folder))[0]))
    manifest = json.loads((record.output("ingest", "manifest") / "manifest.json").read_text())
    assert manifest["rows_read"] == 30_000 == sum(manifest["rows_out"].values()) + manifest["quarantined"]["rows"]
    evaluation = _evaluation(record)
    assert evaluation["verdict"]["blessed"], evaluation["verdict"]
    assert evaluation["verdict"]["reasons"] == []
    assert evaluation["rows"] == manifest["rows_out"]["test"]
    check = json.loads((record.output("check_serving", "blessing") / "check.json").read_text())
    assert check["verdict"]["blessed"]
    assert 0 <= check["max_difference"] <= 1e-5
    assert len(versions(_serving(folder))) == 1
    page = folder.report.read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(page) < 2_000_000


def test_the_saved_configuration_gives_the_same_graph(first_run, small):
    from pipeline.runners.local import compile_local

    folder, _ = first_run
    again, as_written = load(folder.config), load(CONFIGS / "demo.yaml", small)
    assert again == as_written
    assert compile_local(again, "run") == compile_local(as_written, "run")


def test_the_metrics_are_those_of_the_export_on_the_test_rows(first_run):
    """Recomputed with scikit-learn from what the pushed model answers."""
    metrics = pytest.importorskip("sklearn.metrics")
    from pipeline import scoring

    folder, record = first_run
    model = _serving(folder) / str(versions(_serving(folder))[-1])
    config = load(folder.config)
    test_day = config.dataset.split.test[0].isoformat()
    source = Path(config.data.path) / "log" / f"dt={test_day}"
    out = folder.directory / "scores.parquet"
    result = scoring.score(model, str(source / "*.parquet"), str(out))
    scores, log = pq.read_table(out), ds.dataset(source).to_table()
    assert result.rows == log.num_rows
    for task in config.dataset.tasks:
        label = log[config.dataset.tasks[task].label].to_numpy()
        expected = _evaluation(record)["tasks"][task]
        if expected["auc"] is not None:
            assert expected["auc"] == pytest.approx(metrics.roc_auc_score(label, scores[task].to_numpy()), abs=1e-9)
        assert expected["log_loss"] == pytest.approx(
            metrics.log_loss(label, scores[task].to_numpy().astype(np.float64), labels=[0, 1]), abs=1e-6
        )


def test_the_export_answers_as_the_trainer_did_in_another_process(first_run, tmp_path):
    """Done means 3: raw rows of a log file, asked of the pushed model by the command line."""
    import subprocess
    import sys

    folder, record = first_run
    config = load(folder.config)
    validation_day = config.dataset.split.validation[0].isoformat()
    files = f"{config.data.path}/log/dt={validation_day}/*.parquet"
    out = tmp_path / "scores.parquet"
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "score",
        str(_serving(folder)),
        "--data",
        files,
        "--output",
        str(out),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    trainer = pq.read_table(
        record.output("train", "model") / "Format-Serving" / "assets.extra" / "feedrank" / "predictions.parquet"
    )
    examples = ds.dataset(record.output("ingest", "examples") / "Split-validation").to_table(columns=[ROW_ID])
    ids = pa.compute.list_flatten(examples[ROW_ID]).to_pylist()
    scores = pq.read_table(out)
    outputs = [name for name in trainer.column_names if name != ROW_ID]
    assert set(config.dataset.tasks) <= set(outputs)
    for output in outputs:
        scored = dict(zip(ids, scores[output].to_pylist(), strict=True))
        for row, expected in zip(trainer[ROW_ID].to_pylist(), trainer[output].to_pylist(), strict=True):
            assert scored[row] == pytest.approx(expected, abs=1e-5), output


def test_a_repeated_run_reuses_everything_and_pushes_nothing(first_run, small):
    before = versions(_serving(first_run[0]))
    folder, record = run_pipeline("demo.yaml", small)
    assert {name: record.stage(name).state for name in STAGES} == dict.fromkeys(STAGES, "cached")
    assert versions(_serving(folder)) == before


def test_a_worse_model_is_refused_and_says_why(first_run, small):
    before = versions(_serving(first_run[0]))
    hopeless = [*small, "train.dense_optimizer={kind: adam, learning_rate: 1.0e-9}", "train.epochs=1"]
    hopeless.append("train.embedding_optimizer={kind: adagrad, learning_rate: 1.0e-9}")
    folder, record = run_pipeline("demo.yaml", hopeless)
    verdict = _evaluation(record)["verdict"]
    assert not verdict["blessed"]
    assert any("click" in reason and "last blessed" in reason for reason in verdict["reasons"]), verdict
    assert versions(_serving(folder)) == before
    page = html.unescape(folder.report.read_text())
    assert all(reason in page for reason in verdict["reasons"])


def test_new_data_makes_a_new_version(first_run, small, tmp_path):
    before = versions(_serving(first_run[0]))
    newer = [f"data.path={tmp_path / 'log'}", "data.synthesize.seed=4", "evaluate.max_regression=1.0"]
    folder, record = run_pipeline("demo.yaml", [*small, *newer])
    assert record.stage("train").state == "done"
    assert _evaluation(record)["verdict"]["blessed"], _evaluation(record)["verdict"]
    assert len(versions(_serving(folder))) == len(before) + 1
    assert _evaluation(record)["baseline"] is not None


def test_a_model_trained_in_bfloat16_is_served_in_float32(first_run, small):
    folder, record = run_pipeline(
        "demo.yaml", [*small, "train.precision=mixed_bfloat16", "train.epochs=1", "evaluate.max_regression=1.0"]
    )
    assert record.stage("train").state == "done"
    check = json.loads((record.output("check_serving", "blessing") / "check.json").read_text())
    assert check["verdict"]["blessed"], check["verdict"]
    assert 0 <= check["max_difference"] <= 1e-5
    model = _serving(folder) / str(versions(_serving(folder))[-1])
    assert (model / "saved_model.pb").read_bytes() == (
        record.output("train", "model") / "Format-Serving" / "saved_model.pb"
    ).read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes()).meta_graphs
    assert "DT_BFLOAT16" not in str(graph.graph_def)


def test_too_many_bad_rows_stop_the_run_and_can_be_looked_at(tmp_path):
    lines = ["user_id,item_id,tags,age,time_ms,clicked,liked"]
    day_ms = 86_400_000
    start = 1_767_571_200_000  # 2026-01-05
    lines += [f"{n % 7},{n % 5},a,30,{start + n % 7 * day_ms},{n % 2},{n % 3 == 0:d}" for n in range(700)]
    lines[100:150] = ["1,2,a,thirty,1767571200000,1,0"] * 50
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "day.csv").write_text("\n".join(lines) + "\n")
    overrides = [f"output={tmp_path / 'runs'}", f"data.path={tmp_path}", "dataset.source=log/*.csv"]
    with pytest.raises(DataError, match=r"50.*bad_number|bad_number.*50") as stopped:
        run_pipeline("own_log.yaml", overrides)
    (dead,) = [path for path in (tmp_path / "runs").rglob("*.parquet") if "stopped" in path.parts]
    assert str(dead.parents[1]) in str(stopped.value)
    assert pq.read_table(dead)["row"].to_pylist() == list(range(100, 150))
    (record,) = (tmp_path / "runs").rglob("run.json")
    assert '"status": "failed"' in record.read_text()
    page = html.unescape((record.parent / "report.html").read_text())
    assert "Stopped in ingest" in page
    assert str(stopped.value) in page
    assert "bad_number" in page[page.index("Where the rows went") :]


def test_a_log_of_ones_own_needs_yaml_only(tmp_path):
    rng = np.random.default_rng(5)
    count, day_ms, start = 7_000, 86_400_000, 1_767_571_200_000
    users, items = rng.integers(0, 50, count), rng.integers(0, 40, count)
    clicked = (rng.random(count) < 0.1 + 0.8 * ((users + items) % 2)).astype(int)
    table = pa.table(
        {
            "user_id": users,
            "item_id": items,
            "tags": np.where(items % 2, "odd,small", "even"),
            "age": rng.integers(15, 70, count).astype(float),
            "time_ms": start + np.arange(count) * 7 * day_ms // count,
            "clicked": clicked,
            "liked": clicked * (rng.random(count) < 0.3),
        }
    )
    (tmp_path / "log").mkdir()
    pacsv.write_csv(table, tmp_path / "log" / "all.csv")
    overrides = [f"output={tmp_path / 'runs'}", f"data.path={tmp_path}", "dataset.source=log/*.csv"]
    overrides += ["train={batch_size: 64, epochs: 6}", "model={embedding_dim: 8, trunk: {units: [32], experts: 2}}"]
    _, record = run_pipeline("own_log.yaml", [*overrides, "model.head={state_units: [16], tower_units: [16]}"])
    # Clicks follow the parity of user + item: 0.9 against 0.1. The best possible AUC is 0.9 (0.81 + 0.01 + 0.18 / 2).
    assert 0.75 < _evaluation(record)["tasks"]["click"]["auc"] <= 0.93
    assert loading.load(CONFIGS / "own_log.yaml").name == "my_feed"
