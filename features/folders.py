"""Files and folders that a run writes, on a disk or in a store: one word for what `os` and `features.stores` do.

A path that begins with ``s3://`` or the like lies in a store, which has no empty folders: there one is made by its first file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from features import stores
from features.paths import remote


def open_input(path: str) -> Any:
    """A file to read, as pyarrow takes it; to be closed.

    Raises:
        DataError: of a store, if the file is not there or the store does not give it; also while it is read.
        OSError: of a disk.
    """
    found = remote(path)
    return pa.OSFile(path) if found is None else pa.PythonFile(stores.StoredFile(found), mode="r")


def open_output(path: str) -> Any:
    """A file to write, as pyarrow takes it, in a folder that is there; to be closed. One of a store is there once it was closed.

    Raises:
        DataError: of a store, if it does not take it; also while it is written.
        OSError: of a disk.
    """
    found = remote(path)
    return pa.OSFile(path, "wb") if found is None else pa.PythonFile(stores.StoredOutput(found), mode="w")


def read_text(path: str) -> str:
    """All of a file of UTF-8; errors as of :func:`open_input`."""
    with open_input(path) as stream:
        return bytes(stream.read()).decode()


def write_text(path: str, text: str) -> None:
    """Writes a file of UTF-8; errors as of :func:`open_output`."""
    with open_output(path) as stream:
        stream.write(text.encode())


def make(folder: str) -> None:
    """Makes a folder and those above it; of a store nothing."""
    if remote(folder) is None:
        os.makedirs(folder, exist_ok=True)


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    found = remote(path)
    return os.path.exists(path) if found is None else stores.exists(found)


def is_folder(path: str) -> bool:
    """Whether a path is a folder; of a store: one with files.

    Raises:
        DataError: if a store does not answer or refuses.
    """
    found = remote(path)
    return os.path.isdir(path) if found is None else stores.is_folder(found)


def list_files(folder: str) -> list[str]:
    """Names of all files below a folder, relative to it, sorted; none if there is no such folder."""
    found = remote(folder)
    if found is not None:
        return list(stores.walk(found))
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def list_names(folder: str) -> list[str]:
    """Names of files and folders in a folder, sorted; none if there is no such folder."""
    found = remote(folder)
    if found is not None:
        return stores.list_names(found) or []
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def remove(path: str) -> None:
    """Removes a file, or a folder with all that lies below it; that nothing is there is no error."""
    found = remote(path)
    if found is not None:
        stores.remove(found)
    elif os.path.isdir(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def replace(source: str, target: str) -> None:
    """Renames a file, over another one if need be.

    Args:
        source: the file.
        target: on the same disk, or in the same store.
    """
    moved, to = remote(source), remote(target)
    if moved is None or to is None:
        os.replace(source, target)
    else:
        stores.move(moved, to)


def copy(source: str, target: str) -> None:
    """Copies all files below a folder into another one, each on a disk or in a store."""
    to = remote(target)
    with local_copy(source) as here:
        if to is None:
            shutil.copytree(here, target, dirs_exist_ok=True)
        else:
            stores.upload(here, to)


@contextlib.contextmanager
def local_copy(folder: str, parts: Sequence[str] = ()) -> Iterator[str]:
    """A folder on this disk with the files of `folder`: itself, or for as long as the block takes a copy.

    Args:
        folder: on this disk or in a store.
        parts: files and folders in it that suffice; by default all of it.

    Raises:
        DataError: if a store does not answer or refuses.
    """
    found = remote(folder)
    if found is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="feedrank_copy_") as here:
        for part in parts or ("",):
            stores.download(found.below(part), os.path.join(here, part))
        yield here
