"""A log as typed, joined, labelled Arrow batches, with everything that had to be left out beside them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.columns import arrow_type, kept_columns, plain_schema
from features.errors import DataError
from features.logs.casting import cast_column
from features.logs.days import NO_PART, check_time, days, parts
from features.logs.files import name_of, resolve_log
from features.logs.labels import label_arrays
from features.logs.personal import hashed, without_personal
from features.logs.pieces import Piece
from features.logs.quarantine import Faults, RawBatch, Reject, to_batch
from features.logs.row_ids import row_ids
from features.logs.sampling import sampled_parts
from features.logs.sources import check_columns, read_source
from features.logs.tables import Tables, conform, function_named
from features.spec import DAY, ROW_ID, ROW_WEIGHT, SPLITS, Dataset, Derived, label_column


@dataclass(frozen=True)
class LogBatch:
    """A stretch of one file.

    Attributes:
        file: the file's name.
        rows: the good rows, with the plain columns of `features.columns.plain_schema`.
        numbers: int64 (rows,), each good row's number in its file, from 1.
        part: int8 (rows,), the part of the split: position in `SPLITS`, or `features.logs.sampling.SAMPLED_OUT`; -1 everywhere if the split
            was not asked for.
        quarantined: the others, one dead letter each (`features.logs.quarantine.SCHEMA`).
        rows_read: good and bad rows; equals ``rows.num_rows + sum(quarantined["rows"])``.
        unmatched: rows that found nothing in a side table, by table.
        without: columns that must be there, of which no row of this batch has a value.
    """

    file: str
    rows: pa.RecordBatch
    numbers: NDArray[Any]
    part: NDArray[Any]
    quarantined: pa.RecordBatch
    rows_read: int
    unmatched: dict[str, int] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    def of(self, split: str) -> pa.RecordBatch:
        """The rows of one part of the split."""
        return self.rows.filter(pa.array(self.part == SPLITS.index(split)))


def read_log(
    dataset: Dataset,
    path: str,
    tables: Tables,
    files: Sequence[str | Piece] | None = None,
    *,
    labels: bool = True,
    split: bool = True,
) -> Iterator[LogBatch]:
    """Reads a log; what cannot be read as the spec says is set aside, never dropped and never guessed.

    Args:
        dataset: the spec.
        path: the data folder; file names in row ids and dead letters are relative to it.
        tables: the side tables (`load_tables` or `load_saved_tables`), and what hashes personal columns.
        files: the files to read, or pieces of files (`features.logs.sources.cut_source`); those of `resolve_log` by default.
        labels: whether every row must have its labels. Without, the output has no label columns.
        split: whether rows outside every part of the split are refused. Without, all rows are kept, and the log may lack
            every column that no feature, group, label or mask needs, sample weights too (without labels: that no feature needs).

    Yields:
        at least one batch a file, in the files' order; memory does not grow with the log.

    Raises:
        DataError: if no file matches, or a file lacks a column.
        ConfigError: if the spec names a function that does not exist, or a time column of an impossible type.
    """
    stages = _Stages(dataset, tables, labels, split)
    for file in resolve_log(dataset, path) if files is None else files:
        piece = file if isinstance(file, Piece) else Piece(file)
        name = name_of(piece.file, path)
        batches = 0
        for raw in read_source(piece, name, dataset.source, dataset.columns, stages.optional):
            yield stages.run(raw)
            batches += 1
        if not batches:
            nothing = np.zeros(0, dtype=np.int64)
            yield stages.run(RawBatch(name, {}, nothing, nothing, lambda _: ""))


def check_log(dataset: Dataset, path: str, files: Sequence[str], names: Sequence[str]) -> None:
    """Looks whether each file holds what the columns `names` are made from; at headers and footers only.

    Raises:
        DataError: if a file does not, naming what it lacks.
    """
    behind = _made_from(dataset, names)
    wanted = [name for name in dataset.columns if name in behind]
    for file in files:
        check_columns(file, name_of(file, path), dataset.source, wanted)


class _Stages:
    """What is done to each batch, decided once."""

    def __init__(self, dataset: Dataset, tables: Tables, labels: bool, split: bool) -> None:
        if dataset.time is not None:
            check_time(dataset.time, dataset.columns)
        self._dataset = dataset
        self._tables = tables
        self._labels = labels
        self._split = split
        self._weights = labels and split  # only a training reads them
        self._downsample = dataset.downsample if labels and split else None
        self._schema = plain_schema(dataset, labels, self._weights)
        used = [*dataset.feature_columns(), *(_answers(dataset) if labels else ())]
        required = set(dataset.columns) if labels and split else _made_from(dataset, used)
        self.optional = frozenset(set(dataset.columns) - required)
        self._required = frozenset(dataset.columns) - self.optional
        made = set(dataset.all_columns()) if labels else _made_from(dataset, kept_columns(dataset))
        self._ignored = frozenset(set(dataset.columns) - made)
        self._derived = [(d, function_named(d.function)) for d in dataset.derived if made.intersection(d.outputs)]

    def run(self, raw: RawBatch) -> LogBatch:
        """Types, joins, derivations, labels, time and split of one batch."""
        first = Faults(raw)
        typed = self._typed(raw, first)
        second = Faults(raw, first.good)
        typed = typed.filter(pa.array(~first.bad)) if first.bad.any() else typed
        joined, unmatched = self._tables.join(self._dataset, typed, list(self._dataset.tables))
        full = self._derive(joined)
        columns = dict(zip(full.schema.names, full.columns, strict=True))
        if self._labels:
            columns |= label_arrays(self._dataset.tasks, full, second, self._weights)
        numbers = raw.rows[first.good]
        ids = row_ids(raw.file, numbers)
        columns[ROW_ID] = pa.array(ids)
        part = self._part(columns, ids, second, raw.columns)
        if self._downsample is not None:
            labels = [columns[label_column(task)].to_numpy() for task in self._downsample.rule(self._dataset.tasks)]
            part, weights = sampled_parts(self._downsample, labels, part, ids)
            columns[ROW_WEIGHT] = pa.array(weights)
        rows = pa.RecordBatch.from_arrays([columns[f.name] for f in self._schema], schema=self._schema)
        if second.bad.any():
            rows, numbers, part = rows.filter(pa.array(~second.bad)), numbers[~second.bad], part[~second.bad]
        rejects = without_personal([*raw.rejects, *first.rejects, *second.rejects], self._dataset.columns)
        _check_sum(raw, rows, rejects)
        without = frozenset(name for name in self._required if not _has_values(raw.columns.get(name)))
        return LogBatch(raw.file, rows, numbers, part, to_batch(rejects), raw.rows_read, unmatched, without)

    def _typed(self, raw: RawBatch, faults: Faults) -> pa.RecordBatch:
        source, time = self._dataset.source, self._dataset.time
        arrays = []
        for name, column in self._dataset.columns.items():
            unit = time.unit if time is not None and time.column == name else None
            if name in raw.columns and name not in self._ignored:
                is_relaxed = name in self.optional and not self._labels
                relaxed = column.model_copy(update={"required": False}) if is_relaxed else column
                values = cast_column(name, relaxed, raw.columns[name], source, faults, unit)
                arrays.append(hashed(values, column, self._tables.pseudonyms))
            else:
                arrays.append(pa.nulls(len(raw.rows), arrow_type(column.type)))
        return pa.RecordBatch.from_arrays(arrays, names=list(self._dataset.columns))

    def _derive(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        for derived, function in self._derived:
            inputs = pa.RecordBatch.from_arrays([arrays[n] for n in derived.inputs], names=list(derived.inputs))
            arrays |= _outputs(derived, function(inputs), batch.num_rows)
        return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))

    def _part(
        self, columns: dict[str, pa.Array], ids: NDArray[Any], faults: Faults, given: Collection[str]
    ) -> NDArray[Any]:
        time = self._dataset.time
        if time is not None:
            required = self._split or (self._labels and time.column in given)
            columns[DAY] = days(time, columns[time.column], faults, required=required)
        if not self._split:
            return np.full(len(ids), NO_PART, dtype=np.int8)
        part = parts(self._dataset.split, columns.get(DAY), ids)
        if time is not None:
            faults.mark(part == NO_PART, "time_out_of_range", time.column, columns[time.column])
        return part


def _has_values(values: pa.Array | None) -> bool:
    return values is not None and values.null_count < len(values)


def _answers(dataset: Dataset) -> list[str]:
    """What an evaluation compares with and counts by: labels, masks and the group."""
    named = [(task.label, task.mask) for task in dataset.tasks.values()]
    return [name for name in (dataset.group, *itertools.chain(*named)) if name is not None]


def _made_from(dataset: Dataset, names: Iterable[str]) -> set[str]:
    """The named columns, and all of the log, its tables and derivations from which they are made."""
    needed = set(names)
    for derived in reversed(dataset.derived):
        if needed & set(derived.outputs):
            needed |= set(derived.inputs)
    for table in reversed(list(dataset.tables.values())):
        if needed & (set(table.columns) - set(table.keys)):
            needed |= set(table.keys)
    return needed


def _outputs(derived: Derived, made: object, rows: int) -> dict[str, pa.Array]:
    """The declared outputs of a derivation, checked."""
    if not isinstance(made, dict) or set(made) != set(derived.outputs):
        got = ", ".join(map(str, made)) if isinstance(made, dict) else type(made).__name__
        raise DataError(f"derived '{derived.function}' returned {got}; allowed: a dict of {', '.join(derived.outputs)}")
    arrays: dict[str, pa.Array] = {}
    for name, column in derived.outputs.items():
        array = made[name].combine_chunks() if isinstance(made[name], pa.ChunkedArray) else made[name]
        if not isinstance(array, pa.Array):
            raise DataError(f"derived '{derived.function}', '{name}' is {type(array).__name__}; allowed: pyarrow.Array")
        if len(array) != rows:
            raise DataError(f"derived '{derived.function}', '{name}' has {len(array)} rows; allowed: {rows}, one each")
        arrays[name] = conform(f"derived '{derived.function}', '{name}'", array, arrow_type(column.type))
    return arrays


def _check_sum(raw: RawBatch, rows: pa.RecordBatch, rejects: Sequence[Reject]) -> None:
    refused = sum(reject.rows for reject in rejects)
    if raw.rows_read != rows.num_rows + refused:
        raise AssertionError(
            f"{raw.file}: {raw.rows_read} rows read, but {rows.num_rows} out and {refused} quarantined"
        )
