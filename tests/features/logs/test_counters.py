"""Counters against a double loop over rows, and that no row ever sees its own day or a later one."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.counters import Counter
from features.errors import ConfigError, DataError
from features.logs import Tables, read_log, with_counters
from features.logs.counters import CounterTable, count_entries, remove_counters, save_counts
from features.logs.counting import DailyCounts, daily_counts, daily_schema, sorted_counts
from features.logs.tables import load_saved_tables
from features.spec import DAY, Column
from tests.features.logs.small_log import GOOD, dataset, write

FIRST = datetime.date(2024, 2, 25)  # a leap year: the days go over the end of February
COLUMNS = {"user": Column(type="int64"), "item": Column(type="string"), "click": Column(type="float32")}
TAKEN = {
    "shown": "count",
    "clicks": {"of": "click"},
    "twos": {"of": "item", "equals": ["a", "c"]},
    "rate": {"take": "rate", "of": "click", "prior": 0.25, "strength": 8},
    "bare_rate": {"take": "rate", "of": "click"},
    "unseen": "days_since",
    "unclicked": {"take": "days_since", "of": "click"},
}
Row = dict[str, Any]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.sampled_from([None, -5, 0, 7]),
            "item": st.sampled_from([None, "a", "b", "c"]),
            "click": st.sampled_from([None, 0.0, 0.5, 1.0, -1.0]),
            DAY: st.integers(0, 12),
        }
    ),
    max_size=40,
)


def counter(**settings: Any) -> Counter:
    return Counter.model_validate({"by": "item", "days": 3, "columns": TAKEN} | settings)


def number(day: int) -> int:
    return int(f"{FIRST + datetime.timedelta(days=day):%Y%m%d}")


def batch(rows: list[Row]) -> pa.RecordBatch:
    arrays = {
        name: pa.array([row[name] for row in rows], kind)
        for name, kind in (("user", pa.int64()), ("item", pa.string()), ("click", pa.float32()))
    }
    return pa.RecordBatch.from_pydict(arrays | {DAY: pa.array([number(row[DAY]) for row in rows], pa.int64())})


def naive(spec: Counter, rows: list[Row], asked: Row, last: int | None) -> Row:
    """What a counter says of a row, by looking at all others."""
    if any(asked[key] is None for key in spec.keys):
        return dict.fromkeys(TAKEN)
    known = [row[DAY] for row in rows if all(row[key] is not None for key in spec.keys)]
    now = min(asked[DAY], max([*known, *([] if last is None else [last])]) + 1) if known else asked[DAY]
    span = range(now - spec.delay_days - spec.days, now - spec.delay_days)
    same = [row for row in rows if row[DAY] in span and all(row[key] == asked[key] for key in spec.keys)]
    clicked = [row for row in same if row["click"] is not None and row["click"] > 0]
    return {
        "shown": len(same),
        "clicks": len(clicked),
        "twos": sum(row["item"] in ("a", "c") for row in same),
        "rate": np.float32((len(clicked) + 2) / (len(same) + 8)),
        "bare_rate": np.float32(len(clicked) / len(same)) if same else None,
        "unseen": min((now - row[DAY] for row in same), default=None),
        "unclicked": min((now - row[DAY] for row in clicked), default=None),
    }


def table(spec: Counter, rows: list[Row], last: int | None = None) -> CounterTable:
    schema = daily_schema(spec, COLUMNS)
    day = None if last is None else FIRST + datetime.timedelta(days=last)
    return CounterTable(spec, sorted_counts(schema, [daily_counts(spec, schema, batch(rows))]), day)


def asked(found: CounterTable, spec: Counter, rows: list[Row]) -> list[Row]:
    questions = batch(rows)
    names = questions.schema.names
    given = found.of([questions.column(names.index(key)) for key in spec.keys], questions.column(names.index(DAY)))
    return pa.table(given).to_pylist()


@given(
    rows=ROWS,
    questions=ROWS,
    by=st.sampled_from(["item", "user", ["user", "item"]]),
    days=st.integers(1, 5),
    delay=st.integers(0, 3),
    last=st.none() | st.integers(0, 12),
)
def test_counters_are_those_of_a_double_loop(
    rows: list[Row], questions: list[Row], by: Any, days: int, delay: int, last: int | None
) -> None:
    spec = counter(by=by, days=days, delay_days=delay)
    every = [*rows, *questions]  # keys that were never shown, and days behind the last
    assert asked(table(spec, rows, last), spec, every) == [naive(spec, rows, row, last) for row in every]


@given(rows=ROWS, day=st.integers(0, 12), by=st.sampled_from(["item", ["user", "item"]]))
def test_what_happens_on_a_day_changes_no_row_of_it_or_of_one_before(rows: list[Row], day: int, by: Any) -> None:
    spec = counter(by=by, days=4)
    changed = [row if row[DAY] < day else row | {"click": 1.0 - (row["click"] or 0)} for row in rows]
    more = [*changed, *({"user": 7, "item": "a", "click": 1.0, DAY: later} for later in range(day, 13))]
    early = [row for row in rows if row[DAY] <= day]
    assert asked(table(spec, rows), spec, early) == asked(table(spec, more), spec, early)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_however_a_log_is_cut_its_daily_counts_are_the_same(rows: list[Row], cuts: list[int]) -> None:
    spec = counter(by=["user", "item"])
    schema = daily_schema(spec, COLUMNS)
    bounds = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [daily_counts(spec, schema, batch(rows[a:b])) for a, b in itertools.pairwise(bounds)]
    whole = sorted_counts(schema, [daily_counts(spec, schema, batch(rows))])
    assert sorted_counts(schema, parts or [schema.empty_table()]) == whole


def test_a_full_buffer_is_given_away_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.logs.counting.WAITING_ROWS", 3)
    spec = counter()
    rows = [{"user": 1, "item": item, "click": 1.0, DAY: day} for day in range(4) for item in "abab"]
    counts = DailyCounts(spec, COLUMNS)
    found = [given.rows for row in rows for given in counts.add(batch([row]))]
    assert len(found) > 1
    found += [given.rows for given in counts.rest()]
    schema = daily_schema(spec, COLUMNS)
    tables = [pa.Table.from_batches([rows]) for rows in found]
    assert sorted_counts(schema, tables) == sorted_counts(schema, [daily_counts(spec, schema, batch(rows))])
    assert not [*counts.rest()]


# -- with a log and the files of a model -------------------------------------------------------------------------------

FEW = {"by": "item", "days": 2, "columns": {"item_shown": "count", "item_clicks": {"of": "click"}}}


def save(path: Path, spec: Any, name: str, rows: list[tuple[int, int, int]]) -> Path:
    """Daily counts of items: item, day of January, rows."""
    schema = daily_schema(spec.counters[name], spec.all_columns())
    columns = [pa.array([row[0] for row in rows]), pa.array([20240100 + row[1] for row in rows])]
    shown = pa.array([row[2] for row in rows])
    folder = path / "tables"
    save_counts(name, 0, pa.table([*columns, shown, shown], schema=schema), str(path / "unused"), str(folder))
    return folder


def test_a_log_gets_the_counters_that_lie_beside_the_side_tables(tmp_path: Path) -> None:
    spec = dataset(counters={"items": FEW})
    write(tmp_path, GOOD, GOOD.replace("20240101", "20240103"), GOOD.replace("7,8,", "7,,"))
    folder = save(tmp_path, spec, "items", [(8, 1, 4), (8, 2, 5)])
    assert load_saved_tables(str(folder)).tables == {}
    tables = with_counters(Tables(), spec, str(folder))
    (found,) = read_log(spec, str(tmp_path), tables)
    assert found.rows.to_pydict()["item_shown"] == [0, 9, None]
    assert found.rows.to_pydict()["item_clicks"] == [0, 9, None]


def test_a_scored_log_needs_keys_and_time_of_the_counters_that_features_read(tmp_path: Path) -> None:
    features = {"user": "id", "item_shown": "numeric"}
    spec = dataset(counters={"items": FEW}, features=features)
    tables = with_counters(Tables(), spec, str(save(tmp_path, spec, "items", [(8, 1, 4), (8, 2, 5), (8, 3, 7)])))
    write(tmp_path, "7,8,20240109", "7,8,", header="user,item,day")
    (found,) = read_log(spec, str(tmp_path), tables, labels=False, split=False)
    # A week after the log's last day, the 4th: the counters of the morning after it, though no row of that day has the key.
    assert found.rows.to_pydict()["item_shown"] == [7]
    assert found.quarantined.to_pydict()["reason"] == ["bad_time"]
    unread = dataset(counters={"items": FEW}, features={"user": "id"})
    write(tmp_path, "7", header="user")
    (found,) = read_log(unread, str(tmp_path), tables, labels=False, split=False)
    assert found.rows.to_pydict()["item_shown"] == [None]


def test_counters_that_nobody_counted_are_asked_for(tmp_path: Path) -> None:
    spec = dataset(counters={"items": FEW})
    write(tmp_path, GOOD)
    with pytest.raises(ConfigError, match="counter 'items' of 'small' is not counted; allowed: a run"):
        [*read_log(spec, str(tmp_path), Tables())]
    with pytest.raises(DataError, match="'items' has nothing to say: no row has a value of item"):
        with_counters(Tables(), spec, str(tmp_path))


def test_too_many_entries_are_told_before_they_are_read(tmp_path: Path) -> None:
    spec = dataset(counters={"items": FEW | {"max_entries": 2}})
    folder = str(save(tmp_path, spec, "items", [(8, 1, 4), (8, 2, 5), (9, 1, 1)]))
    assert count_entries(spec, folder) == {"items": 3}
    with pytest.raises(DataError, match=r"3 pairs of item and day were shown; allowed: 2 \(dataset.counters.items.max"):
        with_counters(Tables(), spec, folder)
    remove_counters(folder)
    assert count_entries(spec, folder) == {"items": 0}


def test_batches_without_a_row_take_no_memory() -> None:
    spec = counter()
    schema = daily_schema(spec, COLUMNS)
    before = pa.total_allocated_bytes()
    empty = [daily_counts(spec, schema, batch([])) for _ in range(20)]
    assert (
        pa.total_allocated_bytes() - before < 1 << 20
    )  # of no rows pyarrow's group_by makes buffers of gigabytes at times
    assert sorted_counts(schema, empty).num_rows == 0
