"""Equal rows hash alike and others do not; which of them are duplicates is a loop over a set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from features.logs.duplicates import SCHEMA, repeated_rows
from features.logs.places import FILE, ROW
from features.logs.row_hashes import row_hashes

COLUMNS = {
    "n": (pa.int64(), st.none() | st.integers(-2, 2)),
    "x": (pa.float32(), st.none() | st.sampled_from([0.0, -0.0, 1.5, -1.5])),
    "s": (pa.string(), st.none() | st.sampled_from(["", "a", "é", "ab"])),
    "ns": (pa.list_(pa.int64()), st.none() | st.lists(st.integers(0, 2), max_size=3)),
    "ss": (pa.list_(pa.string()), st.none() | st.lists(st.sampled_from(["", "a"]), max_size=2)),
    "xs": (pa.list_(pa.float32()), st.none() | st.lists(st.sampled_from([0.0, 1.0]), max_size=2)),
}
ROWS = st.lists(st.tuples(*(values for _, values in COLUMNS.values())), max_size=40)


def key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def arrays(rows: list[tuple[Any, ...]]) -> list[pa.Array]:
    columns = [*zip(*rows, strict=True)] or [()] * len(COLUMNS)
    return [pa.array(column, kind) for column, (kind, _) in zip(columns, COLUMNS.values(), strict=True)]


@given(ROWS, st.lists(st.integers(0, 100), max_size=10), st.integers(0, 10))
@settings(max_examples=300, deadline=None)
def test_duplicates_are_the_loop_s(rows: list[tuple[Any, ...]], again: list[int], cut: int) -> None:
    rows = [*rows, *(rows[i % len(rows)] for i in again if rows)]
    seen: set[Any] = set()
    expected = []
    for place, row in enumerate(rows):
        if key(row) in seen:
            expected.append((place // 5, place))
        seen.add(key(row))
    # Two batches, for a hash is of the row and not of those beside it.
    hashed = [
        np.concatenate([row_hashes(arrays(part), which) for part in (rows[:cut], rows[cut:])]) for which in (0, 1)
    ]
    for of_rows in hashed:
        assert len(set(of_rows.tolist())) == len(seen)
    places = np.arange(len(rows))
    table = pa.table(
        [*map(pa.array, hashed), pa.array((places // 5).astype(np.int32)), pa.array(places * 0), pa.array(places)],
        schema=SCHEMA,
    )
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(len(rows))))
    found = repeated_rows(shuffled)
    assert [*zip(found[FILE].to_pylist(), found[ROW].to_pylist(), strict=True)] == expected


def test_a_million_numbers_have_a_million_hashes() -> None:
    columns = [pa.array(np.repeat(np.arange(1000), 1000)), pa.array(np.tile(np.arange(1000), 1000))]
    for which in (0, 1):
        assert len(np.unique(row_hashes(columns, which))) == 1_000_000
