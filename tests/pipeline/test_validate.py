"""The validate stage with TFX's own StatisticsGen and ExampleValidator before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.components.example_validator import executor as example_validator
from tfx.types import standard_artifacts

from features.errors import DataError
from features.schema import build_schema
from features.spec import SPLITS
from pipeline.artifacts import DataVerdict
from pipeline.components.statistics import CountingExecutor
from pipeline.components.validate import DataGate, SpecSchema
from tests.pipeline.examples import DATASET, ROWS, make, make_examples, make_manifest, plain_rows


def _rows() -> dict[str, dict[str, list[Any]]]:
    return {split: plain_rows(split) for split in SPLITS}


def _validate(directory: Path, rows: dict[str, dict[str, list[Any]]]) -> tuple[dict[str, Any], str]:
    """Runs the four components; returns the verdict, which is written even where the gate raises, and the error."""
    examples = make_examples(directory / "examples", rows)
    schema = make(standard_artifacts.Schema, directory / "schema")
    statistics = make(standard_artifacts.ExampleStatistics, directory / "statistics")
    anomalies = make(standard_artifacts.ExampleAnomalies, directory / "anomalies")
    SpecSchema.test_call(dataset=DATASET.model_dump_json(), schema=schema)
    context = CountingExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
    CountingExecutor(context).Do({"examples": [examples], "schema": [schema]}, {"statistics": [statistics]}, {})
    example_validator.Executor().Do({"statistics": [statistics], "schema": [schema]}, {"anomalies": [anomalies]}, {})
    manifest = make_manifest(directory / "manifest", rows)
    verdict = make(DataVerdict, directory / "validate" / "verdict" / "6")
    message = ""
    try:
        DataGate.test_call(
            dataset=DATASET.model_dump_json(),
            validate="{}",
            statistics=statistics,
            schema=schema,
            anomalies=anomalies,
            manifest=manifest,
            verdict=verdict,
            previous_statistics=statistics,
            previous_manifest=manifest,
        )
    except DataError as error:
        message = str(error)
    return json.loads(Path(verdict.uri, "verdict.json").read_text()), message


def test_schema_is_written(tmp_path: Path) -> None:
    schema = make(standard_artifacts.Schema, tmp_path)
    SpecSchema.test_call(dataset=DATASET.model_dump_json(), schema=schema)
    text = (tmp_path / "schema.pbtxt").read_text()
    assert text == str(build_schema(DATASET))


@pytest.mark.slow
def test_good_data_passes_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "feedrank.progress"):
        verdict, message = _validate(tmp_path, _rows())
    assert f"statistics rows={len(SPLITS) * ROWS}" in caplog.messages
    assert verdict["ok"]
    assert not message
    assert verdict["problems"] == verdict["warnings"] == []
    assert not (tmp_path / "validate" / "stopped").exists()
    assert set(verdict["drift"]) == {"tab", "city", "price"}
    assert all(of_column["previous run"] == 0 for of_column in verdict["drift"].values())


@pytest.mark.slow
def test_bad_data_stops_and_names_each_column(tmp_path: Path) -> None:
    rows = _rows()
    for columns in rows.values():
        del columns["seen"]
    rows["train"]["label_click"] = [0.0] * len(rows["train"]["label_click"])
    rows["validation"]["city"] = ["Köln"] * len(rows["validation"]["city"])
    rows["test"]["tab"] = [9] * len(rows["test"]["tab"])
    rows["test"]["price"] = [-1.0] * len(rows["test"]["price"])
    verdict, message = _validate(tmp_path, rows)
    assert not verdict["ok"]
    # TFX deletes what a failed stage put out.
    assert json.loads((tmp_path / "validate" / "stopped" / "6" / "verdict.json").read_text()) == verdict
    assert all(problem in message for problem in verdict["problems"])
    for expected in (
        "column 'seen': Column dropped",
        "task 'click' (label 'click') has no positive among the 400 rows of split 'train'",
        "column 'city': Unexpected string values",
        "column 'tab': unexpected values 9 in split 'test'; allowed: 0, 1, 2",
        "column 'price': Out-of-range values",
        "column 'price' drifts: Jensen-Shannon distance of test against train",
        "column 'city' drifts: L-infinity distance of validation against train",
        "column 'tab' drifts: L-infinity distance of test against train",
    ):
        assert expected in message
    assert "'user'" not in message
