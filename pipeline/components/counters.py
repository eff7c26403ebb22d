"""Counters over earlier days: a first reading of the log counts by key and day, on disk in shards; only names of files cross a GroupByKey."""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from features.logs import Counts, load_saved_tables, pseudonyms_of
from features.logs.counters import save_counts
from features.logs.counting import DailyCounts, Hashed, daily_schema, sorted_counts
from features.logs.notes import Noted
from features.logs.pieces import Piece
from features.logs.reader import read_rows
from features.logs.shards import Part, ShardWriter, read_shard, shards_for
from features.spec import DAY, Dataset
from pipeline.components.joining import COUNTS, QUARANTINED, size_of_log
from pipeline.config import DataConfig


class CountPlan(NamedTuple):
    """What is counted, and where to.

    Attributes:
        dataset: the spec, as JSON.
        data: folder of the log, key of hashes.
        tables: folder of the side tables, which gets the counters, too.
        work: a folder that every worker reaches, for files that are not kept.
        shards: how many.
        earlier: files that are read for counters alone: what is refused of them is told here, of the others where they are read for good.
    """

    dataset: str
    data: DataConfig
    tables: str
    work: str
    shards: int
    earlier: tuple[str, ...]


def plan_counts(
    dataset: Dataset, data: DataConfig, files: Sequence[str], earlier: Sequence[str], tables: str, work: str
) -> CountPlan:
    """Decides on the shards.

    Args:
        dataset: the spec.
        data: folder of the log.
        files: the log's files, or its streams.
        earlier: its files of earlier days.
        tables: folder of the side tables.
        work: a folder for files that are not kept.
    """
    size = size_of_log(dataset.source, [*files, *earlier])
    return CountPlan(dataset.model_dump_json(), data, tables, work, data.shards or shards_for(size), tuple(earlier))


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
        pseudonyms = pseudonyms_of(self._dataset, self._plan.data.hash_key)
        self._tables = load_saved_tables(self._plan.tables, pseudonyms)
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
            for name, counts in self._counts.items():
                self._write(name, counts.add(needed))

    def finish_bundle(self) -> Iterator[Any]:
        everywhere = GlobalWindow()
        for name, writer in self._writers.items():
            self._write(name, self._counts[name].rest())
            for shard, part in writer.close().items():
                yield WindowedValue(((name, shard), part), everywhere.max_timestamp(), [everywhere])

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
        save_counts(name, shard, daily, unused, self._plan.tables)
        yield name
