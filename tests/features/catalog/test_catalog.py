"""The datasets known by name, and the public logs read as their entries say."""

from __future__ import annotations

import csv
import datetime
import gzip
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pydantic
import pytest

from features import catalog
from features.catalog import census_income, kuairand
from features.catalog.kuairand_files import prepare
from features.catalog.synthetic import dataset_for, hour_of_day, interest_rank
from features.columns import kept_columns
from features.errors import ConfigError, DataError
from features.logs import LogBatch, load_tables, read_log
from features.spec import Dataset
from features.synthesis import SynthesisConfig
from tests.features.catalog import kuairand_sample
from tests.public_logs import PublicLogs


@pytest.mark.parametrize("name", catalog.names())
def test_each_name_loads_a_dataset_of_that_name_that_travels_as_json(name: str) -> None:
    dataset = catalog.load(name)
    assert dataset.name == name
    assert Dataset.model_validate_json(dataset.model_dump_json()) == dataset


@pytest.mark.parametrize("name", catalog.names())
def test_a_label_whose_task_was_removed_becomes_no_feature(name: str) -> None:
    spec = catalog.load(name).model_dump(mode="json")
    for task, removed in list(spec["tasks"].items()):
        if len(spec["tasks"]) == 1:
            continue  # without it there is no dataset
        left = {other: kept | {"parent": None} for other, kept in spec["tasks"].items() if other != task}
        feature = "categorical" if spec["columns"][removed["label"]]["type"] == "string" else "numeric"
        changed = spec | {"tasks": left, "features": spec["features"] | {removed["label"]: feature}}
        is_shared = any(kept["label"] == removed["label"] for kept in left.values())
        reason = "the label of task" if is_shared else "an outcome column"
        with pytest.raises(pydantic.ValidationError, match=f"'{removed['label']}', which is {reason}"):
            Dataset.model_validate(changed)
        assert removed["label"] not in kept_columns(Dataset.model_validate(spec | {"tasks": left}))


def test_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'kuairan'; known: ali_ccp, .*, kuairand, .*; .*'kuairand'"):
        catalog.load("kuairan")


# -- synthetic ----------------------------------------------------------------------------------------------------


def test_synthetic_split_follows_from_the_config() -> None:
    split = dataset_for(SynthesisConfig(days=4, start=datetime.date(2026, 2, 27))).split
    # 27 and 28 February, 1 March, 2 March
    assert (split.train, split.validation, split.test) == (
        (datetime.date(2026, 2, 27), datetime.date(2026, 2, 28)),
        (datetime.date(2026, 3, 1), datetime.date(2026, 3, 1)),
        (datetime.date(2026, 3, 2), datetime.date(2026, 3, 2)),
    )


def test_hour_of_day() -> None:
    # 1970-01-01 00:00, 23:59:59.999, 1970-01-02 01:00
    batch = pa.RecordBatch.from_pydict({"time_ms": pa.array([0, 86_399_999, 90_000_000])})
    assert hour_of_day(batch)["hour"].to_pylist() == [0, 23, 1]


def test_interest_rank() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "category": pa.array(["news", "news", "cars", None, "cars", "music"]),
            "interests": pa.array([["cars", "news"], None, ["cars"], ["news"], [], ["news", "cars", "music"]]),
        }
    )
    assert interest_rank(batch)["interest_rank"].to_pylist() == [2, 0, 1, 0, 0, 3]
    assert interest_rank(batch.slice(2))["interest_rank"].to_pylist() == [1, 0, 0, 3]


# -- public logs --------------------------------------------------------------------------------------------------


def _read(dataset: Dataset, path: Path) -> list[LogBatch]:
    batches = list(read_log(dataset, str(path), load_tables(dataset, str(path))))
    assert sum(batch.quarantined.num_rows for batch in batches) == 0
    return batches


def _rows(batches: list[LogBatch], split: str) -> int:
    return sum(batch.of(split).num_rows for batch in batches)


def test_census_income_reads_the_official_file(test_data: PublicLogs) -> None:
    batches = _read(catalog.load("census_income"), test_data / "census_income")
    rows = pa.Table.from_batches([batch.rows for batch in batches])
    # Counted with `zcat | awk -F', '` on columns 42 and 8.
    assert rows.num_rows == 99_762
    assert sum(rows.column("label_income").to_pylist()) == 6_186
    assert sum(rows.column("label_never_married").to_pylist()) == 43_143
    # 80 : 10 : 10 within five standard deviations.
    assert abs(_rows(batches, "train") - 79_810) < 5 * 127
    assert abs(_rows(batches, "test") - 9_976) < 5 * 95


def test_census_income_finds_either_official_file_and_reads_blanks_and_question_marks(tmp_path: Path) -> None:
    values = ["7"] * 42
    values[census_income.COLUMNS.index("income_50k")] = "50000+."
    values[census_income.COLUMNS.index("marital_stat")] = "Divorced"
    values[census_income.COLUMNS.index("mig_chg_msa")] = "?"
    line = (", ".join(values) + "\n").encode()
    (tmp_path / "census-income.data").write_bytes(line)
    (tmp_path / "census-income.test.gz").write_bytes(gzip.compress(line))
    batches = _read(catalog.load("census_income"), tmp_path)
    assert {batch.file for batch in batches} == {"census-income.data", "census-income.test.gz"}
    for batch in batches:
        (row,) = batch.rows.to_pylist()
        assert (row["label_income"], row["label_never_married"], row["mig_chg_msa"], row["age"]) == (1.0, 0.0, None, 7)


def test_census_income_features_are_all_columns_but_labels_and_weight() -> None:
    features = set(catalog.load("census_income").features)
    assert len(features) == 39
    assert features == set(census_income.COLUMNS) - {"instance_weight", "marital_stat", "income_50k"}


def test_kuairand_splits_by_day_and_loses_no_row(test_data: PublicLogs) -> None:
    batches = _read(catalog.load("kuairand"), test_data / "kuairand")
    # Rows by `date`, counted with awk.
    assert [_rows(batches, split) for split in ("train", "validation", "test")] == [
        14_911 + 14_530 + 14_328 + 13_972,
        15_839,
        21_204,
    ]
    table = pa.Table.from_batches([batch.rows for batch in batches]).to_pandas()
    assert {task: int(table[f"label_{task}"].sum()) for task in ("like", "follow", "forward")} == {
        "like": 1_625,
        "follow": 128,
        "forward": 76,
    }
    # Every user and video is in its table, every rate a probability.
    assert table.fans_user_num.notna().all()
    rates = [name for name in kuairand.RATES if name.endswith("_rate")]
    assert table[rates].min().min() >= 0
    assert table[rates].max().max() <= 1
    # 1.34 % of the rows are of users without history.
    assert table.watch_seq.isna().sum() == 1_270
    assert (table.history_impressions == 0).sum() == 1_270


def test_kuairand_never_shows_an_outcome_to_the_model() -> None:
    dataset = catalog.load("kuairand")
    outcomes = {"play_time_ms", "profile_stay_time", "comment_stay_time", "is_hate", *kuairand.LABELS.values()}
    assert not outcomes & set(dataset.feature_columns())
    assert not outcomes & {name for derived in dataset.derived for name in derived.inputs}
    for table in ("video_statistics", "user_statistics", "user_authors"):
        assert set(dataset.tables[table].inputs) <= {"history", "videos", "video_statistics"}  # type: ignore[union-attr]


# -- the larger versions of KuaiRand --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1k", "27k"])
def test_kuairand_reads_the_later_official_log_whole_or_in_parts(version: str, tmp_path: Path) -> None:
    kuairand_sample.write_kuairand(tmp_path, version, 340)
    prepare(tmp_path)
    dataset = catalog.load(f"kuairand_{version}")
    batches = _read(dataset, tmp_path)
    logs = sorted(tmp_path.glob("log_standard_4_22_to_5_08_*.csv"))
    assert sorted({batch.file for batch in batches}) == [log.name for log in logs] == sorted(dataset.expected[0].rows)
    raw = [row for log in logs for row in csv.DictReader(log.read_text().splitlines())]
    rows = [row for batch in batches for row in batch.rows.to_pylist()]
    assert len(rows) == len(raw) == 340
    # 17 days of 20 rows.
    assert [_rows(batches, split) for split in ("train", "validation", "test")] == [15 * 20, 20, 20]
    for task, label in kuairand.LABELS.items():
        assert [row[f"label_{task}"] for row in rows] == [float(row[label]) for row in raw]
    earlier = [
        row
        for log in sorted(tmp_path.glob("log_standard_4_08_to_4_21_*.csv"))
        for row in csv.DictReader(log.read_text().splitlines())
    ]
    met = Counter(row["user_id"] for row in earlier)
    assert [row["history_impressions"] for row in rows] == [met[row["user_id"]] for row in raw]
    both = Counter((row["user_id"], row["video_id"]) for row in earlier)
    assert [row["seen_video"] for row in rows] == [both[row["user_id"], row["video_id"]] for row in raw]


def test_a_part_of_kuairand_27k_that_is_missing_stops_the_run(tmp_path: Path) -> None:
    kuairand_sample.write_kuairand(tmp_path, "27k", 40)
    prepare(tmp_path)
    (tmp_path / "log_standard_4_22_to_5_08_27k_part2.csv").unlink()
    with pytest.raises(DataError, match=r"no file matches 'log_standard_4_22_to_5_08_27k_part2\.csv'"):
        _read(catalog.load("kuairand_27k"), tmp_path)


def test_versions_of_kuairand_differ_in_files_days_and_what_is_expected_alone() -> None:
    pure = catalog.load("kuairand")
    for version in ("1k", "27k"):
        other = catalog.load(f"kuairand_{version}")
        for part in ("columns", "derived", "features", "tasks", "time", "group", "item"):
            assert getattr(other, part) == getattr(pure, part)
        assert other.tables.keys() == pure.tables.keys()
        assert [day.isoformat() for day in (*other.split.train, *other.split.test)] == [  # type: ignore[union-attr]
            "2022-04-22", "2022-05-06", "2022-05-08", "2022-05-08",
        ]  # fmt: skip


@pytest.mark.parametrize("period", ["4_08_to_4_21", "4_22_to_5_08"])
def test_a_history_of_half_of_kuairand_27k_is_not_made(tmp_path: Path, period: str) -> None:
    kuairand_sample.write_kuairand(tmp_path, "27k", 40)
    (tmp_path / f"log_standard_{period}_27k_part2.csv").unlink()
    with pytest.raises(
        DataError, match=rf"holds log_standard_{period}_27k_part1.csv of that log's two parts; allowed: both"
    ):
        prepare(tmp_path)
