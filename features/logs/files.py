"""Which files a dataset reads: the only place of ingest that knows a file system."""

from __future__ import annotations

import datetime
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from features.errors import DataError
from features.paths import check_local
from features.sources import by_day, of_any_day, of_day
from features.spec import Dataset, SideTable, Source, TimeSplit

_NAMED = 5


def resolve_log(dataset: Dataset, path: str) -> list[str]:
    """The log's files: of a source by day those of the split's days.

    Args:
        dataset: the spec.
        path: the data folder.

    Raises:
        DataError: if a pattern finds no file on one of the days, or a day is not complete; names the days.
        ConfigError: if a path is remote.
    """
    source, days = dataset.source, dataset.split.days() if isinstance(dataset.split, TimeSplit) else []
    markers = [] if source.success is None else [of_day(source.success, day) for day in days]
    if absent := [marker for marker in markers if not _find(marker, path)]:
        raise DataError(
            f"{len(absent)} of the {len(days)} days are not complete: {os.path.abspath(path)} lacks {_named(absent)} (source.success)"
        )
    return _resolved([filled for pattern in source.patterns for filled in _of_days(pattern, days)], path)


def resolve(source: Source, path: str) -> list[str]:
    """Expands a source's paths and globs, sorted, each file once; of a source by day the files of all days.

    Args:
        source: the files of one table, relative to `path` unless absolute.
        path: the data folder.

    Raises:
        DataError: if a pattern finds no file; names the pattern, the folder and what is there.
        ConfigError: if a path is remote.
    """
    return _resolved([of_any_day(pattern) for pattern in source.patterns], path)


def _of_days(pattern: str, days: Iterable[datetime.date]) -> list[str]:
    return [of_day(pattern, day) for day in days] if by_day(pattern) else [pattern]


def _resolved(patterns: Sequence[str], path: str) -> list[str]:
    check_local("data folder", path)
    for pattern in patterns:
        check_local("source.files", pattern)
    found = {pattern: _find(pattern, path) for pattern in patterns}
    if absent := [f"'{pattern}'" for pattern, files in found.items() if not files]:
        raise DataError(f"no file matches {_named(absent)} in {os.path.abspath(path)}; {_what_is_there(path)}")
    return list(dict.fromkeys(file for files in found.values() for file in files))


def _named(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")


def _find(pattern: str, path: str) -> list[str]:
    return sorted(file for file in glob.glob(os.path.join(path, pattern), recursive=True) if os.path.isfile(file))


def _what_is_there(path: str) -> str:
    if not os.path.isdir(path):
        return "that folder does not exist; set data.path to the folder that holds the files"
    names = sorted(os.listdir(path))
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"the folder holds: {shown or '(nothing)'}"


def name_of(file: str, path: str) -> str:
    """The name by which a file is known in row ids, manifests and dead letters: relative to `path` where it lies under it.

    Two files of the same basename in different folders have different names.
    """
    relative = os.path.relpath(os.path.abspath(file), os.path.abspath(path))
    return os.path.abspath(file) if relative.startswith("..") else relative.replace(os.sep, "/")


def open_bytes(file: str) -> BinaryIO:
    """Opens a file for reading bytes.

    Raises:
        DataError: if it does not exist or may not be read.
    """
    try:
        return open(file, "rb")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error


def size_of(file: str) -> int:
    """Bytes of a file."""
    return os.path.getsize(file)


def all_files(dataset: Dataset, path: str) -> Iterator[str]:
    """The log's files, then those of every side table that is read from files, and of pretrained vectors."""
    yield from resolve_log(dataset, path)
    for table in dataset.tables.values():
        if isinstance(table, SideTable):
            yield from resolve(table.source, path)
    for name, feature in dataset.pretrained().items():
        file = os.path.join(path, feature.vectors)
        check_local(f"feature '{name}': vectors", feature.vectors)
        if not os.path.isfile(file):
            raise DataError(
                f"feature '{name}': vectors '{feature.vectors}' is no file in {os.path.abspath(path)}; {_what_is_there(path)}"
            )
        yield file


def fingerprint(dataset: Dataset, path: str) -> str:
    """A hash of names, sizes and modification times of all input files: it changes when the data changes.

    Raises:
        DataError: if a pattern finds no file.
    """
    return fingerprint_files(all_files(dataset, path), path)


def fingerprint_files(files: Iterable[str], path: str) -> str:
    """A hash of names (relative to `path`), sizes and modification times of `files`, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        status = os.stat(file)
        digest.update(f"{name_of(file, path)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
