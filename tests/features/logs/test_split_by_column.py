"""A log that comes with its own test rows: columns of the files' names, and a split by a column."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import DataError
from features.logs import Tables, load_tables, read_log
from features.logs.days import NO_PART, parts_by_value
from features.logs.reader import check_log
from features.logs.row_ids import uniform
from features.logs.sources import cut_source, read_source
from features.spec import Column, ColumnSplit, Dataset, SideTable, Source
from tests.features.logs.small_log import COLUMNS, GOOD, dataset, read, write

PART = {"part": Column(type="string", required=True)}
SPLIT = ColumnSplit(column="part", train=("train",), test=("test", "late"), validation=0.2)


def _by_file(**changes) -> Dataset:
    source = Source(files="log_*.csv", from_name={"part": r"log_([a-z]+)\.csv$"})
    return dataset(**{"source": source, "columns": COLUMNS | PART, "split": SPLIT, "time": None} | changes)


def test_files_are_parts_and_a_share_of_the_training_rows_validates(tmp_path: Path) -> None:
    for name, rows in (("train", 10_000), ("test", 3), ("late", 2)):
        write(tmp_path, *[GOOD] * rows, name=f"log_{name}.csv")
    batches = list(read_log(_by_file(), str(tmp_path), Tables()))
    found = {
        name: np.concatenate([b.part for b in batches if b.file == f"log_{name}.csv"])
        for name in ("train", "test", "late")
    }
    assert found["test"].tolist() == [2] * 3
    assert found["late"].tolist() == [2] * 2
    # Five standard deviations of a share of 10,000 draws are .02.
    np.testing.assert_allclose(np.bincount(found["train"], minlength=3) / 10_000, [0.8, 0.2, 0.0], atol=0.02)
    again = np.concatenate([b.part for b in read_log(_by_file(), str(tmp_path), Tables()) if b.file == "log_train.csv"])
    np.testing.assert_array_equal(found["train"], again)
    other = _by_file(split=SPLIT.model_copy(update={"seed": 1}))
    moved = np.concatenate([b.part for b in read_log(other, str(tmp_path), Tables()) if b.file == "log_train.csv"])
    # Two independent draws agree in a share of .64 + .04.
    assert abs((found["train"] == moved).mean() - 0.68) < 0.025


def test_a_share_of_the_test_rows_validates_and_all_training_rows_train(tmp_path: Path) -> None:
    for name, rows in (("train", 3), ("test", 6_000), ("late", 4_000)):
        write(tmp_path, *[GOOD] * rows, name=f"log_{name}.csv")
    halved = _by_file(split=SPLIT.model_copy(update={"validation": 0.5, "validation_of": "test"}))
    rows, bad = read(halved, tmp_path)
    assert bad == []
    batches = list(read_log(halved, str(tmp_path), Tables()))
    found = {
        name: np.concatenate([b.part for b in batches if b.file == f"log_{name}.csv"])
        for name in ("train", "test", "late")
    }
    assert found["train"].tolist() == [0] * 3
    for name in ("test", "late"):
        # Five standard deviations of a half of 4,000 draws are .04.
        np.testing.assert_allclose(np.bincount(found[name], minlength=3) / len(found[name]), [0.0, 0.5, 0.5], atol=0.04)


def test_validation_rows_of_their_own(tmp_path: Path) -> None:
    for name, rows in (("train", 3), ("valid", 2), ("test", 4), ("late", 1)):
        write(tmp_path, *[GOOD] * rows, name=f"log_{name}.csv")
    spec = _by_file(split=SPLIT.model_copy(update={"validation": ("valid",)}))
    found = {batch.file: batch.part.tolist() for batch in read_log(spec, str(tmp_path), Tables())}
    assert found == {
        "log_train.csv": [0] * 3, "log_valid.csv": [1] * 2, "log_test.csv": [2] * 4, "log_late.csv": [2],
    }  # fmt: skip


_VALUES = st.sampled_from(["a", "b", "c", "d", None])


@given(
    values=st.lists(_VALUES, max_size=60),
    share=st.floats(0.01, 0.99),
    of=st.sampled_from(["train", "test"]),
    own=st.booleans(),
    seed=st.integers(0, 1_000),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_each_row_is_in_one_part_whatever_batch_it_comes_in(
    values: list[str | None], share: float, of: Literal["train", "test"], own: bool, seed: int, cuts: list[int]
) -> None:
    split = (
        ColumnSplit(column="part", train=("a",), test=("b", "c"), validation=("d",), seed=seed)
        if own
        else ColumnSplit(column="part", train=("a",), test=("b", "c"), validation=share, validation_of=of, seed=seed)
    )
    ids = np.arange(7, 7 + len(values), dtype=np.int64)
    found = parts_by_value(split, pa.array(values, pa.string()), ids)
    chosen = uniform(ids, seed) < share

    def expected(value: str | None, is_chosen: bool) -> int:
        part = {"a": 0, "b": 2, "c": 2, "d": 1 if own else NO_PART, None: NO_PART}[value]
        return 1 if not own and is_chosen and part == {"train": 0, "test": 2}[of] else part

    assert found.tolist() == [expected(value, bool(of_row)) for value, of_row in zip(values, chosen, strict=True)]
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    again = [
        parts_by_value(split, pa.array(values[first:last], pa.string()), ids[first:last])
        for first, last in itertools.pairwise(bounds)
    ]
    np.testing.assert_array_equal(np.concatenate(again), found)


def test_a_value_of_no_part_is_quarantined(tmp_path: Path) -> None:
    write(tmp_path, GOOD, name="log_train.csv")
    write(tmp_path, GOOD, name="log_other.csv")
    rows, bad = read(_by_file(), tmp_path)
    assert rows["part"].to_pylist() == ["train"]
    assert [(b["file"], b["reason"], b["column"], b["value"]) for b in bad] == [
        ("log_other.csv", "out_of_split", "part", "other")
    ]


def test_numbers_split_too(tmp_path: Path) -> None:
    write(tmp_path, *[GOOD.replace("7,8,", f"7,{item},") for item in (1, 2, 3)])
    by_item = dataset(split=ColumnSplit(column="item", train=(1,), test=(2,)))
    rows, bad = read(by_item, tmp_path)
    assert rows["item"].to_pylist() == [1, 2]
    assert [(b["row"], b["reason"], b["value"]) for b in bad] == [(3, "out_of_split", "3")]


def test_a_file_without_the_value_in_its_name_stops_unless_nothing_needs_it(tmp_path: Path) -> None:
    spec = _by_file(source=Source(files="*.csv", from_name={"part": r"log_([a-z]+)\.csv$"}))
    file = str(write(tmp_path, GOOD, name="day.csv") / "day.csv")
    with pytest.raises(
        DataError, match=r"column 'part' is read from the names of files, and 'day.csv' does not have it"
    ):
        read(spec, tmp_path)
    with pytest.raises(DataError, match=r"'day.csv' does not have it"):
        check_log(spec, str(tmp_path), [file], ["part"])
    check_log(spec, str(tmp_path), [file], ["user"])
    rows, bad = read(spec, tmp_path, labels=False, split=False)
    assert bad == []
    assert rows["part"].to_pylist() == [None]


def test_files_without_header_and_pieces_have_the_column_too(tmp_path: Path) -> None:
    source = Source(files="*.csv", header=False, from_name={"part": "_(train|test)"})
    columns = {"a": Column(type="int64"), "part": Column(type="string"), "b": Column(type="int64")}
    path = tmp_path / "log_test.csv"
    path.write_text("1,2\n3,4\n5,6\n")
    pieces = cut_source(str(path), source, list(columns), 4)
    assert len(pieces) > 1
    raws = [raw for piece in pieces for raw in read_source(piece, "log_test.csv", source, columns)]
    values = {name: b"".join(b"".join(raw.columns[name].to_pylist()) for raw in raws) for name in columns}
    assert values == {"a": b"135", "b": b"246", "part": b"testtesttest"}


def test_typed_files_have_the_column_too(tmp_path: Path) -> None:
    table = pa.table({"user": [7], "item": [8], "score": [1.5], "name": ["ann"], "tags": [[3]], "day": [20240101]})
    for name in ("click", "like", "seen"):
        table = table.append_column(name, pa.array([1]))
    (tmp_path / "country=nl").mkdir()
    pq.write_table(table, tmp_path / "country=nl" / "a.parquet")
    source = Source(files="*/*.parquet", from_name={"country": "country=([^/]+)/"})
    rows, bad = read(dataset(source=source, columns=COLUMNS | {"country": Column(type="string")}), tmp_path)
    assert (rows["country"].to_pylist(), bad) == (["nl"], [])


def test_a_table_is_found_by_the_part_of_its_file(tmp_path: Path) -> None:
    for part, age in (("train", 30), ("test", 40)):
        write(tmp_path, GOOD, name=f"log_{part}.csv")
        write(tmp_path, f"7,{age}", name=f"users_{part}.csv", header="user,age")
    users = SideTable(
        source=Source(files="users_*.csv", from_name={"part": r"_([a-z]+)\.csv$"}),
        on=("part", "user"),
        columns={"user": Column(type="int64"), "age": Column(type="int64"), **PART},
    )
    spec = _by_file(tables={"users": users})
    rows, _ = read(spec, tmp_path, load_tables(spec, str(tmp_path)))
    assert dict(zip(rows["part"].to_pylist(), rows["age"].to_pylist(), strict=True)) == {"train": 30, "test": 40}
