"""A log of 18 columns as CSV and Parquet: one impression a row, three days in the order of time, ten columns of tokens, five labels."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.spec import (
    Categorical,
    Column,
    Columns,
    Dataset,
    Feature,
    Id,
    Numeric,
    Source,
    Task,
    TimeColumn,
    TimeSplit,
)

IDS: Mapping[str, int] = {"user_id": 200_000, "item_id": 50_000, "author_id": 10_000, "music_id": 5_000}
"""Columns of integers, with how many there are of each."""
WORDS: Mapping[str, int] = {"category": 400, "city": 300, "device": 60, "channel": 20, "network": 4, "language": 30}
"""Columns of texts, with how many there are of each."""
NUMBERS = ("duration_s", "age_h")
LABELS: Mapping[str, float] = {"click": 0.3, "long_view": 0.2, "like": 0.02, "follow": 0.002, "comment": 0.003}
"""Columns of labels, with the share of ones."""
TIME = "time_s"
ROWS_PER_FILE = 1_000_000
_DAY = 86_400
_START = datetime.date(2026, 1, 1)


def dataset(form: str) -> Dataset:
    """The log's spec; a day each to train on, to choose by and to test on.

    Args:
        form: ``csv`` or ``parquet``.
    """
    label = Column(type="int64", required=True, outcome=True, minimum=0, maximum=1)
    columns: Columns = {
        TIME: Column(type="int64", required=True),
        **dict.fromkeys(IDS, Column(type="int64", required=True)),
        **dict.fromkeys(WORDS, Column(type="string")),
        **dict.fromkeys(NUMBERS, Column(type="float32", minimum=0)),
        **dict.fromkeys(LABELS, label),
    }
    features: dict[str, Feature] = {
        **dict.fromkeys(IDS, Id()),
        **dict.fromkeys(WORDS, Categorical()),
        **dict.fromkeys(NUMBERS, Numeric()),
    }
    days = [_START + datetime.timedelta(days=day) for day in range(3)]
    return Dataset(
        name="stages",
        source=Source(files=f"*.{form}", format="csv" if form == "csv" else "parquet"),
        columns=columns,
        time=TimeColumn(column=TIME, unit="s"),
        group="user_id",
        item="item_id",
        features=features,
        tasks={name: Task(label=name) for name in LABELS},
        split=TimeSplit(train=(days[0], days[0]), validation=(days[1], days[1]), test=(days[2], days[2])),
    )


def write(folder: Path, rows: int, form: str) -> None:
    """Files of at most `ROWS_PER_FILE` rows.

    Args:
        folder: gets them.
        rows: of all files.
        form: ``csv`` or ``parquet``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        end = min(start + ROWS_PER_FILE, rows)
        table = _table(number, end - start, (start / rows, end / rows))
        path = folder / f"part-{number:04}.{form}"
        if form == "csv":
            path.write_bytes(_csv(table))
        else:
            pq.write_table(table, path, row_group_size=100_000)


def _csv(table: pa.Table) -> bytes:
    """Without quotes: CsvExampleGen takes those of the header for a part of the names."""
    texts = [column.combine_chunks().cast(pa.string()) for column in table.columns]
    ends = pa.array(["\n"] * table.num_rows)
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*texts, ","), ends, "")
    body = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "")
    return (",".join(table.column_names) + "\n" + body[0].as_py()).encode()


def _table(seed: int, rows: int, span: tuple[float, float]) -> pa.Table:
    """Rows in the order of time, from one share of the three days to another."""
    random = np.random.default_rng(seed)
    start = int(datetime.datetime.combine(_START, datetime.time(), datetime.timezone.utc).timestamp())
    first, end = (int(share * 3 * _DAY) for share in span)
    columns: dict[str, pa.Array] = {TIME: pa.array(start + np.sort(random.integers(first, end, rows)))}
    for name, size in (IDS | WORDS).items():
        # A tenth of the tokens are in about half of the rows, as in a feed.
        places = (size * random.random(rows) ** 3.3).astype(np.int64)
        words = pa.array([f"{name}_{place:x}" for place in range(size)])
        columns[name] = words.take(pa.array(places)) if name in WORDS else pa.array(1_000_000 + 7 * places)
    for name in NUMBERS:
        columns[name] = pa.array(random.gamma(2.0, 20.0, rows).astype(np.float32).round(2))
    # What the labels depend on: without it there is nothing to evaluate.
    taste = (np.asarray(columns["item_id"]) % 97) / 97
    for name, share in LABELS.items():
        columns[name] = pa.array((random.random(rows) < 2 * share * taste).astype(np.int64))
    return pa.table(columns)
