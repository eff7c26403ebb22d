"""Ingest: a log's files to Parquet examples, with every row accounted for."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from features import progress
from features.columns import list_schema, to_lists
from features.errors import DataError
from features.folders import copy, make, open_output, read_text, remove, write_text
from features.logs import (
    Counts,
    Tables,
    check_budget,
    check_found,
    count_tables,
    load_tables,
    prepare_vectors,
    pseudonyms_of,
    read_log,
    save_tables,
    told_losses,
)
from features.logs.action_counts import ActionCounts, told, told_few
from features.logs.bigquery_reader import OpenedTable, check_rows, close_table, count_rows, open_table
from features.logs.counters import count_entries, remove_counters
from features.logs.files import name_of, size_of
from features.logs.notes import Noted
from features.logs.pieces import Piece
from features.logs.quarantine import SCHEMA, to_batch
from features.logs.row_ids import check_disjoint
from features.logs.time_units import told_unit
from features.spec import SPLITS, Dataset
from pipeline.artifacts import IngestManifest, Quarantine, SideTables
from pipeline.components.annotations import BeamPipeline, OutputArtifact, Parameter, component
from pipeline.components.counters import CountDays, CountPlan, counter_manifest, file_of, plan_counts
from pipeline.components.counting import Mergeable, WriteCounts
from pipeline.components.found_log import FoundLog, find_log
from pipeline.components.joining import (
    COUNTS,
    QUARANTINED,
    FindDuplicates,
    JoinActions,
    JoinPlan,
    ReadPieces,
    TakeNotes,
    plan_join,
)
from pipeline.components.parquet_sink import WriteTables
from pipeline.components.shared_tables import SharedTables
from pipeline.components.table_coder import TableCoder
from pipeline.config import DataConfig
from pipeline.failures import user_error
from pipeline.runs import stopped_folder

LOGGER = logging.getLogger(__name__)
ROW_GROUP_ROWS = 65_536
"""Rows of a row group at most."""
ROW_GROUP_BYTES = 64 << 20
"""Bytes of Arrow data at which a row group is written before it is full."""
MANIFEST = "manifest.json"
LOG, ACTIONS, EARLIER = "log", "actions", "earlier_days"
"""What is read: names of files of dead letters, and of counts that the manifest takes over. Earlier days are read for counters alone."""
VECTORS = "vectors"
"""Folder of pretrained vectors, in that of the side tables."""


@component(use_beam=True)
def Ingest(  # noqa: PLR0913, PLR0917 - a TFX component is named like a class, and its arguments are its artifacts
    examples: OutputArtifact[standard_artifacts.Examples],
    quarantine: OutputArtifact[Quarantine],
    manifest: OutputArtifact[IngestManifest],
    tables: OutputArtifact[SideTables],
    dataset: Parameter[str],
    data: Parameter[str],
    fingerprint: Parameter[str],
    artifacts: Parameter[str] = "",
    beam_pipeline: BeamPipeline = None,
) -> None:
    """Reads the log of `dataset` (JSON) from the folder of `data` (JSON).

    `fingerprint` and `artifacts` are not read: they are there so that TFX's cache notices new data, and does not give workers what lies
    elsewhere since artifacts have moved.

    Raises:
        DataError: see :func:`ingest`.
    """
    LOGGER.info("ingest of data with fingerprint %s; artifacts: '%s'", fingerprint, artifacts)
    spec = Dataset.model_validate_json(dataset)
    folders = Folders(examples.uri, quarantine.uri, manifest.uri, tables.uri)
    ingest(spec, DataConfig.model_validate_json(data), folders, beam_pipeline)
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_PARQUET)


class Folders(NamedTuple):
    """Where the outputs go."""

    examples: str
    quarantine: str
    manifest: str
    tables: str

    @property
    def stopped(self) -> str:
        """Where dead letters and manifest stay when the run stops."""
        return stopped_folder(self.quarantine)


def ingest(dataset: Dataset, data: DataConfig, folders: Folders, pipeline: beam.Pipeline) -> dict[str, Any]:
    """Reads a log and writes examples, dead letters, side tables and the manifest.

    Args:
        dataset: the spec.
        data: folder and budget.
        folders: where to write.
        pipeline: not yet run; names its runner.

    Returns:
        The manifest. ``rows_read == sum(rows_out) + quarantined.rows + sampled_out``.

    Raises:
        ConfigError: if a library or credentials are missing that the source needs.
        DataError: if a file or column is missing, more rows are malformed or files damaged than the budget allows, or a part of the split
            gets no row. Dead letters and manifest are then kept in ``folders.stopped``.
    """
    started = time.monotonic()
    log = find_log(dataset, data)
    earlier = log.earlier.files
    table_counts = _prepare_tables(dataset, data, folders)
    vectors = prepare_vectors(
        dataset, data.path, os.path.join(folders.tables, VECTORS), pseudonyms_of(dataset, data.hash_key)
    )
    for name, of in vectors.items():
        LOGGER.info("feature '%s': vectors %s", name, json.dumps(of))
    # Last: a query costs, and what is missing at hand has stopped the run by now.
    opened = None if dataset.source.bigquery is None else open_table(dataset)
    log = log if opened is None else log._replace(files=opened.files)
    make(folders.manifest)
    with _work_folder(folders) as work, SharedTables(dataset, data, folders.tables) as tables:
        is_noted = dataset.actions is not None or dataset.duplicates != "keep"
        read_twice = [*log.files, *earlier]
        plan = plan_join(dataset, data, read_twice, log.acted, work, folders.quarantine) if is_noted else None
        with _user_errors_unwrapped(), pipeline:
            pieces = pipeline | "Log" >> ReadPieces(
                plan.files if plan else read_twice, dataset.source, list(dataset.columns)
            )
            if plan is not None:
                pieces = {"pieces": pieces, **_notes(dataset, plan, folders, pieces)} | "TakeNotes" >> TakeNotes(plan)
            counted = None
            if dataset.counters:
                counts = plan_counts(dataset, data, log, tables, work)
                counted = _count_days(counts, folders, pieces)
                pieces |= "OfTheSplit" >> beam.Filter(_is_read, frozenset(earlier))
            read = pieces | "ReadLog" >> ReadLog(dataset, data.path, tables, counted)
            _ = {tag: read[tag] for tag in (*SPLITS, QUARANTINED, COUNTS)} | "Write" >> WriteOutputs(dataset, folders)
    manifest = _manifest(folders, log.files if dataset.source.elsewhere is None else [], data.path)
    if opened is not None:
        manifest["bigquery"] = count_rows(opened.sessions, manifest["files"])
    if (kafka := dataset.source.kafka) is not None:
        offsets = dict(zip(kafka.names, (kafka.offsets[number] for number in sorted(kafka.offsets)), strict=True))
        manifest["kafka"] = log.topic
        manifest["files"] = [{**file, "offsets": [*offsets[file["path"]]]} for file in manifest["files"]]
    of_rows_out, repeated = manifest.pop("actions"), manifest.pop("duplicates")
    if dataset.duplicates != "keep":
        manifest["duplicates"] = repeated
    if dataset.actions is not None and plan is not None:
        manifest["actions"] = _action_manifest(folders, plan, of_rows_out)
    if dataset.counters:
        _add_counters(manifest, dataset, data, log, folders)
    manifest |= {"tables": table_counts, "vectors": vectors, "seconds": round(time.monotonic() - started, 3)}
    _write_manifest(manifest, folders)
    if dataset.actions is not None and (few := told_few(manifest["actions"], dataset.actions.window)):
        progress.report("ingest", said=few)
    progress.report("ingest", rows=manifest["rows_read"], note=_note(manifest))
    _conclude(dataset, data, manifest, folders, opened)
    return manifest


def _conclude(
    dataset: Dataset, data: DataConfig, manifest: dict[str, Any], folders: Folders, opened: OpenedTable | None
) -> None:
    """Judges what was read; only then goes what BigQuery exported for it."""
    try:
        _judge(dataset, data, manifest, folders.stopped)
    except DataError:
        _keep(folders)
        raise
    if opened is not None and (problem := close_table(dataset, opened)):
        manifest["bigquery"] = [{**session, "kept": True} for session in manifest["bigquery"]]
        _write_manifest(manifest, folders)
        progress.report(
            "ingest", said=f"what BigQuery exported was to be removed, and is not: {problem}", note=_note(manifest)
        )


def _write_manifest(manifest: dict[str, Any], folders: Folders) -> None:
    write_text(os.path.join(folders.manifest, MANIFEST), json.dumps(manifest, indent=1))


def _is_read(piece: Piece | Noted, earlier: frozenset[str]) -> bool:
    """Whether a piece is of the split's days, and not for counters alone."""
    return file_of(piece) not in earlier


def _count_days(plan: CountPlan, folders: Folders, pieces: Any) -> Any:
    """The counters that are there, once they are."""
    found = pieces | "CountDays" >> CountDays(plan)
    _ = {tag: found[tag] for tag in (QUARANTINED, COUNTS)} | "WriteEarlier" >> WriteBeside(folders, EARLIER, Counts)
    return found["counted"]


def _notes(dataset: Dataset, plan: JoinPlan, folders: Folders, pieces: Any) -> dict[str, Any]:
    """What is to be known of rows before they are read for good."""
    notes = {}
    if dataset.actions is not None:
        joined = pieces | "JoinActions" >> JoinActions(plan)
        refused = {tag: joined[tag] for tag in (QUARANTINED, COUNTS)}
        _ = refused | "WriteActions" >> WriteBeside(folders, ACTIONS, ActionCounts)
        notes["actions"] = joined["notes"]
    if dataset.duplicates != "keep":
        notes["duplicates"] = pieces | "FindDuplicates" >> FindDuplicates(plan)
    return notes


def _note(manifest: dict[str, Any]) -> str:
    """For the console."""
    joined = f"; {told(manifest['actions'])}" if "actions" in manifest else ""
    return f"{told_losses(manifest)}{joined}"


def _prepare_tables(dataset: Dataset, data: DataConfig, folders: Folders) -> dict[str, Any]:
    """Side tables into their folder, their bad rows among the dead letters; returns their counts."""
    tables = load_tables(dataset, data.path, pseudonyms_of(dataset, data.hash_key))
    save_tables(tables, folders.tables)
    remove_counters(folders.tables)
    make(folders.quarantine)
    if tables.rejects:
        refused = pa.Table.from_batches([to_batch(tables.rejects)])
        with open_output(os.path.join(folders.quarantine, "tables.parquet")) as stream:
            pq.write_table(refused, stream)
    return count_tables(tables)


@contextlib.contextmanager
def _work_folder(folders: Folders) -> Iterator[str]:
    """A folder for files that are not kept, on the outputs' file system, which every worker reaches."""
    folder = os.path.join(folders.manifest, "work")
    remove(folder)  # of a run that was killed
    make(folder)
    try:
        yield folder
    finally:
        remove(folder)


def _counts_file(folders: Folders, what: str) -> str:
    return os.path.join(folders.manifest, f"{what}_counts.json")


def _counted(folders: Folders, what: str) -> dict[str, Any]:
    """What the workers wrote, which the manifest takes over."""
    file = _counts_file(folders, what)
    counts: dict[str, Any] = json.loads(read_text(file))
    remove(file)
    return counts


def _manifest(folders: Folders, files: Iterable[str], path: str) -> dict[str, Any]:
    """The counts that the workers wrote, with the files' sizes."""
    manifest = _counted(folders, LOG)
    manifest["rows_out"] = {split: manifest["rows_out"].get(split, 0) for split in SPLITS}
    sizes = {name_of(file, path): size_of(file) for file in files}
    manifest["files"] = [{**file, "bytes": sizes.get(file["path"])} for file in manifest["files"]]
    return manifest


def _action_manifest(folders: Folders, plan: JoinPlan, of_rows_out: int) -> dict[str, Any]:
    """What became of the actions."""
    counts = _counted(folders, ACTIONS)
    sizes = {name_of(file, plan.data.path): size_of(file) for file in plan.action_files}
    files = [{**file, "bytes": sizes[file["path"]]} for file in counts["files"]]
    later = [name_of(file, plan.data.path) for file in plan.later]
    return counts | {
        "files": files,
        "of_rows_out": of_rows_out,
        "later_files": later,
        "absent_days": list(plan.absent_days),
        "shards": plan.shards,
    }


def _add_counters(
    manifest: dict[str, Any], dataset: Dataset, data: DataConfig, log: FoundLog, folders: Folders
) -> None:
    """What was counted, and how many actions belong to rows of earlier days."""
    of_earlier, actions = _counted(folders, EARLIER), manifest.get("actions")
    counters = counter_manifest(dataset, data, log, of_earlier, {} if actions is None else actions["days"])
    manifest["counters"] = {"entries": count_entries(dataset, folders.tables), **counters}
    if actions is not None:
        actions["of_earlier_rows"] = of_earlier["actions"]


def _judge(dataset: Dataset, data: DataConfig, manifest: dict[str, Any], stopped: str) -> None:
    """Budget of bad rows and damaged files, empty parts, ids that collide."""
    budget = data.budget
    what = f"log of {dataset.name}"
    refused = manifest["quarantined"]
    check_budget(manifest["rows_read"], refused, budget, what, stopped, told_unit(dataset, refused))
    check_found(manifest["rows_read"], manifest["without"], dataset.source, what)
    check_rows(manifest.get("bigquery", ()))
    if dataset.actions is not None:
        actions, what_acted = manifest["actions"], f"actions of {dataset.name}"
        check_budget(actions["rows_read"], actions["quarantined"], budget, what_acted, stopped)
        check_found(actions["rows_read"], actions["without"], dataset.actions.source, what_acted)
    if dataset.counters:
        earlier = manifest["counters"]
        check_budget(
            earlier["rows_read"],
            earlier["quarantined"],
            budget,
            f"earlier days of {dataset.name}, for counters",
            stopped,
        )
    for name, table in manifest["tables"].items():
        check_budget(table["rows_read"], table["quarantined"], budget, f"table '{name}'", stopped)
    if empty := [split for split in SPLITS if not manifest["rows_out"][split]]:
        days = ", ".join(manifest["days"]) or "none"
        raise DataError(
            f"no row of {what} falls into {' and '.join(empty)}; rows read: {manifest['rows_read']:,}, days found: {days}; "
            f"the split is {dataset.split.model_dump_json()}; manifest and dead letters: {stopped}"
        )
    check_disjoint((file["path"], file.get("offsets", [0, file["rows"]])[1]) for file in manifest["files"])


def _keep(folders: Folders) -> None:
    """Saves what explains a stop from TFX, which deletes the outputs of a failed component."""
    copy(folders.quarantine, os.path.join(folders.stopped, "quarantine"))
    write_text(os.path.join(folders.stopped, MANIFEST), read_text(os.path.join(folders.manifest, MANIFEST)))


@contextlib.contextmanager
def _user_errors_unwrapped() -> Iterator[None]:
    """What a worker found wrong reaches the user as it was raised there."""
    try:
        yield
    except Exception as error:
        found = user_error(error)
        if found is None or found is error:
            raise
        raise found from error


# -- composites ---------------------------------------------------------------------------------------------------


class ReadLog(beam.PTransform):
    """Pieces of files in, with notes of their rows or without; out: a tagged output of list-typed tables for each part of the split, ``quarantined`` and ``counts``.

    Args:
        dataset: the spec.
        path: the data folder.
        tables: the side tables.
        counted: what :class:`~pipeline.components.counters.CountDays` gave: nothing is read before all is counted. None: there are no counters.
    """

    def __init__(
        self, dataset: Dataset, path: str, tables: SharedTables, counted: beam.PCollection[str] | None = None
    ) -> None:
        super().__init__()
        self._read = _ReadFiles(dataset.model_dump_json(), path, tables)
        self._counted = counted

    def expand(self, files: beam.PCollection[Piece | Noted]) -> Any:
        """Composes; rows stream from the reader to the writers in one stage."""
        beam.coders.registry.register_coder(pa.Table, TableCoder)
        tables = dict.fromkeys((*SPLITS, QUARANTINED), pa.Table)
        after = [] if self._counted is None else [beam.pvalue.AsList(self._counted)]
        read = beam.ParDo(self._read, *after).with_output_types(Any, **tables, **{COUNTS: Any})
        return files | read.with_outputs(*SPLITS, QUARANTINED, COUNTS)


class _ReadFiles(beam.DoFn):
    def __init__(self, dataset: str, path: str, tables: SharedTables) -> None:
        self._json, self._path, self._shared = dataset, path, tables
        self._tables: Tables | None = None
        self._rows = 0

    def setup(self) -> None:
        self._dataset = Dataset.model_validate_json(self._json)

    def start_bundle(self) -> None:
        self._groups = {split: RowGroups() for split in SPLITS}

    def process(self, file: Piece | Noted, counted: list[str] | None = None) -> Iterator[Any]:
        del counted  # that it is there says that all counters are
        if self._tables is None:
            self._tables = self._shared.load_counted()
        for batch in read_log(self._dataset, self._path, self._tables, [file]):
            self._rows += batch.rows_read
            progress.report("ingest", rows=self._rows)
            yield beam.pvalue.TaggedOutput(COUNTS, Counts.of(batch, self._dataset))
            if batch.quarantined.num_rows:
                yield beam.pvalue.TaggedOutput(QUARANTINED, pa.Table.from_batches([batch.quarantined]))
            for split, group in self._groups.items():
                for table in group.add(to_lists(batch.of(split))):
                    yield beam.pvalue.TaggedOutput(split, table)

    def finish_bundle(self) -> Iterator[Any]:
        everywhere = GlobalWindow()
        for split, group in self._groups.items():
            for table in group.rest():
                value = WindowedValue(table, everywhere.max_timestamp(), [everywhere])
                yield beam.pvalue.TaggedOutput(split, value)


class RowGroups:
    """Gathers batches into tables of one row group each."""

    def __init__(self, rows: int = ROW_GROUP_ROWS, size: int = ROW_GROUP_BYTES) -> None:
        self._limits = rows, size
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """Takes rows; yields the groups that are full with them."""
        most, size = self._limits
        while batch.num_rows:
            piece = batch.slice(0, most - self._rows)
            batch = batch.slice(piece.num_rows)
            self._waiting.append(piece)
            self._rows += piece.num_rows
            self._bytes += piece.nbytes
            if self._rows >= most or self._bytes >= size:
                yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """What is waiting, if anything."""
        if self._waiting:
            yield pa.Table.from_batches(self._waiting)
        self._waiting, self._rows, self._bytes = [], 0, 0


class WriteOutputs(beam.PTransform):
    """Writes each output of :class:`ReadLog`; rows never cross a Reshuffle or GroupByKey, only counts are combined."""

    def __init__(self, dataset: Dataset, folders: Folders) -> None:
        super().__init__()
        self._schema = list_schema(dataset)
        self._folders = folders

    def expand(self, read: Any) -> None:
        """Composes."""
        for split in SPLITS:
            folder = artifact_split_folder(self._folders.examples, split)
            _ = read[split] | f"Write_{split}" >> WriteTables(os.path.join(folder, "data"), self._schema)
        _ = {tag: read[tag] for tag in (QUARANTINED, COUNTS)} | "WriteRefused" >> WriteBeside(
            self._folders, LOG, Counts
        )


class WriteBeside(beam.PTransform):
    """Writes dead letters and counts, ``quarantined`` and ``counts`` of what comes in.

    Args:
        folders: where to.
        what: of what they are.
        empty: makes counts of nothing.
    """

    def __init__(self, folders: Folders, what: str, empty: Callable[[], Mergeable]) -> None:
        super().__init__()
        self._letters = os.path.join(folders.quarantine, what)
        self._counts = WriteCounts(empty, _counts_file(folders, what))

    def expand(self, found: Any) -> None:
        """Composes."""
        _ = found[QUARANTINED] | "WriteDeadLetters" >> WriteTables(self._letters, SCHEMA)
        _ = found[COUNTS] | "WriteCounts" >> self._counts


def artifact_split_folder(uri: str, split: str) -> str:
    """Folder of one part of an Examples artifact."""
    return os.path.join(uri, f"Split-{split}")
