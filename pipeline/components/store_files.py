"""TFX's `fileio` in stores, through pyarrow as all of ours.

TFX's own way there is TensorFlow's client, which knows ``s3://`` only where tensorflow-io was loaded and takes endpoint and credentials from
other places than ours.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Iterable
from typing import Any

from tfx.dsl.io import filesystem, filesystem_registry

from features import stores
from features.errors import ConfigError
from features.paths import STORES, Remote, remote

_BUFFERED = 1 << 20
"""Bytes that are read or written at once."""
_PREFERRED = 5
"""TensorFlow's plugin has 10; the lower one is taken."""


class StoreFilesystem(filesystem.Filesystem):
    """Files of stores. A store has no empty folders: making one does nothing, and of a missing one nothing is removed."""

    SUPPORTED_SCHEMES = [f"{scheme}://" for scheme in STORES]

    @staticmethod
    def open(name: str, mode: str = "r") -> Any:
        """A file of bytes or text, to read or write."""
        if mode.rstrip("b") not in ("r", "w"):
            raise ConfigError(f"{name}: mode '{mode}'; allowed in a store: r, rb, w, wb")
        if "r" in mode:
            raw: Any = io.BufferedReader(stores.StoredFile(_at(name)), _BUFFERED)
        else:
            raw = io.BufferedWriter(stores.StoredOutput(_at(name)), _BUFFERED)
        return raw if "b" in mode else io.TextIOWrapper(raw, "utf-8")

    @staticmethod
    def copy(src: str, dst: str, overwrite: bool = False) -> None:
        """Copies a file."""
        _check_free(dst, overwrite)
        stores.copy(_at(src), _at(dst))

    @staticmethod
    def exists(path: str) -> bool:
        """Whether a file or folder is there."""
        return stores.exists(_at(path))

    @staticmethod
    def glob(pattern: str) -> list[Any]:
        """The files that match."""
        return stores.find(_at(pattern))

    @staticmethod
    def isdir(path: str) -> bool:
        """Whether files lie below a path."""
        return stores.is_folder(_at(path))

    @staticmethod
    def listdir(path: str) -> list[Any]:
        """Names in a folder."""
        found = stores.list_names(_at(path))
        if found is None:
            raise filesystem.NotFoundError(f"nothing lies in {path}")
        return found

    @staticmethod
    def makedirs(path: str) -> None:
        """Nothing."""

    @staticmethod
    def mkdir(path: str) -> None:
        """Nothing."""

    @staticmethod
    def remove(path: str) -> None:
        """Removes a file."""
        stores.remove(_at(path))

    @staticmethod
    def rename(src: str, dst: str, overwrite: bool = False) -> None:
        """Renames a file."""
        _check_free(dst, overwrite)
        stores.move(_at(src), _at(dst))

    @staticmethod
    def rmtree(path: str) -> None:
        """Removes a folder with all below it."""
        stores.remove(_at(path))

    @staticmethod
    def stat(path: str) -> Any:
        """Size and time of a file."""
        return stores.status(_at(path))

    @staticmethod
    def walk(top: str, topdown: bool = True, onerror: Callable[..., None] | None = None) -> Iterable[Any]:
        """Each folder with the names of its folders and files."""
        del onerror
        folders: dict[str, tuple[set[str], list[str]]] = {}
        for file in stores.walk(_at(top)):
            folder, name = posixpath.split(file)
            folders.setdefault(folder, (set(), []))[1].append(name)
            while folder:
                above, name = posixpath.split(folder)
                folders.setdefault(above, (set(), []))[0].add(name)
                folder = above
        for folder in sorted(folders, reverse=not topdown):
            below, files = folders[folder]
            yield posixpath.join(top, folder).rstrip("/"), sorted(below), files


def _at(path: str) -> Remote:
    found = remote(path)
    assert found is not None, path  # else TFX had not come here
    return found


def _check_free(path: str, overwrite: bool) -> None:
    if not overwrite and stores.exists(_at(path)):
        raise FileExistsError(path)


def use_for_stores() -> None:
    """Has TFX take :class:`StoreFilesystem` from now on, in this process."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(StoreFilesystem, priority=_PREFERRED)
