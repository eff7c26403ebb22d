"""A preset that does not fit a dataset is refused for good, wherever that is found out."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import pytest

from benchmarks.quality import __main__ as quality
from benchmarks.quality import ours, table
from pipeline import loading
from pipeline.config import dump
from tests.models.rankers import LAYOUT

DEMO = quality.CONFIGS["synthetic"]


def test_a_ranker_that_cannot_be_built_is_an_answer(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = loading.load(DEMO, ["model.preset=dlen", "model.head.prior=0.01"])
    (tmp_path / "run.yaml").write_text(dump(config))
    spec = {"files": {"train": [], "validation": []}, "features": [], "tasks": {}, "settings": {}}
    (tmp_path / "problem.json").write_text(json.dumps({**spec, "layout": LAYOUT.model_dump(mode="json")}))
    monkeypatch.setattr(ours, "training_rates", lambda data, train: dict.fromkeys(config.dataset.tasks, 0.5))
    output = tmp_path / "predictions.npz"
    monkeypatch.setattr(sys, "argv", ["ours", str(tmp_path), str(tmp_path / "run.yaml"), "1", str(output)])
    ours.main()
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(answer) == ["refused"]
    assert "prior 0.01 is P(UP) and must exceed every task's rate" in answer["refused"]
    assert not output.exists()


def test_what_its_own_process_refuses_is_kept_and_not_tried_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run_module(python: str, module: str, *arguments: str, cores: set[int]) -> dict[str, Any]:
        asked.append(module)
        return {"refused": "dlen head: prior 0.01 is too low"}

    (tmp_path / "problem.json").write_text("{}")
    (tmp_path / "set.json").write_text("[]")
    monkeypatch.setattr(quality, "run_module", run_module)
    dataset = quality.Dataset("synthetic", tmp_path, DEMO, [])
    for _ in range(2):
        results = table.Results(tmp_path / "results")
        quality.measure_all(dataset, results, [quality.Entry("feedrank", "dlen")], [1], 1)
    assert asked == ["benchmarks.quality.ours"]
    assert "feedrank_dlen: not measured (1 of 1): dlen head: prior 0.01 is too low" in results.markdown()
