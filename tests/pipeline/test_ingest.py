"""Ingest on small logs: what is written, what adds up, what stops it, and that stock TFX reads it."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from pyarrow import orc
from tfx import v1 as tfx
from tfx_bsl.tfxio import parquet_tfxio

from features.columns import from_lists, list_schema
from features.errors import ConfigError, DataError
from features.spec import DAY, ROW_ID, SPLITS, Column, Dataset, Derived, Source
from pipeline.components import joining
from pipeline.components.ingest import Folders, Ingest, RowGroups, ingest
from pipeline.config import Budget, DataConfig
from tests.features.logs.small_log import GOOD, HEADER, dataset, write
from tests.features.logs.test_tables import USERS
from tests.features.logs.test_tfrecord import example, framed
from tests.public_logs import PublicLogs

RUNNER = ["--runner=FnApiRunner"]
SPEC = dataset(source=Source(files="log*.csv"), tables={"users": USERS})


def _log(path: Path) -> Path:
    for file in range(3):
        days = [GOOD.replace("20240101", f"2024010{day}").replace("7", str(day), 1) for day in (1, 2, 3, 4)]
        write(path, *days, *days[:2], name=f"log{file}.csv")
    write(path, "7,8", GOOD.replace("ann", "bob"), GOOD.replace("1.5", "x"), name="log9.csv")
    return write(path, "1,30,a b", "3,40,", "x,50,", name="users.csv", header="user,age,words")


def _run(spec: Dataset, path: Path, **budget: Any) -> tuple[dict[str, Any], Folders]:
    out = path / "out" / "ingest"
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(path), budget=Budget(**({"max_share": 0.5} | budget)))
    return ingest(spec, data, folders, beam.Pipeline(options=PipelineOptions(RUNNER))), folders


def test_all_that_is_written(tmp_path: Path) -> None:
    manifest, folders = _run(SPEC, _log(tmp_path))
    assert manifest == json.loads((Path(folders.manifest) / "manifest.json").read_text())
    assert manifest["rows_read"] == 21
    assert manifest["rows_out"] == {"train": 13, "validation": 3, "test": 3}
    assert manifest["quarantined"]["rows"] == 2
    assert manifest["quarantined"]["reasons"] == [
        {"reason": "bad_number", "column": "score", "rows": 1, "example": {"file": "log9.csv", "row": 3, "value": "x"}},
        {"reason": "wrong_width", "column": "", "rows": 1, "example": {"file": "log9.csv", "row": 1, "value": ""}},
    ]
    assert [(f["path"], f["rows"]) for f in manifest["files"]] == [
        ("log0.csv", 6),
        ("log1.csv", 6),
        ("log2.csv", 6),
        ("log9.csv", 3),
    ]
    assert manifest["files"][3]["bytes"] == (tmp_path / "log9.csv").stat().st_size
    assert manifest["days"] == {"20240101": 7, "20240102": 6, "20240103": 3, "20240104": 3}
    assert manifest["tasks"]["click"]["train"] == {"rows": 13, "positives": 13, "sum": 13.0}
    assert manifest["tasks"]["like"]["test"] == {"rows": 3, "positives": 0, "sum": 0.0}
    assert manifest["unmatched"] == {"users": 10}
    assert manifest["tables"]["users"]["rows_read"] == 3
    assert manifest["tables"]["users"]["quarantined"]["rows"] == 1
    letters = pq.read_table(folders.quarantine).to_pylist()
    assert sorted((letter["file"], letter["row"], letter["line"], letter["reason"]) for letter in letters) == [
        ("log9.csv", 1, 2, "wrong_width"),
        ("log9.csv", 3, 4, "bad_number"),
        ("users.csv", 3, 4, "bad_number"),
    ]
    assert pq.read_table(Path(folders.tables) / "users.parquet")["user"].to_pylist() == [1, 3]


def test_examples_hold_the_rows_as_lists(tmp_path: Path) -> None:
    _, folders = _run(SPEC, _log(tmp_path))
    ids: list[int] = []
    for split, days in {"train": {20240101, 20240102}, "validation": {20240103}, "test": {20240104}}.items():
        table = pq.read_table(Path(folders.examples) / f"Split-{split}")
        assert table.schema.remove_metadata() == list_schema(SPEC)
        assert pq.read_metadata(next((Path(folders.examples) / f"Split-{split}").iterdir())).num_row_groups == 1
        (batch,) = table.combine_chunks().to_batches()
        rows = from_lists(batch, SPEC).to_pydict()
        assert set(rows[DAY]) == days
        ids += rows[ROW_ID]
        if split == "validation":
            assert rows["user"] == [3, 3, 3]
            assert rows["age"] == [40, 40, 40]
            assert rows["words"] == [None] * 3
            assert rows["tags"] == [[3, 4]] * 3
            assert rows["name"] == ["ann"] * 3
    assert len(set(ids)) == 19


def test_the_examples_are_read_by_tfx_bsl(tmp_path: Path) -> None:
    _, folders = _run(SPEC, _log(tmp_path))
    tfxio = parquet_tfxio.ParquetTFXIO(f"{folders.examples}/Split-validation/*")

    def check(batches: list[pa.RecordBatch]) -> None:
        rows = [row for batch in batches for row in batch.to_pylist()]
        assert [row["name"] for row in rows] == [[b"ann"]] * 3
        assert [row["label_click"] for row in rows] == [[1.0]] * 3

    with beam.Pipeline(options=PipelineOptions(RUNNER)) as pipeline:
        batches = pipeline | tfxio.BeamSource() | beam.combiners.ToList()
        _ = batches | beam.Map(check)


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [({"max_share": 0.05}, r"allowed: 0.05 of the rows"), ({"max_rows": 1}, "allowed: 1 rows")],
)
def test_too_many_bad_rows_stop_the_run_and_stay_to_be_looked_at(
    tmp_path: Path, budget: dict[str, Any], allowed: str
) -> None:
    spec = dataset(source=Source(files="log*.csv"))
    with pytest.raises(DataError) as stop:
        _run(spec, _log(tmp_path), **budget)
    message = str(stop.value)
    assert "log of small: 2 of 21 rows (9.52%) are malformed; " + allowed in message
    assert (
        "bad_number in column 'score': 1 rows (not a finite number of the column's type); for example log9.csv, row 3, value 'x'"
        in message
    )
    kept = tmp_path / "out" / "ingest" / "stopped" / "7"
    assert str(kept) in message
    assert pq.read_table(kept / "quarantine").num_rows == 2
    assert json.loads((kept / "manifest.json").read_text())["quarantined"]["rows"] == 2


def test_a_table_over_the_budget(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"table 'users': 1 of 3 rows \(33.33%\) are malformed"):
        _run(SPEC, _log(tmp_path), max_share=0.2)


def test_a_damaged_file_stops_the_run_however_small_its_share_looks(tmp_path: Path) -> None:
    _log(tmp_path)
    whole = gzip.compress(f"{HEADER}\n{GOOD}\n".encode() * 50)
    for name, data in {"log5.csv.gz": whole[:-9], "log6.csv.gz": b"no gzip"}.items():
        (tmp_path / name).write_bytes(data)
    spec = dataset(source=Source(files="log*.csv*"))
    with pytest.raises(DataError, match=r"log of small: 2 damaged files, .*allowed: 1 \(data") as stop:
        _run(spec, tmp_path, max_share=1, max_damaged_files=1)
    assert "  log5.csv.gz: the file ends too early" in str(stop.value)
    assert "  log6.csv.gz: the file is damaged" in str(stop.value)
    manifest, _ = _run(spec, tmp_path, max_share=1, max_damaged_files=2)
    assert manifest["quarantined"]["damaged_files"] == [
        {"path": "log5.csv.gz", "reason": "truncated_file"},
        {"path": "log6.csv.gz", "reason": "corrupt_file"},
    ]


def test_an_empty_part_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no row of log of small falls into validation and test; rows read: 1, days found: 20240101"
    ):
        _run(dataset(), write(tmp_path, GOOD))


def test_a_missing_column_stops_before_anything_runs(tmp_path: Path) -> None:
    _log(tmp_path)
    write(tmp_path, "1,2", name="log5.csv", header="user,item")
    with pytest.raises(DataError, match=r"^log5.csv: the header lacks score, name"):
        _run(SPEC, tmp_path)


def short(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {"twice": pa.array([0])}


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (f"{__name__}:short", DataError, r"^derived '.*:short', 'twice' has 1 rows; allowed: 6, one each$"),
        ("not.there:at_all", ConfigError, r"^function 'not.there:at_all' cannot be found"),
    ],
)
def test_what_a_worker_finds_wrong_reaches_the_user_as_it_is(
    tmp_path: Path, function: str, error: type[Exception], message: str
) -> None:
    derived = (Derived(function=function, inputs=("user",), outputs={"twice": Column(type="int64")}),)
    with pytest.raises(error, match=message):
        _run(dataset(source=Source(files="log0.csv"), derived=derived), _log(tmp_path))


def test_positives_without_their_parent_are_counted_where_both_are_known(tmp_path: Path) -> None:
    row = GOOD.removesuffix("1,0,1")
    # click, like, seen (the mask of like): only the second row is a like, known, without a click.
    later = [GOOD.replace("20240101", day) for day in ("20240103", "20240104")]
    write(tmp_path, row + "1,1,1", row + "0,1,1", row + "0,1,0", row + "0,0,1", *later, name="log0.csv")
    tasks = {"click": {"label": "click"}, "like": {"label": "like", "mask": "seen", "parent": "click"}}
    manifest, _ = _run(dataset(tasks=tasks), tmp_path)
    assert manifest["tasks"]["like"]["train"] == {"rows": 3, "positives": 2, "sum": 2.0, "orphans": 1}
    assert "orphans" not in manifest["tasks"]["click"]["train"]


def test_row_groups() -> None:
    groups = RowGroups(rows=10)
    batches = [pa.RecordBatch.from_arrays([pa.array(range(i, i + 7))], names=["a"]) for i in range(0, 35, 7)]
    tables = [table for batch in batches for table in groups.add(batch)] + list(groups.rest())
    assert [table.num_rows for table in tables] == [10, 10, 10, 5]
    assert pa.concat_tables(tables)["a"].to_pylist() == list(range(35))
    assert list(groups.rest()) == []
    small = RowGroups(rows=10, size=1)
    assert [table.num_rows for table in small.add(batches[0])] == [7]


def test_the_real_log(test_data: PublicLogs, tmp_path: Path) -> None:
    names = ("user_id", "video_id", "date", "is_click", "long_view", "is_like", "tab")
    spec = dataset(
        name="real",
        source=Source(files="log_standard_4_25_to_4_30_pure.csv"),
        columns={name: Column(type="int64", required=True) for name in names},
        time={"column": "date", "unit": "yyyymmdd"},
        group="user_id",
        features={"user_id": {"kind": "id"}},
        tasks={
            "click": {"label": "is_click"},
            "like": {"label": "is_like"},
            "long_view": {"label": "long_view", "parent": "click"},
        },
        split={"train": ("2022-04-25", "2022-04-28"), "validation": ("2022-04-29",) * 2, "test": ("2022-04-30",) * 2},
    )
    (tmp_path / "log_standard_4_25_to_4_30_pure.csv").symlink_to(
        test_data / "kuairand" / "log_standard_4_25_to_4_30_pure.csv"
    )
    manifest, _ = _run(spec, tmp_path)
    assert manifest["rows_read"] == sum(manifest["rows_out"].values()) == 94_784
    assert sorted(manifest["days"]) == [f"202204{day}" for day in range(25, 31)]
    # FORMATS.md: is_click .438, is_like .0171
    clicks, likes = (sum(part["positives"] for part in manifest["tasks"][task].values()) for task in ("click", "like"))
    assert round(clicks / 94_784, 3) == 0.438
    assert round(likes / 94_784, 4) == 0.0171
    # Counted with pandas, day by day: long views without a click (see features/catalog/kuairand.py).
    orphans = {split: part["orphans"] for split, part in manifest["tasks"]["long_view"].items()}
    assert orphans == {"train": 57, "validation": 18, "test": 29}


# -- inside TFX ---------------------------------------------------------------------------------------------------


def _pipeline(root: Path, spec: Dataset, data: DataConfig) -> tfx.dsl.Pipeline:
    stage = Ingest(dataset=spec.model_dump_json(), data=data.model_dump_json(), fingerprint="1").with_id("ingest")
    statistics = tfx.components.StatisticsGen(examples=stage.outputs["examples"]).with_id("statistics")
    return tfx.dsl.Pipeline(
        pipeline_name="test",
        pipeline_root=str(root / "artifacts"),
        components=[stage, statistics],
        beam_pipeline_args=RUNNER,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
    )


@pytest.mark.slow
def test_stock_statistics_read_the_examples(tmp_path: Path) -> None:
    from tensorflow_data_validation import load_stats_binary

    data = DataConfig(path=str(_log(tmp_path)), budget=Budget(max_share=0.5))
    tfx.orchestration.LocalDagRunner().run(_pipeline(tmp_path, SPEC, data))
    found = {}
    for split in SPLITS:
        (file,) = (tmp_path / "artifacts" / "statistics").glob(f"statistics/*/Split-{split}/*")
        found[split] = load_stats_binary(str(file)).datasets[0]
    assert {split: statistics.num_examples for split, statistics in found.items()} == {
        "train": 13,
        "validation": 3,
        "test": 3,
    }
    columns = {feature.path.step[0]: feature for feature in found["train"].features}
    assert set(columns) == set(list_schema(SPEC).names)
    assert columns["tags"].num_stats.common_stats.max_num_values == 2
    assert columns["age"].num_stats.common_stats.num_missing == 7
    assert columns["name"].string_stats.unique == 2


@pytest.mark.slow
def test_dead_letters_survive_a_stop_inside_tfx(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    data = DataConfig(path=str(_log(tmp_path)), budget=Budget(max_rows=0))
    with pytest.raises(DataError, match="2 of 21 rows") as stop:
        tfx.orchestration.LocalDagRunner().run(_pipeline(tmp_path, SPEC, data))
    kept = Path(str(stop.value).rsplit(": ", 1)[1])
    assert pq.read_table(kept / "quarantine").num_rows == 3
    assert not list((tmp_path / "artifacts" / "ingest" / "quarantine").glob("*/*"))


# -- formats -----------------------------------------------------------------------------------------------------------


def _rows() -> list[dict[str, Any]]:
    return [
        {"user": i, "item": i % 5, "score": i / 8, "name": f"n{i}", "tags": [i, i + 1], "day": 20240101 + i % 4}
        | {"click": i % 2, "like": 0, "seen": 1}
        for i in range(40)
    ]


def in_format(kind: str, path: Path) -> Path:
    """The rows as a file of that format, one of them with an item out of its bounds."""
    rows = [row | {"item": 5000} if row["user"] == 17 else row for row in _rows()]
    if kind == "csv":
        lines = [",".join([*map(str, (r | {"tags": "|".join(map(str, r["tags"]))}).values())]) for r in rows]
        return write(path, *lines, name="log.csv")
    if kind == "jsonl":
        (path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "tfrecord":
        lists = [{name: value if name == "tags" else [value] for name, value in row.items()} for row in rows]
        (path / "log.tfrecord").write_bytes(framed([example(**row) for row in lists]))
    elif kind == "avro":
        fields = [
            {"name": n, "type": {int: "long", float: "double", str: "string"}.get(type(v))} for n, v in rows[0].items()
        ]
        fields = [f | {"type": f["type"] or {"type": "array", "items": "long"}} for f in fields]
        with (path / "log.avro").open("wb") as file:
            fastavro.writer(file, {"type": "record", "name": "row", "fields": fields}, rows, sync_interval=200)
    elif kind == "orc":
        orc.write_table(pa.Table.from_pylist(rows), path / "log.orc", stripe_size=1, batch_size=25)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path / "log.parquet", row_group_size=25)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "tfrecord", "avro", "orc", "parquet"])
def test_a_log_of_any_format_gives_the_same_examples_in_pieces(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PIECE_BYTES", 500)
    spec = dataset(source=Source.model_validate(f"log.{kind}"))
    manifest, folders = _run(spec, in_format(kind, tmp_path))
    assert (manifest["rows_read"], manifest["quarantined"]["rows"]) == (40, 1)
    assert manifest["quarantined"]["reasons"][0]["example"] == {"file": f"log.{kind}", "row": 18, "value": "5000"}
    found = []
    for split in SPLITS:
        for batch in pq.read_table(f"{folders.examples}/Split-{split}").to_batches():
            found += (
                pa.Table.from_batches([from_lists(batch, spec)]).select(["user", "item", "score", "tags"]).to_pylist()
            )
    expected = [{name: row[name] for name in ("user", "item", "score", "tags")} for row in _rows() if row["user"] != 17]
    assert sorted(found, key=lambda row: row["user"]) == expected


def test_a_column_that_no_row_has_stops_the_run(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "score"} | {"scores": 1} for row in _rows()]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        DataError, match="log of small: none of the 40 rows has score; allowed: names as they are written"
    ):
        _run(dataset(source=Source.model_validate("log.jsonl")), tmp_path)


def test_nothing_personal_is_written(tmp_path: Path) -> None:
    """In no file: examples, dead letters, side tables, manifest."""
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    rows = [row | {"user": 4_000_000 + row["user"], "name": f"secret{row['user']}"} for row in _rows()]
    rows[3]["item"] = 5000
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"name": "secret", "user"', '{"name": ["secret"]}']))
    (tmp_path / "users.jsonl").write_text('{"user": 4000001, "city": "Bonn"}\n{"user": "secret", "city": "Linz"}')
    spec = dataset().model_dump() | {"source": "log.jsonl"}
    spec["columns"]["user"]["personal"], spec["columns"]["name"]["personal"] = "hash", "drop"
    user = {"type": "int64", "personal": "hash"}
    spec["tables"] = {"users": {"source": "users.jsonl", "on": "user", "columns": {"user": user, "city": "string"}}}
    out = tmp_path / "out"
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(tmp_path), budget=Budget(max_share=0.6), hash_key=str(tmp_path / "key"))
    manifest = ingest(Dataset.model_validate(spec), data, folders, beam.Pipeline(options=PipelineOptions(RUNNER)))
    assert (manifest["rows_read"], manifest["quarantined"]["rows"], manifest["unmatched"]) == (42, 3, {"users": 38})
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) >= 3 + 2 + 1 + 1
    for path in written:
        text = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()
        assert "secret" not in text
        assert "40000" not in text
