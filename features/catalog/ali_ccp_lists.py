r"""Ali-CCP's lists of features, ``field \x02 id \x03 value`` joined by ``\x01``: parsed as whole columns, no token by itself.

A batch of lists is one run of bytes. Where the separators stand says which rows are lists at all (their separators must follow each other
as 2, 3, 1, 2, 3, ...); without the separators the bytes are the parts one after the other, which Arrow casts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.columns import list_array
from features.logs.casting import numbers_in

NEXT, TO_ID, TO_VALUE = 1, 2, 3
"""The separators' codes: between two features, before an id, before a value."""
_ORDER = np.array([TO_ID, TO_VALUE, NEXT], dtype=np.uint8)
_PARTS = 3


@dataclass(frozen=True)
class ListedFeatures:
    """The features of a batch of rows, row after row; of refused rows there are none.

    Attributes:
        size: rows of the batch.
        rows: int64 (tokens,), the row of each feature.
        fields: int32 (tokens,), its field: a position among the fields that were asked for, -1 for another.
        ids: int64 (tokens,).
        values: float64 (tokens,).
        refused: object (rows,), why a row is refused; None where it is not.
    """

    size: int
    rows: NDArray[Any]
    fields: NDArray[Any]
    ids: NDArray[Any]
    values: NDArray[Any]
    refused: NDArray[Any]

    def one(self, field: int) -> tuple[pa.Array, pa.Array]:
        """Id (int64) and value (float32) of a field that a row has at most once; null where it has none."""
        of = self.fields == field
        at = self.rows[of]
        ids, values = np.zeros(self.size, dtype=np.int64), np.zeros(self.size)
        absent = np.ones(self.size, dtype=bool)
        ids[at], values[at], absent[at] = self.ids[of], self.values[of], False
        return pa.array(ids, mask=absent), pa.array(values.astype(np.float32), mask=absent)

    def total(self, field: int) -> pa.Array:
        """float32: the sum of a field's values; null where a row has none."""
        of = self.fields == field
        counts = np.bincount(self.rows[of], minlength=self.size)
        sums = np.bincount(self.rows[of], weights=self.values[of], minlength=self.size)
        return pa.array(sums.astype(np.float32), mask=counts == 0)

    def many(self, field: int) -> pa.Array:
        """list<int64>: all ids of a field, those of the largest value first, those of one value in their order; perhaps none."""
        of = np.flatnonzero(self.fields == field)
        of = of[np.lexsort((-self.values[of], self.rows[of]))]
        return list_array(pa.array(self.ids[of]), np.bincount(self.rows[of], minlength=self.size))


def parse(lists: pa.Array, counts: pa.Array, once: Sequence[str], often: Sequence[str] = ()) -> ListedFeatures:
    """Takes lists of features apart.

    Args:
        lists: string (n,); null is a list without features.
        counts: int64 (n,), the features that each list has by the file.
        once: fields that a row has once or not at all.
        often: fields that a row may have often. Positions in `ListedFeatures.fields` go on behind `once`.

    A row is refused if its list is none, if it has more or fewer features than its count, if an id is no integer or a value no finite
    number, or if a field of `once` stands twice. Fields that are not named are left out.
    """
    refusals = _Refusals(len(lists))
    texts = pc.fill_null(lists, "")
    separators = _Separators.of(texts)
    if (broken := separators.broken()).any():
        refusals.add(broken, "the list is not made of field \\x02 id \\x03 value, joined by \\x01")
        texts = pc.if_else(pa.array(broken), pa.scalar(""), texts)
        separators = _Separators.of(texts)
    parts, lengths = separators.parts()
    rows = np.repeat(np.arange(len(texts)), lengths)
    wanted = pa.array([*once, *often], pa.string())
    fields = pc.fill_null(pc.index_in(parts.take(_every(0, parts)), value_set=wanted), -1).to_numpy()
    ids, no_ids = numbers_in(parts.take(_every(1, parts)), "int64")
    values, no_values = numbers_in(parts.take(_every(2, parts)), "float32")

    refusals.add(
        pc.fill_null(counts, -1).to_numpy() != lengths, "the list has more or fewer features than feature_num says"
    )
    per_row = partial(np.bincount, minlength=len(texts))
    refusals.add(per_row(rows[no_ids]) > 0, "an id is no integer")
    refusals.add(per_row(rows[no_values]) > 0, "a value is no finite number")
    for position, name in enumerate(once):
        refusals.add(per_row(rows[fields == position]) > 1, f"field {name} stands twice")
    good = ~refusals.bad[rows]
    return ListedFeatures(len(texts), rows[good], fields[good], _filled(ids)[good], _filled(values)[good], refusals.why)


class _Refusals:
    """Why rows are refused, the first reason of each."""

    def __init__(self, size: int) -> None:
        self.bad = np.zeros(size, dtype=bool)
        self.why = np.full(size, None, dtype=object)

    def add(self, bad: NDArray[Any], why: str) -> None:
        self.why[bad & ~self.bad] = why
        self.bad |= bad


def _every(first: int, parts: pa.Array) -> pa.Array:
    return pa.array(np.arange(first, len(parts), _PARTS))


def _filled(numbers: pa.Array) -> NDArray[Any]:
    return np.asarray(pc.fill_null(numbers, 0).to_numpy())


@dataclass(frozen=True)
class _Separators:
    """Where in the bytes of a batch the separators stand.

    Attributes:
        data: uint8, all rows' bytes.
        begins: int64 (rows + 1,), where each row begins, and where the last ends.
        places: int64 (separators,), increasing.
        counts: int64 (rows,), separators of each row.
    """

    data: NDArray[Any]
    begins: NDArray[Any]
    places: NDArray[Any]
    counts: NDArray[Any]

    @classmethod
    def of(cls, texts: pa.Array) -> _Separators:
        """Finds them in a string array without nulls."""
        _, offsets, data = texts.buffers()
        begins = np.zeros(1, dtype=np.int64)
        if len(texts):
            begins = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(
                np.int64
            )
        codes = np.zeros(0, dtype=np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)
        codes, begins = codes[begins[0] : begins[-1]], begins - begins[0]
        places = np.flatnonzero(codes - np.uint8(1) < _PARTS)
        return cls(codes, begins, places, np.diff(np.searchsorted(places, begins)))

    def broken(self) -> NDArray[Any]:
        """bool (rows,): rows with bytes that are no lists."""
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        firsts = np.cumsum(self.counts) - self.counts
        order = (np.arange(len(self.places)) - firsts[rows]) % _PARTS
        wrong = np.bincount(rows[self.data[self.places] != _ORDER[order]], minlength=len(self.counts)) > 0
        return wrong | ((np.diff(self.begins) > 0) & (self.counts % _PARTS != _PARTS - 1))

    def parts(self) -> tuple[pa.Array, NDArray[Any]]:
        """What stands between the separators, three parts a feature, and the features of each row; where no row is broken."""
        filled = self.counts > 0
        # Where each part begins once the separators are gone: the first of a row, and those behind a separator.
        firsts = (self.begins[:-1] - (np.cumsum(self.counts) - self.counts))[filled]
        begins = np.sort(np.concatenate([firsts, self.places - np.arange(len(self.places))]), kind="stable")
        without = np.delete(self.data, self.places)
        offsets = np.append(begins, len(without)).astype(np.int32)
        parts = pa.StringArray.from_buffers(len(begins), pa.py_buffer(offsets), pa.py_buffer(without))
        return parts, np.where(filled, (self.counts + 1) // _PARTS, 0)
