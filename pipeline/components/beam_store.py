"""Beam's files in S3, through pyarrow as all of ours: loaded with this module, by Beam in each of its workers (``--beam_plugins``).

Beam's own way makes a new client of boto3 with each call, which takes longer than the call, and has other ways to say endpoint and credentials.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.io.aws.s3filesystem import S3FileSystem
from apache_beam.io.filesystem import CompressedFile, CompressionTypes, FileMetadata, FileSystem

from features import stores
from features.paths import Remote, remote

_BUFFERED = 1 << 20
"""Bytes that are read or written at once."""
_NS = 1_000_000_000


class StoreFileSystem(FileSystem):
    """Files of S3, which has no folders: making one does nothing. What fails raises a DataError that names the file."""

    @classmethod
    def scheme(cls) -> str:
        """Of paths."""
        return "s3"

    def join(self, basepath: str, *paths: str) -> str:
        """A path below another one."""
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path: str) -> tuple[str, str]:
        """Folder and name."""
        folder, _, name = path.rstrip("/").rpartition("/")
        return folder, name

    def mkdirs(self, path: str) -> None:
        """Nothing."""

    def has_dirs(self) -> bool:
        """No."""
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        folder = dir_or_prefix.rpartition("/")[0]
        for name, status in stores.walk(_at(folder)).items():
            path = f"{folder}/{name}"
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, status.size, status.changed_ns / _NS)

    def create(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        """A file to write."""
        del mime_type
        return _compressed(io.BufferedWriter(stores.StoredOutput(_at(path)), _BUFFERED), path, compression_type)

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        """A file to read."""
        del mime_type
        return _compressed(io.BufferedReader(stores.StoredFile(_at(path)), _BUFFERED), path, compression_type)

    def copy(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        """Copies files, each to its place."""
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            stores.copy(_at(source), _at(target))

    def rename(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        """Renames files, each to its place."""
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            stores.move(_at(source), _at(target))

    def exists(self, path: str) -> bool:
        """Whether a file is there: Beam asks for its size then."""
        return stores.exists(_at(path)) and not stores.is_folder(_at(path))

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return stores.status(_at(path)).size

    def last_updated(self, path: str) -> float:
        """Seconds since 1970-01-01 UTC."""
        return stores.status(_at(path)).changed_ns / _NS

    def metadata(self, path: str) -> FileMetadata:
        """Both."""
        status = stores.status(_at(path))
        return FileMetadata(path, status.size, status.changed_ns / _NS)

    def delete(self, paths: Sequence[str]) -> None:
        """Removes files, and folders with all below them."""
        for path in paths:
            stores.remove(_at(path))


def _at(path: str) -> Remote:
    found = remote(path)
    assert found is not None, path  # else Beam had not come here
    return found


def _compressed(file: Any, path: str, kind: str) -> Any:
    kind = CompressionTypes.detect_compression_type(path) if kind == CompressionTypes.AUTO else kind
    return file if kind == CompressionTypes.UNCOMPRESSED else CompressedFile(file, compression_type=kind)


def take_the_place() -> None:
    """Beam asks all file systems for their scheme, and refuses two of one: its own for S3 steps back."""
    S3FileSystem.scheme = classmethod(lambda _: "s3-by-boto3")


take_the_place()
