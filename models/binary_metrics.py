"""Metrics of a binary task from its predictions in rising order, all at once or part by part (numpy only)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

EPSILON = 1e-7
"""Probabilities are clipped to [EPSILON, 1 - EPSILON] inside logarithms: where a float32 sigmoid saturates."""
METRICS = ("auc", "log_loss", "normalized_entropy", "calibration")
_BLOCK = 65_536
"""Numbers that are worked on in float64 at once: they stay in the cache, and no column is copied whole."""


class CalibrationBin(NamedTuple):
    """Rows with similar predictions: what was predicted for them and what happened."""

    prediction: float
    label: float
    rows: int


@dataclasses.dataclass(frozen=True)
class ByClass:
    """The predictions of some rows of a binary task, each class in rising order."""

    positives: Array
    negatives: Array


class BinaryMetrics:
    """Sums over all rows of a binary task, and the metrics that follow from them; see `models.metrics` for what each is.

    Args:
        parts: the rows, in parts that rise: no prediction of a part equals or exceeds one of the next. One is held at a time.
        wanted: of `METRICS`; the others are not to be asked for.
        bins: number of `calibration_bins`, 0 for none.
        rows: of all parts; only the bins need it.

    Attributes:
        positives: rows.
        negatives: rows.
        total: sum of all predictions.

    Raises:
        ValueError: a metric but the AUC is wanted, or bins, and a prediction is outside [0, 1].
    """

    def __init__(
        self, parts: Iterable[ByClass], wanted: Collection[str] = METRICS, bins: int = 0, rows: int = 0
    ) -> None:
        self.positives = self.negatives = 0
        self.total = 0.0
        self._wins = 0
        self._loss = 0.0
        self._wanted = wanted
        self._bins = _Bins(rows, bins)
        for part in parts:
            self._add(part)

    def _add(self, part: ByClass) -> None:
        if self._bins.bins or not {"auc"}.issuperset(self._wanted):
            _refuse_all_but_probabilities(part)
        if "auc" in self._wanted:
            blocks = (part.positives[start : start + _BLOCK] for start in range(0, len(part.positives), _BLOCK))
            within = sum(int(wins(block, part.negatives).sum()) for block in blocks)
            self._wins += within + 2 * len(part.positives) * self.negatives
        if not {"log_loss", "normalized_entropy"}.isdisjoint(self._wanted):
            self._loss -= _sum(part.positives, lambda p: np.log(np.clip(p, EPSILON, 1 - EPSILON)))
            self._loss -= _sum(part.negatives, lambda p: np.log1p(-np.clip(p, EPSILON, 1 - EPSILON)))
        self._bins.add(part)
        self.positives += len(part.positives)
        self.negatives += len(part.negatives)
        self.total += _sum(part.positives) + _sum(part.negatives)

    @property
    def rows(self) -> int:
        """Positives and negatives."""
        return self.positives + self.negatives

    def metric(self, name: str) -> float | None:
        """One of those that were wanted; None where the rows do not define it.

        Args:
            name: of `METRICS`.
        """
        compute: dict[str, Callable[[], float | None]] = {
            "auc": self._auc,
            "log_loss": self._log_loss,
            "normalized_entropy": self._normalized_entropy,
            "calibration": lambda: self.total / self.positives if self.positives else None,
        }
        if name not in self._wanted:
            raise ValueError(f"metric '{name}' was not asked for; allowed: {', '.join(self._wanted)}")
        return compute[name]()

    def _auc(self) -> float | None:
        pairs = self.positives * self.negatives
        return self._wins / (2 * pairs) if pairs else None

    def _log_loss(self) -> float | None:
        return self._loss / self.rows if self.rows else None

    def _normalized_entropy(self) -> float | None:
        loss = self._log_loss()
        if loss is None or not self.positives or not self.negatives:
            return None
        mean = self.positives / self.rows
        return loss / (-mean * math.log(mean) - (1 - mean) * math.log1p(-mean))

    def calibration_bins(self) -> list[CalibrationBin]:
        """See `models.metrics.calibration_bins`."""
        return [CalibrationBin(total / rows, positives / rows, rows) for total, positives, rows in self._bins.found]


class _Bins:
    """Calibration bins: rows in the order of their predictions, cut into parts of about equal size between different ones."""

    def __init__(self, rows: int, bins: int) -> None:
        self.bins = bins
        self.found: list[tuple[float, int, int]] = []
        """Of each bin so far: sum of its predictions, its positives, its rows."""
        self._rows = rows
        self._seen = 0
        self._starts: set[int] = set()
        """Numbers of the rows, in rising order, with which a bin begins."""

    def add(self, part: ByClass) -> None:
        """The next rows."""
        if not self.bins or not len(part.positives) + len(part.negatives):
            return
        rising = np.sort(np.concatenate((part.positives, part.negatives)))
        self._starts |= set(self._cuts(rising))
        own = sorted(start - self._seen for start in self._starts if 0 < start - self._seen < len(rising))
        edges = [0, *own, len(rising)]
        before = [*np.searchsorted(part.positives, rising[edges[:-1]]), len(part.positives)]
        for place, (start, end) in enumerate(itertools.pairwise(edges)):
            total, positives, rows = (
                (0.0, 0, 0) if self._seen + start in self._starts or not self.found else self.found.pop()
            )
            here = int(before[place + 1] - before[place])
            self.found.append((total + _sum(rising[start:end]), positives + here, rows + end - start))
        self._seen += len(rising)

    def _cuts(self, rising: Array) -> Iterable[int]:
        """Starts of bins among these rows, or right behind them: equal predictions go where the middle of them lies."""
        for place in range(self.bins):
            aim = self._rows * place // self.bins - self._seen
            if 0 <= aim < len(rising):
                begin = self._seen + int(np.searchsorted(rising, rising[aim]))
                end = self._seen + int(np.searchsorted(rising, rising[aim], "right"))
                yield begin if self.bins * (begin + end) >= 2 * self._rows * place else end


def wins(positives: Array, negatives: Array) -> npt.NDArray[np.int64]:
    """Of each positive, twice the number of negatives below it and once that of its equals; `negatives` rise."""
    found: npt.NDArray[np.int64] = np.searchsorted(negatives, positives)
    found += np.searchsorted(negatives, positives, "right")
    return found


def _refuse_all_but_probabilities(part: ByClass) -> None:
    for predictions in (part.positives, part.negatives):
        if len(predictions) and (predictions[0] < 0 or predictions[-1] > 1):
            wrong = predictions[0] if predictions[0] < 0 else predictions[-1]
            raise ValueError(f"a prediction is {wrong:g}; allowed: a probability, 0 to 1")


def _sum(values: Array, function: Callable[[Floats], Floats] | None = None) -> float:
    """Sum of `function` of the values, in float64."""
    parts = (values[start : start + _BLOCK].astype(np.float64) for start in range(0, len(values), _BLOCK))
    return math.fsum(float((part if function is None else function(part)).sum()) for part in parts)
