"""A log as typed, joined, labelled Arrow batches, with everything that had to be left out beside them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.columns import arrow_type, kept_columns, plain_schema
from features.errors import ConfigError
from features.logs.days import NO_PART, check_time, days, days_beside, parts, parts_by_value
from features.logs.files import name_of, resolve_log
from features.logs.functions import derive, function_named
from features.logs.labels import label_arrays
from features.logs.notes import ActionNotes, Noted, NotedRows
from features.logs.personal import without_personal
from features.logs.pieces import Piece
from features.logs.places import ACTIONS
from features.logs.quarantine import OUT_OF_DAYS, OUT_OF_WINDOW, Faults, RawBatch, joined, rows_of, to_batch
from features.logs.row_hashes import value_ids
from features.logs.row_ids import row_ids
from features.logs.sampling import SAMPLED_OUT, sampled_parts
from features.logs.sources import check_columns, read_source
from features.logs.tables import Tables
from features.logs.typed import TypedSource, typed
from features.spec import DAY, ROW_ID, ROW_WEIGHT, SPLITS, ColumnSplit, Dataset, label_column


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
        actions: actions of the good rows that are not sampled out, where the dataset has a log of them.
        duplicates: rows with the values of an earlier one, where they were looked for; left out if the spec says so.
    """

    file: str
    rows: pa.RecordBatch
    numbers: NDArray[Any]
    part: NDArray[Any]
    quarantined: pa.RecordBatch
    rows_read: int
    unmatched: dict[str, int] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    actions: int = 0
    duplicates: int = 0

    def of(self, split: str) -> pa.RecordBatch:
        """The rows of one part of the split."""
        chosen = self.part == SPLITS.index(split)
        if not chosen.any():
            return self.rows.slice(0, 0)
        return self.rows if chosen.all() else self.rows.filter(pa.array(chosen))


def read_log(
    dataset: Dataset,
    path: str,
    tables: Tables,
    files: Sequence[str | Piece | Noted] | None = None,
    *,
    labels: bool = True,
    split: bool = True,
) -> Iterator[LogBatch]:
    """Reads a log; what cannot be read as the spec says is set aside, never dropped and never guessed.

    Args:
        dataset: the spec.
        path: the data folder; file names in row ids and dead letters are relative to it.
        tables: the side tables (`load_tables` or `load_saved_tables`), and what hashes personal columns.
        files: the files to read, or pieces of files (`features.logs.sources.cut_source`), with what is known of their rows; those of
            `resolve_log` by default.
        labels: whether every row must have its labels. Without, the output has no label columns. If the dataset has a log of actions,
            they come with the pieces (`Noted`).
        split: whether rows outside every part of the split are refused. Without, all rows are kept, and the log may lack
            every column that no feature, group, label or mask needs, sample weights too (without labels: that no feature needs), and
            matches in the required tables that give none of those.

    Yields:
        at least one batch a file, in the files' order; memory does not grow with the log.

    Raises:
        DataError: if no file matches, or a file lacks a column.
        ConfigError: if the spec names a function that does not exist, or a time column of an impossible type, or labels are asked for that
            come from actions which were not joined.
    """
    stages = _Stages(dataset, tables, labels, split)
    for raw, known in _raw(dataset, path, resolve_log(dataset, path) if files is None else files, stages):
        yield stages.run(raw, known)


class GoodRows(NamedTuple):
    """A stretch of one file, as counters see it.

    Attributes:
        file: the file's name.
        rows: the good rows.
        quarantined: the others, one dead letter each (`features.logs.quarantine.SCHEMA`).
        rows_read: good and bad rows.
        actions: actions of the good rows, where the dataset has a log of them.
    """

    file: str
    rows: pa.RecordBatch
    quarantined: pa.RecordBatch
    rows_read: int
    actions: int = 0


def read_rows(
    dataset: Dataset, path: str, tables: Tables, files: Sequence[Piece | Noted], columns: Sequence[str]
) -> Iterator[GoodRows]:
    """The rows that :func:`read_log` finds good, with any of their columns, those of every day; for counters, which are not there yet.

    Args:
        dataset: the spec, with a time.
        path: the data folder.
        tables: the side tables.
        files: pieces of files, with what is known of their rows.
        columns: names of columns of the log, its tables and derivations, outcomes too.

    Yields:
        batches of these columns and `DAY`; rows that lie in no part of the split are among the good ones.
    """
    stages = _Stages(dataset.model_copy(update={"counters": {}}), tables, True, True)
    for raw, known in _raw(dataset, path, files, stages):
        yield stages.good(raw, known, columns)


def _raw(
    dataset: Dataset, path: str, files: Sequence[str | Piece | Noted], stages: _Stages
) -> Iterator[tuple[RawBatch, _Known]]:
    """At least one batch a file."""
    for file in files:
        noted = file if isinstance(file, Noted) else None
        piece = file.piece if isinstance(file, Noted) else file if isinstance(file, Piece) else Piece(file)
        name = name_of(piece.file, path)
        known = _Known(
            _action_notes(dataset, noted) if stages.labels else None,
            NotedRows(noted.duplicates if noted is not None else ()),
        )
        batches = 0
        for raw in read_source(piece, name, dataset.source, dataset.columns, stages.optional):
            yield raw, known
            batches += 1
        if not batches:
            nothing = np.zeros(0, dtype=np.int64)
            yield RawBatch(name, {}, nothing, nothing, lambda _: ""), known


class _Known(NamedTuple):
    """What was found out about the rows of a piece before: labels, and which are duplicates."""

    actions: ActionNotes | None
    duplicates: NotedRows


def _action_notes(dataset: Dataset, noted: Noted | None) -> ActionNotes | None:
    if dataset.actions is None:
        return None
    if noted is None:
        raise ConfigError(
            f"the labels of '{dataset.name}' come from a log of actions ({', '.join(dataset.actions.source.patterns)}), which only a "
            "run's ingest joins; allowed: scores without labels, or a run"
        )
    return ActionNotes(noted.actions, dataset.actions)


def check_log(dataset: Dataset, path: str, files: Sequence[str], names: Sequence[str]) -> None:
    """Looks whether each file holds what the columns `names` are made from; at headers and footers only.

    Raises:
        DataError: if a file does not, naming what it lacks.
    """
    behind = _made_from(dataset, names)
    for file in files:
        check_columns(file, name_of(file, path), dataset.source, dataset.columns, set(dataset.columns) - behind)


class _Made(NamedTuple):
    """A batch as far as it does not depend on the split.

    Attributes:
        columns: all there are, by name, of the rows that could be typed.
        drawn: what random parts and samples are drawn by: the rows' ids, or what their values say.
        typing: faults of the others.
        faults: of these rows.
        numbers: of these rows in the file.
        unmatched: rows that found nothing in a side table, by table.
        duplicates: rows with the values of an earlier one.
        acted: actions of each row, where the dataset has a log of them.
    """

    columns: dict[str, pa.Array]
    drawn: NDArray[Any]
    typing: Faults
    faults: Faults
    numbers: NDArray[Any]
    unmatched: dict[str, int]
    duplicates: int
    acted: pa.Array | None


class _Stages:
    """What is done to each batch, decided once."""

    def __init__(self, dataset: Dataset, tables: Tables, labels: bool, split: bool) -> None:
        if dataset.time is not None:
            check_time(dataset.time, dataset.columns)
        self._dataset = dataset
        self._tables = tables
        self.labels = labels
        self._split = split
        self._weights = labels and split  # only a training reads them
        self._downsample = dataset.downsample if labels and split else None
        # Where rows have no place of their own, a rerun draws the same ones by their values.
        own = sorted(name for name, column in dataset.columns.items() if column.personal != "drop")
        self._drawn_by = own if dataset.source.bigquery is not None else None
        self._schema = plain_schema(dataset, labels, self._weights)
        used = [*dataset.feature_columns(), *(_answers(dataset) if labels else ())]
        needed = set(dataset.all_columns()) if labels and split else _made_from(dataset, used)
        self._counts = any(needed.intersection(counter.given) for counter in dataset.counters.values())
        self.optional = frozenset(set(dataset.columns) - needed)
        self._required = frozenset(dataset.columns) - self.optional
        self._matched = [
            name
            for name, table in dataset.tables.items()
            if table.required and ((labels and split) or needed.intersection(set(table.given) - set(table.keys)))
        ]
        made = set(dataset.all_columns()) if labels else _made_from(dataset, kept_columns(dataset))
        relaxed = frozenset() if labels else self.optional
        read = {
            name: column.model_copy(update={"required": False}) if name in relaxed else column
            for name, column in dataset.columns.items()
            if name in made
        }
        self._beside = days_beside(dataset)
        self._reading = TypedSource(dataset.source, read, dataset.time, tables.pseudonyms)
        self._derived = [(d, function_named(d.function)) for d in dataset.derived if made.intersection(d.outputs)]

    def run(self, raw: RawBatch, known: _Known) -> LogBatch:
        """Types, joins, derivations, labels, time, split and counters of one batch."""
        made = self._made(raw, known)
        columns, second, numbers = made.columns, made.faults, made.numbers
        part = self._part(columns, made.drawn, second)
        if self._downsample is not None:
            labels = [columns[label_column(task)].to_numpy() for task in self._downsample.rule(self._dataset.tasks)]
            part, weights = sampled_parts(self._downsample, labels, part, made.drawn)
            columns[ROW_WEIGHT] = pa.array(weights)
        columns |= self._counted(columns)
        of_rows_out = _sum(made.acted, ~second.bad & (part != SAMPLED_OUT))
        rows = pa.RecordBatch.from_arrays([columns[f.name] for f in self._schema], schema=self._schema)
        if second.bad.any():
            rows, numbers, part = rows.filter(pa.array(~second.bad)), numbers[~second.bad], part[~second.bad]
        letters = self._refused(raw, made)
        _check_sum(raw, rows, letters)
        without = frozenset(name for name in self._required if not _has_values(raw.columns.get(name)))
        return LogBatch(
            raw.file,
            rows,
            numbers,
            part,
            letters,
            raw.rows_read,
            made.unmatched,
            without,
            actions=of_rows_out,
            duplicates=made.duplicates,
        )

    def good(self, raw: RawBatch, known: _Known, names: Sequence[str]) -> GoodRows:
        """The named columns, and the day, of the rows of one batch that have no fault."""
        made = self._made(raw, known)
        rows = pa.RecordBatch.from_pydict({name: made.columns[name] for name in (*names, DAY)})
        rows = rows.filter(pa.array(~made.faults.bad)) if made.faults.bad.any() else rows
        letters = self._refused(raw, made)
        _check_sum(raw, rows, letters)
        return GoodRows(raw.file, rows, letters, raw.rows_read, _sum(made.acted, ~made.faults.bad))

    def _refused(self, raw: RawBatch, made: _Made) -> pa.RecordBatch:
        letters = joined([to_batch(raw.rejects), made.typing.letters, made.faults.letters])
        return without_personal(letters, self._dataset.columns)

    def _made(self, raw: RawBatch, known: _Known) -> _Made:
        """Types, joins, derivations, labels and time of one batch."""
        first = Faults(raw)
        batch = self._typed(raw, first)
        second = Faults(raw, first.good)
        batch = batch.filter(pa.array(~first.bad)) if first.bad.any() else batch
        numbers = raw.rows[first.good]
        repeated = known.duplicates.among(numbers)
        if self._dataset.duplicates == "drop":
            second.mark(repeated, "duplicate", "")
        outcomes = {} if known.actions is None else known.actions.of(numbers)
        acted = outcomes.pop(ACTIONS, None)
        batch = pa.RecordBatch.from_arrays([*batch.columns, *outcomes.values()], [*batch.schema.names, *outcomes])
        joined, unmatched = self._tables.join(self._dataset, batch, second, self._matched)
        full = derive(self._derived, joined, second)
        columns = dict(zip(full.schema.names, full.columns, strict=True))
        if self.labels:
            columns |= label_arrays(self._dataset.tasks, full, second, self._weights)
        ids = row_ids(raw.file, numbers)
        columns[ROW_ID] = pa.array(ids)
        drawn = ids if self._drawn_by is None else value_ids([batch.column(name) for name in self._drawn_by])
        time = self._dataset.time
        if time is not None:
            required = self._split or self._counts or (self.labels and time.column in raw.columns)
            columns[DAY] = days(time, columns[time.column], second, required=required)
        return _Made(columns, drawn, first, second, numbers, unmatched, int(repeated.sum()), acted)

    def _counted(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """The counters' columns; missing where no feature needs one, and the log may lack their keys and time."""
        if self._counts:
            return self._tables.count(self._dataset, columns)
        rows = len(columns[ROW_ID])
        given = {n: c for counter in self._dataset.counters.values() for n, c in counter.given.items()}
        return {name: pa.nulls(rows, arrow_type(column.type)) for name, column in given.items()}

    def _typed(self, raw: RawBatch, faults: Faults) -> pa.RecordBatch:
        present = {name: column for name, column in self._reading.columns.items() if name in raw.columns}
        read = typed(raw, self._reading._replace(columns=present), faults)
        arrays = [
            read[name] if name in read else pa.nulls(len(raw.rows), arrow_type(column.type))
            for name, column in self._dataset.columns.items()
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(self._dataset.columns))

    def _part(self, columns: dict[str, pa.Array], ids: NDArray[Any], faults: Faults) -> NDArray[Any]:
        time = self._dataset.time
        if not self._split:
            return np.full(len(ids), NO_PART, dtype=np.int8)
        split = self._dataset.split
        if isinstance(split, ColumnSplit):
            part = parts_by_value(split, columns[split.column], ids)
            faults.mark(part == NO_PART, "out_of_split", split.column, columns[split.column])
            return part
        part = parts(split, columns.get(DAY), ids)
        if time is not None:
            if self._beside is not None:
                found = pc.fill_null(columns[DAY], 0).to_numpy()
                expected = (found >= self._beside[0]) & (found <= self._beside[1])
                faults.mark((part == NO_PART) & expected, OUT_OF_WINDOW, time.column, columns[time.column])
            faults.mark(part == NO_PART, OUT_OF_DAYS, time.column, columns[time.column])
        return part


def _sum(acted: pa.Array | None, chosen: NDArray[Any]) -> int:
    return 0 if acted is None else int(acted.to_numpy()[chosen].sum())


def _has_values(values: pa.Array | None) -> bool:
    return values is not None and values.null_count < len(values)


def _answers(dataset: Dataset) -> list[str]:
    """What an evaluation compares with and counts by: labels, masks and the group."""
    named = [(task.label, task.mask) for task in dataset.tasks.values()]
    return [name for name in (dataset.group, *itertools.chain(*named)) if name is not None]


def _made_from(dataset: Dataset, names: Iterable[str]) -> set[str]:
    """The named columns, and all of the log, its tables and derivations from which they are made."""
    needed = set(names)
    for counter in dataset.counters.values():
        if needed & set(counter.given) and dataset.time is not None:
            needed |= {*counter.keys, dataset.time.column}
    for derived in reversed(dataset.derived):
        if needed & set(derived.outputs):
            needed |= set(derived.inputs)
    for table in reversed(list(dataset.tables.values())):
        if needed & (set(table.given) - set(table.keys)):
            needed |= set(table.keys)
    return needed


def _check_sum(raw: RawBatch, rows: pa.RecordBatch, letters: pa.RecordBatch) -> None:
    refused = rows_of(letters)
    if raw.rows_read != rows.num_rows + refused:
        raise AssertionError(
            f"{raw.file}: {raw.rows_read} rows read, but {rows.num_rows} out and {refused} quarantined"
        )
