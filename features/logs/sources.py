"""One file of any format as raw batches: the one place that knows which formats there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from features.errors import DataError
from features.logs.avro_reader import check_avro, cut_avro, read_avro
from features.logs.bigquery_reader import check_bigquery, cut_bigquery, read_bigquery
from features.logs.csv_reader import check_csv, cut_csv, read_csv
from features.logs.jsonl_reader import cut_jsonl, read_jsonl
from features.logs.kafka_reader import check_kafka, cut_kafka, read_kafka
from features.logs.orc_reader import check_orc, cut_orc, read_orc
from features.logs.parquet_reader import check_parquet, cut_parquet, read_parquet
from features.logs.pieces import Piece
from features.logs.quarantine import RawBatch
from features.logs.tfrecord_reader import read_tfrecord
from features.spec import Column, Source


class Reader(NamedTuple):
    """A format. A new one is a file with these functions, a line in `READERS`, and its name in `features.sources`.

    Attributes:
        read: (piece, name, source, columns, optional) -> batches of bounded size with the columns' values as the file has them
            (`features.logs.casting` types them), and a reject for each stretch of the file that cannot be read.
        check: (path, name, source, columns, optional) -> raises DataError if the file says that it lacks a column; reads as little as it can.
            None for a format whose files do not say which columns they have: there a column that no row has is found in the end
            (`check_found`); so it is of a topic, but for Avro of one schema.
        cut: (path, source, columns, bytes) -> pieces of the file that can be read apart, of about so many bytes; None for a format
            whose files are read as a whole.
    """

    read: Callable[[Piece, str, Source, Mapping[str, Column], Collection[str]], Iterator[RawBatch]]
    check: Callable[[str, str, Source, Mapping[str, Column], Collection[str]], None] | None
    cut: Callable[[str, Source, Sequence[str], int], list[Piece]] | None


READERS: Mapping[str, Reader] = {
    "csv": Reader(read_csv, check_csv, cut_csv),
    "parquet": Reader(read_parquet, check_parquet, cut_parquet),
    "jsonl": Reader(read_jsonl, None, cut_jsonl),
    "tfrecord": Reader(read_tfrecord, None, None),
    "orc": Reader(read_orc, check_orc, cut_orc),
    "avro": Reader(read_avro, check_avro, cut_avro),
    "bigquery": Reader(read_bigquery, check_bigquery, cut_bigquery),
    "kafka": Reader(read_kafka, check_kafka, cut_kafka),
}


def read_source(
    piece: Piece, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads one file, or a piece of one, as its source says.

    Args:
        piece: the file, or a part of it.
        name: its name in dead letters.
        source: how it is written.
        columns: columns to read.
        optional: those of `columns` that the file may lack.

    Raises:
        DataError: if the file, or its name, lacks a column that is not optional, or the system cannot read it.
    """
    named = _from_name(name, source, optional)
    for raw in READERS[source.format].read(piece, name, source, _inside(columns, source), optional):
        raw.columns.update({column: pa.array([value] * len(raw.rows), pa.binary()) for column, value in named.items()})
        yield raw


def _from_name(name: str, source: Source, optional: Collection[str]) -> dict[str, bytes]:
    """Columns that stand in a file's name, with their value."""
    values: dict[str, bytes] = {}
    for column, pattern in source.from_name.items():
        if (found := re.search(pattern, name)) is not None:
            values[column] = (found[1] or "").encode()
        elif column not in optional:
            raise DataError(
                f"column '{column}' is read from the names of files, and '{name}' does not have it; allowed: a name in which "
                f"'{pattern}' is found (source.from_name)"
            )
    return values


def _inside(columns: Mapping[str, Column], source: Source) -> dict[str, Column]:
    return {column: kind for column, kind in columns.items() if column not in source.from_name}


def cut_source(file: str, source: Source, columns: Sequence[str], size: int) -> list[Piece]:
    """A file in pieces of about `size` bytes, where its format allows it: read one after the other they are the whole file."""
    cut = READERS[source.format].cut
    return (
        [Piece(file)]
        if cut is None
        else cut(file, source, [column for column in columns if column not in source.from_name], size)
    )


def check_columns(
    file: str, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> None:
    """Looks at a file's header or footer only.

    Raises:
        DataError: if it names its columns and one of `columns` that is not optional is not among them, nor in its name.
    """
    _from_name(name, source, {*optional, *(set(source.from_name) - set(columns))})
    if (check := READERS[source.format].check) is not None:
        check(file, name, source, _inside(columns, source), optional)


def _name_their_columns(source: Source) -> bool:
    """Whether `Reader.check` finds a column that is not there."""
    avro = None if source.kafka is None else source.kafka.avro
    return READERS[source.format].check is not None and (source.kafka is None or (avro is not None and not avro.framed))


def check_found(rows_read: int, without: Mapping[str, int], source: Source, what: str) -> None:
    """Stops where no row has a column of a log whose files do not name theirs: the spec may spell it otherwise.

    Args:
        rows_read: good and bad.
        without: by column, the rows of batches in which no row has a value of it.
        source: how the files are written.
        what: what was read, for the message.

    Raises:
        DataError: naming the columns.
    """
    if _name_their_columns(source) or not rows_read:
        return
    if absent := sorted(column for column, rows in without.items() if rows == rows_read):
        raise DataError(
            f"{what}: none of the {rows_read:,} rows has {', '.join(absent)}; allowed: names as they are written in the "
            f"{source.format} files"
        )
