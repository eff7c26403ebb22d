"""The items that each user clicked last."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.columns import list_array

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass
class RecentClicks:
    """A ring of item numbers for each user: memory is users x length, whatever the number of rows."""

    ring: npt.NDArray[np.int32]
    """(users, length) item row numbers."""
    count: Ints
    """(users,) clicks so far; the next one goes to ``ring[user, count % length]``."""

    @classmethod
    def empty(cls, users: int, length: int) -> RecentClicks:
        """Nobody has clicked yet."""
        return cls(np.zeros((users, length), np.int32), np.zeros(users, np.int64))

    def snapshot(self) -> RecentClicks:
        """A copy that later clicks do not change."""
        return RecentClicks(self.ring.copy(), self.count.copy())

    def add(self, user: Ints, item: Ints) -> None:
        """Appends clicks, given in the order of time."""
        if len(user) == 0:
            return
        order = np.argsort(user, kind="stable")
        who, what = user[order], item[order]
        first = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
        clicks = np.diff(np.r_[first, len(who)])
        rank = np.arange(len(who)) - np.repeat(first, clicks)
        length = self.ring.shape[1]
        # Only a user's last `length` clicks of the batch: no slot is written twice.
        kept = rank >= np.repeat(clicks, clicks) - length
        slot = (self.count[who] + rank) % length
        self.ring[who[kept], slot[kept]] = what[kept]
        self.count[who[first]] += clicks

    def of(self, user: Ints) -> pa.Array:
        """list<int64> of the users' items' ids (row number plus 1), oldest first; null for who never clicked."""
        length = self.ring.shape[1]
        size = np.minimum(self.count[user], length)
        ages = np.arange(length)
        slot = (self.count[user][:, None] - size[:, None] + ages) % length
        values = np.take_along_axis(self.ring[user], slot, axis=1)[ages < size[:, None]].astype(np.int64) + 1
        # No list instead of an empty one: CSV cannot tell them apart.
        return list_array(pa.array(values, pa.int64()), size, size == 0)
