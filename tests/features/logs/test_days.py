"""Days of times, beside Python's own calendar."""

import datetime

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.logs.days import days
from features.logs.quarantine import Faults, RawBatch
from features.spec import TimeColumn

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_YEAR_1, _YEAR_9999 = -62_135_596_800, 253_402_300_799
_NEAR = st.lists(st.integers(1_700_000_000, 1_700_300_000), min_size=1, max_size=60)
_FAR = st.lists(st.integers(_YEAR_1, _YEAR_9999), min_size=1, max_size=20)
_NONE = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)


@given(seconds=_NEAR | _FAR | _NONE)
def test_days_are_those_of_the_calendar(seconds: list[int | None]) -> None:
    numbers = np.arange(len(seconds))
    faults = Faults(RawBatch("log", {}, numbers, numbers, lambda _: ""))
    found = days(TimeColumn(column="time", unit="s"), pa.array(seconds, pa.int64()), faults)
    assert found.to_pylist() == [_day(second) for second in seconds]
    assert faults.bad.tolist() == [_day(second) is None for second in seconds]


def _day(second: int | None) -> int | None:
    if second is None or not _YEAR_1 <= second <= _YEAR_9999:
        return None
    day = _EPOCH + datetime.timedelta(seconds=second)
    return day.year * 10_000 + day.month * 100 + day.day
