"""The metrics of the evaluation, beside TFMA's of the same labels and predictions, and scikit-learn's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats
import sklearn.metrics
import tensorflow_model_analysis as tfma

from benchmarks.equality.compared import Compared

Numbers = npt.NDArray[Any]
BUCKETS = 10_000
"""In which TFMA counts predictions for its AUC."""
LOG_LOSS_EPSILON = 1e-7
_FLOAT = "order of the sum"


def compare(log: str, found: Mapping[str, Any], rows: pd.DataFrame, tasks: Sequence[str], group: str) -> list[Compared]:
    """Compares what evaluation.json says.

    Args:
        log: its name in the table.
        found: what the file holds.
        rows: columns ``label_TASK``, ``TASK`` (predictions) and `group`.
        tasks: binary ones, without masks.
        group: column of the users.
    """
    parts = [_of_task(log, found["tasks"][task], rows, task, group) for task in tasks]
    return [worst(kind) for kind in zip(*parts, strict=True)]


def of_slices(log: str, found: Mapping[str, Any], rows: pd.DataFrame, task: str, column: str) -> list[Compared]:
    """Compares the AUCs of a task's slices, exact on both sides."""
    differences = []
    for value, part in found["slices"][column].items():
        own = rows[rows[column] == value]
        area = part["tasks"][task]["auc"]
        if area is not None:
            differences.append(abs(area - sklearn.metrics.roc_auc_score(own[f"label_{task}"], own[task])))
    text = f"{len(differences)} slices by {column}"
    return [Compared(log, f"AUC of slices, {task}", text, "scikit-learn", max(differences), 1e-12, "exact: float64")]


def worst(kind: Sequence[Compared]) -> Compared:
    """The task that comes nearest to what is allowed, for all."""
    return max(kind, key=lambda one: np.inf if np.isnan(one.difference) else one.difference / one.allowed)


def _of_task(log: str, numbers: Mapping[str, Any], rows: pd.DataFrame, task: str, group: str) -> list[Compared]:
    if undefined := [name for name, value in numbers.items() if value is None]:
        raise ValueError(f"task {task}: {', '.join(undefined)} cannot be told of {len(rows):,} rows; give more rows")
    labels, predictions = rows[f"label_{task}"].to_numpy(), rows[task].to_numpy()
    inside = np.clip(predictions.astype(np.float64), LOG_LOSS_EPSILON, 1 - LOG_LOSS_EPSILON)
    stock = _tfma(labels, predictions)
    # Of the predictions only the order counts. Spread evenly over [0, 1] they do not share TFMA's buckets.
    ranks = ((scipy.stats.rankdata(predictions) - 0.5) / len(predictions)).astype(np.float32)

    def one(what: str, name: str, other: tuple[str, float], allowed: float, why: str) -> Compared:
        mine = numbers[name]
        by, value = other
        return Compared(
            log, f"{what}, worst task: {task}", f"{mine:.7g}", f"{by}: {value:.7g}", abs(mine - value), allowed, why
        )

    learn = "scikit-learn"
    exact = sklearn.metrics.roc_auc_score(labels, predictions)
    return [
        one("AUC", "auc", (learn, exact), 1e-12, "exact: float64"),
        one("GAUC", "gauc", (f"{learn} by user", _gauc(rows, task, group)), 1e-12, "exact: float64"),
        one("log loss", "log_loss", (learn, sklearn.metrics.log_loss(labels, inside)), 1e-12, "exact: float64"),
        one(
            "AUC",
            "auc",
            ("TFMA", stock["auc"]),
            shared_buckets(labels, predictions) / 2 + 1e-6,
            f"half of the pairs whose predictions share one of TFMA's {BUCKETS:,} buckets",
        ),
        one(
            "AUC of ranks",
            "auc",
            ("TFMA", _tfma(labels, ranks)["auc"]),
            shared_buckets(labels, ranks) / 2 + 1e-6,
            "the same, of the predictions' ranks, spread over [0, 1]",
        ),
        one("log loss", "log_loss", ("TFMA", stock["binary_crossentropy"]), 1e-6, _FLOAT),
        one("calibration", "calibration", ("TFMA", stock["calibration"]), 1e-6, _FLOAT),
        one("mean prediction", "mean_prediction", ("TFMA", stock["mean_prediction"]), 1e-6, _FLOAT),
        one("rows", "rows", ("TFMA", stock["example_count"]), 1e-9, "exact"),
    ]


def _tfma(labels: Numbers, predictions: Numbers) -> dict[str, float]:
    names = ("AUC", "BinaryCrossEntropy", "Calibration", "MeanPrediction", "ExampleCount")
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key="label", prediction_key="prediction")],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name=name) for name in names])],
        slicing_specs=[tfma.SlicingSpec()],
    )
    columns = pd.DataFrame({"label": labels.astype(np.float32), "prediction": predictions})
    result = tfma.analyze_raw_data(columns, config)
    ((_, found),) = result.slicing_metrics
    return {name: float(value["doubleValue"]) for name, value in found[""][""].items()}


def _gauc(rows: pd.DataFrame, task: str, group: str) -> float:
    total = count = 0.0
    for _, own in rows.dropna(subset=[group]).groupby(group):
        if own[f"label_{task}"].nunique() == 2:
            total += len(own) * sklearn.metrics.roc_auc_score(own[f"label_{task}"], own[task])
            count += len(own)
    return total / count if count else float("nan")


def shared_buckets(labels: Numbers, predictions: Numbers) -> float:
    """The share of the pairs of a positive and a negative whose predictions lie in one of `BUCKETS` equal parts of [0, 1]
    or in the one beside it."""
    places = np.minimum((predictions * BUCKETS).astype(np.int64), BUCKETS - 1)
    positives, negatives = (np.bincount(places[labels == y], minlength=BUCKETS + 1) for y in (1, 0))
    near = negatives + np.append(negatives[1:], 0) + np.append(0, negatives[:-1])
    return float((positives * near).sum() / (positives.sum() * negatives.sum()))
