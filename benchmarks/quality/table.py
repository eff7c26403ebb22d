"""From predictions to metrics, and from metrics to tables."""

from __future__ import annotations

import json
import math
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.quality.problem import Problem
from features.errors import ConfigError
from models import metrics

Numbers = dict[str, Any]
Measured = dict[str, dict[str, list[Numbers]]]
"""{dataset: {model: results of its seeds}}."""
UNDEFINED = "-"
"""In tables: parameters of trees, a GAUC without groups, an AUC of one class."""


def measure(problem: Problem, predictions: pathlib.Path, groups: pathlib.Path) -> Numbers:
    """{task: {auc, gauc, log_loss, calibration}} on the test rows."""
    labels, masks = problem.labels("test"), problem.masks("test")
    group = np.load(groups) if groups.exists() else None
    found = np.load(predictions)
    tasks = {}
    for task in problem.tasks:
        y, p, mask = labels[task], found[task], masks[task]
        tasks[task] = {
            "auc": metrics.auc(y, p, mask),
            "gauc": None if group is None else metrics.gauc(y, p, group, mask).value,
            "log_loss": metrics.log_loss(y, p, mask),
            "calibration": metrics.calibration(y, p, mask),
        }
    return tasks


class Results:
    """All results there are, in ``quality.json`` of a folder, and as tables in its ``quality.md``.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "quality.json"
        self._all: list[Numbers] = json.loads(file.read_text()) if file.exists() else []
        self._lock = threading.Lock()

    def has(self, dataset: str, model: str, seed: int) -> bool:
        """Whether that was measured, or refused; what failed is to be tried again."""
        return any(_key(r) == (dataset, model, seed) and "error" not in r for r in self._all)

    def check(self, dataset: str, overrides: list[str]) -> None:
        """Refuses to mix results of different settings in one table.

        Raises:
            ConfigError: if the dataset has results of other `overrides`.
        """
        for result in self._all:
            if result["dataset"] == dataset and result["set"] != overrides:
                raise ConfigError(
                    f"{self._folder} holds results of {dataset} with --set {result['set']}; got {overrides}; allowed: the same, or "
                    "another folder of --results"
                )

    def add(self, result: Numbers) -> None:
        """Keeps one more, at once."""
        with self._lock:
            self._all = sorted([*(r for r in self._all if _key(r) != _key(result)), result], key=_key)
            lines = ",\n".join(map(json.dumps, self._all))
            for name, text in (("quality.json", f"[\n{lines}\n]\n"), ("quality.md", self.markdown())):
                new = self._folder / f"{name}.new"
                new.write_text(text)
                new.replace(self._folder / name)

    def markdown(self) -> str:
        """The tables."""
        measured: Measured = {}
        for result in self._all:
            measured.setdefault(result["dataset"], {}).setdefault(result["model"], []).append(result)
        return markdown(measured)


def markdown(measured: Measured) -> str:
    """A table of AUCs a dataset, best mean first, and one of the other metrics: means over seeds ± half the range."""
    revisions = sorted({r["revision"] for models in measured.values() for results in models.values() for r in results})
    lines = [
        f"Measured at revision {', '.join(revisions)}. Mean over the seeds ± half the range; epochs chosen on validation rows."
    ]
    for dataset, models in measured.items():
        done = {name: [r for r in results if "tasks" in r] for name, results in models.items()}
        done = {name: results for name, results in done.items() if results}
        tasks = list(next(iter(done.values()))[0]["tasks"]) if done else []
        order = sorted(done, key=lambda name: _place(_mean([_mean_of(r, "auc") for r in done[name]])))
        lines += ["", f"## {dataset}: AUC on the test split", "", _row(["model", *tasks, "mean", "seeds"])]
        lines.append(_row(["---"] * (len(tasks) + 3)))
        for name in order:
            cells = [_cell([r["tasks"][task]["auc"] for r in done[name]]) for task in tasks]
            mean = _cell([_mean_of(r, "auc") for r in done[name]])
            lines.append(_row([name, *cells, mean, str(len(done[name]))]))
        lines += ["", f"## {dataset}: means over the tasks, size and speed", ""]
        lines.append(_row(["model", "GAUC", "log loss", "|calibration - 1|", "parameters", "examples/s"]))
        lines.append(_row(["---"] * 6))
        for name in order:
            results = done[name]
            cells = [_cell([_mean_of(r, metric) for r in results]) for metric in ("gauc", "log_loss")]
            cells.append(_cell([_mean_of(r, "calibration", lambda x: abs(x - 1)) for r in results]))
            cells.append(f"{results[0]['parameters']:,}" if "parameters" in results[0] else UNDEFINED)
            cells.append(f"{_mean([r['examples_per_s'] for r in results]):,.0f}")
            lines.append(_row([name, *cells]))
        for name, results in models.items():
            if missing := [r for r in results if "tasks" not in r]:
                lines += ["", f"{name}: not measured ({len(missing)} of {len(results)}): {reason(missing[0])}"]
    return "\n".join(lines) + "\n"


def reason(result: Numbers) -> str:
    """Why there are no numbers, in one line."""
    return str(result.get("refused") or result["error"]).strip().splitlines()[-1]


def _place(mean: float) -> float:
    """Sorts the highest mean first, and what has none last."""
    return math.inf if math.isnan(mean) else -mean


def _key(result: Numbers) -> tuple[str, str, int]:
    return result["dataset"], result["model"], result["seed"]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _mean_of(result: Numbers, metric: str, of: Callable[[float], float] = float) -> float | None:
    values = [numbers[metric] for numbers in result["tasks"].values() if numbers[metric] is not None]
    return _mean([of(value) for value in values]) if values else None


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    spread = f" ± {(max(known) - min(known)) / 2:.4f}" if len(known) > 1 else ""
    return f"{_mean(known):.4f}{spread}" if known else UNDEFINED


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
