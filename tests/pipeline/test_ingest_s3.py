"""Ingest of logs in an object store: the same examples, dead letters and counts as of the same files on a disk."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.errors import DataError
from features.folders import list_files, open_input, read_text
from features.spec import ROW_ID, SPLITS, Dataset, Source
from pipeline.components import joining
from pipeline.components.ingest import Folders, ingest
from pipeline.config import Budget, DataConfig
from tests.features.logs.small_log import GOOD, dataset, write
from tests.features.logs.test_tables import USERS
from tests.pipeline.test_ingest import in_format
from tests.pipeline.test_joining import by_hand, run
from tests.pipeline.test_joining import spec as joined_spec
from tests.s3_server import S3Server

Result = tuple[dict[str, Any], dict[str, pa.Table], list[dict[str, Any]]]


def _ingested(spec: Dataset, path: str, out: Path) -> Result:
    """Manifest without the time it took; rows by split, and dead letters, in an order of their own."""
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=path, budget=Budget(max_share=0.5))
    options = PipelineOptions(["--runner=FnApiRunner"])
    manifest = ingest(spec, data, folders, beam.Pipeline(options=options))
    del manifest["seconds"]
    rows = {}
    for split in SPLITS:
        read = pq.read_table(f"{folders.examples}/Split-{split}")
        order = pa.compute.sort_indices(pa.compute.list_flatten(read[ROW_ID]))
        rows[split] = read.take(order)
    letters = pq.read_table(folders.quarantine).to_pylist()
    return manifest, rows, sorted(letters, key=lambda letter: (letter["file"], letter["row"]))


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "tfrecord", "avro", "orc", "parquet"])
def test_a_log_of_any_format_is_read_as_from_a_disk(kind: str, s3: S3Server, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    in_format(kind.removesuffix(".gz"), log)
    if kind.endswith(".gz"):
        (log / f"log.{kind}").write_bytes(gzip.compress((log / "log.csv").read_bytes()))
        (log / "log.csv").unlink()
    write(log, "1,30,a b", "3,40,", "x,50,", name="users.csv", header="user,age,words")
    spec = dataset(source=Source.model_validate(f"lo*.{kind}"), tables={"users": USERS})
    here = _ingested(spec, str(log), tmp_path / "here")
    there = _ingested(spec, s3.upload(log, f"ingest-{kind.replace('.', '-')}"), tmp_path / "there")
    assert there == here
    manifest, rows, letters = there
    assert (manifest["rows_read"], sum(map(len, rows.values()))) == (40, 39)
    assert [(letter["file"], letter["reason"]) for letter in letters] == [
        (f"log.{kind}", "out_of_bounds"),
        ("users.csv", "bad_number"),
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_large_file_is_cut_in_the_store(
    kind: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    rows = 30_000
    days = [20240101 + i % 4 for i in range(rows)]
    if kind == "csv":
        write(log, *(GOOD.replace("7", str(i), 1).replace("20240101", str(day)) for i, day in enumerate(days)))
    else:
        same = {"item": 8, "score": 1.5, "name": "ann", "tags": [3, 4], "click": 1, "like": 0, "seen": 1}
        table = pa.Table.from_pylist([{"user": i, "day": day, **same} for i, day in enumerate(days)])
        if kind == "parquet":
            pq.write_table(table, log / "log.parquet", row_group_size=2_000)
        else:
            table.to_pandas().to_json(log / "log.jsonl", orient="records", lines=True)
    spec = dataset(source=Source.model_validate(f"*.{kind}"))
    path = s3.upload(log, f"cut-{kind}")
    cut: list[int] = []
    found = joining.cut_source

    def counted(*arguments: Any) -> Any:
        pieces = found(*arguments)
        cut.append(len(pieces))
        return pieces

    monkeypatch.setattr(joining, "PIECE_BYTES", 100 << 10)
    monkeypatch.setattr(joining, "cut_source", counted)
    there = _ingested(spec, path, tmp_path / "there")
    assert min(cut) >= 3
    monkeypatch.setattr(joining, "PIECE_BYTES", 1 << 40)
    here = _ingested(spec, str(log), tmp_path / "here")
    assert cut[-1] == 1
    assert there == here
    assert sum(map(len, there[1].values())) == rows


def _found(folders: Folders) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Manifest without the time it took; rows of all Parquet files by folder, as texts in order."""
    rows: dict[str, list[str]] = {}
    for output, folder in folders._asdict().items():
        for name in list_files(folder):
            if name.endswith(".parquet"):
                with open_input(f"{folder}/{name}") as stream:
                    found = map(str, pq.read_table(stream).to_pylist())
                place = name.rpartition("/")[0] if output in ("examples", "quarantine") else name
                rows[f"{output}/{place}"] = sorted([*rows.get(f"{output}/{place}", ()), *found])
    manifest: dict[str, Any] = json.loads(read_text(f"{folders.manifest}/manifest.json"))
    del manifest["seconds"]
    return manifest, rows


def test_outputs_in_a_store_are_those_of_a_disk(store: str, tmp_path: Path) -> None:
    by_hand(tmp_path)
    first = tmp_path / "log" / "2024-01-01.csv"
    first.write_text(first.read_text() + "\n".join(first.read_text().splitlines()[1:]) + "\n")  # each row twice
    write(tmp_path, "1,3", "2,x", name="items.csv", header="item,size")
    vectors = pa.table({"id": [1, 2, 3], "vector": [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]]})
    pq.write_table(vectors, tmp_path / "vectors.parquet")
    dataset = joined_spec(
        duplicates="drop",
        tables={"items": {"source": "items.csv", "columns": {"item": "int64", "size": "float32"}, "keys": ["item"]}},
        counters={"day": {"by": "item", "days": 1, "days_before": "optional", "columns": {"shown": "count"}}},
        features={
            **{"item": "id", "age": "numeric", "size": "numeric", "shown": "numeric"},
            "picture": {"kind": "pretrained", "column": "item", "vectors": "vectors.parquet", "dimension": 2},
        },
    )
    _, here = run(dataset, tmp_path, "here", shards=3)
    there = Folders(*[f"{store}/ingest/{name}/7" for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(tmp_path), budget=Budget(max_share=0.5), shards=3)
    options = PipelineOptions(["--runner=FnApiRunner"])
    ingest(dataset, data, there, beam.Pipeline(options=options))
    manifest, rows = _found(there)
    assert (manifest, rows) == _found(here)
    assert rows.keys() == {
        *(f"examples/Split-{split}" for split in SPLITS),
        *("quarantine/", "quarantine/_unattributed"),
        *("tables/items.parquet", "tables/vectors/picture.parquet"),
        *(name for name in rows if name.startswith("tables/feedrank_counter-day-")),
    }
    assert len(rows["tables/items.parquet"]) == 1
    assert manifest["duplicates"] == 3
    assert list_files(there.manifest) == ["manifest.json"]

    with pytest.raises(
        DataError, match=rf"All of them, with file, line, column and raw text: {store}/ingest/stopped/7"
    ):
        ingest(dataset, data.model_copy(update={"budget": Budget(max_share=0)}), there, beam.Pipeline(options=options))
    kept = list_files(there.stopped)
    assert "manifest.json" in kept
    assert {name for name in kept if name.startswith("quarantine/")} == {
        f"quarantine/{name}" for name in list_files(there.quarantine)
    }


def test_what_is_missing_stops_the_run_in_words(s3: S3Server, tmp_path: Path) -> None:
    path = s3.upload(write(tmp_path, GOOD), "missing")
    with pytest.raises(
        DataError, match=r"no file matches '\*\.parquet' in s3://missing/log; the folder holds: log\.csv"
    ):
        _ingested(dataset(source=Source(files="*.parquet")), path, tmp_path / "out")
