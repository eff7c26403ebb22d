"""Down-sampling as a log is read: which rows stay, what they weigh, and counts that add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.logs import Counts, load_tables, pseudonyms_of, read_log
from features.spec import ROW_ID, ROW_WEIGHT, Dataset

ROWS = 20_000
DAYS = (20220401, 20220402, 20220403)


def dataset(**keys: Any) -> Dataset:
    return Dataset.model_validate(
        {
            "name": "log",
            "source": "log.csv",
            "columns": {"user": "int64", "date": "int64", "click": "int64", "like": "int64"},
            "time": {"column": "date", "unit": "yyyymmdd"},
            "features": {"user": "id"},
            "tasks": {"click": "click", "like": "like"},
            "split": {"train": "2022-04-01", "validation": "2022-04-02", "test": "2022-04-03"},
            **keys,
        }
    )


@pytest.fixture(name="folder", scope="module")
def write_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    draw = np.random.default_rng(5)
    lines = [
        f"{row},{DAYS[draw.choice(3, p=(0.6, 0.2, 0.2))]},{int(draw.random() < 0.1)},{int(draw.random() < 0.05)}"
        for row in range(ROWS)
    ]
    (folder / "log.csv").write_text("\n".join(["user,date,click,like", *lines, "x,20220401,0,0"]) + "\n")
    return folder


def read(folder: Path, spec: Dataset, **keys: Any) -> tuple[dict[str, np.ndarray], Counts]:
    """All rows with their parts, and the counts."""
    tables = load_tables(spec, str(folder), pseudonyms_of(spec, None))
    counts, columns = Counts(), {}
    for batch in read_log(spec, str(folder), tables, **keys):
        counts.merge(Counts.of(batch, spec))
        for name, values in zip(batch.rows.schema.names, batch.rows.columns, strict=True):
            columns.setdefault(name, []).append(values.to_numpy(zero_copy_only=False))
        columns.setdefault("part", []).append(batch.part)
    return {name: np.concatenate(parts) for name, parts in columns.items()}, counts


def test_negatives_of_the_training_split_are_left_out_and_counted(folder: Path) -> None:
    rows, counts = read(folder, dataset(downsample={"keep": 0.1}))
    whole, before = read(folder, dataset())
    train = whole["part"] == 0
    negative = train & (whole["label_click"] == 0) & (whole["label_like"] == 0)
    left_out = rows["part"] == -2
    assert (rows["user"] == whole["user"]).all()
    assert not left_out[~negative].any()
    assert (rows["part"][~left_out] == whole["part"][~left_out]).all()
    share = 1 - left_out.sum() / negative.sum()
    assert abs(share - 0.1) < 4 * np.sqrt(0.09 / negative.sum())  # four standard deviations of a binomial's share
    manifest = counts.manifest()
    assert manifest["sampled_out"] == left_out.sum() > 0
    assert manifest["rows_read"] == ROWS + 1
    assert manifest["rows_read"] == sum(manifest["rows_out"].values()) + manifest["sampled_out"] + 1
    assert manifest["days"] == before.manifest()["days"]
    assert manifest["tasks"]["click"]["sampled_out"] == {"rows": left_out.sum(), "positives": 0, "sum": 0.0}
    assert manifest["tasks"]["like"]["train"]["positives"] == (train & (whole["label_like"] == 1)).sum()
    assert before.manifest()["sampled_out"] == 0


def test_weights_are_one_over_keep_for_kept_negatives_of_training_alone(folder: Path) -> None:
    rows, _ = read(folder, dataset(downsample={"keep": 0.1}))
    negative = (rows["part"] == 0) & (rows["label_click"] == 0) & (rows["label_like"] == 0)
    kept = rows["part"] >= 0
    assert set(rows[ROW_WEIGHT][negative]) == {np.float32(10)}
    assert set(rows[ROW_WEIGHT][kept & ~negative]) == {np.float32(1)}
    for correct in ("probability", "none"):
        spec = dataset(
            downsample={"keep": 0.1, "correct": correct},
            tasks={"click": "click", "like": {"label": "like", "parent": "click"}},
        )
        assert ROW_WEIGHT not in read(folder, spec)[0]


def test_a_rule_of_one_task_leaves_out_positives_of_others(folder: Path) -> None:
    _, counts = read(folder, dataset(downsample={"keep": 0.1, "unless": ["click"]}))
    tasks = counts.manifest()["tasks"]
    assert tasks["click"]["sampled_out"]["positives"] == 0
    assert tasks["like"]["sampled_out"]["positives"] > 0


def test_the_same_rows_stay_in_every_run_and_others_with_another_seed(folder: Path) -> None:
    first, second, other = (read(folder, dataset(downsample={"keep": 0.1, "seed": seed}))[0] for seed in (0, 0, 1))
    assert (first["part"] == second["part"]).all()
    assert (first[ROW_ID] == other[ROW_ID]).all()
    assert (first["part"] != other["part"]).any()


def test_the_random_split_and_the_sample_are_independent(folder: Path) -> None:
    """By one number a row of training would be of the first shares alone, and all of them might be kept."""
    split = {"by": "random", "train": 0.1, "validation": 0.45, "test": 0.45}
    rows, _ = read(folder, dataset(split=split, downsample={"keep": 0.5}))
    train = (rows["part"] == 0) | (rows["part"] == -2)
    negative = train & (rows["label_click"] == 0) & (rows["label_like"] == 0)
    assert abs((rows["part"][negative] == 0).mean() - 0.5) < 4 * np.sqrt(0.25 / negative.sum())


def test_rows_to_be_scored_or_evaluated_are_not_sampled(folder: Path) -> None:
    rows, counts = read(folder, dataset(downsample={"keep": 0.1}), split=False)
    assert set(rows["part"]) == {-1}
    assert ROW_WEIGHT not in rows
    assert counts.manifest()["rows_out"] == {"all": ROWS}
