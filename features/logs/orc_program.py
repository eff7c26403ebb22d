"""The program that reads an ORC file for `features.logs.orc_reader`, in a process of its own.

The ORC library of pyarrow ends its process on about every third damaged file (an exception that it does not catch), while
it opens the file as well as in a stripe: nobody who calls it can prevent that. So it is called here, where only this process ends.

Run with a JSON object as its argument: ``file``; ``columns`` to read, if the file has them; ``stripes``, the first to read and the
one to end before, or null; ``batch_rows``, rows of a batch. It writes a line of JSON about the file,
``{"names": [...], "rows": [rows by stripe], "sizes": [bytes by stripe]}``, then for each stripe ``{"rows": n}`` and an Arrow stream; ``{"error": why}`` stands for what is damaged, ``{"system": why}``
for what the system cannot read, ``{"store": why}`` for a store that does not give the bytes of a remote file.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow.orc import ORCFile

_TAIL_FOOTER = 2
_FOOTER_STRIPES = 3
_FOOTER_ROWS = 6
_STRIPE_ROWS = 5
_STRIPE_BYTES = (2, 3, 4)
"""Of its index, its data and its footer."""


def stripes_of(tail: bytes) -> tuple[list[int], list[int]]:
    """Rows and bytes of each stripe, which pyarrow does not tell.

    Args:
        tail: a file's ``FileTail``, a protocol buffer of ORC's specification.

    Raises:
        ValueError: if they do not add up to the file's rows, or `tail` is none.
    """
    footer = b"".join(value for key, value in _fields(tail) if key == _TAIL_FOOTER and isinstance(value, bytes))
    fields = list(_fields(footer))
    stripes = [dict(_fields(value)) for key, value in fields if key == _FOOTER_STRIPES and isinstance(value, bytes)]
    rows = [int(stripe.get(_STRIPE_ROWS, 0)) for stripe in stripes]
    total = dict(fields).get(_FOOTER_ROWS, 0)
    if sum(rows) != total:
        raise ValueError(f"the footer says {total} rows; its {len(rows)} stripes have {sum(rows)}")
    return rows, [sum(int(stripe.get(part, 0)) for part in _STRIPE_BYTES) for stripe in stripes]


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protocol buffer: an integer, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"no protocol buffer: wire type {kind}")
        length, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at
    raise ValueError("no protocol buffer: it ends in a number")


def _run(out: BinaryIO, file: str, columns: list[str], stripes: tuple[int, int | None], batch_rows: int) -> None:
    orc = ORCFile(file if "://" not in file else pa.PythonFile(_Stored(file, out), mode="r"))
    names = list(orc.schema.names)
    rows, sizes = stripes_of(orc.reader.serialized_file_tail())
    _say(out, {"names": names, "rows": rows, "sizes": sizes})
    wanted = [column for column in columns if column in names]
    for stripe in range(len(rows))[slice(*stripes)] if wanted else ():
        try:
            batch = orc.read_stripe(stripe, columns=wanted)
        except (pa.ArrowException, OSError, ValueError) as error:
            _say(out, _why(error))
            continue
        _say(out, {"rows": batch.num_rows})
        with pa.ipc.new_stream(out, batch.schema) as stream:
            for start in range(0, batch.num_rows, batch_rows):
                stream.write_batch(batch.slice(start, batch_rows))
        out.flush()


class _Stored:
    """A remote file, as `pyarrow.PythonFile` asks it. If the store fails that is said, and this process ends, before the ORC
    library ends it as if the file were damaged.
    """

    closed = False

    def __init__(self, file: str, out: BinaryIO) -> None:
        from features.errors import FeedrankError
        from features.paths import remote
        from features.stores import StoredFile

        path = remote(file)
        assert path is not None
        self._out, self._errors = out, FeedrankError
        self._file = self._tried(lambda: StoredFile(path))
        self.seek, self.tell = self._file.seek, self._file.tell

    def read(self, size: int = -1) -> bytes:
        """As many bytes, or all."""
        found: bytes = self._tried(lambda: self._file.read(size))
        return found

    def close(self) -> None:
        """Nothing: the process ends soon."""

    def _tried(self, what: Callable[[], Any]) -> Any:
        try:
            return what()
        except self._errors as error:
            _say(self._out, {"store": str(error)})
            os._exit(0)


def _say(out: BinaryIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def _why(error: Exception) -> dict[str, Any]:
    """An OSError with a number is the system's, any other error the file's."""
    if isinstance(error, OSError) and error.errno is not None:
        return {"system": str(error.strerror or error)}
    return {"error": str(error)}


def main() -> None:
    """Does what the argument says."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no memory dump for each damaged stripe
    out = sys.stdout.buffer
    try:
        _run(out, **json.loads(sys.argv[1]))
    except (pa.ArrowException, OSError, ValueError) as error:
        _say(out, _why(error))


if __name__ == "__main__":
    main()
