"""Counters over earlier days: a first reading of the log counts by key and day, on disk in shards; only names of files cross a GroupByKey."""

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from features.counter_delays import waiting_counters
from features.logs import Counts
from features.logs.counters import save_counts
from features.logs.counting import DailyCounts, Hashed, daily_schema, sorted_counts
from features.logs.files import name_of
from features.logs.notes import Noted
from features.logs.pieces import Piece
from features.logs.reader import read_rows
from features.logs.shards import Part, ShardWriter, read_shard, shards_for
from features.spec import DAY, Dataset
from pipeline.components.found_log import FoundLog
from pipeline.components.joining import COUNTS, QUARANTINED, size_of_log
from pipeline.components.shared_tables import SharedTables
from pipeline.config import DataConfig


class CountPlan(NamedTuple):
    """What is counted, and where to.

    Attributes:
        dataset: the spec, as JSON.
        data: folder of the log.
        tables: the side tables, whose folder gets the counters, too.
        work: a folder that every worker reaches, for files that are not kept.
        shards: how many.
        earlier: files that are read for counters alone: what is refused of them is told here, of the others where they are read for good.
        waiting: names of the counters that count what actions say.
        labelled: the days, yyyymmdd, that these count; None: all.
    """

    dataset: str
    data: DataConfig
    tables: SharedTables
    work: str
    shards: int
    earlier: tuple[str, ...]
    waiting: frozenset[str]
    labelled: tuple[int, ...] | None


def plan_counts(dataset: Dataset, data: DataConfig, log: FoundLog, tables: SharedTables, work: str) -> CountPlan:
    """Decides on the shards.

    Args:
        dataset: the spec.
        data: folder of the log.
        log: its files, or its streams, and what else is read.
        tables: the side tables.
        work: a folder for files that are not kept.
    """
    size = size_of_log(dataset.source, [*log.files, *log.earlier.files])
    days = log.acted.labelled
    return CountPlan(
        dataset.model_dump_json(),
        data,
        tables,
        work,
        data.shards or shards_for(size),
        tuple(log.earlier.files),
        frozenset(waiting_counters(dataset)),
        None if days is None else tuple(int(f"{day:%Y%m%d}") for day in days),
    )


def counter_manifest(
    dataset: Dataset, data: DataConfig, log: FoundLog, counts: Mapping[str, Any], acted: Mapping[str, int]
) -> dict[str, Any]:
    """What was counted, and what became of the rows of earlier days, which no other part of the manifest knows.

    Args:
        dataset: the spec.
        data: folder of the log.
        log: what was read.
        counts: of the rows of earlier days.
        acted: good actions by day.
    """
    earlier = log.earlier
    told = {
        "delay_days": {name: counter.delay_days for name, counter in dataset.delayed_counters().items()},
        "earlier_files": [name_of(file, data.path) for file in earlier.files],
        "absent_days": list(map(str, earlier.absent)),
        "days": {(key := f"{day:%Y%m%d}"): counts["days"].get(key, 0) for day in earlier.days},
        "rows_read": counts["rows_read"],
        "quarantined": counts["quarantined"],
    }
    if waiting_counters(dataset):
        told["action_days"] = {(key := f"{day:%Y%m%d}"): acted.get(key, 0) for day in log.acted.before}
        told["absent_action_days"] = list(map(str, log.acted.absent_before))
    return told


class CountDays(beam.PTransform):
    """Pieces of the log in, with notes of their rows or without; out: ``counted``, the counter of each file of daily counts that was
    written, and of files of earlier days ``QUARANTINED`` and ``COUNTS``.

    Every worker adds up its rows by key and day before it writes them, by shard of the key; then each shard is added up in memory.

    Args:
        plan: what is counted, and where to.
    """

    def __init__(self, plan: CountPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pieces: beam.PCollection[Piece | Noted]) -> dict[str, Any]:
        """Composes."""
        found = pieces | "Count" >> beam.ParDo(_CountPieces(self._plan)).with_outputs(QUARANTINED, COUNTS, main="files")
        counted = found["files"] | "ByShard" >> beam.GroupByKey() | "AddUp" >> beam.ParDo(_AddUpShard(self._plan))
        return {"counted": counted, QUARANTINED: found[QUARANTINED], COUNTS: found[COUNTS]}


class _CountPieces(beam.DoFn):
    """Pieces in, ((counter, shard), its part of a file) out, and what became of the rows of earlier days."""

    def __init__(self, plan: CountPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        self._dataset = Dataset.model_validate_json(self._plan.dataset)
        self._tables = self._plan.tables.load()
        self._names = list(dict.fromkeys(name for c in self._dataset.counters.values() for name in c.reads))

    def start_bundle(self) -> None:
        columns = self._dataset.all_columns()
        self._counts = {name: DailyCounts(counter, columns) for name, counter in self._dataset.counters.items()}
        self._writers = {name: ShardWriter(self._plan.work, self._plan.shards) for name in self._counts}

    def process(self, piece: Piece | Noted) -> Iterator[Any]:
        is_earlier = file_of(piece) in self._plan.earlier
        for found in read_rows(self._dataset, self._plan.data.path, self._tables, [piece], self._names):
            if is_earlier:
                yield beam.pvalue.TaggedOutput(COUNTS, Counts.of_good(found))
            if is_earlier and found.quarantined.num_rows:
                yield beam.pvalue.TaggedOutput(QUARANTINED, pa.Table.from_batches([found.quarantined]))
            needed = _of_days(self._dataset, found.rows)
            labelled = self._labelled(needed)
            for name, counts in self._counts.items():
                self._write(name, counts.add(labelled if name in self._plan.waiting else needed))

    def finish_bundle(self) -> Iterator[Any]:
        everywhere = GlobalWindow()
        for name, writer in self._writers.items():
            self._write(name, self._counts[name].rest())
            for shard, part in writer.close().items():
                yield WindowedValue(((name, shard), part), everywhere.max_timestamp(), [everywhere])

    def _labelled(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of days whose actions were all read."""
        if self._plan.labelled is None:
            return rows
        days = rows.column(rows.schema.get_field_index(DAY))
        return rows.filter(pc.is_in(days, value_set=pa.array(self._plan.labelled, pa.int64())))

    def _write(self, name: str, found: Iterable[Hashed]) -> None:
        for counts in found:
            self._writers[name].add(counts.rows, counts.hashed)


def file_of(piece: Piece | Noted) -> str:
    """The file that a piece is of."""
    return (piece.piece if isinstance(piece, Noted) else piece).file


def _of_days(dataset: Dataset, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of the days that counters look at."""
    if (span := dataset.counted_days()) is None:
        return rows
    first, last = (int(f"{day:%Y%m%d}") for day in span)
    days = rows.column(rows.schema.get_field_index(DAY))
    return rows.filter(pc.and_(pc.greater_equal(days, first), pc.less_equal(days, last)))


class _AddUpShard(beam.DoFn):
    """((counter, shard), parts of files) in, the counter out."""

    def __init__(self, plan: CountPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        self._dataset = Dataset.model_validate_json(self._plan.dataset)

    def process(self, element: tuple[tuple[str, int], Iterable[Part]]) -> Iterator[str]:
        (name, shard), parts = element
        schema = daily_schema(self._dataset.counters[name], self._dataset.all_columns())
        daily = sorted_counts(schema, [read_shard(parts, schema)])
        # Of an unused name: another worker may be at the same shard.
        unused = os.path.join(self._plan.work, f"{uuid.uuid4().hex}.parquet")
        save_counts(name, shard, daily, unused, self._plan.tables.folder)
        yield name
