"""Whether a model may be pushed, with a reason for every refusal.

A model is refused where

- a task cannot be judged: a binary task's AUC is undefined on the test rows, or predictions are not finite;
- a metric lies outside a configured bound, or is undefined where one is configured;
- a task both models know became worse than in the last blessed model on the same rows: its AUC fell by more than
  its ``max_regression``, or its mean squared error rose by more than that share, and by more than ``regression_z`` standard
  errors of the difference besides (of AUCs by DeLong: a task of few positives moves by chance);
- the last blessed model exists but cannot be asked about these rows. ``max_regression: null`` gives up the comparison.

The first rule needs no configuration, so that a broken model is never blessed by default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from pipeline.config import Bound, EvaluateConfig
from pipeline.evaluation.measure import Numbers


def verdict(evaluation: Numbers, config: EvaluateConfig, baseline_problem: str | None = None) -> Numbers:
    """Judges an evaluation.

    Args:
        evaluation: ``tasks`` and ``baseline``: None, or with ``tasks`` measured on the same rows and ``change_errors``, the standard
            error of each task's change of AUC or MSE (see `pipeline.evaluation.measure.change_errors`).
        config: bounds and the allowed fall.
        baseline_problem: why the last blessed model could not be asked, if it exists and could not.

    Returns:
        ``{"blessed": bool, "reasons": [text], "checks": [...]}``; each check tells task, metric, value, limit and ok.
    """
    checks = [
        *_sanity(evaluation["tasks"]),
        *_bounds(evaluation["tasks"], config.thresholds),
        *_regressions(evaluation, config),
    ]
    reasons = [check["reason"] for check in checks if not check["ok"]]
    if baseline_problem and config.max_regression is not None:
        reasons.append(
            f"the last blessed model cannot be compared: {baseline_problem}; "
            "to bless without a comparison set evaluate.max_regression to null"
        )
    return {"blessed": not reasons, "reasons": reasons, "checks": checks}


def _check(name: tuple[str, str], value: float | None, limit: str, reason: str | None) -> Numbers:
    task, metric = name
    return {"task": task, "metric": metric, "value": value, "limit": limit, "ok": reason is None, "reason": reason}


def _number(value: float) -> str:
    return f"{value:.5g}"


def _sanity(tasks: Mapping[str, Numbers]) -> Iterator[Numbers]:
    for task, numbers in tasks.items():
        metric = "auc" if numbers["kind"] == "binary" else "mean_prediction"
        reason = None
        if numbers.get(metric) is None:
            counts = f"{numbers['rows']:,} rows"
            if "positives" in numbers:
                counts += f", {numbers['positives']:,} of them positive"
            reason = f"task '{task}' cannot be judged: its {metric} is undefined on {counts}"
        yield _check((task, metric), numbers.get(metric), "defined", reason)


def _bounds(tasks: Mapping[str, Numbers], thresholds: Mapping[str, Mapping[str, Bound]]) -> Iterator[Numbers]:
    for task, bounds in thresholds.items():
        for metric, bound in bounds.items():
            value = tasks[task].get(metric)
            limit = " and ".join(
                f"{word} {_number(edge)}"
                for word, edge in (("at least", bound.minimum), ("at most", bound.maximum))
                if edge is not None
            )
            yield _check((task, metric), value, limit, _why_outside(f"task '{task}': {metric}", value, bound))


def _why_outside(what: str, value: float | None, bound: Bound) -> str | None:
    if value is None:
        return f"{what} is undefined, and a bound is set for it"
    if bound.minimum is not None and value < bound.minimum:
        return f"{what} is {_number(value)}; allowed: at least {_number(bound.minimum)}"
    if bound.maximum is not None and value > bound.maximum:
        return f"{what} is {_number(value)}; allowed: at most {_number(bound.maximum)}"
    return None


def _regressions(evaluation: Numbers, config: EvaluateConfig) -> Iterator[Numbers]:
    baseline = evaluation.get("baseline")
    if baseline is None:
        return
    for task, before in baseline["tasks"].items():
        allowed, now = config.allowed_regression(task), evaluation["tasks"].get(task)
        metric = "auc" if before["kind"] == "binary" else "mse"
        if allowed is None or now is None or now["kind"] != before["kind"] or before.get(metric) is None:
            continue
        worse = (allowed, _number(allowed)) if metric == "auc" else (allowed * before[metric], f"{allowed:.2%} of it")
        limit = _limit(worse, config.regression_z, baseline["change_errors"].get(task))
        yield _regression((task, metric), now.get(metric), before[metric], limit)


def _limit(allowed: tuple[float, str], z: float, error: float | None) -> tuple[float, str]:
    """How much worse a task may be, in figures and words: as much as is `allowed`, and what chance explains."""
    most, words = allowed
    if error is None:
        return math.inf, "too few rows (of a class): their chance cannot be told"
    return most + z * error, f"{words} + {_number(z)} standard errors of {_number(error)}"


def _regression(name: tuple[str, str], now: float | None, before: float, limit: tuple[float, str]) -> Numbers:
    """One task against the last blessed model; `limit` is how much worse it may be, and how that came about."""
    task, metric = name
    allowed, why = limit
    bound, word, sign = ("at least", "below", 1) if metric == "auc" else ("at most", "above", -1)
    text = f"{bound} {_number(before)} {'-' if sign > 0 else '+'} {_number(allowed)} ({why}; last blessed model)"
    if now is None:
        return _check(name, now, text, f"task '{task}': {metric} is undefined; the last blessed model had one")
    worse = sign * (before - now)
    reason = (
        f"task '{task}': {metric} {_number(now)} is {_number(worse)} {word} the last blessed model's {_number(before)} "
        f"on the same rows; allowed: {_number(allowed)} ({why})"
    )
    return _check(name, now, text, reason if worse > allowed else None)
