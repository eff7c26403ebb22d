"""A small log of every column type, and how the tests read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from features.logs import Tables, read_log
from features.spec import Bag, Column, Dataset, Id, Numeric, Source, Task, TimeColumn, TimeSplit

HEADER = "user,item,score,name,tags,day,click,like,seen"
GOOD = "7,8,1.5,ann,3|4,20240101,1,0,1"
COLUMNS = {
    "user": Column(type="int64", required=True),
    "item": Column(type="int64", minimum=0, maximum=1000),
    "score": Column(type="float32", minimum=-1, maximum=10),
    "name": Column(type="string"),
    "tags": Column(type="list<int64>", separator="|"),
    "day": Column(type="int64"),
    "click": Column(type="int64"),
    "like": Column(type="int64"),
    "seen": Column(type="int64"),
}


def dataset(**changes: Any) -> Dataset:
    """The log's spec; `changes` replace whole fields."""
    fields: dict[str, Any] = {
        "name": "small",
        "source": Source(files="*.csv"),
        "columns": COLUMNS,
        "time": TimeColumn(column="day", unit="yyyymmdd"),
        "group": "user",
        "features": {"user": Id(), "item": Id(), "score": Numeric(), "tags": Bag()},
        "tasks": {"click": Task(label="click"), "like": Task(label="like", mask="seen")},
        "split": TimeSplit(
            train=("2024-01-01", "2024-01-02"),
            validation=("2024-01-03", "2024-01-03"),
            test=("2024-01-04", "2024-01-04"),
        ),
    }
    return Dataset(**(fields | changes))


def read(
    spec: Dataset, path: Path, tables: Tables | None = None, **options: Any
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Good rows and dead letters of a folder; makes sure that each batch adds up."""
    rows, bad = [], []
    for batch in read_log(spec, str(path), tables or Tables(), **options):
        refused = batch.quarantined.to_pylist()
        assert batch.rows_read == batch.rows.num_rows + sum(reject["rows"] for reject in refused)
        assert len(batch.part) == batch.rows.num_rows
        rows.append(batch.rows)
        bad += refused
    return pa.Table.from_batches(rows), bad


def write(path: Path, *lines: str | bytes, name: str = "log.csv", header: str | None = HEADER) -> Path:
    """Writes lines, each with a line feed."""
    everything = [header, *lines] if header is not None else [*lines]
    data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in everything)
    (path / name).write_bytes(data)
    return path
