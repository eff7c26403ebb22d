"""Which paths can be read and written, and what the remote ones are made of."""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple

from features.errors import ConfigError

STORES = ("s3", "gs", "hdfs")
"""Schemes of the file systems that logs are read from."""
# One slash suffices: pathlib makes gs:/bucket of gs://bucket.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_OPTION = r"[A-Za-z_]+=[^/?&]*"
_SECRET = re.compile(r"(password|secret|token|access_key)[^=&]*=", re.IGNORECASE)
_PARTS = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*?)(?:\?({_OPTION}(?:&{_OPTION})*))?", re.DOTALL)


class Remote(NamedTuple):
    """A path of another file system, ``scheme://authority/key?options``.

    Attributes:
        scheme: one of :data:`STORES`, where it was checked.
        authority: the bucket, or HDFS' host and port.
        key: the rest, as it is: nothing in it is escaped.
        options: pyarrow's for that file system, ``name=value&...``: a ``?`` before anything else is a wildcard.
    """

    scheme: str
    authority: str
    key: str
    options: str

    def below(self, *names: str) -> Remote:
        """What lies below it."""
        return self._replace(key=posixpath.join(self.key.rstrip("/"), *names))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}/{self.key}" + (f"?{self.options}" if self.options else "")


def remote(path: str) -> Remote | None:
    """The parts of a path of another file system; None for a local one.

    >>> remote("s3://bucket/log/*.csv.gz?region=eu-west-1")
    Remote(scheme='s3', authority='bucket', key='log/*.csv.gz', options='region=eu-west-1')
    >>> remote("log/*.csv") is None
    True
    """
    found = _PARTS.fullmatch(path)
    return None if found is None else Remote(found[1], found[2], found[3].lstrip("/"), found[4] or "")


def options_of(path: str) -> dict[str, str]:
    """Options of a remote path, by name, as they are written; a local one has none.

    >>> options_of("gs://bucket/log.csv?scheme=http&endpoint_override=127.0.0.1:4443")
    {'scheme': 'http', 'endpoint_override': '127.0.0.1:4443'}
    """
    found = remote(path)
    written = [] if found is None or not found.options else found.options.split("&")
    return {name: value for name, _, value in (option.partition("=") for option in written)}


def without_options(path: str) -> str:
    """A path as people know it, and whose ending tells a file's format: a remote one without its options."""
    found = remote(path)
    return path if found is None else str(found._replace(options=""))


def check_local(what: str, path: str) -> None:
    """Refuses a path of another file system, which would otherwise become a folder named after its scheme.

    Args:
        what: the setting, for the message.
        path: what it was set to.

    Raises:
        ConfigError: if it begins as a URL does, such as ``gs://`` or ``hdfs://``.
    """
    if _REMOTE.match(path):
        raise ConfigError(
            f"{what}: '{path}' is no path of this machine; remote ones (gs://, s3://, hdfs://) are read by data.path, "
            "source.files and --data, and written by artifacts (not hdfs://) and push.directory, alone; allowed: a local path, that of a mounted file system too"
        )


def check_readable(what: str, path: str) -> None:
    """Refuses a path of a file system from which no log is read; looks at the path alone.

    Args:
        what: the setting, for the message.
        path: what it was set to.

    Raises:
        ConfigError: if its scheme is none of :data:`STORES`, it names no bucket, or it holds a password.
    """
    _check_store(what, path, "read")


def check_writable(what: str, path: str) -> None:
    """Refuses a path of a file system to which no model is pushed, as :func:`check_readable` does for logs."""
    _check_store(what, path, "written")


def _check_store(what: str, path: str, done: str) -> None:
    if not _REMOTE.match(path):
        return
    found = remote(path)
    if found is None or found.scheme not in STORES:
        raise ConfigError(
            f"{what}: '{path}' is of no file system that is {done}; allowed: a local path, that of a mounted file system too, "
            + ", ".join(f"{scheme}://" for scheme in STORES)
        )
    if _holds_password(found):
        raise ConfigError(
            f"{what}: a password stands in the path, which is saved with the run and printed; allowed: {found.scheme}:// with "
            "credentials as the store's own tools find them, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not found.authority and found.scheme != "hdfs":
        raise ConfigError(f"{what}: '{path}' names no bucket; allowed: {found.scheme}://BUCKET/FOLDER")


def _holds_password(path: Remote) -> bool:
    # A bucket has no colon: what stands behind one is a secret, of which a slash may have cut the rest off.
    names = path.authority.rpartition("@")[0] if path.scheme == "hdfs" else path.authority
    return ":" in names or _SECRET.search(path.options) is not None
