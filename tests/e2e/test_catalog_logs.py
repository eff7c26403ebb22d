"""Datasets of the catalog whose files are not at hand, each by its own configuration on a small log written as the official one is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from features.catalog.kuairand_files import prepare
from tests.e2e.conftest import run_pipeline, versions
from tests.features.catalog import kuairand_sample, samples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = [
    "train={batch_size: 64, epochs: 1}",
    "validate={max_drift: 1.0, max_numeric_drift: 1.0}",  # a few rows a day differ by chance
    "model={trunk: {units: [8]}, embedding_dim: 4}",
]


def _kuairand(folder: Path) -> int:
    kuairand_sample.write_kuairand(folder, "1k", 1700)
    prepare(folder)
    return 1700


def _movielens(folder: Path) -> int:
    samples.write_movielens_1m(folder, 1500)
    return 1500


def _user_behavior(folder: Path) -> int:
    samples.write_user_behavior(folder / "UserBehavior.csv", 1800)
    return 1800


def _ijcai_15(folder: Path) -> int:
    samples.write_ijcai_15(folder, 1200)
    return 1200


def _yelp(folder: Path) -> int:
    samples.write_yelp_reviews(folder, 1200)
    return 1200


@pytest.mark.parametrize(
    ("name", "write", "more"),
    [
        ("movielens_1m", _movielens, []),
        ("user_behavior", _user_behavior, []),
        ("ijcai_15", _ijcai_15, []),
        ("yelp_reviews", _yelp, []),
        ("kuairand_1k", _kuairand, ["evaluate.thresholds={click: null, long_view: null}"]),
    ],
)
def test_a_configuration_trains_on_its_log(
    name: str, write: Callable[[Path], int], more: list[str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = write(data)
    where = [f"output={tmp_path / 'runs'}", f"data.path={data}"]
    folder, record = run_pipeline(f"{name}.yaml", [*where, *SMALL, *more])
    manifest = json.loads((record.output("ingest", "manifest") / "manifest.json").read_text())
    assert manifest["rows_read"] == rows == sum(manifest["rows_out"].values()) + manifest["quarantined"]["rows"]
    evaluation = json.loads((record.output("evaluate", "evaluation") / "evaluation.json").read_text())
    assert evaluation["verdict"]["blessed"], evaluation["verdict"]
    assert evaluation["rows"] == manifest["rows_out"]["test"] > 0
    assert set(evaluation["tasks"]) == set(manifest["tasks"])
    assert len(versions(folder.directory.parents[1] / "serving")) == 1
