"""A stable 63-bit number for every row of a log."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import DataError

_BITS = np.uint64(2**63 - 1)


def file_base(name: str) -> int:
    """Where a file's rows begin among the numbers 0 .. 2**63 - 1, before mixing: a hash of its name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def row_ids(name: str, rows: NDArray[Any]) -> NDArray[Any]:
    """Ids of rows of one file.

    Args:
        name: the file's name, relative to the data folder.
        rows: int64 (n,), 1-based row numbers.

    Returns:
        int64 (n,) in [0, 2**63): base of the file plus row number, mixed by a one-to-one function. So rows of one file
        never share an id, and rows of two files only if their ranges overlap (:func:`check_disjoint`).
    """
    return _mix((np.uint64(file_base(name)) + rows.astype(np.uint64)) & _BITS).astype(np.int64)


def _mix(values: NDArray[Any]) -> NDArray[Any]:
    """Bijection of 63-bit numbers: xor-shifts and products with odd numbers (the constants of splitmix64)."""
    values = values ^ (values >> np.uint64(30))
    values = (values * np.uint64(0xBF58476D1CE4E5B9)) & _BITS
    values = values ^ (values >> np.uint64(27))
    values = (values * np.uint64(0x94D049BB133111EB)) & _BITS
    return values ^ (values >> np.uint64(31))


def uniform(ids: NDArray[Any], seed: int, purpose: str = "split") -> NDArray[Any]:
    """A number in [0, 1) for each row id, independent for different seeds and purposes. Shape (n,), float64."""
    salt = int.from_bytes(hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=8).digest(), "big") >> 1
    mixed = _mix(_mix((ids.astype(np.uint64) + np.uint64(salt)) & _BITS))
    return (mixed >> np.uint64(10)).astype(np.float64) / float(2**53)


def check_disjoint(files: Iterable[tuple[str, int]]) -> None:
    """Makes sure that no two rows of a run share an id.

    Args:
        files: name and number of rows of each file.

    Raises:
        DataError: if the ranges of two files overlap (chance about files**2 * rows / 2**63); renaming one helps.
    """
    ranges = sorted((file_base(name), rows, name) for name, rows in files)
    for (base, rows, name), (following, _, other) in itertools.pairwise(ranges):
        if base + rows >= following:
            raise DataError(f"row ids of files '{name}' and '{other}' overlap; rename one of the files")
