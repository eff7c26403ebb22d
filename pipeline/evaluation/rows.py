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
from features.logs.row_hashes import row_hashes
from features.outputs import UP
from features.spec import Dataset, label_column, mask_column
from pipeline.evaluation.spool import Spool

Column = npt.NDArray[Any]
MISSING = "(missing)"
"""How a slice of rows without a value is called."""


class Predicts(Protocol):
    """Whatever maps rows to one (rows,) column per output."""

    def predict(self, rows: pa.RecordBatch) -> Mapping[str, Column]:
        """Predictions for `rows`."""


@dataclasses.dataclass(frozen=True)
class EvaluatedRows:
    """Rows in the order in which they were read, in a temporary file: memory does not grow with them, but for `keys`.

    A row takes 5 bytes of the file a binary task (its label and prediction), 8 a regression, 8 of its group, 4 a slice column,
    1 a mask and 4 of `up`.
    """

    spool: Spool
    """Columns of the names that the functions below give."""
    masked: tuple[str, ...]
    """Tasks with a sample mask."""
    predicted: tuple[str, ...]
    """Tasks that the model predicts and, if it answers it, `up`."""
    grouped: bool
    """Whether the dataset names a group."""
    slices: Mapping[str, tuple[str, ...]]
    """Values of each slice column, by their codes."""
    outputs: tuple[str, ...]
    """All that the model answers."""
    keys: Column | None = None
    """Values of the key column, (rows,), if one was asked for."""

    @property
    def count(self) -> int:
        """Rows."""
        return self.spool.rows

    def predictions(self, output: str) -> Column:
        """All predictions of one of `predicted`, (rows,)."""
        name = prediction_of(output)
        return self.spool.columns([name])[name]


GROUP = "group"
"""Column of a `Spool`: a hash of who a row belongs to, uint64, `NO_GROUP` where that is missing."""
NO_GROUP = np.uint64(0)


def label_of(task: str) -> str:
    """Column of a `Spool`: bool of a binary task, False where its mask hides it; else a number."""
    return f"label {task}"


def mask_of(task: str) -> str:
    """Column of a `Spool`: bool."""
    return f"mask {task}"


def prediction_of(output: str) -> str:
    """Column of a `Spool`: a number."""
    return f"prediction {output}"


def slice_of(column: str) -> str:
    """Column of a `Spool`: int32, which of `EvaluatedRows.slices`."""
    return f"slice {column}"


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
    """Asks `model` about every batch and keeps what the metrics need in a temporary file.

    Args:
        batches: plain typed rows with the raw columns and the label and mask columns that ingest adds.
        dataset: the spec.
        model: asked batch by batch.
        slices: scalar columns by whose values the metrics are split.
        key: a column to keep as it is, to join something to the rows later.

    Raises:
        DataError: if there is no row, a column is absent, or a binary task's label that counts is neither 0 nor 1.
    """
    spool = Spool()
    keys: list[Column] = []
    codes: dict[str, dict[str, int]] = {name: {} for name in slices}
    outputs: tuple[str, ...] = ()
    for batch in batches:
        if not batch.num_rows:
            continue
        _check_columns(batch, dataset, slices, key)
        predictions = model.predict(batch)
        outputs = tuple(predictions)
        columns = {prediction_of(name): predictions[name] for name in outputs if name in dataset.tasks or name == UP}
        columns |= _labels(batch, dataset)
        columns |= {slice_of(name): _coded(_column(batch, name), codes[name]) for name in slices}
        if dataset.group:
            columns[GROUP] = _hashed(_column(batch, dataset.group))
        if key:
            keys.append(_numbers(batch, key))
        spool.add(columns)
        progress.report("evaluate", rows=spool.rows)
    if not spool.rows:
        raise DataError("there is no row to evaluate; give the test split (or the log) at least one row with labels")
    return EvaluatedRows(
        spool=spool,
        masked=tuple(task for task, spec in dataset.tasks.items() if spec.mask),
        predicted=tuple(name for name in outputs if name in dataset.tasks or name == UP),
        grouped=dataset.group is not None,
        slices={name: tuple(known) for name, known in codes.items()},
        outputs=outputs,
        keys=np.concatenate(keys) if key else None,
    )


def _check_columns(batch: pa.RecordBatch, dataset: Dataset, slices: Sequence[str], key: str | None) -> None:
    labels = [label_column(task) for task in dataset.tasks]
    masks = [mask_column(task) for task, spec in dataset.tasks.items() if spec.mask]
    needed = [*labels, *masks, *slices, *filter(None, [dataset.group, key])]
    known = batch.schema.names
    if absent := [name for name in needed if name not in known]:
        raise DataError(f"the rows lack column {', '.join(absent)}; they have: {', '.join(known)}")
    for name in slices:
        if pa.types.is_list(_column(batch, name).type):
            raise DataError(f"evaluate.slices names '{name}', a list; allowed: columns with one value a row")


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(batch.schema.names.index(name))


def _numbers(batch: pa.RecordBatch, name: str) -> Column:
    values: Column = _column(batch, name).to_numpy(zero_copy_only=False)
    return values


def _labels(batch: pa.RecordBatch, dataset: Dataset) -> dict[str, Column]:
    """Labels and masks of `batch`."""
    found: dict[str, Column] = {}
    for name, task in dataset.tasks.items():
        values = _numbers(batch, label_column(name))
        counts: Any = np.True_
        if task.mask:
            counts = found[mask_of(name)] = _numbers(batch, mask_column(name)) > 0
        found[label_of(name)] = _binary(name, values, counts) if task.kind == "binary" else values
    return found


def _binary(task: str, labels: Column, counts: Any) -> npt.NDArray[np.bool_]:
    positive = labels == 1
    wrong = counts & ~positive & (labels != 0)
    if wrong.any():
        raise DataError(f"task '{task}': a label is {labels[wrong][0]:g}; allowed: 0 or 1")
    return np.asarray(counts & positive)


def _hashed(values: pa.Array) -> npt.NDArray[np.uint64]:
    """See `GROUP`. Different integers have different hashes; two of n texts may share one with a probability of some n^2 / 2^65."""
    hashes = row_hashes([values])
    hashes[hashes == NO_GROUP] = 1
    missing = values.is_null().to_numpy(zero_copy_only=False)
    return np.where(missing, NO_GROUP, hashes)


def _coded(values: pa.Array, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """(rows,): a number of each value; `known` holds those so far, and gets the new ones."""
    encoded = values.dictionary_encode()
    distinct = encoded.dictionary
    if pa.types.is_binary(distinct.type):
        distinct = pc.cast(distinct, pa.string())
    names = [*map(str, distinct.to_pylist()), *([MISSING] if encoded.null_count else [])]
    codes = np.array([known.setdefault(name, len(known)) for name in names], np.int32)
    return codes[encoded.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)]
