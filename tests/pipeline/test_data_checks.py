"""Each check of the data gate, on counts and statistics made by hand."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from features.sampling import Downsample
from features.spec import Dataset, Expected
from pipeline.data_checks import DataGateConfig, Previous, judge

SPLITS = ("train", "validation", "test")


def _dataset() -> Dataset:
    return Dataset.model_validate(
        {
            "name": "toy",
            "source": {"files": "log.csv"},
            "columns": {
                "ts": "int64",
                "tab": "int64",
                "city": "string",
                "age": "float32",
                "click": "int64",
                "stars": "float32",
            },
            "time": {"column": "ts", "unit": "yyyymmdd"},
            "features": {"tab": {"kind": "categorical", "values": [0, 1]}, "city": "categorical", "age": "numeric"},
            "tasks": {"click": {"label": "click"}, "stars": {"label": "stars", "kind": "regression"}},
            "split": {
                "by": "time",
                "train": ["2024-02-28", "2024-03-01"],
                "validation": ["2024-03-02", "2024-03-02"],
                "test": ["2024-03-03", "2024-03-03"],
            },
        }
    )


def _manifest() -> dict[str, Any]:
    counts = {split: {"rows": 10, "positives": 3, "sum": 3.0} for split in SPLITS}
    return {
        "rows_out": dict.fromkeys(SPLITS, 10),
        "days": {"20240228": 4, "20240229": 3, "20240301": 3, "20240302": 10, "20240303": 10},
        "tasks": {"click": dict(counts), "stars": dict(counts)},
    }


def _statistics(tab: dict[str, int] | None = None, city: dict[str, int] | None = None, age: float = 0.0) -> Any:
    """Ten rows; `age` is spread evenly over [age, age + 1]."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=10)
    for name, counts in (("tab", tab or {"0": 5, "1": 5}), ("city", city or {"a": 5, "b": 5})):
        feature = dataset.features.add()
        feature.path.step.append(name)
        for label, count in counts.items():
            feature.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
        feature.string_stats.common_stats.num_non_missing = sum(counts.values())
    feature = dataset.features.add()
    feature.path.step.append("age")
    histogram = feature.num_stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
    histogram.buckets.add(low_value=age, high_value=age + 1, sample_count=10)
    return statistics


def _judge(**changes: Any) -> tuple[list[str], list[str]]:
    arguments: dict[str, Any] = {
        "dataset": _dataset(),
        "config": DataGateConfig(),
        "manifest": _manifest(),
        "statistics": {split: _statistics() for split in SPLITS},
        "anomalies": {split: anomalies_pb2.Anomalies() for split in SPLITS},
    }
    verdict = judge(**arguments | changes)
    assert verdict.ok == (not verdict.problems)
    return verdict.problems, verdict.warnings


def test_good_data_passes() -> None:
    assert _judge() == ([], [])


def test_an_empty_split_stops() -> None:
    manifest = _manifest()
    manifest["rows_out"]["validation"] = 0
    problems, _ = _judge(manifest=manifest)
    assert problems == ["split 'validation' is empty; rows: train 10, validation 0, test 10"]


def test_a_missing_day_stops_unless_allowed() -> None:
    manifest = _manifest()
    del manifest["days"]["20240229"]
    expected = ["day 2024-02-29 has no rows"]
    assert _judge(manifest=manifest) == (expected, [])
    assert _judge(manifest=manifest, config=DataGateConfig(required_days=False)) == ([], expected)


def test_files_that_are_not_the_official_ones_are_warned_of() -> None:
    official = Expected(rows={"log.csv": 30}, rates={"click": 0.3})
    spec = _dataset().model_copy(update={"expected": (official,)})
    manifest = _manifest() | {"files": [{"path": "log.csv", "rows": 30}]}
    assert _judge(dataset=spec, manifest=manifest) == ([], [])
    with_table = spec.model_copy(update={"expected": (official.model_copy(update={"tables": {"users": 9}}),)})
    told = manifest | {"tables": {"users": {"rows_read": 8, "rows": 9}}}
    said = f"table 'users' has 8 rows, in the official files 9: is it the file that '{spec.name}' is made for?"
    assert _judge(dataset=with_table, manifest=told) == ([], [said])
    manifest["files"] = [{"path": "log.csv", "rows": 29}]
    said = "log.csv has 29 rows, the official file 30: is it the file that 'toy' is made for?"
    assert _judge(dataset=spec, manifest=manifest) == ([], [said.replace("toy", spec.name)])


@pytest.mark.parametrize(
    ("rows", "share", "problems"),
    [
        ([100, 100, 50, 50], 0.5, []),  # 50 of a mean of 100, then of 83
        ([100, 100, 49, 100], 0.5, ["day {2} has 49 rows, 49% of the mean of the days before it (100); allowed: 50%"]),
        ([10, 100, 100, 20], 0.5, ["day {3} has 20 rows, 29% of the mean of the days before it (70); allowed: 50%"]),
        ([100, 100, 49, 100], 0.49, []),
        ([100, 1, 1, 1], 0.0, []),
    ],
)
def test_a_day_of_few_rows_stops(rows: list[int], share: float, problems: list[str]) -> None:
    manifest, days = _manifest(), _dataset().split.days()
    manifest["days"] = {f"{day:%Y%m%d}": count for day, count in zip(days, [*rows, *[100] * len(days)], strict=False)}
    found, _ = _judge(manifest=manifest, config=DataGateConfig(min_day_share=share))
    assert found == [problem.format(*days) + " (validate.min_day_share)" for problem in problems]


@pytest.mark.parametrize(
    ("acted", "problem"),
    [
        ([100, 100, 50, 100], None),
        ([100, 100, 49, 100], "{2}: 49 rows, 49% of the mean of the days before it (100)"),
        ([100, 100, 0, 100], "{2}: 0 rows, 0% of the mean of the days before it (100)"),
        ([48, 50, 1, 100], None),  # a mean of 49: too few to say
        ([50, 50, 24, 100], "{2}: 24 rows, 48% of the mean of the days before it (50)"),
    ],
)
def test_a_day_of_few_actions_stops(acted: list[int], problem: str | None) -> None:
    manifest, days = _manifest(), _dataset().split.days()
    counted = {f"{day:%Y%m%d}": rows for day, rows in zip(days, [*acted, *[100] * len(days)], strict=False) if rows}
    manifest["actions"] = {"days": counted | {"20231231": 1, "20240401": 10**6}}  # of days beside the split's
    said = "actions of day " + (problem or "").format(*days) + "; allowed: 50% (validate.min_day_share)"
    assert _judge(manifest=manifest)[0] == ([said] if problem else [])


@pytest.mark.parametrize("rows", [{}, {4: 100, 3: 100, 2: 0, 1: 100}])
def test_a_day_of_few_actions_that_only_counters_read_stops(rows: dict[int, int]) -> None:
    """Of a log by day, and of one whose rows before the split nobody knows by day: there a day without actions is told, too."""
    manifest, days = _manifest(), _dataset().split.days()
    acted = {4: 100, 3: 49, 2: 0, 1: 100}

    def by_day(counts: dict[int, int]) -> dict[str, int]:
        return {f"{days[0] - datetime.timedelta(days=back):%Y%m%d}": count for back, count in counts.items()}

    manifest["days"] = {f"{day:%Y%m%d}": 100 for day in days}
    manifest["actions"] = {"days": manifest["days"]}
    manifest["counters"] = {"days": by_day(rows), "action_days": by_day(acted)}
    problems, _ = _judge(manifest=manifest, config=DataGateConfig(required_days=False))
    third, second = (days[0] - datetime.timedelta(days=back) for back in (3, 2))
    said = [
        f"actions of day {third}, before the split's, which counters read: 49 rows, 49% of the mean of the days before it (100)",
        f"actions of day {second}, before the split's, which counters read: 0 rows, 0% of the mean of the days before it (74)",
    ]
    assert problems == [f"{text}; allowed: 50% (validate.min_day_share)" for text in said[: 1 if rows else 2]]


def test_a_day_of_few_rows_that_only_counters_read_stops() -> None:
    manifest, days = _manifest(), _dataset().split.days()
    manifest["days"] = {f"{day:%Y%m%d}": 100 for day in days}
    first = days[0]
    counted = {(first - datetime.timedelta(days=back)): rows for back, rows in ((4, 100), (3, 3), (2, 0), (1, 100))}
    manifest["counters"] = {"days": {f"{day:%Y%m%d}": rows for day, rows in counted.items()}}
    assert _judge(manifest=manifest)[0] == [
        f"day {first - datetime.timedelta(days=2)}, before the split's, which counters read, has no rows",
        f"day {first - datetime.timedelta(days=3)}, before the split's, which counters read, has 3 rows, 3% of the mean of the days "
        "before it (100); allowed: 50% (validate.min_day_share)",
    ]
    manifest["days"] = {f"{day:%Y%m%d}": 30 if day == first else 100 for day in days}
    manifest["counters"]["days"] = {f"{first - datetime.timedelta(days=1):%Y%m%d}": 100}
    assert _judge(manifest=manifest)[0] == [
        f"day {first} has 30 rows, 30% of the mean of the days before it (100); allowed: 50% (validate.min_day_share)"
    ]


def test_counters_of_days_that_the_log_lacks_are_warned_of() -> None:
    counters = {"seen": {"by": "tab", "days": 7, "columns": {"clicks": {"of": "click"}}}}
    spec = _dataset().model_dump(mode="json") | {"counters": counters}
    dataset = Dataset.model_validate(spec)
    said = (
        "counters seen look at up to 7 days before the split, and there are no {}: the first days' rows know less than those of the days that are "
        "tested and served; let the split begin later"
    )
    assert _judge(dataset=dataset) == ([], [said.format("rows from before 2024-02-28")])
    of_before = {"rows": 9, "reasons": [{"reason": "time_out_of_range", "rows": 9}]}
    assert _judge(dataset=dataset, manifest=_manifest() | {"quarantined": of_before}) == ([], [])
    by_day = {"days": {"20240227": 4}, "absent_days": []}
    assert _judge(dataset=dataset, manifest=_manifest() | {"counters": by_day}) == ([], [])
    absent = by_day | {"absent_days": ["2024-02-21"], "absent_action_days": ["2024-02-22", "2024-02-23"]}
    told = said.format("files of 2024-02-21; actions of 2024-02-22, 2024-02-23")
    assert _judge(dataset=dataset, manifest=_manifest() | {"counters": absent}) == ([], [told])


@pytest.mark.parametrize("split", SPLITS)
def test_a_label_without_a_positive_stops(split: str) -> None:
    manifest = _manifest()
    for task in ("click", "stars"):
        manifest["tasks"][task][split] = {"rows": 10, "positives": 0, "sum": 0.0}
    problems, warnings = _judge(manifest=manifest)
    assert problems == [f"task 'click' (label 'click') has no positive among the 10 rows of split '{split}'"]
    assert not warnings


@pytest.mark.parametrize("split", SPLITS)
def test_a_label_without_a_negative_stops_in_train_and_warns_elsewhere(split: str) -> None:
    manifest = _manifest()
    manifest["tasks"]["click"][split] = {"rows": 10, "positives": 10, "sum": 10.0}
    said = [f"task 'click' (label 'click') has no negative among the 10 rows of split '{split}'"]
    assert _judge(manifest=manifest) == ((said, []) if split == "train" else ([], said))


def test_a_task_without_rows_stops() -> None:
    manifest = _manifest()
    del manifest["tasks"]["stars"]["train"]
    assert _judge(manifest=manifest)[0] == ["task 'stars' (label 'stars') has no row in split 'train'"]


@pytest.mark.parametrize(("orphans", "stops"), [(2, False), (3, True)])
def test_positives_without_their_parent_are_told_and_many_stop(orphans: int, stops: bool) -> None:
    dataset = Dataset.model_validate(
        _dataset().model_dump() | {"tasks": {"click": {"label": "click"}, "buy": {"label": "click", "parent": "click"}}}
    )
    manifest = _manifest()
    manifest["tasks"]["buy"] = {"train": {"rows": 1000, "positives": 200, "sum": 200.0, "orphans": orphans}}
    for split in SPLITS[1:]:
        manifest["tasks"]["buy"][split] = {"rows": 10, "positives": 3, "sum": 3.0, "orphans": 0}
    share = {2: "1.00%", 3: "1.50%"}[orphans]
    said = [
        f"task 'buy' has {orphans} of its 200 positive rows of split 'train' ({share}) without a positive label of its "
        "parent 'click'; allowed: 1.00% (validate.max_orphans), or no `parent`"
    ]
    assert _judge(dataset=dataset, manifest=manifest) == ((said, []) if stops else ([], said))


@pytest.mark.parametrize(("positives", "stops"), [(2, False), (3, True), (4, True)])
def test_a_task_as_frequent_as_its_parent_stops_before_heads_that_divide_by_it(positives: int, stops: bool) -> None:
    dataset = Dataset.model_validate(
        _dataset().model_dump() | {"tasks": {"click": {"label": "click"}, "buy": {"label": "click", "parent": "click"}}}
    )
    manifest = _manifest()
    manifest["tasks"]["buy"] = {split: {"rows": 10, "positives": 3, "sum": 3.0} for split in SPLITS}
    manifest["tasks"]["buy"]["train"]["positives"] = positives
    said = [
        f"task 'buy' has rate 0.{positives} in split 'train' and its parent 'click' 0.3; it happens after its parent only; "
        "allowed with heads esmm and escm2: a smaller rate"
    ]
    asked = DataGateConfig(rarer_children=True)
    assert _judge(dataset=dataset, manifest=manifest, config=asked) == (said if stops else [], [])
    assert _judge(dataset=dataset, manifest=manifest) == ([], [])


def test_a_prior_at_a_task_s_rate_stops() -> None:
    said = [
        "task 'click' has rate 0.3 in split 'train' and model.head.prior, P(UP), is 0.3; allowed: a prior above every task's "
        "rate, for whoever interacts prefers"
    ]
    assert _judge(config=DataGateConfig(highest_rate=0.3)) == (said, [])
    assert _judge(config=DataGateConfig(highest_rate=0.31)) == ([], [])


@pytest.mark.parametrize(("correct", "problems"), [("weights", 0), ("none", 1)])
def test_rates_are_those_of_all_rows_where_weights_make_up_for_those_left_out(correct: str, problems: int) -> None:
    manifest = _manifest()
    manifest["tasks"]["click"]["sampled_out"] = {"rows": 10, "positives": 0, "sum": 0.0}  # 3 of 20 instead of 3 of 10
    dataset = _dataset().model_copy(update={"downsample": Downsample(keep=0.1, correct=correct)})
    found, _ = _judge(dataset=dataset, manifest=manifest, config=DataGateConfig(highest_rate=0.3))
    assert len(found) == problems


def test_an_integer_out_of_a_closed_category_stops() -> None:
    statistics = {split: _statistics() for split in SPLITS} | {"test": _statistics(tab={"0": 5, "1": 4, "7": 1})}
    assert _judge(statistics=statistics)[0] == ["column 'tab': unexpected values 7 in split 'test'; allowed: 0, 1"]


def test_anomalies_are_told_once_with_their_splits() -> None:
    anomalies = {split: anomalies_pb2.Anomalies() for split in SPLITS}
    for split in ("train", "test"):
        info = anomalies[split].anomaly_info["age"]
        info.path.step.append("age")
        info.reason.add(
            type=anomalies_pb2.AnomalyInfo.SCHEMA_MISSING_COLUMN,
            short_description="Column dropped",
            description="Column is completely missing.",
        )
    info = anomalies["train"].anomaly_info["extra"]
    info.reason.add(type=anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN, short_description="New column", description="New")
    assert _judge(anomalies=anomalies) == (
        ["column 'age': Column dropped: Column is completely missing (split train, test)"],
        ["column 'extra': New column: New (split train)"],
    )


def test_drift_over_the_limit_stops_and_names_the_column() -> None:
    statistics = {split: _statistics() for split in SPLITS} | {"validation": _statistics(city={"a": 9, "b": 1}, age=5)}
    problems, _ = _judge(statistics=statistics)
    assert problems == [
        "column 'age' drifts: Jensen-Shannon distance of validation against train is 1.000; allowed: 0.3",
        "column 'city' drifts: L-infinity distance of validation against train is 0.400; allowed: 0.3",
    ]
    assert _judge(statistics=statistics, config=DataGateConfig(max_drift=0.5, max_numeric_drift=1.0)) == ([], [])


def test_ignored_drift_is_a_warning() -> None:
    statistics = {split: _statistics() for split in SPLITS} | {"test": _statistics(age=5)}
    problems, warnings = _judge(statistics=statistics, config=DataGateConfig(ignore_drift=("age",)))
    assert not problems
    assert warnings == [
        "column 'age' drifts: Jensen-Shannon distance of test against train is 1.000; allowed: 0.3 "
        "(ignored, see validate.ignore_drift)"
    ]


def test_days_that_changed_since_the_run_before_are_told() -> None:
    before = _manifest()
    before["days"] = {"20240227": 9, "20240228": 4, "20240229": 1, "20240301": 5, "20240302": 10}
    said = "days with other good rows than when the run before read them (its rows in brackets): 2024-02-29 3 (1), 2024-03-01 3 (5)"
    assert _judge(previous=Previous(_statistics(), before)) == ([], [said])


def test_days_that_came_late_as_a_whole_or_went_are_told() -> None:
    before, now = _manifest(), _manifest()
    before["days"] = {"20240228": 4, "20240301": 3, "20240302": 10, "20240303": 10}
    now["days"] = {"20240228": 4, "20240229": 3, "20240302": 10, "20240303": 10, "20240304": 9}
    _, warnings = _judge(
        manifest=now, previous=Previous(_statistics(), before), config=DataGateConfig(required_days=False)
    )
    assert warnings[-1].endswith("(its rows in brackets): 2024-02-29 3 (0), 2024-03-01 0 (3)")


def test_a_day_that_may_be_empty_needs_no_actions() -> None:
    manifest = _manifest()
    del manifest["days"]["20240301"]
    manifest["actions"] = {"days": {"20240228": 100, "20240229": 100, "20240302": 100, "20240303": 100}}
    config = DataGateConfig(required_days=False)
    assert _judge(manifest=manifest, config=config) == ([], ["day 2024-03-01 has no rows"])
    manifest["days"]["20240301"] = 3
    problems, _ = _judge(manifest=manifest, config=config)
    assert problems == [
        "actions of day 2024-03-01: 0 rows, 0% of the mean of the days before it (100); allowed: 50% (validate.min_day_share)"
    ]


def test_the_previous_run_is_compared_too() -> None:
    problems, warnings = _judge(previous=Previous(_statistics(city={"a": 10}), _manifest()))
    assert warnings == []
    assert problems == [
        "column 'city' drifts: L-infinity distance of train against the previous run's is 0.500; allowed: 0.3"
    ]
