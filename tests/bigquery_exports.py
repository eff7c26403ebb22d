"""What the tests' server of BigQuery does at `EXPORT DATA`, after Google's reference of the statement, of its statistics and of the Parquet files
that it writes; nobody has compared it with Google's own."""

from __future__ import annotations

import datetime
import io
import re
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import requests

_TERM = re.compile(r"(\w+) = (?:'([^']*)'|(-?[0-9]+))")
_EXPORT = re.compile(r"EXPORT DATA OPTIONS\(([^)]*)\) AS\n(.*)", re.DOTALL)
_OPTION = re.compile(r"(\w+)=(?:'([^']*)'|(true|false))")
_SELECT = re.compile(
    r"SELECT ((?:`\w+`, )*`\w+`)\nFROM `([^`]+)` FOR SYSTEM_TIME AS OF TIMESTAMP '([^']+)'(?:\nWHERE \(\n(.*)\n\))?"
)
_OPTIONS = {"uri", "format", "compression", "overwrite"}


class Refused(Exception):
    """What BigQuery answers to who asks for what it does not give.

    Attributes:
        reason: as in Google's table of errors.
        message: what it says.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def said(self) -> dict[str, str]:
        """As an `ErrorProto`."""
        return {"reason": self.reason, "message": self.message}


class Export(NamedTuple):
    """A statement taken apart.

    Attributes:
        bucket: the bucket.
        key: of the files in it, with a wildcard for their numbers.
        query: what is exported.
    """

    bucket: str
    key: str
    query: str


class Selection(NamedTuple):
    """The one kind of SELECT that the server knows by itself."""

    columns: list[str]
    table: str
    moment: datetime.datetime
    where: str


def export_of(statement: str) -> Export | None:
    """A statement's parts; None for another one."""
    found = _EXPORT.fullmatch(statement)
    if found is None:
        return None
    options = {name: text or word for name, text, word in _OPTION.findall(found[1])}
    if set(options) != _OPTIONS or (options["format"], options["compression"]) != ("PARQUET", "SNAPPY"):
        raise Refused("invalidQuery", f"options of EXPORT DATA: {found[1]}")
    uri = re.fullmatch(r"gs://([^/]+)/(.*\*[^/]*)", options["uri"])
    if uri is None or options["uri"].count("*") != 1:
        raise Refused("invalidQuery", f"'{options['uri']}' has no wildcard in its file's name")
    if options["overwrite"] != "false":
        raise Refused("invalidQuery", "this server overwrites nothing")
    return Export(uri[1], uri[2], found[2])


def selection_of(query: str) -> Selection | None:
    """A SELECT's parts; None for one that this server does not know."""
    found = _SELECT.fullmatch(query)
    return (
        None
        if found is None
        else Selection(
            [name.strip("`") for name in found[1].split(", ")],
            found[2],
            datetime.datetime.fromisoformat(found[3]),
            found[4] or "",
        )
    )


def restricted(rows: pa.Table, restriction: str) -> pa.Table:
    """Rows for which all of ``column = value AND ...`` is true."""
    for term in restriction.split(" AND ") if restriction else ():
        parsed = _TERM.fullmatch(term)
        if parsed is None or parsed[1] not in rows.schema.names:
            raise Refused("invalidQuery", f"row restriction cannot be parsed: {term}")
        column = rows.column(parsed[1])
        value = int(parsed[3]) if parsed[3] is not None else parsed[2]
        rows = rows.filter(pc.equal(column, pa.scalar(value).cast(column.type)))
    return rows


def parquet(rows: pa.Table, narrow: bool) -> bytes:
    """Rows in Parquet as an export writes them: TIMESTAMP and DATETIME without a zone, ARRAYs as lists of `element` that are never null.

    Args:
        rows: of the Storage Read API's types.
        narrow: whether FLOAT64 is written as FLOAT, as Google's table says, and not as DOUBLE.
    """
    fields = [
        pa.field(field.name, _written(field.type, narrow), not pa.types.is_list(field.type)) for field in rows.schema
    ]
    out = io.BytesIO()
    pq.write_table(
        rows.cast(pa.schema(fields, rows.schema.metadata)),
        out,
        compression="snappy",
        use_compliant_nested_type=True,
        row_group_size=64,
    )
    return out.getvalue()


def _written(kind: pa.DataType, narrow: bool) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", _written(kind.value_type, narrow), nullable=False))
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    return pa.float32() if narrow and pa.types.is_float64(kind) else kind


def upload(store: str, bucket: str, key: str, data: bytes) -> None:
    """Writes an object by the JSON API of Cloud Storage."""
    answer = requests.post(
        f"{store}/upload/storage/v1/b/{bucket}/o", params={"uploadType": "media", "name": key}, data=data, timeout=10
    )
    if answer.status_code == 404:
        raise Refused("notFound", f"Not found: Bucket {bucket}")
    answer.raise_for_status()


def check_empty(store: str, bucket: str, folder: str) -> None:
    """Whether a folder has no object, as ``overwrite=false`` wants it."""
    answer = requests.get(f"{store}/storage/v1/b/{bucket}/o", params={"prefix": folder}, timeout=10)
    if answer.status_code == 404:
        raise Refused("notFound", f"Not found: Bucket {bucket}")
    answer.raise_for_status()
    if answer.json().get("items"):
        raise Refused("invalid", f"gs://{bucket}/{folder} is not empty; use overwrite=true")
