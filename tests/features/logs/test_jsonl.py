"""JSON Lines: values of any kind in any column, lines that are none, and files that break off."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.errors import DataError
from features.logs import Counts, Tables, check_found, load_tables, read_log
from features.logs.jsonl_reader import read_jsonl
from features.logs.pieces import Piece
from features.spec import Column, SideTable, Source
from tests.features.logs.small_log import COLUMNS, dataset, read

JSONL = Source(files="*.jsonl", format="jsonl")
GOOD: dict[str, Any] = {
    "user": 7,
    "item": 8,
    "score": 1.5,
    "name": "ann",
    "tags": [3, 4],
    "day": 20240101,
    "click": 1,
    "like": 0,
    "seen": 1,
}


def _write(path: Path, *rows: Any, file: str = "log.jsonl", end: str = "\n") -> Path:
    """Each row as JSON, or as it is if it is text."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (path / file).write_bytes("\n".join(lines).encode("utf-8", "surrogateescape") + end.encode())
    return path


def test_values_are_typed_as_the_spec_says(tmp_path: Path) -> None:
    more = GOOD | {
        "user": "9",
        "item": None,
        "score": 2,
        "name": "ä\n",
        "tags": "5|6",
        "click": True,
        "extra": {"a": 1},
    }
    less = {"user": 1, "day": 20240102, "click": 0, "like": 1.0, "seen": False, "tags": []}
    rows, bad = read(dataset(source=JSONL), _write(tmp_path, GOOD, more, less, end=""))
    assert bad == []
    assert rows["user"].to_pylist() == [7, 9, 1]
    assert rows["item"].to_pylist() == [8, None, None]
    assert rows["score"].to_pylist() == [1.5, 2, None]
    assert rows["tags"].to_pylist() == [[3, 4], [5, 6], []]
    assert rows["label_click"].to_pylist() == [1, 1, 0]
    assert rows["label_like"].to_pylist() == [0, 0, 0]  # the last is masked


def test_texts_take_integers_and_no_float(tmp_path: Path) -> None:
    """orjson reads integers of more than 64 bits as floats: ids that differ would become one."""
    names = [json.dumps(2**70 + i) for i in range(3)] + ["5.0", "5.5", "1e3", "5", str(2**64 - 1), "true", '"5.5"']
    lines = [json.dumps(GOOD).replace('"ann"', name) for name in names]
    rows, bad = read(dataset(source=JSONL), _write(tmp_path, *lines))
    assert rows["name"].to_pylist() == ["5", str(2**64 - 1), "1", "5.5"]
    assert [(letter["row"], letter["reason"], letter["column"]) for letter in bad] == [
        (row, "wrong_shape", "name") for row in range(1, 7)
    ]
    assert str(2**70 + 1) in bad[1]["raw"]


def test_lists_of_texts_take_no_float(tmp_path: Path) -> None:
    file = _write(
        tmp_path, '{"words": ["a", 2, true, null]}', '{"words": ["a", 2.0]}', '{"words": [36893488147419103232]}'
    )
    [batch] = read_jsonl(Piece(str(file / "log.jsonl")), "log.jsonl", JSONL, {"words": Column(type="list<string>")})
    assert batch.columns["words"].to_pylist() == [[b"a", b"2", b"1", None]]
    assert [(reject.row, reject.reason, reject.value) for reject in batch.rejects] == [
        (2, "wrong_shape", "['a', 2.0]"),
        (3, "wrong_shape", "[3.6893488147419103e+19]"),
    ]


@pytest.mark.parametrize(
    ("line", "reason", "column", "value"),
    [
        ("", "blank_line", "", ""),
        ("{", "bad_json", "", "unexpected end of data: line 1 column 2 (char 1)"),
        ("[1]", "bad_json", "", "not an object"),
        ("null", "bad_json", "", "not an object"),
        (json.dumps(GOOD) + " x", "bad_json", "", None),
        (json.dumps(GOOD).replace("1.5", "NaN"), "bad_json", "", None),
        ('{"user": 1, "name": "\udcff"}', "bad_json", "", None),
        (json.dumps(GOOD | {"user": [1]}), "wrong_shape", "user", "[1]"),
        (json.dumps(GOOD | {"name": {"first": "a"}}), "wrong_shape", "name", "{'first': 'a'}"),
        (json.dumps(GOOD | {"tags": 3}), "wrong_shape", "tags", "3"),
        (json.dumps(GOOD | {"tags": [3, [4]]}), "wrong_shape", "tags", "[3, [4]]"),
        (json.dumps(GOOD | {"user": 1.5}), "bad_number", "user", "1.5"),
        (json.dumps(GOOD | {"user": 2**63}), "bad_number", "user", str(2**63)),
        (json.dumps(GOOD | {"user": 10**40}), "bad_number", "user", "1e+40"),
        (json.dumps(GOOD | {"user": None}), "missing_value", "user", ""),
        (json.dumps(GOOD | {"item": 1001}), "out_of_bounds", "item", "1001"),
        (json.dumps(GOOD | {"score": "x"}), "bad_number", "score", "x"),
        (json.dumps(GOOD | {"tags": [1, "x"]}), "bad_number", "tags", None),
        (json.dumps(GOOD | {"click": 2}), "bad_label", "click", "2"),
    ],
)
def test_a_bad_line_goes_alone(line: str, reason: str, column: str, value: str | None, tmp_path: Path) -> None:
    rows, bad = read(dataset(source=JSONL), _write(tmp_path, GOOD, line, GOOD | {"user": 9}))
    assert rows["user"].to_pylist() == [7, 9]
    assert [(b["row"], b["line"], b["reason"], b["column"]) for b in bad] == [(2, 2, reason, column)]
    assert value is None or bad[0]["value"] == value
    assert bad[0]["raw"].startswith(line[:20].replace("\udcff", "\\xff"))


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = (
    SCALARS
    | st.lists(SCALARS | st.just([1]), max_size=3)
    | st.just({"a": 1})
    | st.sampled_from(["1", "1.0", "3|4", "x"])
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(COLUMNS, VALUES)), min_size=1, max_size=6))
@example(rows=[{"score": -2}, {"score": False}])
def test_what_becomes_of_a_row_does_not_depend_on_its_neighbours(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    spec = dataset(source=JSONL)
    rows = [{"user": 1, "day": 20240101, "click": 1, "like": 0, "seen": 1} | row for row in rows]
    together, bad = read(spec, _write(tmp_path, *rows))
    alone = [read(spec, _write(tmp_path, row)) for row in rows]
    good = [kept for kept, _ in alone if kept.num_rows]
    expected = pa.concat_tables(good).drop(["feedrank_row_id"]) if good else None
    assert (together.drop(["feedrank_row_id"]) if together.num_rows else None) == expected
    assert [(b["reason"], b["column"], b["value"], b["raw"]) for b in sorted(bad, key=lambda b: b["row"])] == [
        (b["reason"], b["column"], b["value"], b["raw"]) for _, refused in alone for b in refused
    ]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.binary(max_size=12), max_size=8), chunk=st.integers(1, 40))
def test_any_bytes_add_up(lines: list[bytes], chunk: int, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    batches = list(read_jsonl(Piece(str(tmp_path / "log.jsonl")), "log", JSONL, COLUMNS, chunk_bytes=chunk))
    rejects = [reject for batch in batches for reject in batch.rejects]
    text = b"\n".join(lines).removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    assert sum(batch.rows_read for batch in batches) == (text.count(b"\n") + 1 if text else 0)
    numbers = sorted([*(r.row for r in rejects), *(int(n) for batch in batches for n in batch.rows)])
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_same_rows_as_parquet(tmp_path: Path) -> None:
    rows = [GOOD | {"user": i, "score": i / 4, "tags": list(range(i % 3)), "name": "n" * (i % 4)} for i in range(50)]
    _write(tmp_path, *rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    ours, _ = read(dataset(source=JSONL), tmp_path)
    theirs, _ = read(dataset(source=Source(files="*.parquet", format="parquet")), tmp_path)
    assert ours.drop(["feedrank_row_id"]) == theirs.drop(["feedrank_row_id"])


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(json.dumps(GOOD | {"user": i}) for i in range(2000)).encode())
    (tmp_path / "log.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    rows, bad = read(dataset(source=Source.model_validate("*.jsonl.gz")), tmp_path)
    assert 0 < rows.num_rows < 2000
    assert rows["user"].to_pylist() == list(range(rows.num_rows))
    assert [(b["reason"], b["row"]) for b in bad] == [("truncated_file", rows.num_rows + 1)]


def test_a_column_that_no_row_has_is_told_in_the_end(tmp_path: Path) -> None:
    spec = dataset(source=JSONL)
    _write(tmp_path, *[{k: v for k, v in GOOD.items() if k != "score"}] * 3)
    _write(tmp_path, *[GOOD | {"name": None}] * 2, file="more.jsonl")
    counts = Counts()
    for batch in read_log(spec, str(tmp_path), Tables()):
        counts.merge(Counts.of(batch, spec))
    assert counts.without == {"score": 3, "name": 2}
    check_found(counts.rows_read, counts.without, JSONL, "the log")  # each is somewhere
    with pytest.raises(
        DataError, match="the log: none of the 3 rows has score; allowed: names as they are written in the jsonl"
    ):
        check_found(3, {"score": 3, "name": 2}, JSONL, "the log")
    check_found(3, {"score": 3}, Source(files="a.csv"), "a header names it")


def test_a_side_table_without_one_of_its_columns(tmp_path: Path) -> None:
    table = SideTable(
        source=Source.model_validate("users.jsonl"),
        on="user",
        columns={"user": Column(type="int64"), "city": Column(type="string")},
    )
    _write(tmp_path, {"user": 1, "town": "x"}, file="users.jsonl")
    with pytest.raises(DataError, match="table 'users': none of the 1 rows has city"):
        load_tables(dataset(tables={"users": table}), str(tmp_path))


def test_a_side_table_of_which_no_row_has_the_key(tmp_path: Path) -> None:
    table = SideTable(
        source=Source.model_validate("users.jsonl"),
        on="user",
        columns={"user": Column(type="int64"), "city": Column(type="string")},
    )
    _write(tmp_path, {"user_id": 1, "city": "x"}, {"user_id": 2, "city": "y"}, file="users.jsonl")
    with pytest.raises(DataError, match="table 'users': none of the 2 rows has user; allowed: names as they are"):
        load_tables(dataset(tables={"users": table}), str(tmp_path))
    _write(tmp_path, {"user_id": 1, "city": "x"}, {"user": None}, {"user": 2, "city": "y"}, file="users.jsonl")
    assert len(load_tables(dataset(tables={"users": table}), str(tmp_path)).rejects) == 2
