"""Which Arrow type each field of an Avro schema becomes; from the schema alone, never from values."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_PLAIN = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.binary(),
    "fixed": pa.binary(),
    "enum": pa.string(),
}
_LOGICAL: Mapping[tuple[str, Any], pa.DataType] = {
    ("int", "date"): pa.date32(),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
}
_UNITED = frozenset({"boolean", "int", "long", "float", "double", "bytes", "string", "enum"})


class AvroType(NamedTuple):
    """How a field's decoded values become an Arrow array.

    Attributes:
        decoded: the type of the values as they are decoded.
        type: the array's type.
        to_text: makes text of each value before.
    """

    decoded: pa.DataType
    type: pa.DataType
    to_text: Callable[[Any], Any] | None = None

    def array(self, values: Sequence[Any]) -> pa.Array:
        """Decoded values, None where missing, as an array of :attr:`type`.

        Raises:
            pa.ArrowException: if a value is no value of the type, OverflowError if it has too many bits.
        """
        if (to_text := self.to_text) is not None:
            values = [None if value is None else to_text(value) for value in values]
        array = pa.array(values, self.decoded)
        return array if self.type == self.decoded else array.cast(self.type)


def decodable(schema: Any) -> Any:
    """A schema by which every value that is in a file can be decoded.

    Text is decoded as bytes, and dates, times and decimals as the numbers and bytes beneath, so that one bad value does not
    cost its neighbours; ``written`` and ``logical`` keep what the file says (a field's ``written`` is its whole type). Defaults and aliases, which only readers of
    other schemas need, are left out.

    Args:
        schema: as JSON gives it.

    Raises:
        ValueError, KeyError or TypeError: if it is no schema.
    """
    if isinstance(schema, list):
        return [decodable(branch) for branch in schema]
    if isinstance(schema, str):
        return {"type": "bytes", "written": "string"} if schema == "string" else schema
    kind = schema["type"]
    if not isinstance(kind, str):
        return decodable(kind)
    if kind in ("array", "map"):
        inside = "items" if kind == "array" else "values"
        return {"type": kind, inside: decodable(schema[inside])}
    return _definition(schema, kind)


def _definition(schema: Mapping[str, Any], kind: str) -> Any:
    """:func:`decodable` of a named or a primitive type that is written as an object."""
    named = {key: schema[key] for key in ("name", "namespace") if key in schema}
    if kind in ("record", "error"):
        fields = schema["fields"]
        return {**named, "type": kind, "fields": [_field(field["name"], field["type"]) for field in fields]}
    said = {"written": kind, "logical": schema.get("logicalType"), "scale": schema.get("scale", 0)}
    if kind in ("enum", "fixed"):
        own = "symbols" if kind == "enum" else "size"
        return {**named, **said, "type": kind, own: schema[own]}
    if kind in _PRIMITIVES:
        return {**said, "type": "bytes" if kind == "string" else kind}
    return kind


def _field(name: str, schema: Any) -> dict[str, Any]:
    return {"name": name, "type": decodable(schema), "written": schema}


def arrow_type(schema: Any, named: Mapping[str, Any]) -> AvroType | None:
    """The Arrow type of a field.

    ==================================================  ==========================================================
    Avro                                                Arrow
    ==================================================  ==========================================================
    boolean, int, long, float, double                   bool, int32, int64, float, double
    string, bytes, fixed                                binary: text that is not UTF-8 is found row by row
    enum                                                string
    date (int)                                          date32
    timestamp-millis, -micros, -nanos (long)            timestamp in UTC
    local-timestamp-millis, -micros, -nanos (long)      timestamp without a zone
    decimal (bytes, fixed)                              string, exact, like 12.50
    any other logical type                              as the type beneath it
    array of these                                      list
    null with one of these                              that one
    int with long; float with double                    int64; double
    any other union of booleans, numbers, text, enums   binary: the value as text, true or false; a NaN is missing
    ==================================================  ==========================================================

    Args:
        schema: the field's type, from :func:`decodable`, parsed by fastavro.
        named: definitions by full name.

    Returns:
        None for what no column can hold: records, maps, lists of lists, other unions.
    """
    branches = _branches(schema, named)
    if len(branches) == 1 and branches[0]["type"] == "array":
        item = _scalar(_branches(branches[0]["items"], named))
        return None if item is None else _list_of(item)
    return _scalar(branches)


def _branches(schema: Any, named: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a value may be, besides null."""
    options = schema if isinstance(schema, list) else [schema]
    plain = [option if isinstance(option, dict) else named.get(option, {"type": option}) for option in options]
    return [branch for branch in plain if branch["type"] != "null"]


def _scalar(branches: list[dict[str, Any]]) -> AvroType | None:
    if not branches:
        return AvroType(pa.null(), pa.null())
    if len(branches) > 1:
        return _united(branches)
    branch = branches[0]
    written, logical = branch.get("written", branch["type"]), branch.get("logical")
    if logical == "decimal" and written in ("bytes", "fixed") and isinstance(scale := branch["scale"], int):
        return AvroType(pa.string(), pa.string(), lambda value: _decimal_text(value, scale))
    if written not in _PLAIN:
        return None
    decoded = _PLAIN[written]
    return AvroType(decoded, _LOGICAL.get((written, logical), decoded))


def _united(branches: list[dict[str, Any]]) -> AvroType | None:
    """Several types in one field."""
    kinds = {branch.get("written", branch["type"]) for branch in branches}
    meant = {branch.get("logical") for branch in branches}
    if not kinds <= _UNITED or "decimal" in meant or any(key in _LOGICAL for key in _pairs(kinds, meant)):
        return None
    if kinds <= {"int", "long"}:
        return AvroType(pa.int64(), pa.int64())
    if kinds <= {"float", "double"}:
        return AvroType(pa.float64(), pa.float64())
    return AvroType(pa.binary(), pa.binary(), _text)


def _pairs(kinds: set[str], meant: set[Any]) -> list[tuple[str, Any]]:
    return [(kind, logical) for kind in kinds for logical in meant]


def _list_of(item: AvroType) -> AvroType:
    one = item.to_text
    each = None if one is None else lambda values: [None if value is None else one(value) for value in values]
    return AvroType(pa.list_(item.decoded), pa.list_(item.type), each)


def _text(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(value).encode()


def _decimal_text(value: bytes, scale: int) -> str:
    unscaled = int.from_bytes(value, "big", signed=True)
    digits = tuple(map(int, str(abs(unscaled))))
    return format(decimal.Decimal((int(unscaled < 0), digits, -scale)), "f")
