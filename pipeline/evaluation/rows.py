"""Labelled rows with a model's predictions, as columns: all that the metrics need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import progress
from features.columns import from_lists
from features.errors import DataError
from features.spec import Dataset, label_column, mask_column

Column = npt.NDArray[Any]
MISSING = "(missing)"
"""How a slice of rows without a value is called."""


class Predicts(Protocol):
    """Whatever maps rows to one (rows,) column per output."""

    def predict(self, rows: pa.RecordBatch) -> Mapping[str, Column]:
        """Predictions for `rows`."""


@dataclasses.dataclass(frozen=True)
class SliceColumn:
    """One column by whose values the rows are sliced."""

    codes: npt.NDArray[np.int64]
    """(rows,): which of `values`."""
    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvaluatedRows:
    """Rows in the order in which they were read; every array is (rows,)."""

    labels: Mapping[str, Column]
    """By task."""
    masks: Mapping[str, Column]
    """By task, bool; only tasks with a sample mask."""
    groups: npt.NDArray[np.int64] | None
    """Who a row belongs to, -1 where that is missing; None if the dataset names no group."""
    slices: Mapping[str, SliceColumn]
    predictions: Mapping[str, Column]
    """By output of the model."""
    count: int
    keys: Column | None = None
    """Values of the key column, if one was asked for."""


def read_split(directory: str | Path, dataset: Dataset) -> Iterator[pa.RecordBatch]:
    """Rows of one split of ingest's Examples as plain typed batches of at most 65,536 rows.

    Raises:
        DataError: if the folder holds no Parquet file.
    """
    files = sorted(path for path in Path(directory).iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DataError(f"{directory} holds no file; expected the Parquet files of a split of Examples")
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=65_536):
            yield from_lists(batch, dataset)


def collect(
    batches: Iterable[pa.RecordBatch],
    dataset: Dataset,
    model: Predicts,
    slices: Sequence[str] = (),
    key: str | None = None,
) -> EvaluatedRows:
    """Asks `model` about every batch and keeps what the metrics need.

    Args:
        batches: plain typed rows with the raw columns and the label and mask columns that ingest adds.
        dataset: the spec.
        model: asked batch by batch.
        slices: scalar columns by whose values the metrics are split.
        key: a column to keep as it is, to join something to the rows later.

    Raises:
        DataError: if there is no row, or a column is absent.
    """
    kept: list[dict[str, pa.Array]] = []
    predicted: list[Mapping[str, Column]] = []
    count = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        kept.append(_needed(batch, dataset, slices, key))
        predicted.append(model.predict(batch))
        count += batch.num_rows
        progress.report("evaluate", rows=count)
    if not count:
        raise DataError("there is no row to evaluate; give the test split (or the log) at least one row with labels")
    columns = {name: pa.chunked_array([part[name] for part in kept]) for name in kept[0]}
    masked = [task for task, spec in dataset.tasks.items() if spec.mask]
    return EvaluatedRows(
        labels={task: columns[label_column(task)].to_numpy() for task in dataset.tasks},
        masks={task: columns[mask_column(task)].to_numpy() > 0 for task in masked},
        groups=_codes(columns[dataset.group])[0] if dataset.group else None,
        slices={name: _slice(columns[name]) for name in slices},
        predictions={name: np.concatenate([part[name] for part in predicted]) for name in predicted[0]},
        count=count,
        keys=columns[key].to_numpy() if key else None,
    )


def _needed(batch: pa.RecordBatch, dataset: Dataset, slices: Sequence[str], key: str | None) -> dict[str, pa.Array]:
    """The label, mask, group, slice and key columns of `batch`."""
    names = [label_column(task) for task in dataset.tasks]
    names += [mask_column(task) for task, spec in dataset.tasks.items() if spec.mask]
    names += [*slices, *(name for name in (dataset.group, key) if name)]
    known = batch.schema.names
    if absent := [name for name in names if name not in known]:
        raise DataError(f"the rows lack column {', '.join(absent)}; they have: {', '.join(known)}")
    columns = {name: batch.column(known.index(name)) for name in names}
    for name in slices:
        if pa.types.is_list(columns[name].type):
            raise DataError(f"evaluate.slices names '{name}', a list; allowed: columns with one value a row")
    return columns


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """(rows,) index into the distinct values, -1 for null, and those values."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes: npt.NDArray[np.int64] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary


def _slice(column: pa.ChunkedArray) -> SliceColumn:
    codes, distinct = _codes(column)
    if pa.types.is_binary(distinct.type):
        distinct = pc.cast(distinct, pa.string())
    names = tuple(str(value) for value in distinct.to_pylist())
    return SliceColumn(np.where(codes < 0, len(names), codes), (*names, MISSING) if (codes < 0).any() else names)
