"""Labelled rows with a model's predictions, as columns: all that the metrics need."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
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
from features.outputs import UP
from features.spec import Dataset, label_column, mask_column

Column = npt.NDArray[Any]
MISSING = "(missing)"
"""How a slice of rows without a value is called."""
_KEYS = "keys"


class Predicts(Protocol):
    """Whatever maps rows to one (rows,) column per output."""

    def predict(self, rows: pa.RecordBatch) -> Mapping[str, Column]:
        """Predictions for `rows`."""


@dataclasses.dataclass(frozen=True)
class SliceColumn:
    """One column by whose values the rows are sliced."""

    codes: npt.NDArray[np.unsignedinteger[Any]]
    """(rows,): which of `values`, as narrow as their number allows."""
    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvaluatedRows:
    """Rows in the order in which they were read; every array is (rows,).

    A row takes 5 bytes a binary task (its label and prediction), 8 a regression, 4 of its group, 1 or more a slice
    column, 1 a mask and 4 of `up`.
    """

    labels: Mapping[str, Column]
    """By task: bool if all are 0 or 1, else as they were."""
    masks: Mapping[str, Column]
    """By task, bool; only tasks with a sample mask."""
    groups: npt.NDArray[np.int32] | None
    """Who a row belongs to, -1 where that is missing; None if the dataset names no group."""
    slices: Mapping[str, SliceColumn]
    predictions: Mapping[str, Column]
    """By task and, if the model answers it, `up`."""
    count: int
    outputs: tuple[str, ...] = ()
    """All that the model answers."""
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
    columns: dict[str, list[Any]] = defaultdict(list)
    predicted: dict[str, list[Column]] = defaultdict(list)
    outputs: tuple[str, ...] = ()
    count = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        for name, column in _needed(batch, dataset, slices, key).items():
            columns[name].append(column)
        predictions = model.predict(batch)
        outputs = tuple(predictions)
        for name in outputs:
            if name in dataset.tasks or name == UP:
                predicted[name].append(predictions[name])
        count += batch.num_rows
        progress.report("evaluate", rows=count)
    if not count:
        raise DataError("there is no row to evaluate; give the test split (or the log) at least one row with labels")
    encoded = {name: _codes(columns.pop(name)) for name in {*slices, *([dataset.group] if dataset.group else ())}}
    masked = [task for task, spec in dataset.tasks.items() if spec.mask]
    return EvaluatedRows(
        labels={task: _joined(columns, label_column(task)) for task in dataset.tasks},
        masks={task: _joined(columns, mask_column(task)) for task in masked},
        groups=encoded[dataset.group][0] if dataset.group else None,
        slices={name: _slice(*encoded[name]) for name in slices},
        predictions={name: _joined(predicted, name) for name in list(predicted)},
        count=count,
        outputs=outputs,
        keys=_joined(columns, _KEYS) if key else None,
    )


def _joined(columns: dict[str, list[Column]], name: str) -> Column:
    """One column of the batches' parts, which are let go."""
    return np.concatenate(columns.pop(name))


def _needed(batch: pa.RecordBatch, dataset: Dataset, slices: Sequence[str], key: str | None) -> dict[str, Any]:
    """Labels, masks and keys of `batch` as narrow arrays; its group and slices as dictionaries."""
    labels = {label_column(task): spec for task, spec in dataset.tasks.items()}
    masks = [mask_column(task) for task, spec in dataset.tasks.items() if spec.mask]
    encoded = [*slices, *([dataset.group] if dataset.group else ())]
    known = batch.schema.names
    if absent := [name for name in (*labels, *masks, *encoded, *([key] if key else ())) if name not in known]:
        raise DataError(f"the rows lack column {', '.join(absent)}; they have: {', '.join(known)}")
    for name in slices:
        if pa.types.is_list(batch.column(known.index(name)).type):
            raise DataError(f"evaluate.slices names '{name}', a list; allowed: columns with one value a row")

    def numbers(name: str) -> Column:
        values: Column = batch.column(known.index(name)).to_numpy(zero_copy_only=False)
        return values

    found: dict[str, Any] = {
        name: _narrow(numbers(name)) if task.kind == "binary" else numbers(name) for name, task in labels.items()
    }
    found |= {name: numbers(name) > 0 for name in masks}
    found |= {name: batch.column(known.index(name)).dictionary_encode() for name in encoded}
    return found | ({_KEYS: numbers(key)} if key else {})


def _narrow(labels: Column) -> Column:
    """Labels of 0 and 1 as bool; others, which the metrics refuse, as they are."""
    positive = labels == 1
    return positive if (positive | (labels == 0)).all() else labels


def _codes(parts: list[pa.DictionaryArray]) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """(rows,) index into the distinct values, -1 for null, and those values."""
    chunks = pa.chunked_array(parts).unify_dictionaries().chunks
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(codes), chunks[0].dictionary


def _slice(codes: npt.NDArray[np.int32], distinct: pa.Array) -> SliceColumn:
    if pa.types.is_binary(distinct.type):
        distinct = pc.cast(distinct, pa.string())
    names = tuple(str(value) for value in distinct.to_pylist())
    missing = codes < 0
    values = (*names, MISSING) if missing.any() else names
    return SliceColumn(np.where(missing, len(names), codes).astype(np.min_scalar_type(len(names))), values)
