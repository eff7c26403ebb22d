"""The rows of one task, in memory or, where there are many, in a temporary file of which a part at a time is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from models import metrics
from models.binary_metrics import ByClass
from pipeline.evaluation.rows import GROUP, NO_GROUP, Column, EvaluatedRows, label_of, mask_of, prediction_of
from pipeline.evaluation.spool import Columns, bins_to_parts, divided

LIMIT = 4_000_000
"""Rows of a task in memory at once: some hundred bytes each while they are sorted."""
LABEL, PREDICTION = "label", "prediction"
_MOST_PARTS = 200
"""Files open at once: of more than 800 million rows each part is larger."""
_BIN_BITS, _GROUP_BITS = 20, 16
"""A part is made of neighbouring bins: predictions, or hashes of groups, with the same first bits."""


class Block(NamedTuple):
    """Some rows of a task that count, (rows,) each."""

    labels: Column
    predictions: Column


class TaskRows:
    """The rows of one task that its mask does not hide, or others with labels and predictions.

    Args:
        columns: gives those named of the columns `LABEL`, `PREDICTION` and, if `grouped`, `GROUP`, block by block, each time from the
            beginning.
        grouped: whether the rows belong to groups.
        limit: rows in memory at once; a part may hold more only where so many have nearly one prediction, or one group.

    Attributes:
        rows: how many there are.
        positives: rows whose label is 1.
        not_finite: rows whose prediction is not finite.
    """

    def __init__(
        self, columns: Callable[[Sequence[str]], Iterator[Columns]], grouped: bool = False, limit: int = LIMIT
    ) -> None:
        self.grouped = grouped
        self._columns = columns
        self._limit = limit
        self.rows = self.positives = self.not_finite = 0
        for block in self.blocks():
            self.rows += len(block.labels)
            self.positives += int(np.count_nonzero(block.labels == 1))
            self.not_finite += int(np.count_nonzero(~np.isfinite(block.predictions)))

    @classmethod
    def of(cls, rows: EvaluatedRows, task: str, limit: int = LIMIT) -> TaskRows:
        """Of one of the predicted tasks."""
        return cls(lambda names: _of_task(rows, task, names), rows.grouped, limit)

    def blocks(self) -> Iterator[Block]:
        """All rows."""
        for block in self._columns((LABEL, PREDICTION)):
            yield Block(block[LABEL], block[PREDICTION])

    def by_class(self) -> Iterator[ByClass]:
        """All rows in parts of rising predictions; equal ones are in one part.

        Raises:
            ValueError: see `models.metrics.auc`.
        """
        for block in self._parts((LABEL, PREDICTION), _prediction_bins, _BIN_BITS):
            yield metrics.by_class(block[LABEL], block[PREDICTION])

    def gauc(self) -> metrics.GroupedAuc:
        """GAUC of the rows whose group is known; those of a group are in one part."""
        found = [
            metrics.gauc(block[LABEL], block[PREDICTION], block[GROUP])
            for block in map(_with_known_groups, self._parts((LABEL, PREDICTION, GROUP), _group_bins, _GROUP_BITS))
        ]
        rows = sum(part.rows for part in found)
        total = math.fsum(part.value * part.rows for part in found if part.value is not None)
        return metrics.GroupedAuc(total / rows if rows else None, sum(part.groups for part in found), rows)

    def _parts(self, names: Sequence[str], bins_of: Callable[[Columns], Column], bits: int) -> Iterator[Columns]:
        """Columns of all rows, by bins of so many bits; the columns of a part are one block. Of many rows the last bin is left out."""
        if self.rows <= self._limit:
            yield _joined(self._columns(names))
            return
        counts = np.zeros(2**bits + 1, np.int64)
        for block in self._columns(names):
            counts += np.bincount(bins_of(block), minlength=len(counts))
        parts, number = bins_to_parts(counts[:-1], max(self._limit, self.rows // _MOST_PARTS))
        parts = np.append(parts, -1)
        for spool in divided(self._columns(names), number, lambda block: parts[bins_of(block)]):
            yield spool.columns(spool.names)


def auc_error(now: EvaluatedRows, before: EvaluatedRows, task: str, limit: int = LIMIT) -> float | None:
    """See `models.metrics.auc_difference_error`; of more than `limit` rows each rank is that of a bin of predictions that differ by
    less than 2^-11 of themselves.

    Args:
        now: rows with one model's predictions.
        before: the same rows in the same order with another's.
        task: a binary one that both predict.
        limit: of the rows in memory.
    """
    pairs = _pairs(now, before, task)
    if now.count <= limit:
        one, other = (_joined(blocks) for blocks in zip(*pairs, strict=True))
        return metrics.auc_difference_error(one[LABEL], one[PREDICTION], other[PREDICTION])
    counts = np.zeros((2, 2, 2**_BIN_BITS))  # of one model's predictions, then the other's: negatives, positives
    for blocks in pairs:
        for model, block in enumerate(blocks):
            bins, positive = _prediction_bins(block), blocks[0][LABEL]
            for label in (0, 1):
                counts[model, label] += np.bincount(bins[positive == label], minlength=counts.shape[2])
    sizes = counts[0].sum(axis=1)
    if min(sizes) < 2:
        return None
    below = (np.cumsum(counts, axis=2) - counts / 2) / sizes[None, :, None]
    return _spread(_pairs(now, before, task), below, sizes)


def mse_error(now: EvaluatedRows, before: EvaluatedRows, task: str) -> float | None:
    """Standard error of the difference of two mean squared errors on the same rows; None of fewer than two rows.

    Args:
        now: rows with one model's predictions.
        before: the same rows in the same order with another's.
        task: a regression that both predict.
    """
    rows, total, squares = 0, 0.0, 0.0
    for one, other in _pairs(now, before, task):
        labels = one[LABEL].astype(np.float64)
        changes = (one[PREDICTION] - labels) ** 2 - (other[PREDICTION] - labels) ** 2
        rows += len(changes)
        total += float(changes.sum())
        squares += float((changes**2).sum())
    if rows < 2:
        return None
    return math.sqrt(max(squares - total**2 / rows, 0.0) / (rows - 1) / rows)


def _spread(
    pairs: Iterable[tuple[Columns, Columns]], below: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
) -> float:
    """Standard error of the difference of two AUCs.

    Args:
        pairs: the same rows with either model's predictions.
        below: of each model, class and bin the share of that class that lies below the middle of the bin.
        sizes: rows of each class.
    """
    sums, squares = np.zeros(2), np.zeros(2)
    for one, other in pairs:
        for label in (0, 1):
            chosen = one[LABEL] == label
            first, second = (_prediction_bins(block)[chosen] for block in (one, other))
            changes = below[0, 1 - label][first] - below[1, 1 - label][second]
            sums[label] += changes.sum()
            squares[label] += (changes**2).sum()
    variances = (squares - sums**2 / sizes) / (sizes - 1)
    return float(np.sqrt(max(float((variances / sizes).sum()), 0.0)))


def _pairs(now: EvaluatedRows, before: EvaluatedRows, task: str) -> Iterator[tuple[Columns, Columns]]:
    return zip(*(_of_task(rows, task, (LABEL, PREDICTION)) for rows in (now, before)), strict=True)


def _of_task(rows: EvaluatedRows, task: str, names: Sequence[str]) -> Iterator[Columns]:
    places = {LABEL: label_of(task), PREDICTION: prediction_of(task), GROUP: GROUP}
    named = {name: places[name] for name in names}
    mask = mask_of(task) if task in rows.masked else None
    for block in rows.spool.blocks([*named.values(), *filter(None, [mask])]):
        columns = {short: block[name] for short, name in named.items()}
        yield columns if mask is None else {name: values[block[mask]] for name, values in columns.items()}


def _joined(blocks: Iterable[Columns]) -> Columns:
    parts = list(blocks)
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _prediction_bins(block: Columns) -> Column:
    bits = metrics.rising_bits(block[PREDICTION].astype(np.float32, copy=False))
    return (bits >> np.uint32(32 - _BIN_BITS)).astype(np.int64)


def _group_bins(block: Columns) -> Column:
    bins = (block[GROUP] >> np.uint64(64 - _GROUP_BITS)).astype(np.int64)
    return np.where(block[GROUP] == NO_GROUP, 2**_GROUP_BITS, bins)


def _with_known_groups(block: Columns) -> Columns:
    """The rows whose group is known, with a small number in place of its hash."""
    known = block[GROUP] != NO_GROUP
    kept = block if known.all() else {name: values[known] for name, values in block.items()}
    return kept | {GROUP: pd.factorize(kept[GROUP])[0]}
