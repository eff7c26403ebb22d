"""Which paths can be read and written."""

from __future__ import annotations

import re

from features.errors import ConfigError

# One slash suffices: pathlib makes gs:/bucket of gs://bucket.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


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
            f"{what}: '{path}' is no path of this machine; remote ones (gs://, s3://, hdfs://, ...) are not supported yet; "
            "allowed: a local path, that of a mounted file system too"
        )
