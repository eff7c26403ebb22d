"""Actions joined and duplicates found in one process: what a run's ingest does by Beam, for a log that is read once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from features.logs import duplicates
from features.logs.action_counts import ActionCounts
from features.logs.action_log import KeyedRows, action_schema, impression_schema, read_actions, read_impressions
from features.logs.attribution import attribute
from features.logs.counts import Counts
from features.logs.duplicates import read_hashes, repeated_rows
from features.logs.files import name_of, size_of
from features.logs.notes import Home, Note, Noted, write_notes
from features.logs.personal import Pseudonyms
from features.logs.pieces import Piece
from features.logs.shards import Part, ShardWriter, read_shard, shards_for
from features.spec import Dataset

Read = Callable[[Dataset, Piece, int, str, Pseudonyms | None], Iterator[KeyedRows]]


class Files(NamedTuple):
    """Files of a log, and the folder that their names are relative to."""

    files: Sequence[str]
    root: str

    def named(self) -> list[tuple[str, str]]:
        """Paths and names, by name."""
        return sorted(((file, name_of(file, self.root)) for file in self.files), key=lambda named: named[1])


@dataclass(frozen=True)
class NotedLog:
    """A log's files with what is known of their rows.

    Attributes:
        pieces: the files, by name.
        actions: what became of every action.
    """

    pieces: list[Noted] = field(default_factory=list)
    actions: ActionCounts = field(default_factory=ActionCounts)


class LogNotes:
    """Looks at whole logs before their rows are read for good; rows wait on disk, in shards by their key's hash.

    Args:
        dataset: the spec.
        log: its files.
        actions: the files of its log of actions; none where it has no such log.
        work: an empty folder, needed for as long as the pieces are read.
        pseudonyms: for columns that are hashed.
    """

    def __init__(
        self, dataset: Dataset, log: Files, actions: Files | None, work: str, pseudonyms: Pseudonyms | None
    ) -> None:
        self._dataset, self._log, self._actions, self._work = dataset, log.named(), actions, work
        self._pseudonyms = pseudonyms
        self._shards = shards_for(sum(map(size_of, [*log.files, *(actions.files if actions is not None else ())])))

    def take(self, refuse: Callable[[pa.RecordBatch], object]) -> NotedLog:
        """Joins and compares, as far as the spec asks for it.

        Args:
            refuse: takes dead letters of the log of actions.

        Raises:
            DataError: if a file lacks a column, or a sum of integers leaves their range.
        """
        noted = NotedLog()
        acted = self._attributed(self._actions, noted.actions, refuse) if self._actions is not None else {}
        repeated = self._repeated() if self._dataset.duplicates != "keep" else {}
        for number, (file, _) in enumerate(self._log):
            piece = Piece(file)
            home = number, piece.begin
            noted.pieces.append(Noted(piece, *(tuple(sorted(found.get(home, ()))) for found in (acted, repeated))))
        return noted

    def _attributed(
        self, files: Files, counts: ActionCounts, refuse: Callable[[pa.RecordBatch], object]
    ) -> dict[Home, list[Note]]:
        spec = self._dataset.actions
        assert spec is not None
        shown = self._sharded(self._rows(read_impressions))
        acted = self._sharded(self._acted(files, counts, refuse))
        notes: dict[Home, list[Note]] = {}
        for shard in sorted({*shown, *acted}):
            impressions = read_shard(shown.get(shard, ()), impression_schema(self._dataset))
            found = attribute(impressions, read_shard(acted.get(shard, ()), action_schema(spec)), spec)
            counts.merge(ActionCounts(outcomes=found.outcomes))
            for home, note in write_notes(found.notes, os.path.join(self._work, f"actions-{shard}.arrow")):
                notes.setdefault(home, []).append(note)
        return notes

    def _repeated(self) -> dict[Home, list[Note]]:
        notes: dict[Home, list[Note]] = {}
        for shard, parts in self._sharded(self._rows(read_hashes)).items():
            found = repeated_rows(read_shard(parts, duplicates.SCHEMA))
            for home, note in write_notes(found, os.path.join(self._work, f"duplicates-{shard}.arrow")):
                notes.setdefault(home, []).append(note)
        return notes

    def _rows(self, read: Read) -> Iterator[KeyedRows]:
        for number, (file, name) in enumerate(self._log):
            yield from read(self._dataset, Piece(file), number, name, self._pseudonyms)

    def _acted(
        self, files: Files, counts: ActionCounts, refuse: Callable[[pa.RecordBatch], object]
    ) -> Iterator[KeyedRows]:
        """Rows of the log of actions, counted on the way."""
        assert self._dataset.actions is not None
        assert self._dataset.time is not None
        for number, (file, name) in enumerate(files.named()):
            counts.merge(ActionCounts(Counts(files={name: 0})))
            for found in read_actions(self._dataset.actions, Piece(file), number, name, self._pseudonyms):
                counts.merge(ActionCounts.of(found, name, self._dataset.time.utc_offset_hours))
                if found.quarantined.num_rows:
                    refuse(found.quarantined)
                yield found

    def _sharded(self, read: Iterable[KeyedRows]) -> dict[int, tuple[Part, ...]]:
        writer = ShardWriter(self._work, self._shards)
        for found in read:
            writer.add(found.rows, found.hashed)
        return {shard: (part,) for shard, part in writer.close().items()}
