"""Times as numbers that can be compared: microseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.logs.days import text_times
from features.logs.quarantine import Faults
from features.sources import TICKS
from features.spec import TimeColumn

MICROSECONDS = TICKS["us"]
"""Of a second."""
_LATEST = 253_402_300_800 * MICROSECONDS
"""The end of the year 9999; times are taken from there to as far before 1970."""


def instants(time: TimeColumn, values: pa.Array, faults: Faults) -> NDArray[Any]:
    """Microseconds since 1970-01-01 UTC; int64 (n,), 0 where there is no time.

    Args:
        time: the unit; an offset from UTC says when days begin, and moves no time.
        values: the time column, int64 or string.
        faults: gets ``bad_time`` where there is no time, or one beyond the year 9999 (in texts: beyond the years 1678..2261).
    """
    if time.unit == "iso8601":
        found, ok = text_times(values, "us")
    else:
        ticks = pc.fill_null(values, 0).to_numpy()
        factor = MICROSECONDS // TICKS[time.unit]
        ok = np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False)) & (
            np.abs(np.maximum(ticks, -(2**62))) < _LATEST // factor
        )
        found = np.where(ok, ticks, 0) * factor
    faults.mark(~ok, "bad_time", time.column, values)
    return np.asarray(np.where(ok, found, 0), dtype=np.int64)
