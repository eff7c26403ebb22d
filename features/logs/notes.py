"""What was found out about rows of a log while rows of one key were together, kept by piece of a file for when the rows are read for good."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import folders
from features.actions import Actions
from features.columns import one_chunk
from features.logs.attribution import note_schema
from features.logs.pieces import Piece
from features.logs.places import ACTIONS, BEGIN, FILE, ROW

Home = tuple[int, int]
"""A piece of the log: number of its file by name, and where the piece begins (`features.logs.pieces.Piece.begin`)."""


class Note(NamedTuple):
    """A batch of a file that :func:`write_notes` wrote: what one shard has to say of one piece's rows."""

    file: str
    batch: int


class Noted(NamedTuple):
    """A piece of the log, and what is known of its rows.

    Attributes:
        piece: the file, or a part of it.
        actions: labels of the rows that have actions.
        duplicates: the rows with the values of an earlier one.
    """

    piece: Piece
    actions: tuple[Note, ...] = ()
    duplicates: tuple[Note, ...] = ()


def write_notes(notes: pa.Table, file: str) -> list[tuple[Home, Note]]:
    """Writes notes about rows of any pieces, so that those of each can be read alone.

    Args:
        notes: `FILE`, `BEGIN`, `ROW` and others, sorted by these three.
        file: where to.

    Returns:
        one note a piece; no file is written where there is none.
    """
    if not notes.num_rows:
        return []
    homes = np.stack([np.asarray(notes[name].to_numpy(), dtype=np.int64) for name in (FILE, BEGIN)])
    begins = np.flatnonzero(np.append(True, (homes[:, 1:] != homes[:, :-1]).any(axis=0)))
    (whole,) = notes.combine_chunks().to_batches()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with folders.open_output(file) as stream, pa.ipc.new_file(stream, notes.schema, options=options) as writer:
        for begin, end in itertools.pairwise([*begins.tolist(), notes.num_rows]):
            writer.write_batch(whole.slice(begin, end - begin))
    return [((int(homes[0, at]), int(homes[1, at])), Note(file, batch)) for batch, at in enumerate(begins.tolist())]


class ActionNotes:
    """The labels of one piece's rows, looked up by row.

    Args:
        notes: those of the piece, of all shards.
        spec: the labels, and what stands where there was no action.
    """

    def __init__(self, notes: Sequence[Note], spec: Actions) -> None:
        table = pa.Table.from_batches([_read(note) for note in notes], note_schema(spec))
        rows = np.asarray(table[ROW].to_numpy(), dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        self._spec = spec
        self._rows = rows[order]
        # One chunk each: every batch of the piece takes rows of it.
        self._values = {name: one_chunk(table[name]).take(pa.array(order)) for name in (ACTIONS, *spec.labels)}

    def of(self, rows: NDArray[Any]) -> dict[str, pa.Array]:
        """Every label of the rows with these numbers, by name, and under `ACTIONS` how many actions each row has.

        Args:
            rows: int64 (n,).
        """
        at, found = _places(self._rows, rows)
        places = pa.array(at, mask=~found)
        values = {name: of_notes.take(places) for name, of_notes in self._values.items()}
        values[ACTIONS] = pc.fill_null(values[ACTIONS], 0)
        for name, label in self._spec.labels.items():
            if label.missing is not None:
                values[name] = pc.fill_null(values[name], pa.scalar(label.missing).cast(values[name].type))
        return values


class NotedRows:
    """The rows of one piece that notes are about, looked up by number.

    Args:
        notes: those of the piece, of all shards.
    """

    def __init__(self, notes: Sequence[Note]) -> None:
        numbers = [np.asarray(batch.column(batch.schema.get_field_index(ROW))) for batch in map(_read, notes)]
        self._rows = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *numbers]))

    def among(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Which of the rows with these numbers there are notes about; bool (n,).

        Args:
            rows: int64 (n,).
        """
        return _places(self._rows, rows)[1]


def _places(known: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where each of `rows` stands in `known`, which rises, and whether it does; int64 and bool (n,)."""
    if not len(known):
        return np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
    at = np.searchsorted(known, rows)
    found = at < len(known)
    found[found] = known[at[found]] == rows[found]
    return at, found


def _read(note: Note) -> pa.RecordBatch:
    with folders.open_input(note.file) as stream:
        return pa.ipc.open_file(stream).get_batch(note.batch)
