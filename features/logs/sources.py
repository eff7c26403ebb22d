"""One file of any format as raw batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from features.logs.csv_reader import check_csv, read_csv
from features.logs.parquet_reader import check_parquet, read_parquet
from features.logs.quarantine import RawBatch
from features.spec import Source


def read_source(
    file: str, name: str, source: Source, columns: Sequence[str], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads one file as its source says; arguments as of `read_csv` and `read_parquet`."""
    if source.format == "csv":
        return read_csv(file, name, source, columns, optional)
    return read_parquet(file, name, columns, optional)


def check_columns(file: str, name: str, source: Source, columns: Sequence[str]) -> None:
    """Looks at a file's header or footer only.

    Raises:
        DataError: if it names its columns and one of `columns` is not among them.
    """
    if source.format == "parquet":
        check_parquet(file, name, columns)
    else:
        check_csv(file, name, source, columns)
