"""Which files a dataset reads: the only place of ingest that knows a file system."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from features.errors import DataError
from features.paths import check_local
from features.spec import Dataset, SideTable, Source


def resolve(source: Source, path: str) -> list[str]:
    """Expands a source's paths and globs, sorted, each file once.

    Args:
        source: the files of one table, relative to `path` unless absolute.
        path: the data folder.

    Raises:
        DataError: if a pattern finds no file; names the pattern, the folder and what is there.
        ConfigError: if a path is remote.
    """
    found: list[str] = []
    check_local("data folder", path)
    for pattern in source.patterns:
        check_local("source.files", pattern)
        files = sorted(f for f in glob.glob(os.path.join(path, pattern), recursive=True) if os.path.isfile(f))
        if not files:
            raise DataError(f"no file matches '{pattern}' in {os.path.abspath(path)}; {_what_is_there(path)}")
        found.extend(files)
    return list(dict.fromkeys(found))


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
    """The log's files, then those of every side table that is read from files."""
    yield from resolve(dataset.source, path)
    for table in dataset.tables.values():
        if isinstance(table, SideTable):
            yield from resolve(table.source, path)


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
