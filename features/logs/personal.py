"""Personal data: keyed hashes in the place of values, and dead letters that hold none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.columns import list_array
from features.errors import ConfigError
from features.spec import Column, Columns, Dataset

KEY_BYTES = (16, 64)
"""Fewest and most bytes of a key."""
WITHHELD = "(withheld: the row has personal columns)"
"""Stands in dead letters for the text of such a row."""
WITHHELD_ID = "an id (withheld: its column is personal)"
"""Stands in messages for a value of such a column."""


class Pseudonyms:
    """Keyed hashes (BLAKE2b): equal values stay equal, in every column, and without the key nobody can try out values.

    A text becomes 32 hexadecimal digits (128 bits), an integer a number in [0, 2^63): of 10 million users two share one with a
    probability of 5e-6. An integer hashes as its decimal text. Missing values stay missing.

    Args:
        key: 16 to 64 bytes. Another key gives other hashes, which no model knows.

    Raises:
        ConfigError: if the key is shorter or longer.

    Example:
        >>> key = Pseudonyms(b"sixteen bytes or")
        >>> key.text("ann") == key.text("ann"), key.text("ann") == key.text("bob")
        (True, False)
    """

    def __init__(self, key: bytes) -> None:
        fewest, most = KEY_BYTES
        if not fewest <= len(key) <= most:
            raise ConfigError(f"the key of hashes has {len(key)} bytes; allowed: {fewest} to {most}")
        self._key = key

    @classmethod
    def read(cls, file: str | Path) -> Pseudonyms:
        """With the key that a file holds; blanks and line ends around it do not count.

        Raises:
            ConfigError: if the file cannot be read, or its key is too short or too long.
        """
        try:
            key = Path(file).read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"cannot read the key of hashes {file}: {error.strerror}") from error
        try:
            return cls(key)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error

    def text(self, value: str) -> str:
        """What stands for a text."""
        return hashlib.blake2b(value.encode(), digest_size=16, key=self._key).hexdigest()

    def number(self, value: int) -> int:
        """What stands for an integer."""
        digest = hashlib.blake2b(str(value).encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") >> 1

    def fingerprint(self) -> str:
        """Tells keys apart, and says nothing of them."""
        return self.text("feedrank")

    def of(self, values: pa.Array) -> pa.Array:
        """An array of int64, string or lists of them, each value hashed; each distinct one once."""
        if pa.types.is_list(values.type):
            lengths = np.asarray(pc.fill_null(pc.list_value_length(values), 0))
            missing = np.asarray(pc.is_null(values).to_numpy(zero_copy_only=False))
            return list_array(self.of(values.flatten()), lengths, missing)
        encoded = values.dictionary_encode()
        hashed = self.number if pa.types.is_int64(values.type) else self.text
        found = pa.array([hashed(value) for value in encoded.dictionary.to_pylist()], values.type)
        return found.take(encoded.indices)


def pseudonyms_of(dataset: Dataset, key_file: str | None) -> Pseudonyms | None:
    """What hashes the personal columns of a log and its tables; None if it has none.

    Raises:
        ConfigError: if there are some and no key, or the key cannot be read.
    """
    actions = [] if dataset.actions is None else [dataset.actions.columns]
    parts = [dataset.columns, *actions, *(table.columns for table in dataset.tables.values())]
    hashed = sorted({name for columns in parts for name, column in columns.items() if column.personal == "hash"})
    if not hashed:
        return None
    if key_file is None:
        raise ConfigError(
            f"{', '.join(hashed)} of '{dataset.name}' are hashed (`personal: hash`), and no key was given; allowed: a file with "
            f"{KEY_BYTES[0]} to {KEY_BYTES[1]} bytes (data.hash_key, or --hash-key)"
        )
    return Pseudonyms.read(key_file)


def hashed(values: pa.Array, column: Column, pseudonyms: Pseudonyms | None) -> pa.Array:
    """Typed values of a column as they are kept: hashed if it says so.

    Raises:
        ConfigError: if they are to be hashed and there is no key.
    """
    if column.personal != "hash":
        return values
    if pseudonyms is None:
        raise ConfigError("a column is hashed (`personal: hash`), and no key was given")
    return pseudonyms.of(values)


def without_personal(letters: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
    """Dead letters (`features.logs.quarantine.SCHEMA`) of rows with personal columns: without their text and those columns' values."""
    personal = [name for name, column in columns.items() if column.personal is not None]
    if not personal:
        return letters
    arrays = dict(zip(letters.schema.names, letters.columns, strict=True))
    is_told = pc.or_(
        pc.is_in(arrays["column"], value_set=pa.array(personal, pa.string())), pc.equal(arrays["reason"], "refused")
    )
    withheld = pa.array([WITHHELD] * letters.num_rows, pa.string())
    arrays |= {"raw": withheld, "value": pc.if_else(is_told, WITHHELD, arrays["value"])}
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=letters.schema)
