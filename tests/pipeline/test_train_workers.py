"""The train stage with several processes: the chief as TFX starts it, the others by hand, all on loopback."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx import v1 as tfx

from features import progress
from features.errors import ConfigError
from features.raw_inputs import arrow_to_dense
from features.spec import ROW_ID
from models.config import ModelConfig, TrainConfig
from pipeline.components import train, train_workers
from pipeline.components.train_workers import ARGUMENTS
from pipeline.components.transform import LAYOUT_FILE
from tests.models.test_strategies import free_addresses
from tests.serving.exports import DATASET, ROWS, Export

MODEL = ModelConfig.model_validate({"trunk": {"kind": "shared_bottom", "units": (8,)}})
COPIES = 40


def write_transformed(path: pathlib.Path, export: Export) -> None:
    columns = {}
    for name, values in export.transformed.items():
        kind = np.float32 if np.issubdtype(values.dtype, np.floating) else np.int64
        rows = np.concatenate([values] * COPIES).astype(kind)
        columns[name] = pa.array(list(rows)) if rows.ndim > 1 else pa.array(rows)
    count = len(rows)
    labels = {"label_click": np.arange(count) % 2, "label_like": np.arange(count) // 2 % 2}
    columns |= {name: pa.array(values.astype(np.float32)) for name, values in labels.items()}
    path.parent.mkdir()
    pq.write_table(pa.table(columns | {ROW_ID: pa.array(range(count))}), path)


def answers(directory: str) -> dict[str, Any]:
    inputs = {name: tf.constant(values) for name, values in arrow_to_dense(ROWS, DATASET).items()}
    return {k: v.numpy() for k, v in tf.saved_model.load(directory).signatures["raw"](**inputs).items()}


def arguments_of(strategy: str, data: pathlib.Path, graph: pathlib.Path, run: pathlib.Path) -> tfx.components.FnArgs:
    return tfx.components.FnArgs(
        train_files=[str(data / "train" / "*")],
        eval_files=[str(data / "validation" / "*")],
        transform_graph_path=str(graph),
        serving_model_dir=str(run / "model"),
        model_run_dir=str(run / "run"),
        custom_config={
            "dataset": DATASET.model_dump_json(),
            "model": MODEL.model_dump_json(),
            "train": TrainConfig.model_validate(
                {"batch_size": 37, "epochs": 2, "strategy": strategy}
            ).model_dump_json(),
            "checkpoints": str(run / "checkpoints"),
        },
    )


def write_data(folder: pathlib.Path, export: Export) -> pathlib.Path:
    """Both splits below `folder`, and the layout in the transform graph's folder, which is returned."""
    graph = export.directory.parent / "graph"
    (graph / LAYOUT_FILE).write_text(export.layout.model_dump_json())
    for split in ("train", "validation"):
        write_transformed(folder / split / "part.parquet", export)
    return graph


def start_by_hand(run: pathlib.Path, cluster: dict[str, list[str]], kind: str, index: int) -> subprocess.Popen[str]:
    tf_config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.components.train_workers", str(run / "checkpoints" / ARGUMENTS), "600"],
        env=os.environ | {"TF_CONFIG": tf_config},
        cwd=pathlib.Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_workers_export_the_model_of_one(
    export: Export, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = write_data(tmp_path, export)
    train.run_fn(arguments_of("none", tmp_path, graph, tmp_path / "one"))

    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(progress, "report", lambda stage, **numbers: reported.append({"stage": stage, **numbers}))
    cluster = {"worker": free_addresses(2)}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    stale = tmp_path / "two" / "checkpoints" / ARGUMENTS
    stale.parent.mkdir(parents=True)
    stale.write_text(json.dumps({"custom_config": "of a training whose chief was killed"}))
    worker = start_by_hand(tmp_path / "two", cluster, "worker", 1)
    train.run_fn(arguments_of("multi_worker_mirrored", tmp_path, graph, tmp_path / "two"))
    _, errors = worker.communicate(timeout=300)
    assert worker.returncode == 0, errors
    assert {report["stage"] for report in reported} == {"train"}
    assert {report["epoch"] for report in reported if "said" not in report} == {1, 2}
    assert not list((tmp_path / "two" / "checkpoints").iterdir())
    found, expected = (answers(str(tmp_path / name / "model")) for name in ("two", "one"))
    assert set(found) == {"click", "like"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)
        assert len(set(values.round(6))) > 1


@pytest.mark.slow
def test_parameter_servers_end_with_the_training(
    export: Export, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = write_data(tmp_path, export)
    chief, ps, worker = free_addresses(3)
    cluster = {"chief": [chief], "ps": [ps], "worker": [worker]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "chief", "index": 0}}))
    servers = [start_by_hand(tmp_path / "run", cluster, kind, 0) for kind in ("ps", "worker")]
    try:
        train.run_fn(arguments_of("parameter_server", tmp_path, graph, tmp_path / "run"))
        for server in servers:
            _, errors = server.communicate(timeout=60)
            assert server.returncode == 0, errors
    finally:
        for server in servers:
            server.kill()
    assert all(0 < value < 1 for values in answers(str(tmp_path / "run" / "model")).values() for value in values)


# -- whose file it is --------------------------------------------------------------------------------------------------


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_workers, "_BEAT_S", 0.02)


def test_a_worker_may_be_first_and_ends_with_the_training(fast: None, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "checkpoints" / ARGUMENTS
    with concurrent.futures.ThreadPoolExecutor() as threads:
        waiting = threads.submit(train_workers.await_arguments, path, 30)
        with train_workers.left_for_workers(path, "mine"):
            assert waiting.result(30) == "mine"
            working = threads.submit(train_workers.exit_code, path, "mine", 30)
            time.sleep(0.2)
            assert not working.done()
        assert working.result(30) == 0
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_chief_left_begins_nothing(fast: None, tmp_path: pathlib.Path) -> None:
    path = tmp_path / ARGUMENTS
    with pytest.raises(ConfigError, match=r"within 0\.1 s: .*train_arguments\.json is not there"):
        train_workers.await_arguments(path, 0.1)
    path.write_text("old")
    with pytest.raises(ConfigError, match="left behind that is no more"):
        train_workers.await_arguments(path, 0.1)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        waiting = threads.submit(train_workers.await_arguments, path, 30)
        with train_workers.left_for_workers(path, "new"):
            assert waiting.result(30) == "new"


def test_a_worker_ends_if_its_chief_is_killed_or_another_training_begins(
    fast: None, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ARGUMENTS
    path.write_text("mine")
    assert train_workers.exit_code(path, "mine", silence_s=0.2) == 1
    assert "has not touched" in capsys.readouterr().err
    assert train_workers.exit_code(path, "another's", silence_s=30) == 0
