"""An Avro schema, read once: how its rows are decoded, and which columns they have."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastavro import parse_schema

from features.errors import DataError
from features.logs.avro_types import AvroType, arrow_type, decodable
from features.logs.columnar import wanted_columns
from features.logs.quarantine import text


class AvroSchema(NamedTuple):
    """What rows of a schema hold.

    Attributes:
        row: for fastavro.
        types: field to how it is read; None if no column can hold it.
        written: field to its Avro type as the schema has it.
    """

    row: Any
    types: Mapping[str, AvroType | None]
    written: Mapping[str, Any]


def parsed_schema(schema: Any, others: Sequence[Any] = ()) -> AvroSchema:
    """Reads a schema; one that is no record has no fields.

    Args:
        schema: of a row, as JSON gives it.
        others: schemas whose types it names, each before those that name its own.

    Raises:
        Exception: whatever fastavro makes of what is no schema (`features.logs.avro_reader`).
    """
    named: dict[str, Any] = {}
    for other in others:
        parse_schema(decodable(other), named)
    row: Any = parse_schema(decodable(schema), named)
    fields = row["fields"] if isinstance(row, dict) and row["type"] == "record" else []
    return AvroSchema(
        row,
        {field["name"]: arrow_type(field["type"], named) for field in fields},
        {field["name"]: field["written"] for field in fields},
    )


def column_types(
    name: str, schema: AvroSchema, columns: Iterable[str], optional: Collection[str]
) -> dict[str, AvroType]:
    """How the wanted columns are read.

    Args:
        name: of what is read, for messages.
        schema: of its rows.
        columns: columns to read.
        optional: those of `columns` that it may lack.

    Raises:
        DataError: if a column that is not optional is missing, or no column can hold a field's type.
    """
    types: dict[str, AvroType] = {}
    for column in wanted_columns(name, schema.types, columns, optional):
        if (known := schema.types[column]) is None:
            raise DataError(
                f"{name}: field '{column}' is {text(json.dumps(schema.written[column]))} in the file; allowed: booleans, "
                "numbers, text, enums, dates, timestamps, decimals, arrays of these, unions of these with null, unions of "
                "booleans, numbers, text and enums"
            )
        types[column] = known
    return types
