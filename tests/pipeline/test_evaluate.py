"""The evaluate stage against exported models, and its blessing in the hands of stock TFX."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.view import util as view_util
from tfx.components.util import model_utils
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import artifact_utils, standard_artifacts

from pipeline.components.evaluate import FILE, Evaluate, evaluate_split
from pipeline.config import EvaluateConfig
from pipeline.history import read_json
from tests.pipeline.evaluation import toy


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `good`, `bad` (upside down), `broken` (NaN) and `other` (asks for a column that the log lacks)."""
    root = tmp_path_factory.mktemp("models")
    other = toy.dataset(
        columns={**{n: c.model_dump() for n, c in toy.dataset().columns.items()}, "age": "float32"},
        features={"age": {"kind": "numeric"}},
    )
    for name, power, spec in (("good", 1.0, None), ("bad", -1.0, None), ("broken", 100.0, None), ("other", 1.0, other)):
        toy.export(root / name / "Format-Serving", power, spec)
    return root


@pytest.fixture
def split(tmp_path):
    return toy.write_split(tmp_path / "examples" / "Split-test", toy.rows(copies=20))


def artifact(kind, path, number):
    made = kind()
    made.uri, made.id = str(path), number
    return made


def call(models, split, folder, model, baseline=None, config=None, truth=""):
    examples = artifact(standard_artifacts.Examples, split.parent, 1)
    examples.split_names = artifact_utils.encode_split_names(["train", "validation", "test"])
    outputs = {
        "evaluation": artifact(standard_artifacts.ModelEvaluation, folder / "evaluation", 4),
        "blessing": artifact(standard_artifacts.ModelBlessing, folder / "blessing", 5),
    }
    Evaluate.test_call(
        dataset=toy.dataset().model_dump_json(),
        evaluate=(config or EvaluateConfig()).model_dump_json(),
        examples=examples,
        model=artifact(standard_artifacts.Model, models / model, 2),
        baseline_model=artifact(standard_artifacts.Model, models / baseline, 3) if baseline else None,
        truth=truth,
        **outputs,
    )
    return read_json(str(folder / "evaluation"), FILE), outputs["blessing"]


def test_a_first_model_is_measured_and_blessed(models, split, tmp_path):
    found, blessing = call(models, split, tmp_path, "good", config=EvaluateConfig(slices=("tab",)))
    assert found["rows"] == 120
    assert found["tasks"]["click"]["auc"] == pytest.approx(4 / 9)
    assert found["tasks"]["click"]["gauc"] == pytest.approx(3 / 5)
    assert found["up"]["positives"] == 60
    assert found["slices"]["tab"]["x"]["tasks"]["click"]["auc"] == pytest.approx(0.5)
    assert (found["baseline"], found["verdict"]["blessed"]) == (None, True)
    assert 0 < found["predict_seconds"] < found["seconds"]
    assert found["predict_core_seconds"] > 0
    assert (Path(blessing.uri) / "BLESSED").exists()
    assert model_utils.is_model_blessed(blessing)
    assert blessing.get_string_custom_property("current_model") == str(models / "good")


def test_tfma_and_its_viewers_read_the_evaluation(models, split, tmp_path):
    found, _ = call(models, split, tmp_path, "good", config=EvaluateConfig(slices=("tab",)))
    read = tfma.load_eval_result(str(tmp_path / "evaluation"))
    slices = {(): found["tasks"]} | {(("tab", value),): of["tasks"] for value, of in found["slices"]["tab"].items()}
    assert len(slices) > 2
    assert [key for key, _ in read.slicing_metrics] == [*slices]
    for key, tasks in slices.items():
        for task, numbers in tasks.items():
            told = read.get_metrics_for_slice(key, output_name=task)
            wanted = {"example_count": numbers["rows"]} | {
                name: value for name, value in numbers.items() if name not in ("kind", "rows", "calibration_bins")
            }
            assert "auc" in wanted or "mse" in wanted
            assert told.keys() == wanted.keys()
            for name, value in wanted.items():
                expected = float("nan") if value is None else value
                assert float(told[name]["doubleValue"]) == pytest.approx(expected, nan_ok=True)
    shown = view_util.get_slicing_metrics(read.slicing_metrics, slicing_column="tab")
    assert {row["slice"] for row in shown} == {f"tab:{value}" for value in found["slices"]["tab"]}
    assert [tfma.load_eval_results(str(tmp_path / "evaluation")).get_results()[0].config] == [read.config]


def test_a_worse_model_is_refused_and_stock_tfx_keeps_the_earlier_one(models, tmp_path):
    split = toy.write_split(tmp_path / "examples" / "Split-test", toy.rows(copies=400))
    _, first = call(models, split, tmp_path / "1", "good")
    # Upside down: the area 4/9 becomes 5/9, so for a fall the good one must be the inverse here.
    found, second = call(models, split, tmp_path / "2", "good", baseline="bad")
    assert found["baseline"]["tasks"]["click"]["auc"] == pytest.approx(5 / 9)
    assert (
        "task 'click': auc 0.44444 is 0.11111 below the last blessed model's 0.55556" in found["verdict"]["reasons"][0]
    )
    assert (Path(second.uri) / "NOT_BLESSED").exists()
    assert not (Path(second.uri) / "BLESSED").exists()
    assert not model_utils.is_model_blessed(second)
    assert second.get_int_custom_property("baseline_model_id") == 3
    second.set_int_custom_property("current_model_id", 9)
    trained = [artifact(standard_artifacts.Model, models / "good", number) for number in (2, 9)]
    chosen = LatestBlessedModelStrategy().resolve_artifacts(None, {"model": trained, "blessing": [first, second]})
    assert [model.id for model in chosen["model"]] == [2]


def test_predictions_that_are_no_numbers_refuse_the_model(models, split, tmp_path):
    found, blessing = call(models, split, tmp_path, "broken")
    assert (
        "task 'click' cannot be judged: its auc is undefined on 120 rows, 60 of them positive"
        in found["verdict"]["reasons"]
    )
    assert "task 'click': 120 of 120 predictions are not finite" in found["notes"]
    assert not model_utils.is_model_blessed(blessing)


def test_a_last_model_that_asks_for_another_column_is_a_reason(models, split, tmp_path):
    found, _ = call(models, split, tmp_path, "good", baseline="other")
    assert "cannot be compared: the rows lack column age" in found["verdict"]["reasons"][0]
    assert found["baseline"]["tasks"] == {}


def test_a_fall_that_chance_explains_is_no_reason(models, split, tmp_path):
    found, _ = call(models, split, tmp_path, "good", baseline="bad")
    assert found["baseline"]["change_errors"]["click"] > 0.11 / 1.645
    assert found["verdict"]["blessed"]


def test_a_last_model_that_the_metrics_do_not_take_is_a_reason(models, split, tmp_path):
    toy.export(tmp_path / "wild" / "Format-Serving", power=toy.WILD)
    found, _ = call(models, split, tmp_path, "good", baseline=str(tmp_path / "wild"))
    assert "cannot be compared: a prediction is " in found["verdict"]["reasons"][0]


def test_a_last_model_that_fails_on_these_rows_is_a_reason(models, split, tmp_path):
    toy.export(tmp_path / "failing" / "Format-Serving", power=toy.FAILING)
    found, _ = call(models, split, tmp_path, "good", baseline=str(tmp_path / "failing"))
    assert "cannot answer signature 'raw' for inputs score" in found["verdict"]["reasons"][0]


def test_a_last_model_that_is_gone_is_a_reason(models, split, tmp_path):
    found = evaluate_split(
        str(split), toy.dataset(), EvaluateConfig(), str(models / "good" / "Format-Serving"), str(tmp_path / "gone")
    )
    assert "is no model exported by feedrank" in found["verdict"]["reasons"][0]


def test_a_synthetic_log_tells_how_well_the_outputs_know_the_truth(models, split, tmp_path):
    (tmp_path / "truth").mkdir()
    pq.write_table(pa.table({"item": ["a", "b"], "up": [1.0, 0.0]}), tmp_path / "truth" / "part-0.parquet")
    found, _ = call(models, split, tmp_path, "good", truth=str(tmp_path / "truth"))
    assert found["truth"] == {"auc": {"up": 1, "sum": 1, "click": 1, "like": 1}, "ceiling": 1, "rows": 40}


def test_an_upside_down_model_would_fail_a_bound(models, split, tmp_path):
    config = EvaluateConfig(thresholds={"like": {"auc": {"minimum": 0.9}}})
    found, _ = call(models, split, tmp_path, "bad", config=config)
    assert found["verdict"]["reasons"] == ["task 'like': auc is 0; allowed: at least 0.9"]
