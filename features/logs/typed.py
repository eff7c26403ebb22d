"""A source's columns as the spec types them, without what ingest adds to them."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from features.logs.casting import cast_column
from features.logs.personal import Pseudonyms, hashed
from features.logs.quarantine import Faults, RawBatch
from features.spec import Columns, Source, TimeColumn


class TypedSource(NamedTuple):
    """What is kept of a source, and how it is read.

    Attributes:
        source: how the files are written.
        columns: the columns that are kept.
        time: says how dates and timestamps of its column are read.
        pseudonyms: for columns that are hashed.
    """

    source: Source
    columns: Columns
    time: TimeColumn | None
    pseudonyms: Pseudonyms | None


def typed(raw: RawBatch, kept: TypedSource, faults: Faults) -> dict[str, pa.Array]:
    """The columns of a batch, null where the file has none; hashed where the spec says so.

    Args:
        raw: as it was read.
        kept: what of it.
        faults: gets what `features.logs.casting.cast_column` finds.
    """
    columns = {}
    for name, column in kept.columns.items():
        values = raw.columns.get(name, pa.nulls(len(raw.rows)))
        unit = kept.time.unit if kept.time is not None and name == kept.time.column else None
        columns[name] = hashed(cast_column(name, column, values, kept.source, faults, unit), column, kept.pseudonyms)
    return columns
