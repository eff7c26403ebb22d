"""Files of object stores and of HDFS, through pyarrow. A store that fails is never taken for a file that is damaged or not there."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import glob
import io
import os
import posixpath
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from features.errors import ConfigError, DataError
from features.paths import Remote, check_readable, remote, without_options

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_NOWHERE = "feedrank-looks-for-the-bucket"
"""A folder that no bucket holds."""
_COPIED_AT_ONCE = 8 << 20
"""Bytes."""
_URL = re.compile(r"(https?)://([^/?#]+)/?")
_ADVICE = (
    (r"NO_SUCH_BUCKET|bucket does not exist", "there is no such bucket"),
    (
        r"ACCESS_DENIED|PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|TOKEN|access token|"
        r"HTTP status 40[13]|code: 40[13]|[Cc]redentials",
        "allowed: credentials that may list and read it, where the store's own tools find them "
        "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, GOOGLE_APPLICATION_CREDENTIALS, the machine's role)",
    ),
    (
        r"NETWORK_CONNECTION|curlCode|CURL error|[Cc]onnect",
        "the store does not answer, which says nothing about the file; allowed: a store that this machine reaches (another "
        "endpoint: ?endpoint_override=HOST:PORT&scheme=http, of S3 also AWS_ENDPOINT_URL)",
    ),
    (
        r"libjvm|libhdfs",
        "hdfs:// needs Java and Hadoop's client on this machine: JAVA_HOME, HADOOP_HOME and CLASSPATH (`hadoop classpath --glob`)",
    ),
)


class Status(NamedTuple):
    """Size in bytes and time of the last change, in nanoseconds since 1970-01-01 UTC."""

    size: int
    changed_ns: int


class Entry(NamedTuple):
    """A file or folder that a listing has; `path` as the file system knows it."""

    path: str
    is_file: bool

    @property
    def base_name(self) -> str:
        """What stands behind the last slash."""
        return posixpath.basename(self.path)


class StoredFile(io.RawIOBase):
    """Bytes of a stored file, each read one request.

    pyarrow raises the same error for a store that does not answer as for a file that is damaged, and our readers set
    damaged files aside: here the first becomes a DataError, which they let pass.
    """

    mode = "rb"

    def __init__(self, path: Remote) -> None:
        self._path = path
        self._at = 0
        with _told(path):
            system, key = _located(path)
            self._file: Any = system.open_input_file(key)
            self._size = int(self._file.size())

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves; asks nothing of the store."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """The byte that is read next."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer`, or reads to the file's end.

        Raises:
            DataError: if the store does not give the bytes.
        """
        view = memoryview(buffer).cast("B")
        with _told(self._path):
            found = self._file.read_at(len(view), self._at) if self._at < self._size else b""
            if len(found) < min(len(view), self._size - self._at):
                raise OSError(f"{len(found)} bytes came of {len(view)} from byte {self._at} of {self._size}")
        view[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        """Lets the file go."""
        if not self.closed:
            with contextlib.suppress(AttributeError):  # it could not be opened
                self._file.close()
        super().close()


class StoredOutput(io.RawIOBase):
    """A file of a store that is written, and is there once it was closed.

    Raises:
        DataError: also as it is written and closed, if the store does not answer or refuses.
    """

    mode = "wb"

    def __init__(self, path: Remote) -> None:
        self._path = path
        with _told(path, "write"):
            system, key = _located(path)
            self._file: Any = system.open_output_stream(key, compression=None)  # else a name's ending would choose one

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        return int(self._file.tell())

    def write(self, data: Any) -> int:
        """Writes all of `data`."""
        with _told(self._path, "write"):
            self._file.write(data)
        return memoryview(data).nbytes

    def close(self) -> None:
        """Completes the file."""
        if not self.closed:
            super().close()
            with contextlib.suppress(AttributeError), _told(self._path, "write"):  # it could not be opened
                self._file.close()


def find(pattern: Remote) -> list[str]:
    """The files that a path or glob matches, sorted, as `glob.glob` with ``**`` does: names with a leading dot only where
    the pattern has it.

    Raises:
        DataError: if the store does not answer or refuses; that no file matches is no error.
    """
    with _told(pattern):
        system, root = _located(pattern._replace(key=""))
        found = set(_expand(system, root, posixpath.normpath(pattern.key).split("/")))
    return sorted(str(pattern._replace(key=_key(root, path))) for path in found)


def list_names(folder: Remote) -> list[str] | None:
    """Names in a folder, sorted; None if nothing lies there.

    Raises:
        DataError: as of :func:`find`.
    """
    with _told(folder):
        system, key = _located(folder)
        entries = _list(system, key)
    return sorted(entry.base_name for entry in entries) or None


def has_bucket(path: Remote) -> bool:
    """Whether the bucket that a path names is there; of HDFS: its root. Errors as of :func:`find`."""
    if path.scheme != "gs":
        return is_folder(path._replace(key=""))
    # Who may read and write objects there may not look at the bucket itself, but may list what it holds.
    with _told(path):
        system, key = _located(path._replace(key=_NOWHERE))
        return _is_there(system, key)


def check_bucket(what: str, path: str) -> None:
    """Asks for the bucket of a path before much is done that ends there; of a local path nothing.

    Args:
        what: the setting, for the message.
        path: what it was set to.

    Raises:
        ConfigError: if there is none.
        DataError: as of :func:`find`.
    """
    found = remote(path)
    if found is not None and not has_bucket(found):
        raise ConfigError(f"{what}: there is no {found.scheme}://{found.authority}; allowed: a bucket that is there")


def is_folder(path: Remote) -> bool:
    """Whether files lie below a path; errors as of :func:`find`."""
    with _told(path):
        system, key = _located(path)
        return _kind(system, key) == fs.FileType.Directory


def status(path: Remote) -> Status:
    """Size and time of a file.

    Raises:
        DataError: if it is not there, or the store does not answer or refuses.
    """
    with _told(path):
        system, key = _located(path)
        info = system.get_file_info(key)
        if not info.is_file:
            raise FileNotFoundError
        return Status(info.size, info.mtime_ns or 0)


def exists(path: Remote) -> bool:
    """Whether a file or folder is there; errors as of :func:`find`."""
    with _told(path):
        system, key = _located(path)
        return _kind(system, key) != fs.FileType.NotFound


def walk(folder: Remote) -> dict[str, Status]:
    """All files below a folder, by name relative to it, in order; none if nothing lies there. Errors as of :func:`find`."""
    with _told(folder):
        system, key = _located(folder)
        found = system.get_file_info(fs.FileSelector(key, recursive=True, allow_not_found=True))
    files = {_key(key, info.path): Status(info.size, info.mtime_ns or 0) for info in found if info.is_file}
    return dict(sorted(files.items()))


def remove(path: Remote) -> None:
    """Removes a file, or a folder with all that lies below it; that nothing is there is no error.

    Raises:
        DataError: if the store does not answer or refuses.
    """
    with _told(path, "remove"):
        system, key = _located(path)
        kind = _kind(system, key)
        if kind == fs.FileType.Directory and system.type_name == "gcs":
            # Of a folder pyarrow removes the object of that name, too, which nobody need have made.
            for info in system.get_file_info(fs.FileSelector(key, recursive=True)):
                system.delete_file(info.path)
        elif kind == fs.FileType.Directory:
            system.delete_dir(key)
        elif kind != fs.FileType.NotFound:
            system.delete_file(key)


def copy(source: Remote, target: Remote) -> None:
    """Copies a file within a store, over another one if need be.

    Raises:
        DataError: if it is not there, or the store does not answer or refuses.
    """
    with _told(source, "copy"):
        system, key = _located(source)
        system.copy_file(key, _located(target)[1])


def move(source: Remote, target: Remote) -> None:
    """Renames a file within a store, over another one if need be; errors as of :func:`copy`."""
    with _told(source, "move"):
        system, key = _located(source)
        system.move(key, _located(target)[1])


def download(path: Remote, to: str | os.PathLike[str]) -> None:
    """Copies a file, or all files below a folder, of a store; that nothing is there is no error.

    Args:
        path: what is copied.
        to: the local file or folder that it becomes.

    Raises:
        DataError: if the store does not answer or refuses.
    """
    with _told(path):
        system, key = _located(path)
        kind = _kind(system, key)
    if kind == fs.FileType.NotFound:
        return
    files = [os.path.join(to, name) for name in walk(path)] if kind == fs.FileType.Directory else [os.fspath(to)]
    for folder in {os.path.dirname(file) for file in files}:  # pyarrow makes none that Google's store does not show
        os.makedirs(folder, exist_ok=True)
    with _told(path):
        fs.copy_files(key, os.fspath(to), system, fs.LocalFileSystem(), chunk_size=_COPIED_AT_ONCE)


def upload(folder: str | os.PathLike[str], to: Remote, last: str = "") -> None:
    """Copies all files below a local folder.

    Args:
        folder: what is copied.
        to: the folder that gets them; what lies there already is written over.
        last: name of the file that is copied when all others are there.

    Raises:
        DataError: if the store does not answer or refuses, there is no such bucket, or no `last` in `folder`. Some files may be there then,
            each of them whole; `last` is not.
    """
    files = sorted((path for path in Path(folder).rglob("*") if path.is_file()), key=lambda path: path.name == last)
    if last and (not files or files[-1].name != last):
        raise DataError(f"cannot write {without_options(str(to))}: {folder} holds no {last}")
    for file in files:
        _upload(file, to.below(file.relative_to(folder).as_posix()))


def _upload(file: Path, target: Remote) -> None:
    try:
        with file.open("rb") as source, StoredOutput(target) as stream:
            shutil.copyfileobj(source, stream, _COPIED_AT_ONCE)
    except BaseException:
        # Closed, it is there as far as it came. What is to be told is why it came no further.
        with contextlib.suppress(DataError):
            remove(target)
        raise


@contextlib.contextmanager
def _told(path: Remote, verb: str = "read") -> Iterator[None]:
    """pyarrow's errors in words."""
    shown = without_options(str(path))
    try:
        yield
    except FileNotFoundError as error:
        absent = "there is no such bucket" if verb == "write" else "no such file"
        raise DataError(f"cannot {verb} {shown}: {absent}") from error
    except pa.ArrowInvalid as error:
        raise ConfigError(f"'{path}': {error}; allowed: options that pyarrow knows, such as region, scheme") from error
    except (OSError, pa.ArrowException) as error:
        said = str(error).rstrip(".")
        advice = next((f"; {words}" for pattern, words in _ADVICE if re.search(pattern, said)), "")
        raise DataError(f"cannot {verb} {shown}: {said}{advice}") from error


def _located(path: Remote) -> tuple[Any, str]:
    """The file system, and the path as it knows it."""
    check_readable("path", str(path))
    options = "&".join(filter(None, [path.options, *_defaults(path)]))
    system, root = _connected(f"{path.scheme}://{path.authority}/" + (f"?{options}" if options else ""))
    return system, posixpath.join(root, posixpath.normpath(path.key)) if path.key else root


@functools.lru_cache(maxsize=64)
def _connected(uri: str) -> tuple[Any, str]:
    """One client a store: it keeps its connections."""
    found: tuple[Any, str] = fs.FileSystem.from_uri(uri)
    return found


def s3_endpoint() -> str | None:
    """The URL of another server of S3, where AWS' own tools find it; None: Amazon's."""
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)


def _defaults(path: Remote) -> Iterator[str]:
    """Options that the path does not give: S3's endpoint and region as AWS' own tools take them from the environment, which
    pyarrow 10 does not; of Google's store the time after which it gives up, which is 15 minutes otherwise.

    Raises:
        ConfigError: if the endpoint is no URL.
    """
    given = {option.partition("=")[0] for option in path.options.split("&")}
    if path.scheme == "gs" and "retry_limit_seconds" not in given:
        yield "retry_limit_seconds=60"
    if path.scheme != "s3":
        return
    endpoint = s3_endpoint()
    if endpoint is not None and "endpoint_override" not in given:
        if (url := _URL.fullmatch(endpoint)) is None:
            raise ConfigError(f"AWS_ENDPOINT_URL: '{endpoint}' is no endpoint of S3; allowed: http(s)://HOST:PORT")
        yield f"endpoint_override={quote(url[2], safe=':')}"
        yield from () if "scheme" in given else (f"scheme={url[1]}",)
    region = next((os.environ[name] for name in _REGIONS if os.environ.get(name)), None)
    if region is not None and "region" not in given:
        yield f"region={quote(region)}"


def _key(root: str, path: str) -> str:
    return path.removeprefix(root).lstrip("/")


def _list(system: Any, folder: str, recursive: bool = False, folders: bool = True) -> list[Entry]:
    """Files in a folder, or also all below them; with their folders, or where these are not asked for perhaps without."""
    # Google's store has no folders: pyarrow shows files alone, and none of what lies deeper unless it is asked for all.
    is_flat = system.type_name == "gcs"
    selector = fs.FileSelector(folder, recursive=recursive or (is_flat and folders), allow_not_found=True)
    found = {info.path: info.is_file for info in system.get_file_info(selector)}
    if is_flat and folders:
        found = {above: False for file in found for above in _folders(folder, file)} | found
    if is_flat and not recursive:
        found = {path: is_file for path, is_file in found.items() if posixpath.dirname(path) == folder}
    return [Entry(path, is_file) for path, is_file in found.items()]


def _kind(system: Any, path: str) -> Any:
    """What lies at a path."""
    kind = system.get_file_info(path).type
    return kind if kind != fs.FileType.Directory or _is_there(system, path) else fs.FileType.NotFound


def _is_there(system: Any, folder: str) -> bool:
    """Whether what is called a folder is one: pyarrow says so of all that would lie in a bucket of Google's that is not there."""
    if system.type_name == "gcs":
        try:
            system.get_file_info(fs.FileSelector(folder))
        except FileNotFoundError:
            return False
        except OSError as error:
            if str(error) != f"No such file or directory '{folder}'":  # nothing lies in it
                raise
    return True


def _folders(root: str, path: str) -> Iterator[str]:
    """The folders below `root` that a path lies in."""
    while (path := posixpath.dirname(path)) != root:
        yield path


def _expand(system: Any, folder: str, segments: Sequence[str]) -> Iterator[str]:
    """Paths of the files that `segments` match below `folder`."""
    fixed = next((at for at, segment in enumerate(segments) if glob.has_magic(segment)), len(segments))
    folder, wild = posixpath.join(folder, *segments[:fixed]), segments[fixed:]
    if not wild:
        if system.get_file_info(folder).is_file:
            yield folder
        return
    first, rest = wild[0], wild[1:]
    if first == "**":
        yield from _expand_all(system, folder, rest)
        return
    for entry in _list(system, folder, folders=bool(rest)):
        if not fnmatch.fnmatchcase(entry.base_name, first) or not _shows(first, entry.base_name):
            continue
        if rest and not entry.is_file:
            yield from _expand(system, entry.path, rest)
        elif not rest and entry.is_file:
            yield entry.path


def _expand_all(system: Any, folder: str, rest: Sequence[str]) -> Iterator[str]:
    """``**``: the folder and all below it."""
    entries = [
        entry
        for entry in _list(system, folder, recursive=True)
        if not any(part.startswith(".") for part in _key(folder, entry.path).split("/"))
    ]
    if not rest:
        yield from (entry.path for entry in entries if entry.is_file)
        return
    for below in [folder, *(entry.path for entry in entries if not entry.is_file)]:
        yield from _expand(system, below, rest)


def _shows(pattern: str, name: str) -> bool:
    return pattern.startswith(".") or not name.startswith(".")
