"""Tables of pretrained vectors: read, checked, reduced, and kept for Transform and the training."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features import folders
from features.errors import DataError
from features.kinds import Pretrained
from features.logs.casting import is_text
from features.logs.files import under
from features.logs.personal import WITHHELD_ID, Pseudonyms, hashed
from features.paths import without_options
from features.raw_inputs import MISSING_INT
from features.spec import Column, Dataset

ID, VECTOR = "id", "vector"
"""Columns of what :func:`prepare_vectors` writes."""
_BLOCK = 65_536
"""Rows of which principal components are computed at once."""
_NO_LINE = "[\n\r]"
"""A line of a vocabulary holds one id."""


class Vectors(NamedTuple):
    """A table of vectors."""

    ids: pa.Array
    """int64 or string, all distinct, in the file's order."""
    matrix: NDArray[np.float32]
    """(ids, dimension)"""


def prepare_vectors(dataset: Dataset, path: str, folder: str, pseudonyms: Pseudonyms | None) -> dict[str, Any]:
    """Writes ``<feature>.parquet`` of each pretrained feature, as the model takes it.

    Args:
        dataset: the spec.
        path: the data folder.
        folder: where to write; not made if there is no such feature.
        pseudonyms: hashes the ids of personal columns, as the log's.

    Returns:
        ``{feature: {"rows", "dimension", "width", "explained_variance": None without `pca`}}``.

    Raises:
        DataError: see :func:`read_vectors` and :func:`principal_components`.
    """
    counts: dict[str, Any] = {}
    for name, feature in dataset.pretrained().items():
        column = dataset.all_columns()[dataset.feature_column(name)]
        ids, matrix = read_vectors(under(feature.vectors, path), name, feature, column)
        explained = None
        if feature.pca is not None:
            matrix, explained = principal_components(name, matrix, feature.pca)
        folders.make(folder)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), feature.width)
        kept = pa.table({ID: hashed(ids, column, pseudonyms), VECTOR: lists})
        with folders.open_output(vectors_file(folder, name)) as stream:
            pq.write_table(kept, stream)
        counts[name] = {
            "rows": len(ids),
            "dimension": feature.dimension,
            "width": feature.width,
            "explained_variance": explained,
        }
    return counts


def vectors_file(folder: str, feature: str) -> str:
    """What `prepare_vectors` writes for a feature."""
    return os.path.join(folder, f"{feature}.parquet")


def table_rows(file: str, missing: str) -> NDArray[np.float32]:
    """(1 + ids + 1, width): the rows of an embedding table: that of a missing id, the vectors, that of an unknown id.

    Args:
        file: from `prepare_vectors`.
        missing: ``zero`` or ``mean``: what stands in the first and the last row.
    """
    with folders.open_input(file) as stream:
        column = pq.read_table(stream, columns=[VECTOR])[VECTOR].combine_chunks()
    matrix = column.flatten().to_numpy().reshape(len(column), -1)
    absent = matrix.mean(axis=0, dtype=np.float64) if missing == "mean" else np.zeros(matrix.shape[1])
    rows: NDArray[np.float32] = np.concatenate([[absent], matrix, [absent]]).astype(np.float32)
    return rows


def read_ids(file: str) -> pa.Array:
    """The ids of a file from `prepare_vectors`, in order, as texts: binary (ids,)."""
    with folders.open_input(file) as stream:
        return pq.read_table(stream, columns=[ID])[ID].combine_chunks().cast(pa.string()).cast(pa.binary())


def read_vectors(file: str, name: str, feature: Pretrained, column: Column) -> Vectors:
    """Reads a table as the user wrote it.

    Args:
        file: Parquet or npz, on a disk or in a store.
        name: the feature's.
        feature: names the file's columns (or arrays) and their width.
        column: of the log; ids are of its type.

    Raises:
        DataError: naming the row, if an id is missing or there twice, or a vector has another dimension or a number that is not finite.
    """
    path = without_options(file)
    what = f"feature '{name}': {path}"
    if not folders.exists(file) or folders.is_folder(file):
        raise DataError(f"{what} does not exist; allowed: Parquet or npz, relative to data.path")
    try:
        with folders.open_input(file) as stream:
            ids, lists = (_from_npz if path.endswith(".npz") else _from_parquet)(stream, what, feature)
    except (OSError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise DataError(f"{what} cannot be read: {error}") from error
    matrix = _matrix(what, _shown_ids(ids, column), lists, feature.dimension)
    return Vectors(_distinct(what, _typed(what, ids, column), column), matrix)


def _from_parquet(stream: Any, what: str, feature: Pretrained) -> tuple[pa.Array, pa.Array]:
    names = [feature.id_column, feature.vector_column]
    file = pq.ParquetFile(stream)
    schema = file.schema_arrow
    _check_names(what, names, schema.names)
    kind = schema.field(feature.vector_column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise DataError(f"{what}: column '{feature.vector_column}' is {kind}; allowed: a list of numbers")
    table = file.read(columns=names)
    ids, lists = (table[name].combine_chunks() for name in names)
    return ids, lists


def _from_npz(stream: Any, what: str, feature: Pretrained) -> tuple[pa.Array, pa.Array]:
    with np.load(stream, allow_pickle=False) as arrays:
        _check_names(what, [feature.id_column, feature.vector_column], arrays.files)
        ids, matrix = arrays[feature.id_column], arrays[feature.vector_column]
    if ids.ndim != 1 or matrix.ndim != 2 or len(ids) != len(matrix):
        raise DataError(
            f"{what}: arrays are {ids.shape} and {matrix.shape}; allowed: (n,) and (n, {feature.dimension})"
        )
    offsets = pa.array(np.arange(len(ids) + 1) * matrix.shape[1], pa.int64())
    lists = pa.LargeListArray.from_arrays(offsets, pa.array(matrix.astype(np.float64).reshape(-1)))
    return pa.array(ids), lists


def _check_names(what: str, names: list[str], found: list[str]) -> None:
    if absent := [name for name in names if name not in found]:
        raise DataError(f"{what} has no '{', '.join(absent)}'; it has: {', '.join(found) or '(nothing)'}")
    if twice := [f"'{name}' {found.count(name)} times" for name in names if found.count(name) > 1]:
        raise DataError(f"{what} has column {', '.join(twice)}; allowed: columns of different names")


def _shown_ids(ids: pa.Array, column: Column) -> Callable[[int], str]:
    """Gives the id of a row, from 0, as a message may show it."""
    return lambda row: WITHHELD_ID if column.personal is not None else f"id {ids[row]!s:.60}"


def _matrix(what: str, id_of: Callable[[int], str], lists: pa.Array, dimension: int) -> NDArray[np.float32]:
    if not len(lists):
        raise DataError(f"{what} has no row; allowed: at least one vector")
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(lengths != dimension)).size:
        raise DataError(
            f"{what}, row {wrong[0] + 1} ({id_of(int(wrong[0]))}): a vector of {lengths[wrong[0]]} numbers, as {wrong.size:,} of "
            f"{len(lists):,} rows are not what was declared; allowed: {dimension} (`dimension`)"
        )
    values = pc.fill_null(lists.flatten().cast(pa.float64()), float("nan")).to_numpy()
    with np.errstate(over="ignore"):  # becomes infinite, and is refused below
        numbers = values.reshape(-1, dimension).astype(np.float32)
    if (wrong := np.flatnonzero(~np.isfinite(numbers).all(axis=1))).size:
        raise DataError(
            f"{what}, row {wrong[0] + 1} ({id_of(int(wrong[0]))}): a number that is missing, not finite or beyond float32; "
            "allowed: finite numbers"
        )
    return numbers


def _typed(what: str, ids: pa.Array, column: Column) -> pa.Array:
    wanted = pa.int64() if column.type == "int64" else pa.string()
    kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    if not (pa.types.is_integer(kind) if column.type == "int64" else is_text(kind)):
        raise DataError(f"{what}: ids are {ids.type}; allowed: {column.type}, as the log's column is")
    try:
        ids = ids.cast(wanted)
    except pa.ArrowInvalid as error:
        why = "one does not fit" if column.personal is not None else str(error)  # Arrow's words show the value
        raise DataError(f"{what}: ids are no {column.type}: {why}") from (
            None if column.personal is not None else error
        )
    absent = pc.equal(ids, MISSING_INT if column.type == "int64" else "")
    if column.type == "string":
        absent = pc.or_(absent, pc.match_substring_regex(ids, _NO_LINE))
    wrong = np.flatnonzero(pc.fill_null(absent, True).to_numpy(zero_copy_only=False))
    if wrong.size:
        raise DataError(
            f"{what}, row {wrong[0] + 1}: {_shown_ids(ids, column)(int(wrong[0]))}; allowed: one that is there, on one line"
        )
    return ids


def _distinct(what: str, ids: pa.Array, column: Column) -> pa.Array:
    if len(ids.unique()) == len(ids):
        return ids
    counted = ids.value_counts()
    twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    rows = np.flatnonzero(pc.equal(ids, twice[0]).to_numpy(zero_copy_only=False)) + 1
    raise DataError(
        f"{what}: {_shown_ids(twice, column)(0)} has {len(rows)} vectors, in rows {', '.join(map(str, rows[:5]))}; {len(twice):,} ids have "
        "several; allowed: one vector an id"
    )


def principal_components(name: str, matrix: NDArray[np.float32], width: int) -> tuple[NDArray[np.float32], float]:
    """Projects centred vectors on their first principal components.

    Args:
        name: the feature's, for the message.
        matrix: (rows, dimension).
        width: components, at most the dimension.

    Returns:
        (rows, width), and the share of the variance that they hold: ``(X - mean) V`` of the eigenvectors V of ``(X - mean)^T (X - mean)`` with the
        largest eigenvalues, which are the right singular vectors of ``X - mean``; each component's sign is such that the largest entry of
        its direction is positive. Beside `matrix` and the answer, memory holds a block of rows.

    Raises:
        DataError: if there are fewer rows than components.
    """
    if len(matrix) < width:
        raise DataError(f"feature '{name}': `pca: {width}` of {len(matrix)} vectors; allowed: as many vectors at least")
    mean = matrix.mean(axis=0, dtype=np.float64)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(matrix), _BLOCK)]
    scatter = np.zeros((len(mean), len(mean)))
    for block in blocks:
        centred = matrix[block] - mean
        scatter += centred.T @ centred
    values, vectors = np.linalg.eigh(scatter)  # rising
    values = np.maximum(values, 0.0)  # of a rank below the dimension some come out just below
    directions = vectors[:, ::-1][:, :width]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, np.arange(width)] < 0, -1.0, 1.0)
    total = float(values.sum())
    explained = float(values[::-1][:width].sum()) / total if total else 1.0
    answer = np.empty((len(matrix), width), np.float32)
    for block in blocks:
        answer[block] = (matrix[block] - mean) @ directions
    return answer, explained
