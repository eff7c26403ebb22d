"""Logs in an object store: found, measured and read as local files are; a store that fails is no damaged file."""

from __future__ import annotations

import bz2
import datetime
import glob
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import orc

from features import folders
from features.errors import ConfigError, DataError
from features.folders import is_folder
from features.logs import fingerprint, resolve, resolve_log
from features.logs.files import common_folder, find_files, folder_above, name_of, open_bytes, size_of
from features.logs.pieces import Piece
from features.logs.row_ids import row_ids
from features.logs.sources import check_columns, cut_source, read_source
from features.paths import Remote, check_readable, remote, without_options
from features.sources import COMPRESSED, written_as
from features.spec import Column, Source
from tests.features.logs.small_log import GOOD, HEADER, dataset, read, write
from tests.features.logs.test_tfrecord import framed
from tests.gcs_server import GcsServer
from tests.s3_server import S3Server, s3_server

# -- paths -------------------------------------------------------------------------------------------------------------


@given(
    authority=st.from_regex(r"[a-z0-9.-]{1,9}", fullmatch=True),
    key=st.text(st.characters(blacklist_characters="?", blacklist_categories=("Cs",)), max_size=9),
    options=st.dictionaries(st.sampled_from(["region", "scheme"]), st.from_regex(r"[a-z0-9:.-]{0,5}", fullmatch=True)),
)
def test_a_path_has_its_parts(authority: str, key: str, options: dict[str, str]) -> None:
    key = key.lstrip("/")
    written = "&".join(f"{name}={value}" for name, value in options.items())
    whole = f"s3://{authority}/{key}" + (f"?{written}" if written else "")
    assert remote(whole) == Remote("s3", authority, key, written)
    assert str(remote(whole)) == whole
    assert without_options(whole) == f"s3://{authority}/{key}"


def test_a_question_mark_is_a_wildcard_or_begins_options() -> None:
    assert remote("s3://b/part-?.csv") == Remote("s3", "b", "part-?.csv", "")
    assert remote("s3://b/part-?.csv?region=x&scheme=http") == Remote("s3", "b", "part-?.csv", "region=x&scheme=http")
    assert remote("hdfs://host:8020/a b") == Remote("hdfs", "host:8020", "a b", "")
    assert remote("s3://b") == Remote("s3", "b", "", "")
    for local in ("log/*.csv", "/a?b=c", "C", "a:b", "s3:/b/c"):
        assert remote(local) is None
    assert written_as("s3://b/x.tsv.gz?region=x.csv") == {"format": "csv", "delimiter": "\t"}
    assert Source(files="s3://b/*.jsonl?region=x").format == "jsonl"


def test_names_are_relative_to_the_data_folder_and_the_same_for_a_copy() -> None:
    assert name_of("s3://b/log/x/a.csv?region=r", "s3://b/log/?region=r") == "x/a.csv"
    assert name_of("s3://b/log/x/a.csv?region=r", "s3://b/log") == "x/a.csv"
    assert name_of("s3://b/log2/a.csv", "s3://b/log") == "s3://b/log2/a.csv"
    assert name_of("s3://b/a.csv?region=r", "data") == "s3://b/a.csv"
    assert name_of("/data/a.csv", "s3://b/log") == "/data/a.csv"
    assert name_of("data/x/a.csv", "data") == "x/a.csv"
    assert common_folder(["s3://b/log/x/a.csv?region=r", "s3://b/log/y/b.csv?region=r"]) == "s3://b/log?region=r"
    assert common_folder(["s3://b/a.csv"]) == "s3://b/"
    assert name_of("s3://b/a.csv", "s3://b/") == "a.csv"


def test_folders_above() -> None:
    assert folder_above("s3://b/log/day?region=x") == "s3://b/log?region=x"
    assert folder_above("s3://b/log") == "s3://b/" == folder_above("s3://b/")
    assert folder_above("/data/log") == "/data"
    assert folder_above("/") == "/"


def test_paths_that_are_not_read_are_refused_without_the_password() -> None:
    for path in ("/data", "data", "s3://b/c", "gs://anonymous@b/c", "hdfs:///c", "hdfs://host:1/c"):
        check_readable("x", path)
    with pytest.raises(
        ConfigError, match=r"^x: 'https://h/c' is of no file system that is read; allowed: a local path"
    ):
        check_readable("x", "https://h/c")
    for path in (
        "s3://key:hunter2@b/c",
        "s3://key:hunter2/x@b/c",
        "s3://b/c?region=x&secret_key=hunter2",
        "hdfs://u:hunter2@h:1/c",
    ):
        with pytest.raises(ConfigError, match=r"^x: a password stands in the path") as refused:
            check_readable("x", path)
        assert "hunter2" not in str(refused.value)


# -- a store that answers ----------------------------------------------------------------------------------------------

TREE = ("a.csv", "b.csv", ".hidden.csv", "x/a.csv", "x/y/a.csv", "x/y/b.txt", "z/a 1+2%41#é.csv", ".x/a.csv", "[q].csv")
PATTERNS = (
    *("*.csv", "a.csv", "nothing.csv", "x", "*", "*/*.csv", "*/a*", "?.csv", "[ab].csv", "[!a].csv", ".*.csv"),
    *("**/*.csv", "**", "x/**", "**/y/*", "x/*/b.txt", "x/../a.csv", "z/a 1+2%41#é.csv", "*/nothing/*", "[[]q].csv"),
)


def test_globs_find_what_they_find_on_a_disk(s3: S3Server, tmp_path: Path) -> None:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    folder = s3.upload(tmp_path, "globs")
    for pattern in PATTERNS:
        there = find_files(s3.uri(f"globs/log/{pattern}"))
        local = [path for path in glob.glob(str(tmp_path / pattern), recursive=True) if os.path.isfile(path)]
        names = sorted({os.path.relpath(os.path.realpath(path), tmp_path) for path in local})
        assert [name_of(file, folder) for file in there] == names, pattern
        assert [open_bytes(file).read().decode() for file in there] == names
    assert is_folder(folder)
    assert is_folder(s3.uri("globs/log/x"))
    assert not is_folder(s3.uri("globs/log/a.csv"))
    assert not is_folder(s3.uri("globs/nothing"))


def test_google_s_store_has_what_a_disk_has(gcs: GcsServer, tmp_path: Path) -> None:
    """Globs though it has no folders, sizes, bytes, rows of a log and their ids; what is not there, and a server that does not answer."""
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n".join([HEADER, GOOD, GOOD]) if name == "x/y/a.csv" else name)
    folder = gcs.upload(tmp_path, "globs")
    for pattern in PATTERNS:
        there = find_files(gcs.uri(f"globs/log/{pattern}"))
        local = [path for path in glob.glob(str(tmp_path / pattern), recursive=True) if os.path.isfile(path)]
        names = sorted({os.path.relpath(os.path.realpath(path), tmp_path) for path in local})
        assert [name_of(file, folder) for file in there] == names, pattern
        assert [open_bytes(file).read() for file in there] == [(tmp_path / name).read_bytes() for name in names]
    assert [is_folder(gcs.uri(f"globs/{key}")) for key in ("log/x", "log/a.csv", "log/nothing")] == [True, False, False]
    assert not is_folder(gcs.uri("no-bucket/log"))
    spec = dataset(source=Source(files="*/y/a.csv"))
    here, there = read(spec, tmp_path), read(spec, folder)  # type: ignore[arg-type]
    assert there[0].equals(here[0])
    assert there[0].num_rows == 2
    assert size_of(gcs.uri("globs/log/x/a.csv")) == len("x/a.csv")
    with pytest.raises(DataError, match=r"no file matches '\*\.tsv' in gs://.*globs/log; the folder holds: .*, x, z$"):
        resolve(Source(files="*.tsv"), folder)
    with pytest.raises(DataError, match=r"^cannot read gs://anonymous@globs/log/gone.csv: no such file$"):
        open_bytes(gcs.uri("globs/log/gone.csv"))
    away = "gs://anonymous@b/x/*.csv?endpoint_override=127.0.0.1:1&scheme=http&retry_limit_seconds=1"
    with pytest.raises(DataError, match=r"cannot read gs://anonymous@b/x/\*.csv: .*; the store does not answer, which"):
        find_files(away)


def test_bytes_are_those_of_the_file_wherever_one_looks(s3: S3Server, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3 << 20)
    (tmp_path / "data").write_bytes(data)
    s3.upload(tmp_path, "bytes")
    file = s3.uri("bytes/log/data")
    assert size_of(file) == len(data)
    with open_bytes(file) as stream:
        assert stream.read(5) == data[:5]
        assert stream.seek(-7, os.SEEK_END) == len(data) - 7
        assert stream.read() == data[-7:]
        assert stream.read(3) == b""
        assert stream.seek(len(data) + 5) == len(data) + 5
        assert stream.read(3) == b""
        assert stream.seek(2 << 20) == 2 << 20
        assert stream.read(2 << 20) == data[2 << 20 :]


def test_days_markers_and_fingerprints(s3: S3Server, tmp_path: Path) -> None:
    for day in (1, 2, 3, 4, 7):
        folder = tmp_path / f"dt=2024-01-0{day}"
        folder.mkdir()
        write(folder, GOOD.replace("20240101", f"2024010{day}"), name="part.csv")
        if day != 2:
            (folder / "_SUCCESS").write_text("")
    path = s3.upload(tmp_path, "days")
    spec = dataset(source=Source(files="dt={day}/*.csv"))
    assert [name_of(file, path) for file in resolve_log(spec, path)] == [
        f"dt=2024-01-0{d}/part.csv" for d in (1, 2, 3, 4)
    ]
    assert len(resolve(spec.source, path)) == 5
    before = fingerprint(spec, path)
    assert fingerprint(spec, path) == before
    marked = dataset(source=Source(files="dt={day}/*.csv", success="dt={day}/_SUCCESS"))
    with pytest.raises(DataError, match="1 of the 4 days are not complete: s3://days/log lacks dt=2024-01-02/_SUCCESS"):
        resolve_log(marked, path)
    write(tmp_path / "dt=2024-01-04", GOOD, GOOD, name="part.csv")
    s3.upload(tmp_path, "days")
    assert fingerprint(spec, path) != before
    day = datetime.date(2024, 1, 7)
    absolute = Source(files=s3.uri("days/log/dt={day:%Y-%m-%d}/*.csv").replace("{day:%Y-%m-%d}", f"{day}"))
    assert resolve(absolute, "nowhere") == [s3.uri("days/log/dt=2024-01-07/part.csv")]


@pytest.mark.parametrize("suffix", ["", *COMPRESSED])
def test_rows_and_ids_are_those_of_local_files(suffix: str, s3: S3Server, tmp_path: Path) -> None:
    lines = [HEADER, *(GOOD.replace("7", str(user), 1) for user in range(2000)), "too,few", ""]
    pack: dict[str, Any] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    pack[".zst"] = lambda data: pa.compress(data, codec="zstd", asbytes=True)
    (tmp_path / f"log.csv{suffix}").write_bytes(pack[suffix]("\n".join(lines).encode()))
    spec = dataset(source=Source(files=f"*.csv{suffix}"))
    path = s3.upload(tmp_path, f"rows{suffix.replace('.', '-')}")
    here, there = read(spec, tmp_path), read(spec, path)  # type: ignore[arg-type]
    assert there[0].equals(here[0])
    assert there[1] == here[1]
    assert [letter["reason"] for letter in there[1]] == ["wrong_width"]
    assert there[0]["feedrank_row_id"].to_pylist() == row_ids(f"log.csv{suffix}", np.arange(1, 2001)).tolist()


def test_the_endpoint_of_the_environment(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.upload(write(tmp_path, GOOD), "environment")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert find_files("s3://environment/log/*.csv") == ["s3://environment/log/log.csv"]
    assert size_of("s3://environment/log/log.csv") == (tmp_path / "log.csv").stat().st_size
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "not a url")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL: 'not a url' is no endpoint of S3; allowed: http"):
        find_files("s3://environment/log/*.csv")


# -- a store that does not ---------------------------------------------------------------------------------------------


def test_what_is_not_there_is_named(s3: S3Server, tmp_path: Path) -> None:
    path = s3.upload(write(tmp_path, GOOD), "absent")
    with pytest.raises(DataError, match=r"^no file matches '\*\.tsv' in s3://absent/log; the folder holds: log\.csv$"):
        resolve(Source(files="*.tsv"), path)
    with pytest.raises(DataError, match=r"in s3://absent/other; that folder does not exist; set data.path"):
        resolve(Source(files="*.csv"), s3.uri("absent/other"))
    for files in ("*.csv", "a.csv"):
        with pytest.raises(DataError, match=r" in s3://no-bucket/log; there is no bucket 'no-bucket'$"):
            resolve(Source(files=files), s3.uri("no-bucket/log"))
    for ask in (open_bytes, size_of):
        with pytest.raises(DataError, match=r"^cannot read s3://absent/log/gone.csv: no such file$"):
            ask(s3.uri("absent/log/gone.csv"))
    with pytest.raises(ConfigError, match="Unexpected query parameter in S3 URI: 'reigon'; allowed: options"):
        open_bytes("s3://absent/log/log.csv?reigon=us-east-1")


def test_a_store_that_refuses(s3_account: None, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with s3_server(tmp_path) as server:
        path = server.upload(tmp_path, "closed")
        server.ask_for_credentials()
        with pytest.raises(
            DataError, match=r"cannot read s3://closed/log/\*.csv: .*; allowed: credentials that may list"
        ):
            resolve(Source(files="*.csv"), path)
        for ask in (size_of, open_bytes):
            with pytest.raises(DataError, match=r"cannot read s3://closed/log/log.csv: .*; allowed: credentials"):
                ask(server.uri("closed/log/log.csv"))
        with pytest.raises(DataError, match=r"cannot write s3://closed/log/new: .*; allowed: credentials"):
            folders.write_text(server.uri("closed/log/new"), "new")
        with pytest.raises(DataError, match=r"cannot remove s3://closed/log: .*; allowed: credentials"):
            folders.remove(path)


def test_a_store_that_does_not_answer_is_no_missing_file(s3_account: None, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with s3_server(tmp_path) as server:
        path = server.upload(tmp_path, "away")
    for ask in (
        lambda: resolve(Source(files="*.csv"), path),
        lambda: open_bytes(server.uri("away/log/log.csv")),
    ):
        with pytest.raises(
            DataError, match=r"cannot read s3://away/log.*; the store does not answer, which says nothing"
        ):
            ask()


ROWS = 300_000
SLOW = pytest.mark.slow  # the client tries again for six seconds


def _large(kind: str, path: Path) -> Piece:
    """Many rows whose names cannot be compressed: more than any reader reads ahead."""
    names = np.random.default_rng(0).bytes(30 * ROWS).hex()
    table = pa.table({"user": np.arange(ROWS), "name": [names[60 * i : 60 * i + 60] for i in range(ROWS)]})
    file = path / f"log.{kind}"
    if kind == "parquet":
        pq.write_table(table, file, row_group_size=50_000)
    elif kind == "orc":
        orc.write_table(table, file, stripe_size=1 << 20)
    elif kind == "avro":
        fields = [{"name": "user", "type": "long"}, {"name": "name", "type": "string"}]
        with file.open("wb") as out:
            fastavro.writer(out, {"type": "record", "name": "row", "fields": fields}, table.to_pylist())
    elif kind == "tfrecord":
        file.write_bytes(framed([b"\x0a\x00" + b"\x12\x20" + bytes(32)] * ROWS))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
        if kind == "jsonl":
            file.write_text(lines)
        else:
            file.write_bytes(gzip.compress(lines.encode(), 1))
    return Piece(str(file))


@pytest.mark.parametrize(
    "kind", ["parquet", "orc", *(pytest.param(kind, marks=SLOW) for kind in ("jsonl", "jsonl.gz", "avro", "tfrecord"))]
)
def test_a_store_that_goes_away_is_no_damaged_file(kind: str, s3_account: None, tmp_path: Path) -> None:
    source = Source(files=f"*.{kind}")
    columns = {"user": Column(type="int64"), "name": Column(type="string")}
    log = tmp_path / "log"
    log.mkdir()
    _large(kind, log)
    with s3_server(tmp_path) as server:
        server.upload(log, "leaves")
        file = server.uri(f"leaves/log/log.{kind}")
        check_columns(file, "log", source, columns)
        assert cut_source(file, source, list(columns), 1 << 40) == [Piece(file)]
        batches = read_source(Piece(file), "log", source, columns)
        read_before = next(batches).rows_read
        server.stop()
        with pytest.raises(DataError, match=r"cannot read s3://leaves/log/log.*; the store does not answer"):
            read_before += sum(batch.rows_read for batch in batches if not batch.rejects or kind == "tfrecord")
    assert 0 < read_before < ROWS
