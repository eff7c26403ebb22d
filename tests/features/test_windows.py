"""A window of days: which days it means, whose files are read, and what an unfinished day does."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import spec
from features.errors import DataError
from features.logs import fingerprint, resolve, resolve_log
from features.logs.files import find_files
from features.spec import Dataset, Source, TimeColumn, TimeSplit, WindowSplit
from tests.features.logs.small_log import dataset, read, write

DATE = datetime.date.fromisoformat
GOOD = "7,8,1.5,ann,3|4,{:%Y%m%d},1,0,1"


def day_of(day: int) -> datetime.date:
    return datetime.date(2024, 1, day)


def test_the_days_of_a_window_end_yesterday() -> None:
    split = WindowSplit(train=3, validation=2).seen_from(DATE("2024-03-03"))
    assert split == TimeSplit(
        train=(DATE("2024-02-26"), DATE("2024-02-28")),
        validation=(DATE("2024-02-29"), DATE("2024-03-01")),
        test=(DATE("2024-03-02"), DATE("2024-03-02")),
    )
    assert WindowSplit(train=1, until="today").seen_from(DATE("2024-03-03")).test[1] == DATE("2024-03-03")
    assert WindowSplit(train=1, until=DATE("2020-01-05")).seen_from(DATE("2024-03-03")).train[0] == DATE("2020-01-03")


@given(st.dates(datetime.date(1990, 1, 1)), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_the_parts_of_a_window_follow_each_other(today: datetime.date, train: int, validation: int, test: int) -> None:
    split = WindowSplit(train=train, validation=validation, test=test).seen_from(today)
    days = split.days()
    assert days == sorted({today - datetime.timedelta(days=back) for back in range(1, train + validation + test + 1)})
    assert [(last - first).days + 1 for first, last in (split.train, split.validation, split.test)] == [
        train,
        validation,
        test,
    ]


@pytest.mark.parametrize(("hours", "expected"), [(0, "2024-01-09"), (8, "2024-01-10"), (-12, "2024-01-09")])
def test_a_spec_holds_the_days_that_its_window_means(
    hours: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def today(offset: float) -> datetime.date:
        asked.append(offset)
        return (datetime.datetime(2024, 1, 10, 20) + datetime.timedelta(hours=offset)).date()

    monkeypatch.setattr(spec, "today", today)
    time = TimeColumn(column="day", unit="yyyymmdd", utc_offset_hours=hours)
    found = dataset(time=time, split={"by": "window", "train": 2})
    assert isinstance(found.split, TimeSplit)
    assert found.split.test == (DATE(expected), DATE(expected))
    assert asked == [hours]
    assert Dataset.model_validate_json(found.model_dump_json()) == found
    assert len(asked) == 1  # a saved spec has days


def test_a_window_without_its_days_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="train"):
        dataset(split={"by": "window"})
    with pytest.raises(pydantic.ValidationError, match="until"):
        dataset(split={"by": "window", "train": 2, "until": "tomorrow"})


# -- files by day ------------------------------------------------------------------------------------------------------


def by_day(path: Path, days: list[int], success: list[int] | None = None) -> Path:
    for day in days:
        folder = path / f"dt={day_of(day)}"
        folder.mkdir()
        write(folder, *[GOOD.format(day_of(day))] * day, name="part.csv")
        if day in (days if success is None else success):
            (folder / "_SUCCESS").touch()
    return path


def daily(pattern: str = "dt={day}/*.csv", **settings: Any) -> Dataset:
    return dataset(source=Source(files=pattern, **settings))


def test_only_the_files_of_the_days_are_read(tmp_path: Path) -> None:
    rows, bad = read(daily(), by_day(tmp_path, [1, 2, 3, 4, 5, 9]))
    assert bad == []
    assert rows.num_rows == 1 + 2 + 3 + 4
    assert resolve_log(daily(), str(tmp_path)) == [
        str(tmp_path / f"dt={day_of(day)}" / "part.csv") for day in (1, 2, 3, 4)
    ]
    assert len(resolve(daily().source, str(tmp_path))) == 6  # of any day, for scoring
    before = fingerprint(daily(), str(tmp_path))
    (tmp_path / "dt=2024-01-09" / "late.csv").write_text("x")
    assert fingerprint(daily(), str(tmp_path)) == before
    (tmp_path / "dt=2024-01-04" / "late.csv").write_text("x")
    assert fingerprint(daily(), str(tmp_path)) != before


def test_what_writers_keep_for_themselves_is_no_log(tmp_path: Path) -> None:
    """As Spark and Hadoop pass over it; a pattern may name it."""
    folder = by_day(tmp_path, [1, 2, 3, 4]) / "dt=2024-01-01"
    for name in ("_temporary/0/part.csv", ".part.csv.crc", "_day=1/part.csv", "_kept/more.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")

    def found(pattern: str) -> list[str]:
        return [file.removeprefix(f"{folder}/") for file in find_files(f"{folder}/{pattern}")]

    assert found("*") == ["part.csv"]
    assert found("**") == ["_day=1/part.csv", "part.csv"]
    assert found("_SUCCESS") == ["_SUCCESS"]
    assert found("_k*/*") == ["_kept/more.csv"]
    assert found("_temporary/**") == ["_temporary/0/part.csv"]
    assert found(".*.crc") == [".part.csv.crc"]
    assert len(resolve_log(daily("dt={day}/*"), str(tmp_path))) == 4
    assert find_files(f"{folder}/_kept/*") == [f"{folder}/_kept/more.csv"]


def test_days_may_be_written_otherwise(tmp_path: Path) -> None:
    for day in (1, 2, 3, 4):
        write(tmp_path, GOOD.format(day_of(day)), name=f"log_{day_of(day):%Y%m%d}_0.csv")
    write(tmp_path, "nothing", name="log_20240105_0.csv")
    assert read(daily("log_{day:%Y%m%d}_*.csv"), tmp_path)[0].num_rows == 4


def test_missing_days_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file matches 'dt=2024-01-02/\*.csv', 'dt=2024-01-04/\*.csv' in"):
        resolve_log(daily(), str(by_day(tmp_path, [1, 3])))


def test_days_that_are_not_complete_are_named(tmp_path: Path) -> None:
    marked = daily(success="dt={day}/_SUCCESS")
    by_day(tmp_path, [1, 2, 3, 4], success=[1, 3])
    with pytest.raises(
        DataError,
        match=r"2 of the 4 days are not complete: .* lacks dt=2024-01-02/_SUCCESS, dt=2024-01-04/_SUCCESS .*; allowed: .*dataset.split.until",
    ):
        resolve_log(marked, str(tmp_path))
    for day in (2, 4):
        (tmp_path / f"dt={day_of(day)}" / "_SUCCESS").touch()
    assert len(resolve_log(marked, str(tmp_path))) == 4


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"files": "dt={day/x.csv"}, "is no path of a day"),
        (
            {"files": "{day}/{hour}.csv"},
            "'{day}/{hour}.csv' is no path of a day ('hour' in braces); allowed in braces: {day}",
        ),
        ({"files": "{day!r}.csv"}, "('day!r' in braces); allowed in braces: {day}, {day:%Y%m%d}"),
        ({"files": "{day.year}.csv"}, "('day.year' in braces)"),
        ({"files": "{day:%Q}.csv"}, "('day:%Q' in braces)"),
        ({"files": "{day:%Y%}.csv"}, "('day:%Y%' in braces)"),
        ({"files": "{day:{day}}.csv"}, "('day:{day}' in braces)"),
        ({"files": "a.csv", "success": "{day}/_SUCCESS"}, "marks days: allowed with {day} in it and in `files`"),
        ({"files": "{day}.csv", "success": "_SUCCESS"}, "marks days: allowed with {day} in it and in `files`"),
    ],
)
def test_paths_that_are_none_of_a_day(source: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Source.model_validate(source)
    assert said in str(caught.value)


@pytest.mark.parametrize(("hours", "fits"), [(-14, True), (5.5, True), (14, True), (14.5, False), (-800, False)])
def test_zones_are_those_of_the_earth(hours: float, fits: bool) -> None:
    if fits:
        assert TimeColumn(column="day", utc_offset_hours=hours).utc_offset_hours == hours
    else:
        with pytest.raises(pydantic.ValidationError, match="utc_offset_hours"):
            dataset(time={"column": "day", "unit": "s", "utc_offset_hours": hours}, split={"by": "window", "train": 2})


def test_days_need_a_split_by_time() -> None:
    with pytest.raises(pydantic.ValidationError, match="a random split has no days"):
        dataset(source=Source(files="{day}.csv"), split="random")
    with pytest.raises(pydantic.ValidationError, match="table 'users' has files by day"):
        dataset(tables={"users": {"source": "{day}.csv", "on": "user", "columns": {"user": "int64"}}})
