"""The tables that `benchmarks.quality` writes, against numbers worked out by hand."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from benchmarks.quality import table
from benchmarks.quality.__main__ import Dataset, shares_of_cores
from features.errors import ConfigError


def result(model: str, seed: int, **areas: float) -> dict[str, Any]:
    tasks = {task: {"auc": a, "gauc": None, "log_loss": 0.5, "calibration": 0.9} for task, a in areas.items()}
    about = {"dataset": "log", "model": model, "seed": seed, "revision": "abc", "cores": 1, "set": []}
    return {**about, "tasks": tasks, "parameters": 1000, "examples_per_s": 2e3}


@pytest.fixture
def written(tmp_path: pathlib.Path) -> pathlib.Path:
    results = table.Results(tmp_path)
    results.add(result("worse", 1, click=0.6, like=0.7))
    results.add(result("better", 2, click=0.74, like=0.82))
    results.add(result("better", 1, click=0.70, like=0.80))
    without = {"dataset": "log", "seed": 1, "revision": "abc", "cores": 1, "set": []}
    results.add({**without, "model": "unfit", "refused": "model.head: esmm\nno chain"})
    results.add({**without, "model": "killed", "error": "Traceback\nno memory"})
    return tmp_path


def test_means_and_half_ranges_best_first(written: pathlib.Path) -> None:
    lines = (written / "quality.md").read_text().splitlines()
    assert lines[lines.index("| model | click | like | mean | seeds |") + 2 :][:2] == [
        "| better | 0.7200 ± 0.0200 | 0.8100 ± 0.0100 | 0.7650 ± 0.0150 | 2 |",
        "| worse | 0.6000 | 0.7000 | 0.6500 | 1 |",
    ]
    assert "| better | - | 0.5000 ± 0.0000 | 0.1000 ± 0.0000 | 1,000 | 2,000 |" in lines


def test_what_was_refused_is_told_with_its_reason(written: pathlib.Path) -> None:
    said = (written / "quality.md").read_text()
    assert "unfit: not measured (1 of 1): no chain" in said
    assert "killed: not measured (1 of 1): no memory" in said


def test_json_holds_every_result_and_is_read_again(written: pathlib.Path) -> None:
    held = json.loads((written / "quality.json").read_text())
    assert [(r["model"], r["seed"]) for r in held] == [
        ("better", 1),
        ("better", 2),
        ("killed", 1),
        ("unfit", 1),
        ("worse", 1),
    ]
    again = table.Results(written)
    assert again.has("log", "better", 2)
    assert not again.has("log", "better", 3)
    assert not again.has("another", "better", 2)
    assert again.has("log", "unfit", 1)
    assert not again.has("log", "killed", 1)
    assert again.markdown() == (written / "quality.md").read_text()


def test_jobs_share_the_cores() -> None:
    assert shares_of_cores([0, 1, 4, 5, 6], 2) == [{0, 1}, {4, 5, 6}]
    assert shares_of_cores([3], 1) == [{3}]
    with pytest.raises(ValueError, match="got 3; allowed: 1 to 2"):
        shares_of_cores([0, 1], 3)


def test_what_failed_is_replaced_and_what_has_no_auc_is_left_out_of_means(written: pathlib.Path) -> None:
    results = table.Results(written)
    again = result("killed", 1, click=0.5)
    again["tasks"]["like"] = {"auc": None, "gauc": None, "log_loss": 0.2, "calibration": None}
    results.add(again)
    assert results.has("log", "killed", 1)
    assert "| killed | 0.5000 | - | 0.5000 | 1 |" in results.markdown()


def test_models_without_any_auc_come_last(tmp_path: pathlib.Path) -> None:
    results = table.Results(tmp_path)
    for name, area in (("a", 0.5), ("b", None), ("c", 0.6), ("d", 0.9)):
        numbers = result(name, 1, click=0.5)
        numbers["tasks"]["click"]["auc"] = area
        results.add(numbers)
    ranked = [line.split("|")[1].strip() for line in results.markdown().splitlines() if line.endswith("| 1 |")]
    assert ranked == ["d", "c", "a", "b"]


def test_a_dataset_that_was_prepared_with_other_settings_is_refused(tmp_path: pathlib.Path) -> None:
    for name, text in (("problem.json", "{}"), ("set.json", '["train.epochs=1"]')):
        (tmp_path / name).write_text(text)
    Dataset("log", tmp_path, "run.yaml", ["train.epochs=1"]).prepare()  # what is there is taken
    with pytest.raises(ConfigError, match=r"prepared with --set \['train.epochs=1'\]; got \[\]; allowed: the same, or"):
        Dataset("log", tmp_path, "run.yaml", []).prepare()


def test_results_of_other_settings_are_not_mixed(written: pathlib.Path) -> None:
    results = table.Results(written)
    results.check("log", [])
    results.check("another", ["train.epochs=1"])
    with pytest.raises(
        ConfigError, match=r"holds results of log with --set \[\]; got \['train.epochs=1'\]; allowed: the same"
    ):
        results.check("log", ["train.epochs=1"])


def test_a_model_without_a_number_of_parameters_or_any_defined_metric_has_dashes(tmp_path: pathlib.Path) -> None:
    results = table.Results(tmp_path)
    trees = result("trees", 1, click=0.5)
    del trees["parameters"]
    trees["tasks"]["click"] = {"auc": None, "gauc": None, "log_loss": 0.2, "calibration": None}
    results.add(trees)
    lines = (tmp_path / "quality.md").read_text().splitlines()
    assert "| trees | - | - | 1 |" in lines
    assert "| trees | - | 0.2000 | - | - | 2,000 |" in lines
