"""What a source in BigQuery may say; its rows: tests/pipeline/test_ingest_bigquery.py."""

from __future__ import annotations

import datetime
import string
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.bigquery import BigQueryExport, BigQueryPart, BigQuerySource
from features.errors import ConfigError, DataError
from features.logs import bigquery_reader, fingerprint, resolve, resolve_log
from features.logs.bigquery_export import export_statement
from features.logs.columnar import BATCH_ROWS
from features.logs.files import name_of
from features.logs.row_hashes import value_ids
from features.spec import Column, Dataset, RandomSplit, SideTable, Source
from pipeline import loading
from pipeline.config import DataConfig, RunConfig, dump
from pipeline.model_log import _located
from pipeline.pinning import pinned
from tests.features.logs.small_log import dataset

TABLE = "feed-project.log.impressions"
DAY = datetime.date(2026, 11, 29)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"bigquery": TABLE, "files": "a.csv"}, "a source has `files`, or `kafka`"),
        ({"bigquery": TABLE, "format": "csv"}, "a source has `files`, or `kafka`"),
        ({"format": "bigquery"}, "a source has `files`, or `kafka`"),
        ({"bigquery": TABLE + "_{day:%Y%m%d}", "success": "{day}/_SUCCESS"}, "allowed with {day} in it and in `files`"),
        ({"bigquery": "log.impressions"}, "'log.impressions' is no table; allowed: PROJECT.DATASET.TABLE"),
        ({"bigquery": {"table": "a.b.c.d"}}, "'a.b.c.d' is no table; allowed: PROJECT.DATASET.TABLE"),
        ({"bigquery": {}}, "bigquery has `table` or `query`; allowed: one of them"),
        ({"bigquery": {"table": TABLE, "query": "SELECT 1"}}, "bigquery has `table` or `query`; allowed: one of them"),
        ({"bigquery": {"query": "SELECT 1"}}, "bigquery.query needs `project`"),
        ({"bigquery": {"query": "SELECT 1", "project": "p", "where": "a"}}, "allowed in a query: WHERE, in its text"),
        ({"bigquery": {"table": TABLE, "location": "EU"}}, "bigquery.location .* are a query's or an export's"),
        ({"bigquery": {"table": TABLE, "export": "s3://b/x"}}, "'s3://b/x' is no folder of Cloud Storage; allowed: gs://BUCKET/FOLDER"),
        ({"bigquery": {"table": TABLE, "export": "exports"}}, "'exports' is no folder of Cloud Storage; allowed: gs://BUCKET/FOLDER"),
        ({"bigquery": {"table": TABLE, "export": "gs:///x"}}, "'gs:///x' names no bucket; allowed: gs://BUCKET/FOLDER"),
        ({"bigquery": {"table": TABLE, "export": "gs://b/x?token=1"}}, "bigquery.export: a password stands in the path"),
        ({"bigquery": {"table": TABLE, "export": "gs://b/x/{day}"}}, "is no plain folder; allowed: gs://BUCKET/FOLDER without"),
        ({"bigquery": {"table": TABLE, "export": "gs://b/x/*.parquet"}}, "is no plain folder; allowed: gs://BUCKET/FOLDER without"),
        ({"bigquery": {"table": TABLE, "export": "gs://b/x'"}}, "is no plain folder; allowed: gs://BUCKET/FOLDER without"),
        ({"bigquery": {"table": TABLE, "export": "gs://b/x//y"}}, "is no plain folder; allowed: gs://BUCKET/FOLDER without"),
        ({"bigquery": {"table": TABLE, "export": "gs://b', x='1/y"}}, "is no plain folder; allowed: gs://BUCKET/FOLDER without"),
        ({"bigquery": {"table": TABLE, "export": "gs://b/../y"}}, "is no plain folder; allowed: gs://BUCKET/FOLDER without"),
        ({"bigquery": {"table": TABLE, "export": {"folder": "gs://b", "keeps": True}}}, "unknown key 'keeps'; did you mean 'keep'"),
        ({"bigquery": {"table": TABLE, "export": "gs://b", "streams": 2}}, "bigquery.streams is of read sessions, and an export opens none"),
        ({"bigquery": {"table": TABLE, "export": "gs://b", "patience_s": 9}}, "bigquery.patience_s is of read sessions"),
        ({"bigquery": {"table": TABLE, "export": "gs://b", "emulator": {"storage": "a:1"}}}, "bigquery.export needs `emulator.jobs`"),
        ({"bigquery": {"table": TABLE, "emulator": {"jobs": "http://a:1"}}}, "without `export` needs `emulator.storage`"),
        ({"bigquery": {"table": TABLE, "snapshot": "2026-11-29T00:00:00"}}, "should have timezone info"),
        ({"bigquery": {"table": TABLE, "emulator": {"storage": "http://a:1"}}}, "is no gRPC server; allowed: HOST:PORT"),
        ({"bigquery": {"table": TABLE, "emulator": {"storage": "a:1", "jobs": "a:2"}}}, "allowed: http://HOST:PORT"),
        ({"bigquery": {"query": "SELECT 1", "project": "p", "emulator": {"storage": "a:1"}}}, "needs `emulator.jobs`"),
    ],
)  # fmt: skip
def test_a_source_that_is_none_is_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        Source.model_validate(source)


def test_a_spec_is_the_same_whenever_it_is_read() -> None:
    said: dict[str, Any] = {"bigquery": {"query": "SELECT {snapshot}", "project": "p"}}
    spec = dataset(source=Source.model_validate(said))
    assert spec.source.format == "bigquery"
    assert spec.source.bigquery == BigQuerySource(query="SELECT {snapshot}", project="p", snapshot=None)
    assert Dataset.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(ConfigError, match=r"no `snapshot` yet.*allowed here: what `feedrank run` saved, or `snapshot`"):
        bigquery_reader.open_table(spec)


def test_a_run_fixes_the_moment(tmp_path: Path) -> None:
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    spec = dataset(source=Source.model_validate({"bigquery": TABLE}))
    config = RunConfig(name="feed", dataset=spec, data=DataConfig(path="."))
    fixed = pinned(config)
    source = fixed.dataset.source.bigquery
    assert source is not None
    assert before <= source.moment <= datetime.datetime.now(datetime.timezone.utc)
    (tmp_path / "config.yaml").write_text(dump(fixed))
    saved = loading.load(tmp_path / "config.yaml")
    assert saved.dataset == fixed.dataset
    assert pinned(saved) == saved
    assert config.dataset.source.bigquery == BigQuerySource(table=TABLE)


def test_what_a_day_reads() -> None:
    source = BigQuerySource(table="p.d.events_{day:%Y%m%d}", where="REGEXP_CONTAINS(x, '{2}') AND dt = '{day}'")
    assert source.by_day
    assert source.parts([DAY, DAY + datetime.timedelta(days=2)])[1] == BigQueryPart(
        "bigquery://p.d.events_DAY/2026-12-01",
        "p.d.events_20261201",
        "REGEXP_CONTAINS(x, '{2}') AND dt = '2026-12-01'",
        "",
        "2026-12-01",
    )
    whole = BigQuerySource(table="example.com:p.d.t")
    assert (whole.by_day, whole.payer, whole.parts([DAY])) == (
        False,
        "example.com:p",
        [BigQueryPart("bigquery://example.com:p.d.t", "example.com:p.d.t", "", "", "")],
    )


def test_an_export_may_be_said_in_one_word() -> None:
    source = BigQuerySource.model_validate({"table": TABLE, "export": "gs://bucket/feed/", "location": "EU"})
    assert source.export == BigQueryExport(folder="gs://bucket/feed/")
    assert source.export.is_kept
    assert BigQueryExport(folder="gs://bucket", keep=True).is_kept
    assert not BigQueryExport(folder="gs://bucket", keep=False).is_kept
    assert BigQuerySource.model_validate_json(source.model_dump_json()) == source
    assert str(source.export.below("run", "2026-11-29")) == "gs://bucket/feed/run/2026-11-29"
    assert str(BigQueryExport(folder="gs://bucket?scheme=http").below("run")) == "gs://bucket/run?scheme=http"


def test_a_statement_exports_columns_of_a_table_at_a_moment() -> None:
    """As in Google's reference: OPTIONS, a SELECT; what a name or restriction holds ends neither."""
    source = BigQuerySource.model_validate(
        {
            "table": "example.com:p.d.t",
            "where": "a = 1 -- one",
            "export": "gs://anonymous@b/x",
            "snapshot": "2026-11-29T01:00:00+01:00",
        }
    )
    assert source.export is not None
    (part,) = source.parts([])
    assert export_statement(source, part, ["a", "b`\\"], source.export.below("run")) == (
        "EXPORT DATA OPTIONS(uri='gs://b/x/run/*.parquet', format='PARQUET', compression='SNAPPY', overwrite=false) AS\n"
        "SELECT `a`, `b\\`\\\\`\nFROM `example.com:p.d.t` FOR SYSTEM_TIME AS OF TIMESTAMP '2026-11-29T01:00:00+01:00'\n"
        "WHERE (\na = 1 -- one\n)"
    )


def test_a_table_has_no_files(tmp_path: Path) -> None:
    spec = dataset(source=Source.model_validate({"bigquery": TABLE}))
    assert fingerprint(spec, "nowhere") == fingerprint(spec, "elsewhere")
    for asked in (lambda: resolve_log(spec, "nowhere"), lambda: resolve(spec.source, "nowhere")):
        with pytest.raises(DataError, match=f"the log is rows of BigQuery's {TABLE}; allowed here: files"):
            asked()
    table = SideTable(on="user", source=spec.source, columns={"user": {"type": "int64"}, "age": {"type": "int64"}})
    with pytest.raises(pydantic.ValidationError, match=f"'users' is rows of BigQuery's {TABLE}; allowed for the log"):
        dataset(tables={"users": table})
    with pytest.raises(pydantic.ValidationError, match="the log is read by day, and a random split has no days"):
        dataset(source=Source.model_validate({"bigquery": TABLE + "_{day}"}), split=RandomSplit(by="random"))
    pq.write_table(pa.table({"user": [1]}), tmp_path / "other.parquet")
    source, found = _located(spec.source, str(tmp_path / "*.parquet"), "--data")
    assert (source.format, source.bigquery, len(found.files)) == ("parquet", None, 1)


def test_a_stream_is_known_by_its_place() -> None:
    file = f"bigquery://{TABLE}/2024-01-01/00003?stream=projects%2Fp%2Fstreams%2Ft&bytes=17"
    assert name_of(file, "data") == f"bigquery://{TABLE}/2024-01-01/00003"
    assert bigquery_reader._option(file, "stream") == "projects%2Fp%2Fstreams%2Ft"
    assert bigquery_reader.bytes_of(file) == 17
    with pytest.raises(
        DataError, match=r"'log.csv' is no stream of a read session; allowed: those that a run's ingest"
    ):
        bigquery_reader.bytes_of("log.csv")


@given(sizes=st.lists(st.sampled_from([0, 1, 7, BATCH_ROWS // 2, BATCH_ROWS, 2 * BATCH_ROWS + 1]), max_size=8))
def test_messages_of_any_size_make_batches_of_bounded_size(sizes: list[int]) -> None:
    ends = np.cumsum([0, *sizes])
    rows = pa.array(np.arange(ends[-1]))
    messages = [
        pa.RecordBatch.from_arrays([rows.slice(begin, size)], ["n"])
        for begin, size in zip(ends[:-1], sizes, strict=True)
    ]
    batches = list(bigquery_reader._gathered(messages))
    assert all(0 < batch.num_rows <= BATCH_ROWS for batch in batches)
    found = np.concatenate([np.zeros(0, dtype=np.int64), *(batch.column(0).to_numpy() for batch in batches)])
    assert (found == np.arange(ends[-1])).all()


VALUES = st.tuples(st.integers(-(2**63), 2**63 - 1), st.one_of(st.none(), st.text(string.printable, max_size=4)))


@given(rows=st.lists(VALUES, min_size=1, max_size=20), seed=st.integers(0, 100))
def test_what_rows_are_drawn_by_depends_on_their_values_alone(rows: list[tuple[int, str | None]], seed: int) -> None:
    def ids(values: list[tuple[int, str | None]]) -> list[int]:
        numbers, texts = zip(*values, strict=True)
        return value_ids([pa.array(numbers, pa.int64()), pa.array(texts, pa.string())]).tolist()

    order = np.random.default_rng(seed).permutation(len(rows))
    together = ids(rows)
    assert [together[at] for at in order] == ids([rows[at] for at in order]) == [ids([rows[at]])[0] for at in order]
    assert len(set(together)) == len(set(rows))
    assert all(0 <= one < 2**63 for one in together)


@pytest.mark.parametrize("personal", ["hash", "drop"])
def test_an_export_of_personal_columns_says_whether_it_stays(personal: str) -> None:
    def asked(**export: Any) -> Dataset:
        return dataset(
            source={"bigquery": {"table": TABLE, "export": {"folder": "gs://bucket"} | export}},
            columns=dataset().columns | {"name": Column(type="string", personal=personal)},
        )

    with pytest.raises(
        pydantic.ValidationError,
        match=r"bigquery.export writes the personal column name as the table has them; allowed: .*keep: false",
    ):
        asked()
    for keep in (True, False):
        assert asked(keep=keep).source.bigquery.export.keep is keep
