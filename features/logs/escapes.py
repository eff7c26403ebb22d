"""Escape characters of CSV: which bytes of a file they take their meaning from."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.spec import Source

_LF, _CR = 10, 13


def over_lines(source: Source) -> bool:
    """Whether a row of CSV may go over several lines: what is quoted, and what is escaped, may be a line feed."""
    return source.format == "csv" and source.newlines_in_values and bool(source.quote or source.escape)


def without_meaning(data: bytes, source: Source) -> bytes:
    """The same bytes, but each escape and the byte behind it is a letter that neither ends nor quotes anything.

    Where rows are lines, a line feed ends its row whatever stands before it.

    Args:
        data: begins with a row.
        source: how it is written.
    """
    if not source.escape or (places := active(data, source)) is None:
        return data
    codes = np.frombuffer(data, dtype=np.uint8).copy()
    behind = places + 1
    behind = behind[behind < len(codes)]
    if not over_lines(source):
        behind = behind[codes[behind] != _LF]
    letter = next(ord(letter) for letter in "xyz" if letter not in (source.delimiter, source.quote))
    codes[places] = codes[behind] = letter
    return codes.tobytes()


def active(data: bytes, source: Source) -> NDArray[Any] | None:
    """Places of escapes that no other escapes: the first, third, .. of neighbours; None if there is none."""
    if source.escape.encode() not in data:
        return None
    places = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord(source.escape))
    firsts = np.flatnonzero(np.diff(places, prepend=-2) > 1)
    runs = np.diff(firsts, append=len(places))
    return places[(np.arange(len(places)) - np.repeat(firsts, runs)) & 1 == 0]


def open_at_end(data: bytes, ends: NDArray[Any], source: Source) -> NDArray[Any]:
    """Positions of the rows that end with an escape that has nothing behind it, but for a carriage return at the line's end: whether that
    ends the line or is escaped, nobody knows.

    Args:
        data: begins with a row.
        ends: int64 (rows,), offset of each row's line feed.
        source: how it is written.
    """
    if not source.escape or (places := active(data, source)) is None:
        return np.zeros(0, dtype=np.int64)
    lasts = ends - 1
    lasts -= np.frombuffer(data, dtype=np.uint8)[lasts] == _CR
    return np.flatnonzero(np.isin(lasts, places))


def with_nulls(data: bytes, source: Source) -> bytes:
    r"""The same rows, in which a field that is an escape and one letter, as ``\N`` of MySQL and Hive, has the escape twice.

    Only where `source.null_values` names it: the parser then leaves it as it is written, and not as ``N``.

    Args:
        data: whole rows.
        source: how it is written; what of its null values has the escape is that and one letter.
    """
    letters = [ord(text[1]) for text in source.null_values if source.escape in text]
    if not letters or (places := active(data, source)) is None:
        return data
    plain = without_meaning(data, source)
    codes = np.frombuffer(data + b"\n\n", dtype=np.uint8)
    structure = np.frombuffer(plain + b"\n\n", dtype=np.uint8)
    ends = np.isin(structure[places + 2], [_LF, _CR, ord(source.delimiter)])
    places = places[ends & np.isin(codes[places + 1], letters)]
    found = places[np.isin(places, _field_starts(plain, source))]
    return np.insert(codes[: len(data)], found, ord(source.escape)).tobytes()


def _field_starts(plain: bytes, source: Source) -> NDArray[Any]:
    """Offsets of all fields of whole rows without what is escaped. A quote elsewhere than at a field's beginning is a letter."""
    quote, delimiter = source.quote.encode(), source.delimiter.encode()
    if not quote or quote not in plain:
        breaks = np.isin(np.frombuffer(plain, dtype=np.uint8), [_LF, ord(delimiter)])
        return np.concatenate([[0], np.flatnonzero(breaks) + 1])
    field = b"(?:Q[^Q]*(?:QQ[^Q]*)*Q)?[^D\n]*(?:D|\n|$)".replace(b"Q", re.escape(quote)).replace(
        b"D", re.escape(delimiter)
    )
    return np.fromiter((match.start() for match in re.finditer(field, plain)), dtype=np.int64)
