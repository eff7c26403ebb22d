"""Hashes of whole rows, the same in every process: by them rows with equal values come together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_KEYS = ("feedrank 1st key", "feedrank 2nd key")
"""Of the two hashes; 16 bytes each."""
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_MISSING, _LIST = np.uint64(0x165667B19E3779F9), np.uint64(0x27D4EB2F165667C5)


def row_hashes(columns: Sequence[pa.Array], which: int = 0) -> NDArray[Any]:
    """One of two independent hashes of each row's values, missing ones among them; uint64 (n,).

    Args:
        columns: of any of the spec's types, length n each.
        which: 0 or 1.
    """
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        of_column = _of_lists(column, which) if pa.types.is_list(column.type) else _of_values(column, which)
        total = _mixed((total ^ of_column) * _ODD[which])
    return total


def value_ids(columns: Sequence[pa.Array]) -> NDArray[Any]:
    """A number of each row that depends on its values alone, wherever it stands; int64 (n,) in [0, 2**63). Arguments as of :func:`row_hashes`."""
    return (row_hashes(columns) >> np.uint64(1)).astype(np.int64)


def _mixed(values: NDArray[Any]) -> NDArray[Any]:
    return values ^ (values >> np.uint64(29))


def _of_values(column: pa.Array, which: int) -> NDArray[Any]:
    """-0.0 equals 0.0; a missing value equals a missing one."""
    if pa.types.is_floating(column.type):
        numbers = pc.fill_null(column, 0).to_numpy(zero_copy_only=False) + np.float32(0)
        missing = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))
        column = pa.array(numbers.view(np.int32).astype(np.int64), mask=missing)
    encoded = column.dictionary_encode()
    distinct = encoded.dictionary.to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        hashed = pd.util.hash_array(distinct, hash_key=_KEYS[which], categorize=False)
    else:
        hashed = _mixed(_mixed(distinct.view(np.uint64) * _ODD[which] + _LIST) * _ODD[1 - which])
    return np.append(hashed, _MISSING)[encoded.indices.fill_null(-1).to_numpy()]


def _of_lists(column: pa.Array, which: int) -> NDArray[Any]:
    """A polynomial of the elements' hashes, and the length; a missing list equals a missing one alone."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    elements = _of_values(pc.list_flatten(column), which)
    counts = np.maximum(lengths, 0)
    begins = np.cumsum(counts) - counts
    powers = np.cumprod(np.full(int(counts.max(initial=0)) + 1, _ODD[1 - which]))
    rows = np.repeat(np.arange(len(counts)), counts)
    terms = elements * powers[np.arange(len(elements)) - begins[rows]]
    sums = np.append(np.uint64(0), np.cumsum(terms))  # wraps around, as does the difference
    return _mixed(((sums[begins + counts] - sums[begins]) ^ lengths.astype(np.uint64) * _LIST) * _ODD[which])
