"""Whole ingests of logs damaged at random: each row comes out as it was or is a dead letter, and only a budget ends a run."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import given, settings
from hypothesis import strategies as st

from features.columns import from_lists
from features.errors import DataError
from features.spec import DAY, ROW_ID, SPLITS, Dataset, Source
from pipeline.components.ingest import Folders, ingest
from pipeline.config import Budget, DataConfig
from tests.features.logs.small_log import HEADER, dataset

pytestmark = pytest.mark.slow
MAX_FIELD = 60
NAMES = HEADER.split(",")
PART = {20240101: "train", 20240102: "train", 20240103: "validation", 20240104: "test"}
Row = dict[str, Any]


class Damage(NamedTuple):
    """What is done to a row's fields, by name, and the dead letter that it earns."""

    reason: str
    column: str
    field: str
    change: Callable[[Any], Any]


class Found(NamedTuple):
    """All that an ingest left behind: rows by part, dead letters by file and row."""

    rows: dict[str, list[Row]]
    letters: dict[tuple[str, int], Row]
    manifest: dict[str, Any]
    error: DataError | None


RECORDS = st.fixed_dictionaries(
    {
        "item": st.none() | st.integers(0, 1000),
        "score": st.none() | st.integers(-8, 80).map(lambda eighths: eighths / 8),
        "name": st.none() | st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8),
        "tags": st.none() | st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=2),
        "day": st.sampled_from(sorted(PART)),
        "click": st.integers(0, 1),
        "like": st.integers(0, 1),
        "seen": st.integers(0, 1),
    }
)
BUDGETS = st.fixed_dictionaries(
    {"max_share": st.sampled_from([0.2, 1.0]), "max_damaged_files": st.sampled_from([0, 9])}
)


def files_of(damages: list[Damage], shape: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Files as (rows, shape); a row is a record and the damages done to it, if any."""
    harm = st.just([]) | st.lists(st.sampled_from(damages), min_size=1, max_size=3)
    return st.lists(
        st.tuples(st.lists(st.tuples(RECORDS, harm), min_size=4, max_size=16), shape), min_size=1, max_size=3
    )


def expected_row(record: Row) -> Row:
    """The columns of an example, without its id."""
    labels = {
        "label_click": record["click"],
        "label_like": record["like"] * record["seen"],
        "mask_like": record["seen"],
    }
    kept = {name: record[name] for name in ("user", "item", "score", "name", "tags", "day")}
    return kept | {name: float(value) for name, value in labels.items()} | {DAY: record["day"]}


def anchors() -> list[Row]:
    """A good row a day, so that no part is empty."""
    rest = {"item": None, "score": 0.5, "name": "ann", "tags": [3], "click": 1, "like": 0, "seen": 1}
    return [{"user": user, "day": day} | rest for user, day in enumerate(PART)]


def ingested(spec: Dataset, path: Path, budget: dict[str, Any]) -> Found:
    out = path / "out" / "ingest"
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    quarantine, manifest, error = folders.quarantine, Path(folders.manifest) / "manifest.json", None
    try:
        data = DataConfig(path=str(path), budget=Budget(**budget))
        ingest(spec, data, folders, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])))
    except DataError as stop:
        if "allowed" not in str(stop) or not Path(folders.stopped).exists():
            raise
        error, quarantine, manifest = stop, f"{folders.stopped}/quarantine", Path(folders.stopped) / "manifest.json"
    rows = {}
    for split in SPLITS:
        batch = pq.read_table(f"{folders.examples}/Split-{split}").combine_chunks().to_batches()[0]
        rows[split] = sorted(from_lists(batch, spec).to_pylist(), key=lambda row: row["user"])
        for row in rows[split]:
            del row[ROW_ID]
    letters = pq.read_table(quarantine).to_pylist()
    by_place = {(letter["file"], letter["row"]): letter for letter in letters}
    assert len(by_place) == len(letters)
    return Found(rows, by_place, json.loads(manifest.read_text()), error)


def check(found: Found, good: list[Row], bad: dict[tuple[str, int], list[tuple[str, str]]], budget: Row) -> None:
    """`bad` has for each place the reasons and columns of which one must be named."""
    for split in SPLITS:
        wanted = [row for row in good if PART[row["day"]] == split]
        assert found.rows[split] == sorted(wanted, key=lambda row: row["user"])
    assert set(found.letters) == set(bad)
    for place, letter in found.letters.items():
        assert (letter["reason"], letter["column"]) in bad[place]
    manifest = found.manifest
    assert manifest["rows_out"] == {split: len(rows) for split, rows in found.rows.items()}
    assert manifest["quarantined"]["rows"] == len(bad)
    assert manifest["rows_read"] == len(good) + len(bad)
    damaged = [reasons for reasons in bad.values() if reasons[0][0] in ("truncated_file", "unreadable_file")]
    over = len(bad) / (len(good) + len(bad)) > budget["max_share"] or len(damaged) > budget["max_damaged_files"]
    assert (found.error is not None) == over, found.error


# -- CSV, plain and gzip ---------------------------------------------------------------------------------------------

WIDTH = "a row's width"
CSV_DAMAGES = [
    Damage("wrong_width", "", WIDTH, lambda fields: fields[:-1]),
    Damage("wrong_width", "", WIDTH, lambda fields: [*fields, b"1"]),
    Damage("wrong_width", "", WIDTH, lambda fields: [b"junk"]),
    Damage("bad_number", "user", "user", lambda _: b"x"),
    Damage("bad_number", "user", "user", lambda _: b"99999999999999999999"),
    Damage("bad_number", "item", "item", lambda _: b"0x1f"),
    Damage("bad_number", "score", "score", lambda _: b"1.2.3"),
    Damage("bad_number", "score", "score", lambda _: b"inf"),
    Damage("bad_number", "tags", "tags", lambda _: b"1|two"),
    Damage("bad_utf8", "name", "name", lambda _: b"a\xff"),
    Damage("oversized_field", "name", "name", lambda _: b"z" * (MAX_FIELD + 1)),
    Damage("missing_label", "click", "click", lambda _: b""),
    Damage("time_out_of_range", "day", "day", lambda _: b"20231231"),
    Damage("time_out_of_range", "day", "day", lambda _: b"20240105"),
    Damage("bad_time", "day", "day", lambda _: b"20240231"),
]


def line_of(record: Row, damages: list[Damage]) -> bytes:
    name = record["name"] or ""
    texts = {key: "" if record[key] is None else str(record[key]) for key in NAMES}
    texts["name"] = '"' + name.replace('"', '""') + '"' if {",", '"'} & set(name) else name
    texts["tags"] = "|".join(map(str, record["tags"] or ()))
    fields = {key: text.encode() for key, text in texts.items()}
    for damage in damages:
        if damage.field != WIDTH:
            fields[damage.field] = damage.change(fields[damage.field])
    values = [fields[key] for key in NAMES]
    for damage in damages:
        if damage.field == WIDTH:  # a line without a field is blank, and at a file's end no row
            values = damage.change(values) or values
    return b",".join(values)


def naive_row(line: bytes) -> Row | None:
    """A row as Python's csv module and plain conversions read it; None if it is none."""
    try:
        (fields,) = csv.reader([line.decode()])
        texts = dict(zip(NAMES, fields, strict=True))
        record: Row = {name: int(texts[name]) for name in ("user", "day", "click", "like", "seen")}
        record["item"] = int(texts["item"]) if texts["item"] else None
        record["score"] = float(texts["score"]) if texts["score"] else None
        record["tags"] = [int(tag) for tag in texts["tags"].split("|")] if texts["tags"] else None
        record["name"] = texts["name"] or None
    except ValueError:
        return None
    fits = record["user"] < 2**63 and record["score"] != float("inf") and len(texts["name"]) <= MAX_FIELD
    return expected_row(record) if fits and record["day"] in PART else None


@given(files_of(CSV_DAMAGES, st.none() | st.floats(0, 1.2)), BUDGETS, st.sampled_from([b"\n", b"\r\n"]))
@settings(max_examples=10, deadline=None)
def test_csv(tmp_path_factory: pytest.TempPathFactory, files: Any, budget: dict[str, Any], end: bytes) -> None:
    """A file's shape: None for plain, else gzip, cut where it is below 1."""
    path = tmp_path_factory.mktemp("csv")
    good = [expected_row(row) for row in anchors()]
    bad: dict[tuple[str, int], list[tuple[str, str]]] = {}
    (path / "log.csv").write_bytes(end.join([HEADER.encode(), *(line_of(row, []) for row in anchors())]))
    for number, (rows, cut) in enumerate(files):
        name = f"log{number}.csv" if cut is None else f"log{number}.csv.gz"
        lines = [line_of(record | {"user": 100 * (number + 1) + i}, harm) for i, (record, harm) in enumerate(rows)]
        data = b"".join(line + end for line in [HEADER.encode(), *lines])
        if cut is not None:
            zipped = gzip.compress(data)
            zipped = zipped[: 1 + int(cut * (len(zipped) - 1))]
            reader = zlib.decompressobj(wbits=31)
            lines = reader.decompress(zipped).split(b"\n")[1:-1]
            if not reader.eof:
                bad[name, len(lines) + 1] = [("truncated_file", "")]
        (path / name).write_bytes(data if cut is None else zipped)
        for row, (line, (_, harm)) in enumerate(zip(lines, rows, strict=False), start=1):
            text = line.removesuffix(b"\r")
            if (read := naive_row(text)) is not None:
                good.append(read)
            else:
                bad[name, row] = [(damage.reason, damage.column) for damage in harm]
    spec = dataset(source=Source(files="log*.csv*", max_field_bytes=MAX_FIELD))
    check(ingested(spec, path, budget), good, bad, budget)


# -- Parquet ---------------------------------------------------------------------------------------------------------

PARQUET_DAMAGES = [
    Damage("bad_number", "user", "user", lambda user: user + 0.5),
    Damage("bad_utf8", "name", "name", lambda _: b"a\xff"),
    Damage("oversized_field", "name", "name", lambda _: b"z" * (MAX_FIELD + 1)),
    Damage("bad_number", "click", "click", lambda _: "yes"),
    Damage("missing_label", "click", "click", lambda _: None),
    Damage("time_out_of_range", "day", "day", lambda _: 20240105),
    Damage("bad_time", "day", "day", lambda _: None),
]
# Other types than the spec's: what fits is taken, what does not is a bad row.
TYPES = {"user": pa.float64(), "name": pa.binary(), "click": pa.string(), "item": pa.int16(), "seen": pa.bool_()}
IMPOSSIBLE = {"name": pa.float64(), "user": pa.list_(pa.int64())}


def parquet_table(rows: list[Row]) -> pa.Table:
    typed: dict[str, Callable[[Any], Any]] = {
        "name": lambda name: name.encode() if isinstance(name, str) else name,
        "click": lambda click: None if click is None else str(click),
        "seen": bool,
    }
    columns = {name: [typed.get(name, lambda value: value)(row[name]) for row in rows] for name in NAMES}
    types = {"score": pa.float64(), "tags": pa.list_(pa.int64())} | TYPES
    return pa.table({name: pa.array(values, types.get(name, pa.int64())) for name, values in columns.items()})


@given(files_of(PARQUET_DAMAGES, st.just(1.0) | st.floats(0, 0.999)), BUDGETS)
@settings(max_examples=8, deadline=None)
def test_parquet(tmp_path_factory: pytest.TempPathFactory, files: Any, budget: dict[str, Any]) -> None:
    """A file's shape: the share of its bytes that is left."""
    path = tmp_path_factory.mktemp("parquet")
    good = [expected_row(row) for row in anchors()]
    bad: dict[tuple[str, int], list[tuple[str, str]]] = {}
    pq.write_table(parquet_table(anchors()), path / "log.parquet")
    for number, (rows, left) in enumerate(files):
        name, written = f"log{number}.parquet", []
        for i, (record, harm) in enumerate(rows):
            whole = record | {"user": 100 * (number + 1) + i}
            harmed = dict(whole)
            for damage in harm:
                harmed[damage.field] = damage.change(whole[damage.field])
            written.append(harmed)
            if left == 1 and harm:
                bad[name, i + 1] = [(damage.reason, damage.column) for damage in harm]
            elif left == 1:
                good.append(expected_row(whole))
        pq.write_table(parquet_table(written), path / name, row_group_size=4)
        if left < 1:
            data = (path / name).read_bytes()
            (path / name).write_bytes(data[: int(left * len(data))])
            bad[name, -1] = [("unreadable_file", "")]
    spec = dataset(source=Source(files="log*.parquet", max_field_bytes=MAX_FIELD))
    check(ingested(spec, path, budget), good, bad, budget)


@pytest.mark.parametrize("column", IMPOSSIBLE)
def test_a_parquet_column_of_an_impossible_type_is_named(tmp_path: Path, column: str) -> None:
    pq.write_table(parquet_table(anchors()), tmp_path / "log.parquet")
    strange = parquet_table(anchors())
    at = strange.schema.get_field_index(column)
    strange = strange.set_column(at, column, pa.nulls(len(strange), IMPOSSIBLE[column]))
    pq.write_table(strange, tmp_path / "log1.parquet")
    with pytest.raises(DataError, match=f"column '{column}' is .* in the file"):
        ingested(dataset(source=Source(files="log*.parquet")), tmp_path, {"max_share": 1})
