"""What a peer's script for `benchmarks.quality` has in common with the others': arguments, epochs, answer."""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.quality.problem import Array, Problem

OWN_SETTINGS: dict[str, Any] = {"batch_size": 512, "learning_rate": 0.001, "dropout": 0.2, "task_weights": {}}
"""Smaller and slower than feedrank's configurations, which were chosen for feedrank's models."""


class Competitor(NamedTuple):
    """A trained peer."""

    predictions: dict[str, Array]
    """{task: (test rows,)}."""
    numbers: dict[str, Any]
    """JSON: parameters, examples_per_s, epochs, ..."""


def compete(run: Callable[..., Competitor]) -> None:
    """``python -m MODULE PROBLEM SEED OUTPUT [MODEL]``: predictions to OUTPUT, numbers as one line of JSON.

    A network is trained twice, with feedrank's settings and with `OWN_SETTINGS`; the better on the validation rows counts.
    """
    folder, seed, output, *model = sys.argv[1:]
    best: Competitor | None = None
    for own in ({}, OWN_SETTINGS):
        problem = Problem(pathlib.Path(folder))
        problem.settings |= own
        found = run(problem, int(seed), *model)
        found.numbers["settings"] = own
        if best is None or found.numbers["validation"] > best.numbers["validation"]:
            best = found
        if "validation" not in found.numbers:  # trees, which ask for none of the settings
            break
    assert best is not None
    np.savez(output, **best.predictions)
    print(json.dumps(best.numbers))


def best_epoch(
    problem: Problem, train_epoch: Callable[[], None], predict: Callable[[str], dict[str, Array]]
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Trains as feedrank does: at most `epochs`, until the validation mean AUC has not risen for `patience` of them.

    Args:
        problem: settings and validation labels.
        train_epoch: passes over the training rows once.
        predict: a split to {task: (rows,)}.

    Returns:
        The best epoch's test predictions, and numbers for the answer.
    """
    best, chosen, at, epoch, rates = -np.inf, {}, 0, 0, []
    rows = len(next(iter(problem.labels("train").values())))
    while epoch < problem.settings["epochs"] and epoch - at < max(1, problem.settings["patience"]):
        epoch += 1
        began = time.perf_counter()
        train_epoch()
        rates.append(rows / (time.perf_counter() - began))
        score = problem.mean_auc("validation", predict("validation"))
        if score > best:
            best, chosen, at = score, predict("test"), epoch
    numbers = {"examples_per_s": float(np.median(rates)), "epochs": epoch, "best_epoch": at, "validation": best}
    return chosen, numbers


def arrays(columns: dict[str, Array]) -> Array:
    """(rows, columns) in their order."""
    return np.stack(list(columns.values()), axis=1)
