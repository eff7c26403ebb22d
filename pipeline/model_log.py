"""A log read for a model: with the spec and the side tables that came with it, and the same quarantine as ingest's."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from features import progress
from features.columns import arrow_type
from features.errors import ConfigError, DataError, ModelError
from features.folders import is_folder
from features.logs import (
    Counts,
    LogBatch,
    Pseudonyms,
    Tables,
    check_budget,
    check_found,
    check_log,
    count_tables,
    load_saved_tables,
    load_tables,
    pseudonyms_of,
    read_log,
    resolve,
    with_counters,
)
from features.logs.action_counts import ActionCounts
from features.logs.files import common_folder, find_files, folder_above, name_of
from features.logs.noted_log import Files, LogNotes
from features.logs.notes import Noted
from features.logs.personal import hashed
from features.logs.quarantine import REASONS, to_batch
from features.paths import check_readable
from features.sources import OF_CSV, written_as
from features.spec import Dataset, Source
from pipeline.config import Budget
from serving.bundle import Bundle


@dataclasses.dataclass(frozen=True)
class LogOptions:
    """Where rows come from besides the data itself.

    Attributes:
        tables: a folder with the side tables' files, as ingest reads them; None: those that came with the model.
        hash_key: file with the key that the model's log was hashed with, if it has hashed columns.
        quarantine: Parquet file for the rows left out; None: beside the output, or nowhere if there is no output.
        actions: where labels come from a log of actions, its files: one, a glob, or a folder; None: those in the log's own folder.
    """

    tables: str | None = None
    hash_key: str | None = None
    quarantine: str | None = None
    actions: str | None = None


class ModelLog:
    """A log read with the spec and the side tables of a model, and counted on the way."""

    def __init__(self, bundle: Bundle, data: str, options: LogOptions, *, labels: bool, stage: str) -> None:
        asked = bundle.dataset()
        source, self._found = _located(asked.source, data, "--data")
        self.dataset = asked.model_copy(update={"source": source})
        self._acted: Files | None = None
        if labels:
            self.dataset, self._acted = _with_actions(self.dataset, data, options.actions)
        self.actions: ActionCounts | None = None
        pseudonyms = pseudonyms_of(self.dataset, options.hash_key)
        tables = _tables(bundle, self.dataset, options.tables, pseudonyms)
        self._side_tables = with_counters(tables, self.dataset, str(bundle.directory / "tables"))
        self._labels = labels
        self._stage = stage
        self.counts = Counts()
        self.table_counts = count_tables(self._side_tables)

    @property
    def files(self) -> list[str]:
        """The log's."""
        return list(self._found.files)

    def require(self, columns: Sequence[str]) -> None:
        """Makes sure that the log holds what `columns` are made from.

        Raises:
            DataError: if a file does not.
        """
        check_log(self.dataset, self._found.root, self.files, columns)

    def kept(self, column: str, value: Any) -> Any:
        """A value as it stands in the batches' `column`: hashed if the column is.

        Raises:
            ConfigError: if the column is hashed, and the value is not of its type.
        """
        spec = self.dataset.columns.get(column)
        if spec is None or spec.personal != "hash":
            return value
        try:
            typed = pa.array([str(value)]).cast(arrow_type(spec.type))
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"'{value}': column '{column}' holds {spec.type}; allowed: a value of that type"
            ) from error
        return hashed(typed, spec, self._side_tables.pseudonyms)[0].as_py()

    def batches(self, refused: BatchWriter | None, files: Sequence[str] | None = None) -> Iterator[LogBatch]:
        """Batches of the log; rows left out of it and of its side tables go to `refused`.

        Raises:
            DataError: as :func:`read_log`, if a log of actions is damaged, empty or more than the default budget of it malformed, or in the end if no row has a column that the model needs.
        """
        if refused is not None and self._side_tables.rejects:
            refused.write(to_batch(self._side_tables.rejects))
        with self._noted(self.files if files is None else files, refused) as pieces:
            read = read_log(self.dataset, self._found.root, self._side_tables, pieces, labels=self._labels, split=False)
            for batch in read:
                self.counts.merge(Counts.of(batch, self.dataset))
                if refused is not None and batch.quarantined.num_rows:
                    refused.write(batch.quarantined)
                progress.report(self._stage, rows=self.counts.rows_read)
                yield batch
        check_found(self.counts.rows_read, self.counts.without, self.dataset.source, "the log")

    @contextlib.contextmanager
    def _noted(self, files: Sequence[str], refused: BatchWriter | None) -> Iterator[Sequence[str | Noted]]:
        """The files, with their labels from actions and their duplicates where the spec asks for them and labels are."""
        if not self._labels or (self._acted is None and self.dataset.duplicates == "keep"):
            yield files
            return
        log = self._found._replace(files=files)
        with tempfile.TemporaryDirectory(prefix="feedrank_") as work:
            notes = LogNotes(self.dataset, log, self._acted, work, self._side_tables.pseudonyms)
            noted = notes.take(lambda letters: None if refused is None else refused.write(letters))
            if self.dataset.actions is not None:
                self.actions = noted.actions
                found, what = self.actions.manifest(), "the log of actions"
                # Labels that are lost here would count as negatives.
                check_budget(found["rows_read"], found["quarantined"], Budget(), what)
                check_found(found["rows_read"], found["without"], self.dataset.actions.source, what)
                if not found["rows_read"]:
                    raise DataError(f"{what} has no row: every label would be that of a row without actions")
            yield noted.pieces

    def summary(self) -> str:
        """Why rows are missing, in a few words."""
        reasons = [
            f"{r['reason']} in {r['column'] or 'the row'}: {r['rows']:,}"
            for r in self.counts.quarantine_summary()["reasons"][:5]
        ]
        return f"{self.counts.rows_read:,} rows read, quarantined: {'; '.join(reasons) or 'none'}"


def _with_actions(dataset: Dataset, data: str, actions: str | None) -> tuple[Dataset, Files | None]:
    """The spec with the actions' own file format, and their files; none where labels come from no actions.

    Raises:
        ConfigError: if it is not said where they are, or there are none to be named.
    """
    spec = dataset.actions
    if spec is None:
        if actions is not None:
            raise ConfigError(
                f"--actions {actions}: labels of '{dataset.name}' are in its log, it has no log of actions; allowed: no --actions"
            )
        return dataset, None
    if actions is None and not is_folder(data):
        raise ConfigError(
            f"labels of '{dataset.name}' come from a log of actions ({', '.join(spec.source.patterns)}); allowed: --actions with its "
            "files (one, a glob, or a folder), or --data with a folder that holds both logs"
        )
    source, found = _located(spec.source, data if actions is None else actions, "--actions")
    return dataset.model_copy(update={"actions": spec.model_copy(update={"source": source})}), found


def _located(asked: Source, data: str, option: str) -> tuple[Source, Files]:
    """A source in the data's own file format, the files, and the folder that their names are relative to."""
    check_readable(option, data)
    if is_folder(data):
        return asked, Files(resolve(asked, data), data)
    files = find_files(data)
    if not files:
        raise DataError(
            f"{option}: no file matches '{data}'; allowed: a file, a glob, or a folder with {', '.join(asked.patterns)}"
        )
    said: dict[str, Any] = dict(_written_as(files, asked))
    if said:
        said = {key: Source.model_fields[key].default for key in OF_CSV} | said
    if asked.kafka is not None:
        said = {"kafka": None, "format": asked.kafka.format} | said
    if asked.bigquery is not None:
        said = {"bigquery": None, "format": "parquet"} | said
    source = asked.model_copy(update=said)
    return source, Files(files, _root(files, source))


def _root(files: Sequence[str], source: Source) -> str:
    """The lowest folder below which the files have names that all of `from_name` is found in; if there is none, their own."""
    lowest = folder = common_folder(files)
    while not all(re.search(pattern, name_of(file, folder)) for pattern in source.from_name.values() for file in files):
        above = folder_above(folder)
        if above == folder:
            return lowest
        folder = above
    return folder


def _written_as(files: Sequence[str], source: Source) -> dict[str, str]:
    """What the names say of the files' format, where it is another than `source`'s.

    Raises:
        DataError: if they name two.
    """
    found = {said["format"]: (said, file) for file in files if (said := written_as(file))}
    if len(found) > 1:
        raise DataError(
            f"files of two formats at once: {' and '.join(file for _, file in found.values())}; allowed: one format"
        )
    return next((said for kind, (said, _) in found.items() if kind != source.format), {})


def _tables(bundle: Bundle, dataset: Dataset, folder: str | None, pseudonyms: Pseudonyms | None) -> Tables:
    """Side tables that came with the model, or read anew from `folder`.

    Raises:
        DataError: if a file is damaged: rows of the log would silently find nothing in what is lost of it.
        ModelError: if tables are needed and none came with the model.
    """
    if not dataset.tables:
        return Tables(pseudonyms=pseudonyms)
    if folder is not None:
        read = load_tables(dataset, folder, pseudonyms)
        for name, table in read.tables.items():
            for reject in table.rejects:
                if reject.damages_file:
                    raise DataError(
                        f"table '{name}': {reject.file}: {REASONS[reject.reason]}; allowed: undamaged files"
                    )
        return read
    found = load_saved_tables(str(bundle.directory / "tables"), pseudonyms)
    if absent := [name for name in dataset.tables if name not in found.tables]:
        raise ModelError(
            f"{bundle.model} came without side table {', '.join(absent)}; name the folder of the tables' files "
            "with --tables"
        )
    return found


class BatchWriter:
    """Writes record batches to Parquet or CSV, by suffix.

    Args:
        path: the file; replaced only when all went well.
        lazy: no file if there is no batch, not even an earlier one.
    """

    def __init__(self, path: Path, lazy: bool = False) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._lazy = lazy
        self._writer: Any = None
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends a batch; the first one sets the columns."""
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            make: Callable[..., Any] = pacsv.CSVWriter if self._path.suffix == ".csv" else pq.ParquetWriter
            self._writer = make(str(self._part), batch.schema)
        self._writer.write_table(pa.Table.from_batches([batch]))
        self.rows += batch.num_rows

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            if self._lazy and kind is None:
                self._path.unlink(missing_ok=True)
            return
        self._writer.close()
        if kind is None or self._lazy:
            self._part.replace(self._path)
        else:
            self._part.unlink()
