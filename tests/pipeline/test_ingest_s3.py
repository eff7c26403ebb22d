"""Ingest of logs in an object store: the same examples, dead letters and counts as of the same files on a disk."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
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
from pipeline.components import beam_store, joining
from pipeline.components.ingest import Folders, _keep, ingest
from pipeline.config import Budget, DataConfig
from tests.features.logs.small_log import GOOD, dataset, write
from tests.features.logs.test_tables import USERS
from tests.pipeline import test_counters, test_joining
from tests.pipeline.test_ingest import in_format
from tests.s3_server import S3Server

beam_store.take_the_place()  # as the graph does
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


def _joined(path: Path) -> Dataset:
    """Actions, duplicates, a side table with a bad row, vectors."""
    test_joining.by_hand(path)
    first = path / "log" / "2024-01-01.csv"
    header, *lines = first.read_text().splitlines()
    first.write_text("\n".join([header, *lines, *lines]) + "\n")
    write(path, "1,3", "2,x", name="items.csv", header="item,size")
    vectors = pa.table({"id": [1, 2, 3], "vector": [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]]})
    pq.write_table(vectors, path / "vectors.parquet")
    return test_joining.spec(
        duplicates="drop",
        tables={"items": {"source": "items.csv", "columns": {"item": "int64", "size": "float32"}, "on": "item"}},
        features={
            **{"item": "id", "age": "numeric", "size": "numeric"},
            "picture": {"kind": "pretrained", "column": "item", "vectors": "vectors.parquet", "dimension": 2},
        },
    )


def _counted(path: Path) -> Dataset:
    test_counters.write(path)
    return test_counters.spec()


@pytest.mark.parametrize(
    ("prepare", "tables", "refused"),
    [
        (_joined, {"items.parquet", "vectors/picture.parquet"}, {"", "_unattributed"}),
        (_counted, {f"feedrank_counter-{name}.parquet" for name in test_counters.COUNTERS}, {""}),
    ],
)
def test_outputs_in_a_store_are_those_of_a_disk(
    prepare: Callable[[Path], Dataset], tables: set[str], refused: set[str], store: str, tmp_path: Path
) -> None:
    spec = prepare(tmp_path)
    data = DataConfig(path=str(tmp_path), budget=Budget(max_share=0.9), shards=2)
    here, there = (
        Folders(*[f"{root}/ingest/{name}/7" for name in ("examples", "quarantine", "manifest", "tables")])
        for root in (tmp_path, store)
    )
    for folders in (here, there):
        ingest(spec, data, folders, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])))
    manifest, rows = _found(there)
    assert (manifest, rows) == _found(here)
    assert {re.sub(r"-\d{5}\.", ".", name) for name in rows} == {
        *(f"examples/Split-{split}" for split in SPLITS),
        *(f"quarantine/{name}" for name in refused),
        *(f"tables/{name}" for name in tables),
    }
    assert list_files(there.manifest) == ["manifest.json"]
    _keep(there)
    kept = [f"quarantine/{name}" for name in list_files(there.quarantine)]
    assert list_files(f"{store}/ingest/stopped/7") == ["manifest.json", *kept]


def test_what_is_missing_stops_the_run_in_words(s3: S3Server, tmp_path: Path) -> None:
    path = s3.upload(write(tmp_path, GOOD), "missing")
    with pytest.raises(
        DataError, match=r"no file matches '\*\.parquet' in s3://missing/log; the folder holds: log\.csv"
    ):
        _ingested(dataset(source=Source(files="*.parquet")), path, tmp_path / "out")
