"""TFRecord of tf.Example, written by Beam's and tfx-bsl's own encoders, and damaged."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.tfrecordio import _TFRecordUtil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from features.errors import DataError
from features.logs import tfrecord_reader
from features.logs.pieces import Piece
from features.logs.tfrecord_reader import read_tfrecord
from features.spec import Source
from tests.features.logs.small_log import COLUMNS, dataset, read

TFRECORD = Source(files="*.tfrecord", format="tfrecord")
GOOD: dict[str, list[Any]] = {
    "user": [7],
    "item": [8],
    "score": [1.5],
    "name": ["ann"],
    "tags": [3, 4],
    "day": [20240101],
    "click": [1],
    "like": [0],
    "seen": [1],
}


def example(**features: list[Any] | None) -> bytes:
    """One serialised tf.Example."""
    given = {name: values for name, values in (GOOD | features).items() if values is not None}
    kinds = {int: pa.int64(), float: pa.float32(), str: pa.large_binary(), bytes: pa.large_binary()}
    arrays = [pa.array([v], pa.large_list(kinds[type(v[0])] if v else pa.int64())) for v in given.values()]
    return RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(arrays, names=list(given)))[0]


def framed(records: list[bytes]) -> bytes:
    """The records as Beam writes them."""
    file = io.BytesIO()
    for record in records:
        _TFRecordUtil.write_record(file, record)
    return file.getvalue()


def _write(path: Path, *records: bytes, file: str = "log.tfrecord") -> Path:
    (path / file).write_bytes(framed(list(records)))
    return path


def test_values_are_typed_as_the_spec_says(tmp_path: Path) -> None:
    less = example(item=None, score=[], name=None, tags=None)
    rows, bad = read(dataset(source=TFRECORD), _write(tmp_path, example(), less))
    assert bad == []
    assert rows["user"].to_pylist() == [7, 7]
    assert rows["item"].to_pylist() == [8, None]
    assert rows["score"].to_pylist() == [1.5, None]
    assert rows["tags"].to_pylist() == [[3, 4], None]
    assert rows["label_click"].to_pylist() == [1, 1]


@pytest.mark.parametrize("kinds", ["alike", "mixed"])
@pytest.mark.parametrize(
    ("features", "reason", "column", "value"),
    [
        ({"user": [1, 2]}, "wrong_shape", "user", "[1, 2]"),
        ({"user": [2**63 - 1], "item": [1001]}, "out_of_bounds", "item", "1001"),
        ({"user": None}, "missing_value", "user", ""),
        ({"name": ["a", "b"]}, "wrong_shape", "name", "[b'a', b'b']"),
        ({"name": [b"\xff"]}, "bad_utf8", "name", "\\xff"),
        ({"click": [2]}, "bad_label", "click", "2"),
    ],
)
def test_a_bad_value_goes_alone(
    features: dict[str, Any], reason: str, column: str, value: str, kinds: str, tmp_path: Path
) -> None:
    # A feature of another kind sends the whole batch the slow way, which must come to the same.
    last = example(user=[9]) if kinds == "alike" else example(user=[9], score=[1], tags=["5", "6"])
    rows, bad = read(dataset(source=TFRECORD), _write(tmp_path, example(), example(**features), last))
    assert rows["user"].to_pylist() == [7, 9]
    assert [(b["row"], b["reason"], b["column"], b["value"]) for b in bad] == [(2, reason, column, value)]
    assert rows["tags"].to_pylist() == [[3, 4], [3, 4] if kinds == "alike" else [5, 6]]


def test_a_record_that_is_no_example_goes_alone(tmp_path: Path) -> None:
    rows, bad = read(dataset(source=TFRECORD), _write(tmp_path, example(), b"\xff\xff", example(user=[9])))
    assert rows["user"].to_pylist() == [7, 9]
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "bad_example")]


def test_an_empty_example_lacks_everything(tmp_path: Path) -> None:
    rows, bad = read(dataset(source=TFRECORD), _write(tmp_path, b""))
    assert rows.num_rows == 0
    assert [(b["row"], b["reason"], b["column"]) for b in bad] == [(1, "missing_value", "user")]


def test_the_same_rows_as_parquet(tmp_path: Path) -> None:
    records = [GOOD | {"user": [i], "score": [i / 4], "tags": list(range(1 + i % 3))} for i in range(50)]
    _write(tmp_path, *(example(**record) for record in records))
    plain = [{name: v if name == "tags" else v[0] for name, v in record.items()} for record in records]
    pq.write_table(pa.Table.from_pylist(plain), tmp_path / "log.parquet")
    ours, _ = read(dataset(source=TFRECORD), tmp_path)
    theirs, _ = read(dataset(source=Source(files="*.parquet", format="parquet")), tmp_path)
    assert ours.drop(["feedrank_row_id"]) == theirs.drop(["feedrank_row_id"])


def test_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, *[example()] * 10)

    def sizes() -> list[int]:
        return [len(b.rows) for b in read_tfrecord(Piece(str(tmp_path / "log.tfrecord")), "log", TFRECORD, COLUMNS)]

    assert sizes() == [10]
    monkeypatch.setattr(tfrecord_reader, "BATCH_ROWS", 4)
    assert sizes() == [4, 4, 2]
    monkeypatch.setattr(tfrecord_reader, "BATCH_BYTES", 1)
    assert sizes() == [1] * 10


def test_a_flipped_byte_of_a_record_costs_that_record(tmp_path: Path) -> None:
    data = bytearray(framed([example(user=[i]) for i in range(5)]))
    (length,) = struct.unpack_from("<Q", data)
    data[2 * (length + 16) + 20] ^= 1  # in the third record's bytes
    (tmp_path / "log.tfrecord").write_bytes(data)
    rows, bad = read(dataset(source=TFRECORD), tmp_path)
    assert rows["user"].to_pylist() == [0, 1, 3, 4]
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(3, "bad_checksum", 1)]


@pytest.mark.parametrize(("at", "reason"), [(3, "corrupt_file"), (9, "corrupt_file")])
def test_a_flipped_byte_of_a_length_costs_the_rest(at: int, reason: str, tmp_path: Path) -> None:
    data = bytearray(framed([example(user=[i]) for i in range(5)]))
    (length,) = struct.unpack_from("<Q", data)
    data[2 * (length + 16) + at] ^= 1
    (tmp_path / "log.tfrecord").write_bytes(data)
    rows, bad = read(dataset(source=TFRECORD), tmp_path)
    assert rows["user"].to_pylist() == [0, 1]
    assert [(b["row"], b["reason"]) for b in bad] == [(3, reason)]


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
def test_no_damage_invents_or_changes_a_row(place: int, flip: int, cut: bool, tmp_path: Path) -> None:
    records = [framed([example(user=[i])]) for i in range(8)]
    data = bytearray(b"".join(records))
    place %= len(data)
    unseen = cut and place in np.cumsum([0, *map(len, records)])  # cut between two records: nobody can see that
    if cut:
        del data[place:]
    else:
        data[place] ^= flip
    (tmp_path / "log.tfrecord").write_bytes(data)
    rows, bad = read(dataset(source=TFRECORD), tmp_path)
    users = rows["user"].to_pylist()
    assert users == sorted(set(users))
    assert set(users) <= set(range(8))
    assert set(rows["item"].to_pylist()) <= {8}
    assert bool(bad) != unseen


def test_gzip_and_a_file_that_breaks_off(tmp_path: Path) -> None:
    whole = gzip.compress(framed([example(user=[i]) for i in range(300)]))
    (tmp_path / "whole.tfrecord.gz").write_bytes(whole)
    (tmp_path / "broken.tfrecord.gz").write_bytes(whole[: len(whole) // 2])
    spec = Source.model_validate("whole.tfrecord.gz")
    assert read(dataset(source=spec), tmp_path)[0]["user"].to_pylist() == list(range(300))
    rows, bad = read(dataset(source=Source.model_validate("broken.tfrecord.gz")), tmp_path)
    assert rows["user"].to_pylist() == list(range(rows.num_rows))
    assert [(b["reason"], b["row"]) for b in bad] == [("truncated_file", rows.num_rows + 1)]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        list(read_tfrecord(Piece(str(tmp_path / "no.tfrecord")), "no", TFRECORD, COLUMNS))
