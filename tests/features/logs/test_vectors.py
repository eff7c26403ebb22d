"""Tables of pretrained vectors: what is read, what is refused and by which row, and principal components."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import DataError
from features.kinds import Pretrained
from features.logs import fingerprint, prepare_vectors, vectors
from features.logs.personal import Pseudonyms
from features.logs.vectors import principal_components, read_ids, read_vectors, table_rows, vectors_file
from features.spec import Column, Dataset, SpecError
from tests.s3_server import S3Server

INT, TEXT = Column(type="int64"), Column(type="string")
GOOD = {"id": [7, 3], "vector": [[1.0, 2.0], [3.0, 5.0]]}


def feature(**keys: Any) -> Pretrained:
    return Pretrained.model_validate({"vectors": "v.parquet", "dimension": 2, **keys})


def dataset(**keys: Any) -> Dataset:
    return Dataset.model_validate(
        {
            "name": "log",
            "source": "log.csv",
            "columns": {"item": {"type": "int64", **keys.pop("column", {})}, "click": "int64"},
            "features": {"item": "id", "picture": {"kind": "pretrained", "column": "item", **keys}},
            "tasks": {"click": "click"},
            "split": "random",
        }
    )


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    table = pa.table([[7], [8], [[1.0, 2.0]]], names=["id", "id", "vector"])
    pq.write_table(table, tmp_path / "v.parquet")
    with pytest.raises(DataError, match=r"v.parquet has column 'id' 2 times; allowed: columns of different names"):
        read_vectors(str(tmp_path / "v.parquet"), "picture", feature(), INT)


def test_parquet_and_npz_hold_the_same(tmp_path: Path) -> None:
    pq.write_table(pa.table(GOOD), tmp_path / "v.parquet")
    np.savez(tmp_path / "v.npz", key=np.array([7, 3]), values=np.array(GOOD["vector"]))
    first = read_vectors(str(tmp_path / "v.parquet"), "picture", feature(), INT)
    second = read_vectors(str(tmp_path / "v.npz"), "picture", feature(id_column="key", vector_column="values"), INT)
    for found in (first, second):
        assert found.ids.to_pylist() == [7, 3]
        np.testing.assert_array_equal(found.matrix, np.float32([[1, 2], [3, 5]]))
    texts = pa.table({"id": ["b", "a"], "vector": pa.array([[1, 2], [3, 5]], pa.list_(pa.float32(), 2))})
    pq.write_table(texts, tmp_path / "t.parquet")
    assert read_vectors(str(tmp_path / "t.parquet"), "picture", feature(), TEXT).ids.to_pylist() == ["b", "a"]


@pytest.mark.parametrize(
    ("columns", "column", "said"),
    [
        ({**GOOD, "vector": [[1.0, 2.0], [3.0]]}, INT, r"row 2 \(id 3\): a vector of 1 numbers.*allowed: 2"),
        ({**GOOD, "vector": [None, [3.0, 4.0]]}, INT, r"row 1 \(id 7\): a vector of 0 numbers"),
        (
            {**GOOD, "vector": [[1.0, 2.0], [3.0, float("inf")]]},
            INT,
            r"row 2 \(id 3\): a number that is missing, not finite",
        ),
        ({**GOOD, "vector": [[1.0, None], [3.0, 4.0]]}, INT, r"row 1 \(id 7\): a number that is missing"),
        ({**GOOD, "vector": [[1.0, 2.0], [3.0, 1e39]]}, INT, "beyond float32"),
        ({**GOOD, "id": [7, 7]}, INT, "id 7 has 2 vectors, in rows 1, 2; 1 ids have several"),
        ({**GOOD, "id": [7, None]}, INT, "row 2: id None; allowed: one that is there"),
        ({**GOOD, "id": [7, -(2**63)]}, INT, "row 2: id -9223372036854775808; allowed: one that is there"),
        ({**GOOD, "id": ["a", ""]}, TEXT, "row 2: id ; allowed"),
        ({**GOOD, "id": ["a", "b\nc"]}, TEXT, "row 2: id b\nc; allowed: one that is there, on one line"),
        ({**GOOD, "id": ["7", "3"]}, INT, "ids are string; allowed: int64"),
        (GOOD, TEXT, "ids are int64; allowed: string"),
        ({**GOOD, "id": [7.0, 3.0]}, TEXT, "ids are double; allowed: string"),
        ({**GOOD, "id": [True, False]}, TEXT, "ids are bool; allowed: string"),
        ({"id": [7]}, INT, "has no 'vector'; it has: id"),
        ({"id": [7], "vector": [1.0]}, INT, "column 'vector' is double; allowed: a list of numbers"),
        ({"id": [7], "vector": [["a", "b"]]}, INT, "allowed: a list of numbers"),
        ({"id": pa.array([], pa.int64()), "vector": pa.array([], pa.list_(pa.float32()))}, INT, "has no row"),
    ],
)
def test_what_is_no_table_of_vectors_is_refused(
    tmp_path: Path, columns: dict[str, Any], column: Column, said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(DataError, match=said) as caught:
        read_vectors(str(tmp_path / "v.parquet"), "picture", feature(), column)
    assert "feature 'picture'" in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_vectors(str(tmp_path / "v.npz"), "picture", feature(), INT)
    for name in ("v.npz", "v.parquet"):
        (tmp_path / name).write_bytes(b"no table")
        with pytest.raises(DataError, match="cannot be read"):
            read_vectors(str(tmp_path / name), "picture", feature(), INT)
    np.savez(tmp_path / "v.npz", id=np.array([1, 2]), vector=np.zeros(2))
    with pytest.raises(DataError, match=r"arrays are \(2,\) and \(2,\); allowed: \(n,\) and \(n, 2\)"):
        read_vectors(str(tmp_path / "v.npz"), "picture", feature(), INT)
    np.savez(tmp_path / "v.npz", id=np.array([1, 2]), vector=np.array([object(), object()]))
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(str(tmp_path / "v.npz"), "picture", feature(), INT)


def test_points_on_a_line_have_one_component() -> None:
    # (1, 2), (2, 4), (3, 6): centred -1, 0, 1 times (1, 2), whose length is the root of 5.
    found, explained = principal_components("picture", np.float32([[1, 2], [2, 4], [3, 6]]), 1)
    np.testing.assert_allclose(found, np.sqrt([[5], [0], [5]]) * [[-1], [0], [1]], atol=1e-6)
    assert explained == pytest.approx(1)


@given(rows=st.integers(4, 30), width=st.integers(1, 4), block=st.integers(1, 40), seed=st.integers(0, 1000))
def test_components_are_the_singular_vectors(rows: int, width: int, block: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    with mock.patch.object(vectors, "_BLOCK", block):
        found, explained = principal_components("picture", matrix, width)
    left, values, directions = np.linalg.svd(matrix - matrix.mean(axis=0, dtype=np.float64), full_matrices=False)
    signs = np.sign(directions[np.arange(4), np.abs(directions).argmax(axis=1)])
    np.testing.assert_allclose(found, (left * values * signs)[:, :width], atol=1e-3)
    assert explained == pytest.approx((values[:width] ** 2).sum() / (values**2).sum(), rel=1e-5)


def test_fewer_vectors_than_components_are_refused() -> None:
    with pytest.raises(DataError, match="`pca: 3` of 2 vectors"):
        principal_components("picture", np.zeros((2, 4), np.float32), 3)
    with pytest.raises(ValueError, match="`pca: 3` of vectors of 2 numbers; allowed: at most 2"):
        feature(pca=3)
    assert issubclass(SpecError, ValueError)


def test_prepared_tables_have_a_row_for_missing_and_one_for_unknown_ids(tmp_path: Path) -> None:
    pq.write_table(pa.table(GOOD), tmp_path / "v.parquet")
    spec = dataset(vectors="v.parquet", dimension=2)
    counts = prepare_vectors(spec, str(tmp_path), str(tmp_path / "out"), None)
    assert counts == {"picture": {"rows": 2, "dimension": 2, "width": 2, "explained_variance": None}}
    file = vectors_file(str(tmp_path / "out"), "picture")
    assert read_ids(file).to_pylist() == [b"7", b"3"]
    np.testing.assert_array_equal(table_rows(file, "zero"), np.float32([[0, 0], [1, 2], [3, 5], [0, 0]]))
    np.testing.assert_array_equal(table_rows(file, "mean"), np.float32([[2, 3.5], [1, 2], [3, 5], [2, 3.5]]))
    reduced = dataset(vectors="v.parquet", dimension=2, pca=1)
    assert prepare_vectors(reduced, str(tmp_path), str(tmp_path / "out"), None)["picture"]["explained_variance"] == 1
    # (1, 2) and (3, 5) differ by (2, 3): half of it on either side of their mean.
    half = np.sqrt(13) / 2
    np.testing.assert_allclose(table_rows(file, "mean"), [[0], [-half], [half], [0]], atol=1e-6)
    assert prepare_vectors(dataset(vectors="v.parquet", dimension=2), str(tmp_path), str(tmp_path / "out"), None)


def test_ids_of_a_hashed_column_are_hashed_as_the_log_is(tmp_path: Path) -> None:
    pq.write_table(pa.table(GOOD), tmp_path / "v.parquet")
    spec = dataset(vectors="v.parquet", dimension=2, column={"personal": "hash"})
    pseudonyms = Pseudonyms(b"0123456789abcdef")
    prepare_vectors(spec, str(tmp_path), str(tmp_path / "out"), pseudonyms)
    hashes = pseudonyms.of(pa.array([7, 3]))
    expected = [str(value).encode() for value in hashes.to_pylist()]
    assert read_ids(vectors_file(str(tmp_path / "out"), "picture")).to_pylist() == expected


def test_other_vectors_are_other_data(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("item,click\n7,1\n")
    spec = dataset(vectors="v.parquet", dimension=2)
    with pytest.raises(DataError, match=r"vectors 'v.parquet' is no file in .*; the folder holds: log.csv"):
        fingerprint(spec, str(tmp_path))
    pq.write_table(pa.table(GOOD), tmp_path / "v.parquet")
    before = fingerprint(spec, str(tmp_path))
    pq.write_table(pa.table({"id": [7], "vector": [[1.0, 2.0]]}), tmp_path / "v.parquet")
    assert fingerprint(spec, str(tmp_path)) != before


def test_vectors_of_a_store_are_those_of_a_disk(s3: S3Server, tmp_path: Path) -> None:
    pq.write_table(pa.table(GOOD), tmp_path / "v.parquet")
    np.savez(tmp_path / "v.npz", id=np.array(GOOD["id"]), vector=np.array(GOOD["vector"]))
    (tmp_path / "log.csv").write_text("item,click\n7,1\n")
    path = s3.upload(tmp_path, "vectors")
    for name in ("v.parquet", "v.npz"):
        spec = dataset(vectors=name, dimension=2)
        for folder in ("here", "there"):
            prepare_vectors(spec, str(tmp_path) if folder == "here" else path, str(tmp_path / folder), None)
        here, there = (vectors_file(str(tmp_path / folder), "picture") for folder in ("here", "there"))
        assert pq.read_table(there).equals(pq.read_table(here))
        np.testing.assert_array_equal(table_rows(there, "zero")[1:3], np.float32(GOOD["vector"]))
        assert fingerprint(spec, path)
    absent = dataset(vectors="other.parquet", dimension=2)
    with pytest.raises(
        DataError,
        match=r"vectors 'other.parquet' is no file in s3://vectors/log; the folder holds: log.csv, v.npz, v.parquet",
    ):
        fingerprint(absent, path)
    with pytest.raises(
        DataError, match=r"feature 'picture': s3://vectors/log/other.parquet does not exist; allowed: Parquet or npz"
    ):
        prepare_vectors(absent, path, str(tmp_path / "out"), None)
