"""Is this data fit to train on? Plain functions from counts, statistics and anomalies to problems and warnings."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import pydantic
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from features.columns import drift_columns
from features.expected import differences
from features.logs.counts import SAMPLED
from features.logs.quarantine import OUT_OF_DAYS, OUT_OF_WINDOW
from features.spec import SPLITS, Categorical, Dataset, TimeSplit
from models.config import DlenHead, Escm2Head, EsmmHead, HeadConfig, children
from pipeline.config import ValidateConfig
from pipeline.drift import features_by_name, jensen_shannon, l_infinity

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList
Manifest = Mapping[str, Any]

_HARMLESS = {anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN}
"""Anomalies that are only warned of; every other kind stops the run."""
_PREVIOUS = "previous run"
TRAILING_DAYS = 7
"""A week: how many rows a day has depends on its weekday."""
FEWEST_ACTIONS = 50
"""Actions a day, in the mean, from which on a day of few says that some are missing; of fewer, chance alone may halve a day."""
_BEFORE = ", before the split's, which counters read,"
_DISTANCES = {"categorical": l_infinity, "numeric": jensen_shannon}


class DataGateConfig(ValidateConfig):
    """When data is too strange to train on, and what the model's head asks of the tasks' rates.

    No more of the model than that: the verdict on data does not change with the sizes of a network.
    """

    rarer_children: bool = False
    """Tasks must be rarer than their parents."""
    highest_rate: float | None = None
    """The rate that no binary task may reach."""


def data_gate_config(validate: ValidateConfig, head: HeadConfig) -> DataGateConfig:
    """The configuration of the gate before a model with such a head."""
    return DataGateConfig(
        **validate.model_dump(),
        rarer_children=isinstance(head, EsmmHead | Escm2Head),
        highest_rate=head.prior if isinstance(head, DlenHead) else None,
    )


class Previous(NamedTuple):
    """What the last run that went through saw; on Kubeflow, whose lookups know no verdicts, the newest of each, also of a stopped run."""

    statistics: Statistics
    """Of its training split."""
    manifest: Manifest
    """Its ingest's."""


class Verdict(pydantic.BaseModel):
    """What validation found. Written as ``verdict.json``."""

    ok: bool
    problems: list[str]
    """Each stops the run and names its column, task, day or split."""
    warnings: list[str]
    drift: dict[str, dict[str, float]] = {}
    """Column -> what it was compared with -> distance: L-infinity of a category, Jensen-Shannon of a number."""


class Findings:
    """Collects problems and warnings, and the drift that was measured."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.drift: dict[str, dict[str, float]] = {}

    def add(self, message: str, stops: bool = True) -> None:
        """Adds a problem, or where it does not stop the run, a warning."""
        (self.problems if stops else self.warnings).append(message)

    def verdict(self) -> Verdict:
        """The sum of it."""
        return Verdict(ok=not self.problems, problems=self.problems, warnings=self.warnings, drift=self.drift)


def check_rows(findings: Findings, manifest: Manifest) -> None:
    """Every split has rows."""
    rows = manifest["rows_out"]
    for split in SPLITS:
        if not rows.get(split, 0):
            found = ", ".join(f"{name} {count}" for name, count in rows.items())
            findings.add(f"split '{split}' is empty; rows: {found}")


def check_days(findings: Findings, dataset: Dataset, manifest: Manifest, config: ValidateConfig) -> None:
    """Every day of a split by time, and each before it that counters read, has rows, and not far fewer than those before it.

    So have the actions of these days, where they are a log of their own: of a day whose actions are half-written, rows would train, or
    count, as negatives.
    """
    if not isinstance(dataset.split, TimeSplit):
        return
    earlier = {_date(day): rows for day, rows in manifest.get("counters", {}).get("days", {}).items()}
    of_split = {day: manifest["days"].get(f"{day:%Y%m%d}", 0) for day in dataset.split.days()}
    rows = dict(sorted({**earlier, **of_split}.items()))
    for day, count in rows.items():
        if not count:
            findings.add(f"day {day}{_BEFORE if day in earlier else ''} has no rows", stops=config.required_days)
    few = _few(rows, config.min_day_share)
    findings.problems += [f"day {day}{_BEFORE if day in earlier else ''} has {text}" for day, text in few if rows[day]]
    if (acted := manifest.get("actions", {}).get("days")) is not None:
        before = {_date(day): count for day, count in manifest.get("counters", {}).get("action_days", {}).items()}
        of_actions = before | {day: acted.get(f"{day:%Y%m%d}", 0) for day in of_split}
        few = _few(dict(sorted(of_actions.items())), config.min_day_share, FEWEST_ACTIONS)
        # Of a log that is not by day nobody knows which rows lie before the split.
        findings.problems += [
            f"actions of day {day}{_BEFORE.removesuffix(',') if day in before else ''}: {text}"
            for day, text in few
            if rows.get(day, 1)
        ]


def check_counters(findings: Findings, dataset: Dataset, manifest: Manifest) -> None:
    """Counters look at days that the log has: where they do not, rows of the first days are told less than those that are tested or served."""
    if (span := dataset.counted_days()) is None or not dataset.counters or not isinstance(dataset.split, TimeSplit):
        return
    first = dataset.split.days()[0]
    names, days = ", ".join(dataset.counters), (first - span[0]).days
    counters = manifest.get("counters", {})
    lacking = "; ".join(
        f"{what} of {', '.join(counters[key])}"
        for key, what in (("absent_days", "files"), ("absent_action_days", "actions"))
        if counters.get(key)
    )
    # Of a log that is not by day, rows before the split are counted, and quarantined.
    reasons = {reason["reason"] for reason in manifest.get("quarantined", {}).get("reasons", ())}
    if not lacking and not counters.get("days") and not reasons & {OUT_OF_DAYS, OUT_OF_WINDOW}:
        lacking = f"rows from before {first}"
    if lacking:
        findings.add(
            f"counters {names} look at up to {days} days before the split, and there are no {lacking}: the first days' rows know less than those "
            "of the days that are tested and served; let the split begin later",
            stops=False,
        )


def _few(rows: Mapping[datetime.date, int], share: float, least_mean: float = 0) -> list[tuple[datetime.date, str]]:
    """Days, in order, that have less than a share of the mean of the days before them, if that mean is not too small to say anything."""
    found = []
    before: list[int] = []
    for day, count in rows.items():
        mean = sum(before[-TRAILING_DAYS:]) / max(1, len(before[-TRAILING_DAYS:]))
        if count < share * mean and mean >= least_mean:
            text = f"{count:,} rows, {count / mean:.0%} of the mean of the days before it ({mean:,.0f}); allowed: {share:.0%}"
            found.append((day, f"{text} (validate.min_day_share)"))
        before += [count] if count else []
    return found


def _date(day: str) -> datetime.date:
    return datetime.datetime.strptime(day, "%Y%m%d").date()


def check_late(findings: Findings, manifest: Manifest, previous: Manifest) -> None:
    """Warns of days that both runs read and of which other rows were good: of files that came late, or were made anew."""
    before, now = previous.get("days", {}), manifest["days"]
    if not before or not now:
        return
    first, last = max(min(before), min(now)), min(max(before), max(now))
    changed = [
        f"{_date(day)} {now.get(day, 0):,} ({before.get(day, 0):,})"
        for day in sorted({*before, *now})
        if first <= day <= last and now.get(day, 0) != before.get(day, 0)
    ]
    if changed:
        findings.add(
            "days with other good rows than when the run before read them (its rows in brackets): "
            + ", ".join(changed),
            stops=False,
        )


def check_labels(findings: Findings, dataset: Dataset, manifest: Manifest) -> None:
    """Every task has rows in every split, every binary task a positive one and, where it is trained, a negative one."""
    for name, task in dataset.tasks.items():
        what = f"task '{name}' (label '{task.label}')"
        for split in SPLITS:
            counts = manifest["tasks"].get(name, {}).get(split)
            if not manifest["rows_out"].get(split, 0):
                continue
            if counts is None or not counts["rows"]:
                findings.add(
                    f"{what} has no row in split '{split}'" + (f" under mask '{task.mask}'" if task.mask else "")
                )
            elif task.kind == "binary" and not counts["positives"]:
                findings.add(f"{what} has no positive among the {counts['rows']} rows of split '{split}'")
            elif task.kind == "binary" and counts["positives"] == counts["rows"]:
                text = f"{what} has no negative among the {counts['rows']} rows of split '{split}'"
                findings.add(text, stops=split == SPLITS[0])


def check_parents(findings: Findings, dataset: Dataset, manifest: Manifest, max_orphans: float) -> None:
    """A task happens after its parent only: a few rows that say otherwise are told, many make the declaration wrong."""
    for name, task in dataset.tasks.items():
        for split, counts in manifest["tasks"].get(name, {}).items():
            if orphans := counts.get("orphans", 0):
                share = orphans / counts["positives"]
                findings.add(
                    f"task '{name}' has {orphans:,} of its {counts['positives']:,} positive rows of split '{split}' ({share:.2%}) "
                    f"without a positive label of its parent '{task.parent}'; allowed: {max_orphans:.2%} (validate.max_orphans), "
                    f"or no `parent`",
                    stops=share > max_orphans,
                )


def check_expected(findings: Findings, dataset: Dataset, manifest: Manifest) -> None:
    """Warns where files of an official name are others."""
    rows = [(file["path"], file["rows"]) for file in manifest.get("files", [])]
    sums = {
        name: (sum(of["positives"] for of in splits.values()), sum(of["rows"] for of in splits.values()))
        for name, splits in manifest["tasks"].items()
    }
    rates = {name: positives / counted for name, (positives, counted) in sums.items() if counted}
    tables = {name: of["rows_read"] for name, of in manifest.get("tables", {}).items()}
    for difference in differences(dataset.expected, rows, rates, tables):
        findings.add(f"{difference}: is it the file that '{dataset.name}' is made for?", stops=False)


def check_rates(findings: Findings, dataset: Dataset, manifest: Manifest, config: DataGateConfig) -> None:
    """The tasks' rates in the training split are such as the model's head can start from.

    Where weights make up for rows that down-sampling left out, rates are those of all rows, as the head's are.
    """
    split = SPLITS[0]
    parts = (split, SAMPLED) if dataset.weighs_rows else (split,)
    rates = {}
    for name, task in dataset.tasks.items():
        counts = [of for part in parts if (of := manifest["tasks"].get(name, {}).get(part))]
        if task.kind == "binary" and (positives := sum(of["positives"] for of in counts)):
            rates[name] = positives / sum(of["rows"] for of in counts)
    for child, parent in children(dataset.tasks).items():
        if config.rarer_children and child in rates and parent in rates and rates[child] >= rates[parent]:
            findings.add(
                f"task '{child}' has rate {rates[child]:.6g} in split '{split}' and its parent '{parent}' {rates[parent]:.6g}; it "
                "happens after its parent only; allowed with heads esmm and escm2: a smaller rate"
            )
    if (highest := config.highest_rate) is not None:
        findings.problems += [
            f"task '{name}' has rate {rate:.6g} in split '{split}' and model.head.prior, P(UP), is {highest:g}; allowed: a prior above "
            "every task's rate, for whoever interacts prefers"
            for name, rate in rates.items()
            if rate >= highest
        ]


def check_anomalies(findings: Findings, anomalies: Mapping[str, anomalies_pb2.Anomalies]) -> None:
    """What TFX's ExampleValidator found against the curated schema, each finding once with the splits it holds for."""
    found: dict[tuple[str, bool], list[str]] = {}
    for split, of_split in anomalies.items():
        for name, info in sorted(of_split.anomaly_info.items()):
            column = ".".join(info.path.step) or name
            for reason in info.reason:
                text = f"column '{column}': {reason.short_description}: {reason.description.strip().rstrip('.')}"
                found.setdefault((text, reason.type not in _HARMLESS), []).append(split)
        if of_split.HasField("dataset_anomaly_info"):
            text = f"all columns: {of_split.dataset_anomaly_info.description}"
            found.setdefault((text, True), []).append(split)
    for (text, stops), splits in found.items():
        findings.add(f"{text} (split {', '.join(splits)})", stops=stops)


def check_integer_categories(findings: Findings, dataset: Dataset, statistics: Mapping[str, Statistics]) -> None:
    """A closed category of integers holds no other value. (Strings: the schema's domain, so ExampleValidator.)"""
    for name, feature in dataset.features.items():
        if not isinstance(feature, Categorical) or not feature.values or not isinstance(feature.values[0], int):
            continue
        column = dataset.feature_column(name)
        known = {str(value) for value in feature.values}
        for split, of_split in statistics.items():
            unexpected = sorted(_counted_values(of_split, column) - known)
            if unexpected:
                shown = ", ".join(unexpected[:10]) + (", ..." if len(unexpected) > 10 else "")
                findings.add(
                    f"column '{column}': unexpected values {shown} in split '{split}'; "
                    f"allowed: {', '.join(map(str, feature.values))}"
                )


def _counted_values(statistics: Statistics, column: str) -> set[str]:
    feature = features_by_name(statistics).get(column)
    return {bucket.label for bucket in feature.string_stats.rank_histogram.buckets} if feature is not None else set()


def check_drift(
    findings: Findings,
    dataset: Dataset,
    config: ValidateConfig,
    statistics: Mapping[str, Statistics],
    previous: Statistics | None,
) -> None:
    """Columns keep their distribution: validation and test against train, and train against the previous run's train.

    Args:
        findings: gets the problems, the ignored drift as warnings, and all distances.
        dataset: the spec: ids, lists and the time are never compared.
        config: the limits, and the columns that may drift.
        statistics: split to its statistics.
        previous: statistics of the previous run's training split, if there was one.
    """
    compared = drift_columns(dataset)
    pairs: list[tuple[str, Statistics, Statistics]] = [
        (split, statistics[SPLITS[0]], statistics[split]) for split in SPLITS[1:] if split in statistics
    ]
    if previous is not None:
        pairs.append((_PREVIOUS, previous, statistics[SPLITS[0]]))
    for name, before, after in pairs:
        if not (before.datasets[0].num_examples and after.datasets[0].num_examples):
            continue
        old, new = features_by_name(before), features_by_name(after)
        for column in sorted(set(compared) & set(old) & set(new)):
            distance = _DISTANCES[compared[column]](old[column], new[column])
            findings.drift.setdefault(column, {})[name] = distance
            _judge_drift(findings, config, column, compared[column], (name, distance))


def _judge_drift(
    findings: Findings, config: ValidateConfig, column: str, kind: str, measured: tuple[str, float]
) -> None:
    name, distance = measured
    limit = config.max_drift if kind == "categorical" else config.max_numeric_drift
    if distance <= limit:
        return
    measure = "L-infinity" if kind == "categorical" else "Jensen-Shannon"
    versus = "train against the previous run's" if name == _PREVIOUS else f"{name} against train"
    text = f"column '{column}' drifts: {measure} distance of {versus} is {distance:.3f}; allowed: {limit:g}"
    ignored = column in config.ignore_drift
    findings.add(f"{text} (ignored, see validate.ignore_drift)" if ignored else text, stops=not ignored)


def judge(
    dataset: Dataset,
    config: DataGateConfig,
    manifest: Manifest,
    statistics: Mapping[str, Statistics],
    anomalies: Mapping[str, anomalies_pb2.Anomalies],
    previous: Previous | None = None,
) -> Verdict:
    """All checks.

    Args:
        dataset: the spec.
        config: the limits, and what the model asks.
        manifest: ingest's ``manifest.json``.
        statistics: split to its statistics.
        anomalies: split to ExampleValidator's anomalies.
        previous: what the run before saw, if there was one.
    """
    findings = Findings()
    check_rows(findings, manifest)
    check_days(findings, dataset, manifest, config)
    check_counters(findings, dataset, manifest)
    check_late(findings, manifest, previous.manifest if previous else {})
    check_labels(findings, dataset, manifest)
    check_parents(findings, dataset, manifest, config.max_orphans)
    check_rates(findings, dataset, manifest, config)
    check_expected(findings, dataset, manifest)
    check_anomalies(findings, anomalies)
    check_integer_categories(findings, dataset, statistics)
    check_drift(findings, dataset, config, statistics, previous.statistics if previous else None)
    return findings.verdict()
