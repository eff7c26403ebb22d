"""From the values of key columns to rows of a table, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import DataError


class KeyIndex:
    """A hash index over one or several key columns (int64 or string)."""

    def __init__(self, keys: Sequence[pa.ChunkedArray]) -> None:
        """Builds the index.

        Raises:
            DataError: if the key columns have too many distinct values to number their combinations in 63 bits.
        """
        self._uniques = [pd.Index(_numpy(pc.unique(key))) for key in keys] if len(keys) > 1 else []
        sizes = [max(len(unique), 1) for unique in self._uniques]
        if float(np.prod([float(size) for size in sizes])) >= 2**63:
            raise DataError(f"a composite key of {sizes} distinct values a column is too large to index")
        self._rows = pd.Index(self._codes(keys)) if len(keys) > 1 else None
        if self._rows is None:
            self._single = pd.Index(_numpy(keys[0]))
        self.is_unique = bool(self._single.is_unique if self._rows is None else self._rows.is_unique)

    def _codes(self, keys: Sequence[Any]) -> NDArray[Any]:
        codes = np.zeros(len(keys[0]), dtype=np.int64)
        known = np.ones(len(keys[0]), dtype=bool)
        for unique, key in zip(self._uniques, keys, strict=True):
            found = _find(unique, key)
            known &= found >= 0
            codes = codes * max(len(unique), 1) + np.maximum(found, 0)
        return np.where(known, codes, -1)

    def find(self, keys: Sequence[pa.Array]) -> NDArray[Any]:
        """Row of each key, -1 where there is none or a part of the key is null. Shape (n,), int64."""
        if self._rows is None:
            return _find(self._single, keys[0])
        return np.asarray(self._rows.get_indexer(pd.Index(self._codes(keys))), dtype=np.int64)

    def duplicates(self) -> NDArray[Any]:
        """Rows whose key stood in an earlier row."""
        return np.flatnonzero((self._single if self._rows is None else self._rows).duplicated())


def _numpy(values: Any) -> NDArray[Any]:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _find(index: Any, values: Any) -> NDArray[Any]:
    """Position in `index`; each distinct value is looked up once, since texts are slow to hash in pandas."""
    encoded = pc.dictionary_encode(values)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
        encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    places = index.get_indexer(pd.Index(_numpy(encoded.dictionary)))
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(places, -1)[codes], dtype=np.int64)
