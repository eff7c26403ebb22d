"""Fields between delimiters of several characters, which no CSV parser at hand knows; nothing is quoted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def lines_of(data: bytes) -> pa.Array:
    """Lines, each of which ends with a line feed, without it and a carriage return before it: binary (lines,)."""
    text = pa.array([data.replace(b"\r\n", b"\n").removesuffix(b"\n")], pa.binary())
    return pc.list_flatten(pc.split_pattern(text, "\n"))


def split_fields(lines: pa.Array, delimiter: str, width: int, positions: Mapping[str, int]) -> pa.Table | None:
    """Cuts lines at each delimiter, from the left: ``a:::b`` is ``a`` and ``:b`` with delimiter ``::``.

    Args:
        lines: binary (n,), without nulls.
        delimiter: of any length.
        width: fields of a line.
        positions: by name, which field is wanted.

    Returns:
        n rows of binary columns; None if a line has more or fewer fields.
    """
    fields = pc.split_pattern(lines, delimiter)
    if not pc.all(pc.equal(pc.list_value_length(fields), width), min_count=0).as_py():
        return None
    flat = pc.list_flatten(fields)
    firsts = np.arange(0, len(flat), width)
    return pa.table({name: flat.take(pa.array(firsts + at)) for name, at in positions.items()})
