"""Census-Income's two files, as the official ones are written: rows, labels, splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from features import catalog
from features.logs import Tables, read_log
from features.spec import SPLITS, Dataset
from pipeline.loading import CONFIGS, load
from tests.features.catalog.samples_census import Part, write_census

DATA, TEST = "census-income.data", "census-income.test.gz"


def _written(folder: Path, rows: int) -> dict[str, Part]:
    return {file: write_census(folder, file, rows, seed) for seed, file in enumerate((DATA, TEST))}


def _rows(dataset: Dataset, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By file; with the part of the split."""
    batches = list(read_log(dataset, str(folder), Tables()))
    assert sum(batch.quarantined.num_rows for batch in batches) == 0
    return {
        file: [
            {**row, "in": SPLITS[part]}
            for batch in batches
            if batch.file == file
            for row, part in zip(batch.rows.to_pylist(), batch.part, strict=True)
        ]
        for file in (DATA, TEST)
    }


def test_both_files_counted_again(tmp_path: Path) -> None:
    written = _written(tmp_path, 240)
    for file, rows in _rows(catalog.load("census_income"), tmp_path).items():
        part = written[file]
        assert len(rows) == part.rows == 240
        assert sum(row["label_income"] for row in rows) == part.rich > 0
        assert sum(row["label_never_married"] for row in rows) == part.never_married > 0
        assert sum(row["state_prev_res"] is None for row in rows) == part.unknown_states > 0
        assert {row["citizenship"] for row in rows} == {
            "Native- Born in the United States", "Foreign born- Not a citizen of U S",
        }  # fmt: skip
        # One in twelve stands there twice, and is kept.
        features = catalog.load("census_income").feature_columns()
        assert len({tuple(row[name] for name in features) for row in rows}) <= 220
        assert {row["in"] for row in rows} == set(SPLITS)


def test_split_as_in_the_paper(tmp_path: Path) -> None:
    written = _written(tmp_path, 1_200)
    dataset = load(CONFIGS / "census_income_halved.yaml").dataset
    found = _rows(dataset, tmp_path)
    assert {row["in"] for row in found[DATA]} == {"train"}
    assert len(found[DATA]) == written[DATA].rows
    tested = np.array([row["in"] == "test" for row in found[TEST]])
    assert {row["in"] for row in found[TEST]} == {"validation", "test"}
    # Five standard deviations of a half of 1,200 draws are 87.
    assert abs(tested.sum() - 600) < 87
    again = _rows(dataset, tmp_path)
    assert again == found
    assert "part" not in dataset.feature_columns()
    assert dataset.features == catalog.load("census_income").features
