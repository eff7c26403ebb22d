"""Rows of whole logs brought together by key, to join actions and find duplicates: only names of files, and numbers in them, cross a GroupByKey."""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from features.folders import make, open_output, replace
from features.logs import Counts, duplicates, pseudonyms_of
from features.logs.action_counts import ActionCounts
from features.logs.action_log import KeyedRows, action_schema, impression_schema, read_actions, read_impressions
from features.logs.attribution import attribute
from features.logs.bigquery_reader import bytes_of
from features.logs.duplicates import read_hashes, repeated_rows
from features.logs.files import ActionFiles, EarlierFiles, name_of, resolve_actions, size_of
from features.logs.notes import Home, Note, Noted, write_notes
from features.logs.pieces import Piece
from features.logs.places import FILE, TIME
from features.logs.shards import Part, ShardWriter, read_shard, shards_for
from features.logs.sources import check_columns, cut_source
from features.spec import Dataset, Source
from pipeline.config import DataConfig

PIECE_BYTES = 256 << 20
"""Of a large file: parts of about this size are read by workers apart from each other."""
MESSAGE_BYTES = 1 << 10
"""Of a topic, taken for the size of each message."""
OTHERS = "_unattributed"
"""Folder of Parquet files beside the dead letters; for its name, who reads all these reads it not."""
QUARANTINED, COUNTS = "quarantined", "counts"
"""Outputs besides what is read: dead letters, and what became of the rows."""


class JoinPlan(NamedTuple):
    """What is joined, where.

    Attributes:
        dataset: the spec, as JSON.
        data: folder of the logs, key of hashes.
        files: the log's files by name, those of days behind the split's too.
        later: these.
        action_files: the actions' files by name.
        absent_days: days behind the split's that have no files.
        shards: how many.
        work: an empty folder that every worker reaches, for files that are not kept.
        others: folder for the actions that belong to no impression.
    """

    dataset: str
    data: DataConfig
    files: tuple[str, ...]
    later: tuple[str, ...]
    action_files: tuple[str, ...]
    absent_days: tuple[str, ...]
    shards: int
    work: str
    others: str


def find_actions(dataset: Dataset, data: DataConfig, earlier: EarlierFiles) -> ActionFiles:
    """The files that actions are joined from; none where there are no actions.

    Args:
        dataset: the spec.
        data: folder of the logs.
        earlier: files of the log itself that are read for counters.

    Raises:
        DataError: if a file or column is missing.
    """
    if dataset.actions is None:
        return ActionFiles([], [], [])
    found = resolve_actions(dataset, data.path, earlier)
    for file in found.actions:
        check_columns(file, name_of(file, data.path), dataset.actions.source, dataset.actions.columns)
    return found


def plan_join(
    dataset: Dataset, data: DataConfig, files: Sequence[str], found: ActionFiles, work: str, quarantine: str
) -> JoinPlan:
    """Decides on the shards.

    Args:
        dataset: the spec.
        data: folder of the logs.
        files: the log's own files.
        found: those of :func:`find_actions`.
        work: an empty folder for files that are not kept.
        quarantine: folder of the dead letters.
    """
    size = sum(map(size_of, found.actions)) + size_of_log(dataset.source, [*files, *found.later])
    return JoinPlan(
        dataset.model_dump_json(),
        data,
        tuple(sorted([*files, *found.later], key=lambda file: name_of(file, data.path))),
        tuple(found.later),
        tuple(sorted(found.actions, key=lambda file: name_of(file, data.path))),
        tuple(map(str, found.absent)),
        data.shards or shards_for(size),
        work,
        os.path.join(quarantine, OTHERS),
    )


def size_of_log(source: Source, files: Sequence[str]) -> int:
    """Bytes of what is read of a log, or an estimate of them.

    Args:
        source: the log's.
        files: of it; streams of BigQuery's sessions. Nobody asks for those of a topic.
    """
    if source.kafka is not None:
        return MESSAGE_BYTES * source.kafka.messages
    return sum(map(size_of if source.bigquery is None else bytes_of, files))


class ReadPieces(beam.PTransform):
    """Pieces of files, spread among workers.

    Args:
        files: paths.
        source: how they are written.
        columns: what is read of them.
    """

    def __init__(self, files: Sequence[str], source: Source, columns: Sequence[str]) -> None:
        super().__init__()
        self._files, self._source, self._columns = files, source.model_dump_json(), list(columns)

    def expand(self, pipeline: Any) -> beam.PCollection[Piece]:
        """Composes; only names cross the Reshuffles."""
        return (
            pipeline
            | "Files" >> beam.Create(self._files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "Cut" >> beam.FlatMap(_cut, self._source, self._columns)
            | "SpreadPieces" >> beam.Reshuffle()
        )


def _cut(file: str, source: str, columns: list[str]) -> list[Piece]:
    return cut_source(file, Source.model_validate_json(source), columns, PIECE_BYTES)


class JoinActions(beam.PTransform):
    """Pieces of the log in; out: ``notes`` of the labels of their rows, ``QUARANTINED`` and ``COUNTS``.

    First every worker writes keys, times and places of impressions, and all columns of actions, to files, by shard. Then each
    shard is joined in memory, and its labels are written by piece.

    Args:
        plan: what is joined, where.
    """

    def __init__(self, plan: JoinPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pieces: beam.PCollection[Piece]) -> Any:
        """Composes."""
        dataset = Dataset.model_validate_json(self._plan.dataset)
        assert dataset.actions is not None
        acted = (
            pieces.pipeline
            | "Actions" >> ReadPieces(self._plan.action_files, dataset.actions.source, list(dataset.actions.columns))
            | "ShardActions" >> beam.ParDo(_ShardActions(self._plan)).with_outputs(QUARANTINED, COUNTS, main="files")
        )
        shown = pieces | "ShardImpressions" >> beam.ParDo(_ShardLog(self._plan, read_impressions))
        joined = (
            {"impressions": shown, "actions": acted["files"]}
            | "ByShard" >> beam.CoGroupByKey()
            | "Join" >> beam.ParDo(_JoinShard(self._plan)).with_outputs(COUNTS, main="notes")
        )
        counts = (acted[COUNTS], joined[COUNTS]) | "AllCounts" >> beam.Flatten()
        return {"notes": joined["notes"], QUARANTINED: acted[QUARANTINED], COUNTS: counts}


class FindDuplicates(beam.PTransform):
    """Pieces of the log in; out: notes of the rows that have the values of an earlier one.

    Args:
        plan: where.
    """

    def __init__(self, plan: JoinPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[tuple[Home, Note]]:
        """Composes; of rows only where they lie crosses the GroupByKey."""
        return (
            pieces
            | "OfTheSplit" >> Kept(self._plan)
            | "ShardRows" >> beam.ParDo(_ShardLog(self._plan, read_hashes))
            | "ByShard" >> beam.GroupByKey()
            | "Find" >> beam.FlatMap(_repeated, self._plan.work)
        )


class Kept(beam.PTransform):
    """Those pieces of the log whose rows are read for good: not those of days behind the split's.

    Args:
        plan: names them.
    """

    def __init__(self, plan: JoinPlan) -> None:
        super().__init__()
        self._later = frozenset(plan.later)

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[Piece]:
        """Composes."""
        later = self._later
        return pieces | "Kept" >> beam.Filter(lambda piece: piece.file not in later)


class TakeNotes(beam.PTransform):
    """Pieces of the log with notes of their rows, ``pieces``, ``actions`` and ``duplicates``, in; out: each piece as `Noted`.

    Args:
        plan: numbers the files.
    """

    def __init__(self, plan: JoinPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, noted: Any) -> beam.PCollection[Noted]:
        """Composes."""
        homes = _numbers(self._plan.files)
        pieces = noted["pieces"] | "OfTheSplit" >> Kept(self._plan)
        keyed = pieces | "ByHome" >> beam.Map(lambda piece: ((homes[piece.file], piece.begin), piece))
        return {**noted, "pieces": keyed} | "ByPiece" >> beam.CoGroupByKey() | "Note" >> beam.FlatMapTuple(_noted)


def _numbers(files: Sequence[str]) -> dict[str, int]:
    return {file: number for number, file in enumerate(files)}


def _noted(home: Home, found: dict[str, Iterable[Any]]) -> Iterator[Noted]:
    del home
    for piece in found["pieces"]:
        yield Noted(piece, *(tuple(sorted(found.get(kind, ()))) for kind in ("actions", "duplicates")))


def _repeated(shard: tuple[int, Iterable[Part]], work: str) -> list[tuple[Home, Note]]:
    return write_notes(repeated_rows(read_shard(shard[1], duplicates.SCHEMA)), _unused(work))


def _unused(work: str, suffix: str = "notes.arrow") -> str:
    """A name for what a shard gives; another worker may be at the same one."""
    return os.path.join(work, f"{uuid.uuid4().hex}.{suffix}")


class _Sharding(beam.DoFn):
    """Pieces in, (shard, its part of a file) out."""

    def __init__(self, plan: JoinPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        self._dataset = Dataset.model_validate_json(self._plan.dataset)
        self._pseudonyms = pseudonyms_of(self._dataset, self._plan.data.hash_key)

    def start_bundle(self) -> None:
        self._writer = ShardWriter(self._plan.work, self._plan.shards)

    def finish_bundle(self) -> Iterator[Any]:
        everywhere = GlobalWindow()
        for item in self._writer.close().items():
            yield WindowedValue(item, everywhere.max_timestamp(), [everywhere])

    def _name(self, piece: Piece) -> str:
        return name_of(piece.file, self._plan.data.path)


class _ShardLog(_Sharding):
    """Of the log itself: what `read` (:func:`read_impressions`, :func:`read_hashes`) makes of its rows."""

    def __init__(self, plan: JoinPlan, read: Callable[..., Iterator[KeyedRows]]) -> None:
        super().__init__(plan)
        self._read = read

    def setup(self) -> None:
        super().setup()
        self._numbers = _numbers(self._plan.files)

    def process(self, piece: Piece) -> None:
        number = self._numbers[piece.file]
        for found in self._read(self._dataset, piece, number, self._name(piece), self._pseudonyms):
            self._writer.add(found.rows, found.hashed)


class _ShardActions(_Sharding):
    def setup(self) -> None:
        super().setup()
        self._numbers = _numbers(self._plan.action_files)

    def process(self, piece: Piece) -> Iterator[Any]:
        assert self._dataset.actions is not None
        assert self._dataset.time is not None
        number, name = self._numbers[piece.file], self._name(piece)
        # Of an empty file nothing is read.
        yield beam.pvalue.TaggedOutput(COUNTS, ActionCounts(Counts(files={name: 0})))
        for read in read_actions(self._dataset.actions, piece, number, name, self._pseudonyms):
            self._writer.add(read.rows, read.hashed)
            yield beam.pvalue.TaggedOutput(COUNTS, ActionCounts.of(read, name, self._dataset.time.utc_offset_hours))
            if read.quarantined.num_rows:
                yield beam.pvalue.TaggedOutput(QUARANTINED, pa.Table.from_batches([read.quarantined]))


class _JoinShard(beam.DoFn):
    """(shard, parts of files) in, (piece, note) out."""

    def __init__(self, plan: JoinPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        self._dataset = Dataset.model_validate_json(self._plan.dataset)

    def process(self, element: tuple[int, dict[str, Iterable[Part]]]) -> Iterator[tuple[Home, Note] | Any]:
        shard, parts = element
        actions = self._dataset.actions
        assert actions is not None
        impressions = read_shard(parts["impressions"], impression_schema(self._dataset))
        found = attribute(impressions, read_shard(parts["actions"], action_schema(actions)), actions)
        yield from write_notes(found.notes, _unused(self._plan.work))
        if found.others.num_rows:
            self._write_others(found.others, f"actions-{shard:05d}")
        yield beam.pvalue.TaggedOutput(COUNTS, ActionCounts(outcomes=found.outcomes))

    def _write_others(self, others: pa.Table, name: str) -> None:
        """Whole or not at all."""
        names = pa.array([name_of(file, self._plan.data.path) for file in self._plan.action_files])
        place = others.schema.get_field_index(FILE)
        others = others.set_column(place, FILE, names.take(others[FILE].combine_chunks())).drop([TIME])
        part = _unused(self._plan.work, "parquet")
        with open_output(part) as stream:
            pq.write_table(others, stream)
        make(self._plan.others)
        replace(part, os.path.join(self._plan.others, f"{name}.parquet"))
