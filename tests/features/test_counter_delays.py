"""Which counters wait for labels that actions give, how long, and which days of both logs they read."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from features.errors import DataError
from features.logs import fingerprint
from features.logs.files import ActionFiles, EarlierFiles, resolve_actions, resolve_earlier
from features.spec import Dataset

LABELS = {
    "clicked": {"column": "action", "equals": "click"},
    "played": {"column": "ms", "take": "sum"},
    "times": {"take": "count"},
    "opening": {"column": "ms", "take": "first"},
    "rated": {"column": "ms", "take": "max", "otherwise": 0},
}
COLUMNS = dict.fromkeys(["user", "item", "time", "length", "seen"], "int64")


def counter(of: str | None = None, **settings: Any) -> dict[str, Any]:
    column = f"n_{of}"
    return {"by": "item", "days": 2, "columns": {column: "count" if of is None else {"of": of}}} | settings


def spec(window: str = "24h", **changes: Any) -> Dataset:
    actions = {
        "source": "actions.csv",
        "columns": {"user": "int64", "item": "int64", "at": "int64", "action": "string", "ms": "int64"},
        "on": ["user", "item"],
        "time": "at",
        "window": window,
        "labels": LABELS,
    }
    dataset = {
        "name": "feed",
        "source": "log.csv",
        "columns": COLUMNS,
        "time": "time",
        "actions": actions | changes.pop("actions", {}),
        "counters": {"clicks": counter("clicked"), "shown": counter()},
        "features": {"item": "id"},
        "tasks": {"click": "clicked"},
        "split": {"train": "2024-01-04", "validation": "2024-01-05", "test": "2024-01-06"},
    }
    return Dataset.model_validate(dataset | changes)


def delays(dataset: Dataset) -> dict[str, int]:
    return {name: counter.delay_days for name, counter in dataset.delayed_counters().items()}


@pytest.mark.parametrize(
    ("window", "days"),
    [("1s", 1), ("30m", 1), ("24h", 1), ("86399.999999s", 1), ("86400.000001s", 2), ("25h", 2), ("48h", 2), ("7d", 7)],
)
def test_a_counter_of_actions_leaves_out_the_days_that_the_window_reaches_into(window: str, days: int) -> None:
    assert delays(spec(window)) == {"clicks": days, "shown": 0}
    actions = spec(window).actions
    assert actions is not None
    latest = 86_400 - 1e-6 + actions.window  # seconds from the beginning of an impression's day to its last action
    assert latest < (1 + days) * 86_400


def test_more_days_may_be_left_out() -> None:
    counters = {"one": counter("clicked", delay_days=1), "five": counter("times", delay_days=5), "shown": counter()}
    found = spec("36h", counters=counters)
    assert delays(found) == {"one": 2, "five": 5, "shown": 0}
    assert found.counters["one"].delay_days == 1  # what the spec says stays as it was said
    assert found.counted_days() == (datetime.date(2023, 12, 28), datetime.date(2024, 1, 6))


def test_a_rate_has_rows_and_clicks_of_the_same_days() -> None:
    columns = {"shown": "count", "rate": {"take": "rate", "of": "clicked"}, "unseen": "days_since"}
    assert delays(spec(counters={"mixed": counter() | {"columns": columns}})) == {"mixed": 1}


def test_what_the_log_itself_says_does_not_wait() -> None:
    assert delays(spec(counters={"seen": counter("seen")})) == {"seen": 0}
    derived = [{"function": "m:f", "inputs": ["length"], "outputs": {"long": "int64"}}]
    assert delays(spec(counters={"long": counter("long")}, derived=derived)) == {"long": 0}


def test_what_is_made_of_actions_waits() -> None:
    derived = [{"function": "m:f", "inputs": ["length", "played"], "outputs": {"share": "float32"}}]
    assert delays(spec(counters={"shares": counter("share")}, derived=derived)) == {"shares": 1}


@pytest.mark.parametrize(
    ("changes", "is_waited"),
    [
        ({"tasks": {"click": "clicked", "watch": {"label": "played", "kind": "regression"}}}, False),
        ({"tasks": {"often": {"label": "times", "positive": [2, 3]}}}, False),
        ({"tasks": {"watch": {"label": "rated", "kind": "regression"}}}, False),
        ({"tasks": {"often": "times"}}, True),  # 2 is no binary label
        ({"tasks": {"watch": {"label": "opening", "kind": "regression"}}}, True),  # missing without an action
        ({"tasks": {"click": {"label": "clicked", "mask": "played"}}}, True),
        ({"tasks": {"click": {"label": "clicked", "sample_weight": "played"}}}, True),
        ({"tasks": {"click": "clicked", "like": {"label": "times", "positive": [1], "parent": "click"}}}, False),
        (
            {
                "tasks": {
                    "click": "clicked",
                    "like": {"label": "times", "positive": [1], "parent": "click", "orphans": "quarantine"},
                }
            },
            True,
        ),
        ({"tasks": {"see": "seen", "like": {"label": "seen", "parent": "see", "orphans": "quarantine"}}}, False),
        ({"derived": [{"function": "m:f", "inputs": ["played"], "outputs": {"share": "float32"}}]}, True),
    ],
)
def test_where_actions_may_refuse_a_row_even_impressions_wait(changes: dict[str, Any], is_waited: bool) -> None:
    """Nobody counts rows that are quarantined: whether one is must be known, too."""
    assert delays(spec("2d", counters={"shown": counter()}, **changes)) == {"shown": 2 * is_waited}


def test_without_actions_nothing_waits() -> None:
    assert delays(spec(actions={}, counters={})) == {}
    whole = spec().model_dump(mode="json") | {"actions": None, "tasks": {"see": "seen"}}
    assert delays(Dataset.model_validate(whole | {"counters": {"seen": counter("seen")}})) == {"seen": 0}


# -- files by day ------------------------------------------------------------------------------------------------------


def day(number: int) -> datetime.date:
    return datetime.date(2024, 1, 1) + datetime.timedelta(days=number - 1)


def touch(path: Path, folder: str, days: range | list[int]) -> None:
    for number in days:
        (path / folder).mkdir(exist_ok=True)
        (path / folder / f"{day(number)}.csv").write_text("")


def by_day(**changes: Any) -> Dataset:
    actions = {"source": "actions/{day}.csv"} | changes.pop("actions", {})
    return spec(**{"source": "log/{day}.csv", "actions": actions} | changes)


def found(dataset: Dataset, path: Path) -> tuple[EarlierFiles, ActionFiles]:
    earlier = resolve_earlier(dataset, str(path))
    return earlier, resolve_actions(dataset, str(path), earlier)


def names(path: Path, files: list[str]) -> list[str]:
    return [str(Path(file).relative_to(path))[:-4].replace("2024-01-0", "") for file in files]


def test_the_days_of_both_logs_that_counters_of_actions_look_at(tmp_path: Path) -> None:
    touch(tmp_path, "log", range(0, 9))
    touch(tmp_path, "actions", range(0, 9))
    earlier, acted = found(by_day(), tmp_path)
    assert names(tmp_path, earlier.files) == ["log/1", "log/2", "log/3"]
    assert names(tmp_path, acted.actions) == [f"actions/{number}" for number in range(1, 8)]
    assert names(tmp_path, acted.later) == ["log/7"]
    assert acted.before == [day(1), day(2), day(3)]
    assert acted.labelled == [day(number) for number in range(1, 7)]
    before = fingerprint(by_day(), str(tmp_path))
    (tmp_path / "actions" / "2024-01-01.csv").write_text("more")
    assert fingerprint(by_day(), str(tmp_path)) != before


def test_counters_of_impressions_read_no_actions_of_earlier_days(tmp_path: Path) -> None:
    touch(tmp_path, "log", range(2, 8))
    touch(tmp_path, "actions", range(4, 8))
    earlier, acted = found(by_day(counters={"shown": counter()}), tmp_path)
    assert names(tmp_path, earlier.files) == ["log/2", "log/3"]
    assert names(tmp_path, acted.actions) == [f"actions/{number}" for number in range(4, 8)]
    assert acted.before == []


@pytest.mark.parametrize("lacking", ["log", "actions"])
def test_a_day_without_actions_stops_the_run_or_is_not_counted(tmp_path: Path, lacking: str) -> None:
    for folder in ("log", "actions"):
        touch(tmp_path, folder, [number for number in range(1, 8) if (folder, number) != (lacking, 2)])
    with pytest.raises(DataError, match=r"look at 3 days before the split's, and 2024-01-02 lack files or markers"):
        found(by_day(), tmp_path)
    optional = by_day(counters={"clicks": counter("clicked", days_before="optional")})
    earlier, acted = found(optional, tmp_path)
    assert acted.before == [day(1), day(3)]
    assert acted.absent_before == [day(2)]
    # Rows of the first would lack actions of the second, or give theirs to those of the first.
    assert acted.labelled == [day(number) for number in range(3, 7)]
    assert earlier.absent == ([day(2)] if lacking == "log" else [])


def test_a_half_written_day_of_actions_is_an_absent_one(tmp_path: Path) -> None:
    touch(tmp_path, "log", range(1, 8))
    touch(tmp_path, "actions", range(1, 8))
    touch(tmp_path, "done", [1, *range(3, 8)])
    source = {"files": "actions/{day}.csv", "success": "done/{day}.csv"}
    with pytest.raises(DataError, match=r"and 2024-01-02 lack files or markers of the log or its actions"):
        found(by_day(actions={"source": source}), tmp_path)


def test_a_day_between_the_parts_is_counted_and_not_read_for_its_actions_alone(tmp_path: Path) -> None:
    touch(tmp_path, "log", range(1, 9))
    touch(tmp_path, "actions", range(1, 9))
    split = {"train": "2024-01-04", "validation": "2024-01-05", "test": "2024-01-07"}
    earlier, acted = found(by_day(split=split), tmp_path)
    assert names(tmp_path, earlier.files) == ["log/1", "log/2", "log/3", "log/6"]
    assert names(tmp_path, acted.later) == ["log/8"]
    assert acted.labelled == [day(number) for number in range(1, 8)]


def test_files_that_are_not_by_day_have_all_actions(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("")
    (tmp_path / "actions.csv").write_text("")
    assert found(spec(), tmp_path)[1].labelled is None
    touch(tmp_path, "actions", range(1, 8))
    _, acted = found(spec(actions={"source": "actions/{day}.csv"}), tmp_path)
    assert acted.labelled == [day(number) for number in range(1, 7)]
    assert names(tmp_path, acted.actions) == [f"actions/{number}" for number in range(1, 8)]


def test_no_day_with_all_of_its_actions_stops_the_run(tmp_path: Path) -> None:
    touch(tmp_path, "log", range(4, 7))
    touch(tmp_path, "actions", range(4, 7))
    counters = {"clicks": counter("clicked", days_before="optional")}
    of_two_days = {"window": "48h", "days_after": "optional"}
    assert found(by_day(counters=counters, actions=of_two_days), tmp_path)[1].labelled == [day(4)]
    with pytest.raises(
        DataError, match=r"of none of the 3 days that are read are the 3 days behind it, which `actions.window`"
    ):
        found(by_day(counters=counters, actions=of_two_days | {"window": "72h"}), tmp_path)
