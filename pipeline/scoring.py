"""Asks a pushed model about any log: scores for new rows, the evaluation for later rows with labels, one user's best items.

The spec and the side tables come with the model; rows are read, joined and quarantined as ingest does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.columns import kept_columns
from features.errors import ConfigError, DataError
from features.frozen import unknown
from features.logs import LogBatch
from features.logs.action_counts import told_few
from features.outputs import UP
from features.spec import Dataset
from pipeline.evaluation.measure import Numbers, measure
from pipeline.evaluation.predictor import Predictor
from pipeline.evaluation.rows import collect
from pipeline.model_log import BatchWriter, LogOptions, ModelLog

ROW, FILE = "row", "file"
"""Columns of scores beside group, item and outputs: the row's number in its file, from 1, and the file's name."""
_SUFFIXES = (".parquet", ".csv")


@dataclasses.dataclass(frozen=True)
class ScoreResult:
    """What scoring did.

    Attributes:
        quarantined: of the log, as ingest sums it up: ``{"rows", "reasons": [...]}``.
        tables: by side table, ``{"rows_read", "rows", "quarantined"}``.
        unmatched: rows of the log that found nothing in a side table, by table.
    """

    model: Path
    output: Path
    outputs: tuple[str, ...]
    rows_read: int
    rows: int
    quarantined: dict[str, Any]
    quarantine: Path | None
    tables: dict[str, dict[str, Any]]
    unmatched: dict[str, int]
    seconds: float


@dataclasses.dataclass(frozen=True)
class TopItems:
    """One user's items, best first: `rows` holds for each its rank, item (under its column's name) and outputs."""

    model: Path
    group: Any
    item: str
    ordered_by: str
    outputs: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


def score(model: str | Path, data: str, output: str, options: LogOptions | None = None) -> ScoreResult:
    """Scores every row of a log.

    Args:
        model: folder of the SavedModel (see `pipeline.pushed.find_model`).
        data: a file, a glob, or a folder that holds the files the spec names.
        output: a ``.parquet`` or ``.csv`` file: `file`, `row`, the spec's group and item, a column per output.
        options: side tables and quarantine.

    Raises:
        DataError: if there is no file, a file lacks a column that the model needs, or a side table's file is damaged.
        ModelError: if the model cannot be loaded.
        ConfigError: if `output` has another suffix.
    """
    started = time.monotonic()
    target = Path(output)
    if target.suffix not in _SUFFIXES:
        raise ConfigError(f"output '{output}' ends with '{target.suffix}'; allowed: {', '.join(_SUFFIXES)}")
    options = options or LogOptions()
    quarantine = Path(options.quarantine) if options.quarantine else target.with_suffix(".quarantine.parquet")
    predictor = Predictor(model)
    log = ModelLog(predictor.bundle, data, options, labels=False, stage="score")
    target.parent.mkdir(parents=True, exist_ok=True)
    with BatchWriter(target) as scores, BatchWriter(quarantine, lazy=True) as refused:
        for batch in log.batches(refused):
            if batch.rows.num_rows:
                scores.write(_scored(batch, log.dataset, predictor))
        if not scores.rows:
            raise DataError(f"no row of {data} can be scored; {log.summary()}")
    return ScoreResult(
        model=Path(model),
        output=target,
        outputs=predictor.bundle.outputs(),
        rows_read=log.counts.rows_read,
        rows=scores.rows,
        quarantined=log.counts.quarantine_summary(),
        quarantine=quarantine if refused.rows else None,
        tables=log.table_counts,
        unmatched=log.counts.unmatched,
        seconds=time.monotonic() - started,
    )


def evaluate(
    model: str | Path,
    data: str,
    options: LogOptions | None = None,
    slices: Sequence[str] = (),
) -> Numbers:
    """The same evaluation as the pipeline's, on any log with labels; all its rows count, whatever their day.

    `up` is judged against any positive of all binary tasks: a model does not know the run's ``evaluate.up_interactions``,
    since another choice of them makes no other model.

    Args:
        model: folder of the SavedModel (see `pipeline.pushed.find_model`).
        data: a file, a glob, or a folder that holds the files the spec names.
        options: side tables and quarantine.
        slices: columns for whose values the metrics are also computed.

    Returns:
        What ``evaluation.json`` holds, without a verdict: ``{"tasks": {NAME: {"auc", "gauc", ...}}, ...}``, and ``rows_read``,
        ``quarantined``, ``tables``, ``unmatched``, ``model``, ``seconds`` (see `ScoreResult`); ``actions`` (what became of each) and
        ``duplicates`` (rows) where the spec asks for them.

    Raises:
        DataError: if no row is left, a file lacks a column that features, labels, masks, the group, slices, actions or duplicates need,
            or a side table's file is damaged.
        ConfigError: if labels come from a log of actions that is not there to be found, or `slices` name what is no column.
        ModelError: if the model cannot be loaded.
    """
    started = time.monotonic()
    options = options or LogOptions()
    predictor = Predictor(model)
    log = ModelLog(predictor.bundle, data, options, labels=True, stage="evaluate")
    columns = log.dataset.all_columns()
    allowed = [name for name in kept_columns(log.dataset) if not columns[name].is_list]
    for name in slices:
        if name not in allowed:
            raise ConfigError(f"--slice {name}: {unknown('column', name, allowed)}")
    log.require(slices)
    with contextlib.ExitStack() as stack:
        refused = stack.enter_context(BatchWriter(Path(options.quarantine), lazy=True)) if options.quarantine else None
        rows = collect((batch.rows for batch in log.batches(refused)), log.dataset, predictor, slices)
    found = measure(rows, log.dataset)
    if log.actions is not None:
        found["actions"] = actions = log.actions.manifest()
        if log.dataset.actions is not None and (few := told_few(actions, log.dataset.actions.window)):
            found["notes"].append(few)
    if log.dataset.duplicates != "keep":
        found["duplicates"] = log.counts.duplicates
    return found | {
        "model": str(model),
        "rows_read": log.counts.rows_read,
        "quarantined": log.counts.quarantine_summary(),
        "tables": log.table_counts,
        "unmatched": log.counts.unmatched,
        "seconds": time.monotonic() - started,
    }


def top_items(
    model: str | Path, data: str, group: Any = None, items: int = 5, options: LogOptions | None = None
) -> TopItems:
    """The best of the items that one user was shown in a log, by the model.

    Args:
        model: folder of the SavedModel (see `pipeline.pushed.find_model`).
        data: a file, a glob, or a folder that holds the files the spec names; the last file is read.
        group: the user, whose rows are looked for in the whole of that file; by default the one with the most rows at its
            beginning, and these rows.
        items: how many.
        options: side tables.

    Returns:
        Items by `up` if the model has it, else by the mean of all outputs' ranks.

    Raises:
        ConfigError: if the spec names no group or no item, or `group` is no value of the group's column.
        DataError: if the user has no row.
    """
    predictor = Predictor(model)
    log = ModelLog(predictor.bundle, data, options or LogOptions(), labels=False, stage="score")
    dataset = log.dataset
    if dataset.group is None or dataset.item is None:
        absent = [key for key, column in (("group", dataset.group), ("item", dataset.item)) if column is None]
        raise ConfigError(
            f"dataset '{dataset.name}' names no {' and no '.join(absent)}: it has no users whose items could be ranked; allowed: a model of a "
            f"dataset that does (such as `item: item_id`); columns: {', '.join(dataset.columns)}"
        )
    batches = (batch.rows for batch in log.batches(None, files=log.files[-1:]))
    wanted, own = (
        _first_user(batches, dataset.group)
        if group is None
        else _user(batches, dataset.group, log.kept(dataset.group, group))
    )
    if not own.num_rows:
        raise DataError(f"{dataset.group} {'' if group is None else group} has no usable row in {log.files[-1]}")
    return _ranked(own, predictor, wanted if group is None else group, items)


def _first_user(batches: Iterable[pa.RecordBatch], column: str) -> tuple[Any, pa.Table]:
    """The most frequent user of the first batch that has one, and its rows there."""
    for rows in batches:
        groups = rows.column(rows.schema.names.index(column))
        if groups.null_count < rows.num_rows:
            user = _most_frequent(groups)
            return user, pa.Table.from_batches([_rows_of(rows, column, user)])
    return None, pa.table({})


def _user(batches: Iterable[pa.RecordBatch], column: str, user: Any) -> tuple[Any, pa.Table]:
    """The user, and its rows in all batches."""
    found = [_rows_of(rows, column, user) for rows in batches]
    return user, pa.Table.from_batches(found) if found else pa.table({})


def _rows_of(rows: pa.RecordBatch, column: str, user: Any) -> pa.RecordBatch:
    groups = rows.column(rows.schema.names.index(column))
    try:
        value = pa.array([str(user)]).cast(groups.type)[0]
    except pa.ArrowInvalid as error:
        raise ConfigError(
            f"user '{user}': column '{column}' holds {groups.type}; allowed: a value of that type"
        ) from error
    return rows.filter(pc.fill_null(pc.equal(groups, value), False))


def _most_frequent(values: pa.Array) -> Any:
    counted = pc.value_counts(pc.drop_null(values))
    return counted.field("values")[int(np.argmax(counted.field("counts").to_numpy()))].as_py()


def _ranked(table: pa.Table, predictor: Predictor, group: Any, count: int) -> TopItems:
    item = predictor.dataset.item or ""
    (rows,) = table.combine_chunks().to_batches()
    names = pc.fill_null(rows.column(rows.schema.names.index(item)).cast(pa.string()), "(missing)").to_pylist()
    predictions = predictor.predict(rows)
    if UP in predictions:
        order, by = predictions[UP], UP
    else:
        ranks = [np.argsort(np.argsort(predictions[task])) for task in predictor.dataset.tasks if task in predictions]
        order, by = np.mean(ranks, axis=0), "mean rank over the tasks"
    best: dict[str, int] = {}
    for row in np.argsort(-order, kind="stable"):
        best.setdefault(names[row], int(row))
    rows_out = tuple(
        {"rank": rank, item: name} | {output: float(values[row]) for output, values in predictions.items()}
        for rank, (name, row) in enumerate(list(best.items())[:count], start=1)
    )
    return TopItems(predictor.directory, group, item, by, tuple(predictions), rows_out)


def _scored(batch: LogBatch, dataset: Dataset, predictor: Predictor) -> pa.RecordBatch:
    names = batch.rows.schema.names
    columns: dict[str, Any] = {
        FILE: pa.array([batch.file] * batch.rows.num_rows, pa.string()),
        ROW: pa.array(batch.numbers, pa.int64()),
    }
    columns |= {name: batch.rows.column(names.index(name)) for name in (dataset.group, dataset.item) if name}
    columns |= {name: pa.array(values) for name, values in predictor.predict(batch.rows).items()}
    return pa.RecordBatch.from_pydict(columns)


def evaluation_tables(evaluation: Mapping[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Titles and rows of the tables that commands print for an evaluation: the whole, then one a sliced column.

    An undefined number is a dash.
    """
    tasks = evaluation["tasks"]
    metrics = ("auc", "gauc", "log_loss", "normalized_entropy", "calibration", "mse", "mae")
    shown = [name for name in metrics if any(name in numbers for numbers in tasks.values())]
    titles = ["task", "rows", "positives", "rate", *(name.replace("_", " ") for name in shown)]
    whole = (titles, [[task, *_cells(numbers, shown)] for task, numbers in tasks.items()])
    sliced = [
        ([column, *titles], [[v, t, *_cells(n, shown)] for v, of in values.items() for t, n in of["tasks"].items()])
        for column, values in evaluation["slices"].items()
    ]
    return [whole, *sliced]


def _cells(numbers: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    rate = "-" if numbers.get("rate") is None else f"{numbers['rate']:.3%}"
    positives = "-" if numbers.get("positives") is None else f"{numbers['positives']:,}"
    values = ["-" if numbers.get(name) is None else f"{numbers[name]:.4f}" for name in metrics]
    return [f"{numbers['rows']:,}", positives, rate, *values]
