from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tfx.components.pusher import executor as pusher
from tfx.types import standard_artifacts

from features.columns import to_lists
from features.spec import ROW_ID
from pipeline.components import check_serving
from pipeline.components.check_serving import Answers, CheckServing, check_export, compare
from pipeline.config import CheckServingConfig
from pipeline.history import read_json
from serving import ask
from serving.bundle import FOLDER
from tests.serving.exports import DATASET, ROWS, Export, make_other_export

CONFIG = CheckServingConfig(rows=4)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "Split-validation"
    folder.mkdir()
    rows = ROWS.append_column("label_click", pa.array([0.0] * ROWS.num_rows, pa.float32()))
    for number, start in enumerate((0, 2)):
        batch = rows.slice(start, 2 if start == 0 else None).combine_chunks().to_batches()[0]
        pq.write_table(pa.Table.from_batches([to_lists(batch)]), folder / f"part-{number}.parquet")
    return folder


@pytest.fixture
def model(export: Export, tmp_path: Path) -> Path:
    """A copy of the export to tamper with."""
    return Path(shutil.copytree(export.directory, tmp_path / "model"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Spares the start of a process where the test is about the judgement."""

    def answer(model: str, rows: pa.Table) -> Answers:
        ask.ask(Path(model), rows, tmp_path)
        tables = {name: pq.read_table(tmp_path / f"{name}.parquet") for name in ask.ASKED}
        return Answers(json.loads((tmp_path / ask.SIGNATURES_FILE).read_text()), tables)

    monkeypatch.setattr(check_serving, "ask_in_fresh_process", answer)


def _reasons(found: dict[str, object]) -> str:
    assert found["verdict"]["blessed"] is False
    return " | ".join(found["verdict"]["reasons"])


def test_a_sound_export_is_blessed_and_the_stock_pusher_agrees(export: Export, split: Path, tmp_path: Path) -> None:
    artifacts = {
        "examples": _artifact(standard_artifacts.Examples(), split.parent),
        "model": _artifact(standard_artifacts.Model(), tmp_path / "artifact"),
        "blessing": _artifact(standard_artifacts.InfraBlessing(), tmp_path / "blessing"),
    }
    artifacts["examples"].split_names = '["validation"]'
    shutil.copytree(export.directory, tmp_path / "artifact" / "Format-Serving")
    component = CheckServing.EXECUTOR_SPEC.executor_class()
    component.Do(
        {name: [artifacts[name]] for name in ("examples", "model")},
        {"blessing": [artifacts["blessing"]]},
        {"dataset": DATASET.model_dump_json(), "check_serving": CONFIG.model_dump_json()},
    )
    found = read_json(str(tmp_path / "blessing"), check_serving.FILE)
    assert found["verdict"] == {"blessed": True, "reasons": []}
    assert found["rows"] == 4
    assert found["max_difference"] <= 1e-5
    assert set(found["signatures"]) == {"raw", "serving_default"}
    assert found["inputs"]["expected"] == found["inputs"]["found"]
    assert (tmp_path / "blessing" / "INFRA_BLESSED").exists()
    assert artifacts["blessing"].get_int_custom_property("blessed") == 1
    assert pusher.Executor().CheckBlessing({"infra_blessing": [artifacts["blessing"]]})


def _artifact(artifact: standard_artifacts.Model, folder: Path) -> standard_artifacts.Model:
    artifact.uri = str(folder)
    return artifact


def test_a_refusal_is_marked_so_that_the_stock_pusher_stops(tmp_path: Path) -> None:
    blessing = _artifact(standard_artifacts.InfraBlessing(), tmp_path / "blessing")
    check_serving.bless(blessing, {"verdict": {"blessed": False, "reasons": ["for a test"]}})
    assert (tmp_path / "blessing" / "INFRA_NOT_BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == 0
    assert not pusher.Executor().CheckBlessing({"infra_blessing": [blessing]})
    assert read_json(str(tmp_path / "blessing"), check_serving.FILE)["verdict"]["reasons"] == ["for a test"]


def test_a_swapped_vocabulary_is_refused(model: Path, split: Path) -> None:
    vocabulary = model / "assets" / "user_id"
    vocabulary.write_bytes(b"\n".join(reversed(vocabulary.read_bytes().splitlines())) + b"\n")
    reasons = _reasons(check_export(str(model), str(split), DATASET, CONFIG))
    assert "signature 'raw' answers click" in reasons
    assert "signature 'serving_default' answers click" in reasons


@pytest.mark.usefixtures("in_this_process")
def test_other_weights_are_refused(export: Export, model: Path, split: Path, tmp_path: Path) -> None:
    other = make_other_export(export, tmp_path / "other")
    shutil.rmtree(model / "variables")
    shutil.copytree(other.directory / "variables", model / "variables")
    found = check_export(str(model), str(split), DATASET, CONFIG)
    assert "allowed difference: 1e-05" in _reasons(found)
    worst = found["signatures"]["raw"]["outputs"]["like"]
    differences = np.abs(other.predictions["like"] - export.predictions["like"])[:4]
    assert worst["max_difference"] == pytest.approx(differences.max(), abs=1e-6)
    assert worst["row_id"] == ROWS[ROW_ID].to_pylist()[int(differences.argmax())]


def test_a_crash_is_a_refusal_that_quotes_it(model: Path, split: Path) -> None:
    (model / "saved_model.pb").write_bytes(b"no protocol buffer")
    reasons = _reasons(check_export(str(model), str(split), DATASET, CONFIG))
    assert "a fresh process that asked the export ended with status 1" in reasons
    assert "DecodeError" in reasons


@pytest.mark.usefixtures("in_this_process")
def test_inputs_that_the_spec_does_not_name_are_refused(model: Path, split: Path) -> None:
    renamed = DATASET.model_dump(mode="json")
    del renamed["features"]["age"]
    found = check_export(str(model), str(split), type(DATASET).model_validate(renamed), CONFIG)
    assert "signature 'raw' takes age (float32, rank 1)" in _reasons(found)
    assert set(found["inputs"]["found"]) - set(found["inputs"]["expected"]) == {"age"}


@pytest.mark.usefixtures("in_this_process")
def test_an_output_that_the_trainer_did_not_predict_is_refused(model: Path, split: Path) -> None:
    _rewrite_predictions(model, lambda table: table.drop(["like"]))
    reasons = _reasons(check_export(str(model), str(split), DATASET, CONFIG))
    assert "answers click (float32, rank 1), click_and_up (float32, rank 1), like (float32, rank 1)" in reasons


@pytest.mark.usefixtures("in_this_process")
def test_a_value_that_is_no_number_is_refused(model: Path, split: Path, tmp_path: Path) -> None:
    broken = pa.array([float("nan")] * ROWS.num_rows, pa.float32())
    _rewrite_predictions(model, lambda table: table.set_column(table.schema.names.index("like"), "like", broken))
    found = check_export(str(model), str(split), DATASET, CONFIG)
    assert "where the trainer predicted None" in _reasons(found)
    assert found["max_difference"] is None
    blessing = _artifact(standard_artifacts.InfraBlessing(), tmp_path / "blessing")
    check_serving.bless(blessing, found)
    assert read_json(str(tmp_path / "blessing"), check_serving.FILE) == found


def test_a_signature_that_was_not_compared_is_refused(
    export: Export, split: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answer(model: str, rows: pa.Table) -> Answers:
        ask.ask(Path(model), rows, tmp_path)
        raw, served = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("raw", "serving_default"))
        others = pa.array(range(raw.num_rows), pa.int64())
        tables = {"raw": raw.set_column(0, ROW_ID, others), "serving_default": served}
        return Answers(json.loads((tmp_path / ask.SIGNATURES_FILE).read_text()), tables)

    monkeypatch.setattr(check_serving, "ask_in_fresh_process", answer)
    found = check_export(str(export.directory), str(split), DATASET, CONFIG)
    assert set(found["signatures"]) == {"serving_default"}
    (reason,) = found["verdict"]["reasons"]
    assert reason.startswith("signature 'raw' was not compared with the trainer: it answered about 4 rows")


@pytest.mark.usefixtures("in_this_process")
def test_a_signature_that_answered_nothing_is_refused(
    export: Export, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process = check_serving.ask_in_fresh_process

    def answer(model: str, rows: pa.Table) -> Answers:
        answers = in_process(model, rows)
        return Answers(answers.signatures, {"raw": answers.tables["raw"]})

    monkeypatch.setattr(check_serving, "ask_in_fresh_process", answer)
    found = check_export(str(export.directory), str(split), DATASET, CONFIG)
    assert found["verdict"]["reasons"] == [
        "signature 'serving_default' was not compared with the trainer: it answered nothing"
    ]


def test_predictions_about_other_rows_are_refused(model: Path, split: Path) -> None:
    others = pa.array(range(ROWS.num_rows), pa.int64())
    _rewrite_predictions(model, lambda table: table.set_column(0, ROW_ID, others))
    assert "about 4 rows, of which 0 are in" in _reasons(check_export(str(model), str(split), DATASET, CONFIG))


def test_no_predictions_are_refused(model: Path, split: Path) -> None:
    (model / FOLDER / "predictions.parquet").unlink()
    assert "lacks assets.extra/feedrank/predictions.parquet" in _reasons(
        check_export(str(model), str(split), DATASET, CONFIG)
    )


def _rewrite_predictions(model: Path, change: object) -> None:
    path = model / FOLDER / "predictions.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def test_compare_matches_rows_by_id() -> None:
    trainer = pa.table({ROW_ID: [1, 2, 3], "click": pa.array([0.1, 0.2, 0.3], pa.float32())})
    export = pa.table({ROW_ID: [3, 1, 2], "click": pa.array([0.3, 0.1, 0.25], pa.float32())})
    found = compare(trainer, export)["outputs"]["click"]
    assert found["row_id"] == 2
    assert found["max_difference"] == pytest.approx(0.05, abs=1e-7)
