"""What a spec of counters may say, and what it is told otherwise."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from features.errors import DataError
from features.logs import fingerprint
from features.logs.files import resolve_earlier
from features.spec import Column, Counter, CounterColumn, Dataset
from tests.features.logs.small_log import COLUMNS, dataset, write

WEEK = {"by": "item", "days": 7, "columns": {"item_shown": "count", "item_likes": {"of": "like"}}}
RATE = {"take": "rate", "of": "click"}


def spec(counters: Any = None, **changes: Any) -> Dataset:
    return dataset(**{"counters": {"week": WEEK} if counters is None else counters} | changes)


def test_a_counter_gives_columns_that_features_may_read() -> None:
    columns = {"shown": "count", "rate": RATE, "unseen": "days_since"}
    found = spec(
        {"week": WEEK | {"columns": columns, "by": ["user", "item"]}},
        features={"rate": "numeric", "unseen": {"kind": "bucketized", "buckets": 3}},
    )
    types = {name: found.all_columns()[name].type for name in columns}
    assert types == {"shown": "int64", "rate": "float32", "unseen": "int64"}
    assert Dataset.model_validate_json(found.model_dump_json()) == found
    assert found.counters["week"].keys == ("user", "item")
    assert found.counters["week"].columns["shown"] == CounterColumn(take="count")


def test_the_example_of_the_documents_is_a_spec() -> None:
    text = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
    said = yaml.safe_load(text.partition("## Counters over earlier days")[2].split("```yaml")[1].split("```")[0])
    columns = dict.fromkeys(["item_id", "time_ms", "clicked", "liked"], "int64")
    rest = {"name": "feed", "source": "log/*.parquet", "columns": columns, "time": "time_ms", "split": "random"}
    found = Dataset.model_validate(rest | said["dataset"] | {"tasks": {"click": "clicked"}})
    assert found.counters["item_week"].columns["item_likes"] == CounterColumn(of="liked")
    assert found.feature_columns() == ("item_likes", "item_click_rate", "item_days_since_click")


def test_what_is_counted_twice_is_counted_once() -> None:
    columns = {"a": {"of": "like"}, "b": {"take": "days_since", "of": "like"}, "c": {"of": "tab", "equals": 2}}
    found = Counter.model_validate({"by": "item", "days": 1, "columns": columns})
    assert [condition.column for condition in found.conditions] == ["like", "tab"]
    assert found.reads == ("item", "like", "tab")


def test_the_days_that_counters_look_at() -> None:
    week = WEEK | {"delay_days": 2}
    assert spec({"week": week}).counted_days() == (datetime.date(2023, 12, 23), datetime.date(2024, 1, 4))
    assert spec(split="random").counted_days() is None


@pytest.mark.parametrize(
    ("counter", "said"),
    [
        ({"by": "like"}, "counts by 'like', which is the label of task 'like': it is not known when an item is ranked"),
        ({"by": "watched"}, "counts by 'watched', which is an outcome column"),
        ({"by": "score"}, "key 'score' is float32; allowed: int64, string"),
        ({"by": "tags"}, "key 'tags' is list<int64>"),
        ({"by": "itme"}, "names column 'itme', which does not exist; did you mean 'item'"),
        ({"by": []}, "allowed: one or more columns, each once"),
        ({"by": ["item", "item"]}, "allowed: one or more columns, each once"),
        ({"by": "mail"}, "which nothing may keep"),
        ({"by": "item_shown"}, "names column 'item_shown', which does not exist"),
        ({"days": 0}, "greater than or equal to 1"),
        ({"days": 367}, "less than or equal to 366"),
        ({"delay_days": -1}, "greater than or equal to 0"),
        ({"columns": {}}, "at least 1 item"),
        ({"columns": {"score": "count"}}, "column 'score' of counter 'week' has the name of a column of the log"),
        ({"columns": {"n": {"of": "nothing"}}}, "counter 'week': of names column 'nothing'"),
        ({"columns": {"n": {"of": "name"}}}, "of 'name' is string; allowed: int64, float32"),
        ({"columns": {"n": {"of": "score", "equals": 1}}}, "of 'score' is float32; allowed: int64, string"),
        ({"columns": {"n": {"of": "name", "equals": 1}}}, "compares 'name' with 1, and it is string"),
        ({"columns": {"n": {"of": "mail", "equals": "x"}}}, "looks at 'mail', which is personal"),
        ({"columns": {"n": {"equals": 1}}}, "`equals` needs the column `of`"),
        ({"columns": {"n": "rate"}}, "a `rate` needs the column `of`"),
        ({"columns": {"n": RATE | {"prior": 0.1}}}, "needs `prior` and `strength`"),
        ({"columns": {"n": RATE | {"prior": 2, "strength": 1}}}, "less than or equal to 1"),
        ({"columns": {"n": {"of": "click", "prior": 0.1, "strength": 1}}}, "smooth a `rate`; got them for `count`"),
        ({"dayz": 3}, "unknown key 'dayz'; did you mean 'days'"),
    ],
)
def test_what_is_refused(counter: dict[str, Any], said: str) -> None:
    columns = COLUMNS | {
        "mail": Column(type="string", personal="drop"),
        "watched": Column(type="int64", outcome=True),
    }
    with pytest.raises(pydantic.ValidationError) as error:
        spec({"week": WEEK | counter}, columns=columns)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"time": None, "split": "random"}, "counters need the log's `time`"),
        ({"counters": {"a week": WEEK}}, "counter 'a week' has no valid name"),
        ({"group": "item_shown"}, "group names 'item_shown', which a counter gives"),
        (
            {"source": {"kafka": {"servers": "broker:9092", "topic": "feed", "window": "days"}}},
            "counters look at days before the split's, which a log of Kafka",
        ),
        (
            {"source": {"bigquery": {"table": "project.feed.log_{day:%Y%m%d}"}}},
            "or of BigQuery by {day} lacks",
        ),
        ({"tasks": {"click": "item_shown"}}, "task 'click': label names 'item_shown', which a counter gives"),
    ],
)
def test_what_does_not_go_with_counters(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError) as error:
        spec(**changes)
    assert said in str(error.value)


# -- files by day ------------------------------------------------------------------------------------------------------


def by_day(path: Path, days: list[str]) -> Path:
    for day in days:
        write(path, name=f"log-{day}.csv")
    return path


def test_files_of_days_before_the_split_are_found(tmp_path: Path) -> None:
    short = WEEK | {"days": 1, "delay_days": 1}
    found = spec({"week": short}, source="log-{day}.csv")
    days = [f"2024-01-0{day}" for day in range(1, 5)]
    with pytest.raises(DataError, match="counters look at 2 days before the split's, and 2023-12-30, 2023-12-31 lack"):
        resolve_earlier(found, str(by_day(tmp_path, days)))
    optional = spec({"week": short | {"days_before": "optional"}}, source="log-{day}.csv")
    by_day(tmp_path, ["2023-12-29", "2023-12-31"])
    earlier = resolve_earlier(optional, str(tmp_path))
    assert earlier.files == [str(tmp_path / "log-2023-12-31.csv")]
    assert earlier.absent == [datetime.date(2023, 12, 30)]
    # What one counter must have, and another need not.
    both = spec({"week": short | {"days_before": "optional"}, "eve": EVE}, source="log-{day}.csv")
    assert resolve_earlier(both, str(tmp_path)) == earlier
    before = fingerprint(optional, str(tmp_path))
    write(tmp_path, "another", name="log-2023-12-31.csv")
    assert fingerprint(optional, str(tmp_path)) != before


EVE = {"by": "item", "days": 1, "columns": {"eve_shown": "count"}}


def test_a_log_of_one_file_has_no_files_of_its_own_for_earlier_days(tmp_path: Path) -> None:
    assert resolve_earlier(spec(source="log.csv"), str(tmp_path)) == ([], [], ())
    assert resolve_earlier(spec({}, source="log/{day}.csv"), "nowhere") == ([], [], ())  # nobody asks the store again
