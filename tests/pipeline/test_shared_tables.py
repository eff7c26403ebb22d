"""One copy of each side table in a process, whatever number of stages and threads look things up there."""

from __future__ import annotations

import pickle
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.columns import from_lists
from features.logs import Tables, save_tables
from features.logs.tables import KeyedTable
from features.spec import SPLITS, Dataset
from pipeline.components import joining, shared_tables
from pipeline.components.ingest import Folders, ingest
from pipeline.components.shared_tables import SharedTables
from pipeline.config import Budget, DataConfig
from tests.pipeline.test_counters import BY_HAND, GIVEN, approximately, spec, write


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is loaded, in order."""
    loads: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        load = getattr(shared_tables, name)

        def note(*arguments: Any) -> Any:
            loads.append(name)
            time.sleep(0.05)  # others ask while it is at it
            return load(*arguments)

        return note

    for name in ("load_saved_tables", "with_counters"):
        monkeypatch.setattr(shared_tables, name, noted(name))
    return loads


def _saved(path: Path, prices: list[int]) -> str:
    data = pa.table({"item": range(len(prices)), "price": prices})
    save_tables(Tables({"items": KeyedTable(data, ("item",))}), str(path))
    return str(path)


def _shared(folder: str) -> SharedTables:
    return SharedTables(spec(counters={}, features={"item": "id"}), DataConfig(path="nowhere"), folder)


def test_an_ingest_with_tables_and_counters_loads_both_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[str]
) -> None:
    monkeypatch.setattr(joining, "PIECE_BYTES", 40)
    prices = {7: 70, 9: 90}
    (write(tmp_path) / "items.csv").write_text("item,price\n" + "".join(f"{i},{p}\n" for i, p in prices.items()))
    table = {"source": "items.csv", "on": "item", "columns": {"item": "int64", "price": "int64"}}
    dataset: Dataset = spec(
        tables={"items": table}, features={"item": "id", "price": "numeric"} | dict.fromkeys(GIVEN, "numeric")
    )
    folders = Folders(
        *[str(tmp_path / "out" / name / "7") for name in ("examples", "quarantine", "manifest", "tables")]
    )
    options = PipelineOptions(
        ["--runner=FnApiRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    )
    data = DataConfig(path=str(tmp_path), budget=Budget(max_share=0.9))
    ingest(dataset, data, folders, beam.Pipeline(options=options))
    assert loaded == ["load_saved_tables", "with_counters"]
    rows = [
        row
        for split in SPLITS
        for batch in pq.read_table(f"{folders.examples}/Split-{split}").to_batches()
        for row in from_lists(batch, dataset).to_pylist()
    ]
    assert {row["note"]: tuple(row[name] for name in GIVEN) for row in rows} == approximately(BY_HAND)
    assert [row["price"] for row in rows] == [prices.get(row["item"]) for row in rows]


def test_copies_that_ask_at_once_get_one_object(tmp_path: Path, loaded: list[str]) -> None:
    shared = _shared(_saved(tmp_path, [5, 6]))
    copies = [pickle.loads(pickle.dumps(shared)) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(SharedTables.load, copies))
        found += threads.map(SharedTables.load_counted, copies)  # there are no counters: the same
    assert len({id(tables) for tables in found}) == 1
    assert loaded == ["load_saved_tables"]
    assert found[0].tables["items"].data["price"].to_pylist() == [5, 6]


def test_another_pipeline_reads_the_folder_anew(tmp_path: Path) -> None:
    first = _shared(_saved(tmp_path, [5, 6])).load()
    second = _shared(_saved(tmp_path, [7, 8, 9])).load()
    assert [tables.tables["items"].data["price"].to_pylist() for tables in (first, second)] == [[5, 6], [7, 8, 9]]


def test_nothing_is_kept_when_the_pipeline_has_run(tmp_path: Path) -> None:
    with _shared(_saved(tmp_path, [5])) as shared:
        found = weakref.ref(shared.load())
        assert found() is not None  # between two stages
    assert found() is None
