"""How often each token of a column occurs: exactly, or in bounded memory with a bound on the error.

Bounded counts are the mergeable summary of Misra and Gries (Finding repeated elements, Science of Computer Programming 2, 1982)
in the form of Agarwal et al. (Mergeable Summaries, PODS 2012): parts are added up, and where more tokens are held than may be, the
count of the (counters + 1)-th most frequent is taken from all and those of none left are dropped. Each time at least
``counters + 1`` counts lose as much, so what all counts lack together, and so the error of any one, is at most ``tokens / (counters + 1)``,
in whatever order parts are merged. Rows of a batch are counted by Arrow, so that Python sees no single token (of Apache DataSketches'
Python module, the library for this, an update is a call a token and takes texts alone).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from features.errors import DataError
from features.frozen import Frozen

TOKEN, COUNT = "token", "count"
_MOST_BYTES = 2**31 - 1
"""Arrow's texts have offsets of 32 bits."""


class CountBound(Frozen):
    """How far a vocabulary can be trusted that was counted in bounded memory."""

    tokens: int
    """Values of the column that were counted."""
    error: int
    """A token's count is at most so much too low."""
    kept: int
    """Tokens of the vocabulary."""
    certain: int
    """Of these, tokens at least as frequent as any that was left out, whatever the counts lack."""

    def told(self, name: str) -> str:
        """In words.

        Args:
            name: the vocabulary's.
        """
        if not self.error:
            return f"{name}: {self.tokens:,} values counted exactly, {self.kept:,} tokens kept"
        return (
            f"{name}: counts of {self.tokens:,} values are at most {self.error:,} too low; {self.certain:,} of {self.kept:,} kept tokens are "
            "certainly among the most frequent"
        )


@dataclasses.dataclass
class TokenCounts:
    """Counts of a part of a column; parts add up.

    Attributes:
        counters: tokens that are left where there are more than twice as many; None: all, exactly.
        tables: of ``token`` (int64 or binary) and ``count``; a token may be in several, none but the first is long.
        tokens: how many were counted.
        error: a count is at most so much too low, and never too high; a token in no table occurred at most so often.
    """

    counters: int | None
    tables: list[pa.Table]
    tokens: int = 0
    error: int = 0

    @classmethod
    def of(cls, tokens: pa.Array, counters: int | None) -> TokenCounts:
        """Counts of a batch.

        Args:
            tokens: int64 or binary, without nulls.
            counters: see the class.
        """
        counted = tokens.value_counts()
        table = pa.table({TOKEN: counted.field("values"), COUNT: counted.field("counts")})
        return cls(counters, [table], len(tokens))

    def add(self, other: TokenCounts) -> None:
        """Adds counts of other rows; merges where what was added has grown as long as what was merged before.

        Raises:
            DataError: see :meth:`table`.
        """
        self.tables += other.tables
        self.tokens += other.tokens
        self.error += other.error
        longest = self.tables[0].num_rows
        if sum(table.num_rows for table in self.tables[1:]) > min(longest, self.counters or longest):
            self._merge()

    def table(self) -> pa.Table:
        """All counts, a token in one row.

        Raises:
            DataError: if the distinct tokens' texts take more than 2 GiB.
        """
        self._merge()
        return self.tables[0]

    def _merge(self) -> None:
        # Of no rows pyarrow's group_by makes buffers of any size: gigabytes at times.
        self.tables = [table for table in self.tables if table.num_rows] or self.tables[:1]
        if len(self.tables) > 1:
            together = pa.concat_tables(self.tables)
            _check_bytes(together)
            summed = together.group_by(TOKEN).aggregate([(COUNT, "sum")])
            self.tables = [pa.table({TOKEN: summed[TOKEN], COUNT: summed[f"{COUNT}_sum"]}).combine_chunks()]
        if self.counters is not None and self.tables[0].num_rows > 2 * self.counters:
            self._prune(self.counters)

    def _prune(self, counters: int) -> None:
        counts = self.tables[0][COUNT].to_numpy()
        place = len(counts) - counters - 1
        lost = int(np.partition(counts, place)[place])
        kept = counts > lost
        tokens = self.tables[0][TOKEN].filter(pa.array(kept))
        self.tables = [pa.table({TOKEN: tokens, COUNT: counts[kept] - lost}).combine_chunks()]
        self.error += lost


def _check_bytes(table: pa.Table) -> None:
    if not pa.types.is_integer(table.schema.field(TOKEN).type) and table[TOKEN].nbytes > _MOST_BYTES:
        raise DataError(
            f"{table.num_rows:,} tokens of a vocabulary take {table[TOKEN].nbytes:,} bytes as they are counted; allowed: {_MOST_BYTES:,}; "
            "count in bounded memory (`vocabulary: {top_k: .., counted_tokens: ..}`), or not at all (`hash_buckets`)"
        )
