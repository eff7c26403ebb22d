"""Labels, sample masks and weights in one form: float32, 0 or 1 for binary tasks, never null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import ConfigError
from features.logs.casting import tokens
from features.logs.quarantine import Faults
from features.spec import Task, label_column, mask_column, weight_column


def label_arrays(
    tasks: dict[str, Task], batch: pa.RecordBatch, faults: Faults, weights: bool = True
) -> dict[str, pa.Array]:
    """``label_<task>`` for every task, ``mask_<task>`` and ``weight_<task>`` for those with a sample mask or weight.

    Where the mask is 0 neither label nor weight is looked at, and both become 0.

    Args:
        tasks: the dataset's tasks.
        batch: rows with the label, mask and weight columns, typed.
        faults: gets ``bad_mask``, ``bad_weight``, ``missing_label``, ``bad_label`` and ``orphan_label``.
        weights: whether the sample weights are asked for.

    Raises:
        ConfigError: if a label, mask or weight column is of a type that holds no number.
    """
    labels: dict[str, pa.Array] = {}
    others: dict[str, pa.Array] = {}
    for name, task in tasks.items():
        counts = np.ones(batch.num_rows, dtype=bool)
        if task.mask is not None:
            counts = _mask(name, task.mask, batch.column(batch.schema.get_field_index(task.mask)), faults)
            others[mask_column(name)] = pa.array(counts.astype(np.float32))
        if weights and task.sample_weight is not None:
            values = batch.column(batch.schema.get_field_index(task.sample_weight))
            others[weight_column(name)] = pa.array(_weight(name, task.sample_weight, values, counts, faults))
        values = batch.column(batch.schema.get_field_index(task.label))
        label = _label(name, task, values, counts, faults)
        labels[label_column(name)] = pa.array(label if counts.all() else np.where(counts, label, np.float32(0)))
    for name, task in tasks.items():
        if task.orphans == "quarantine" and task.parent is not None:
            _mark_orphans(name, task, labels | others, faults)
    return labels | others


def _mark_orphans(name: str, task: Task, answers: dict[str, pa.Array], faults: Faults) -> None:
    """Positive rows without a positive parent; where either is masked nobody knows."""
    assert task.parent is not None
    label, above = (answers[label_column(of)].to_numpy() for of in (name, task.parent))
    mask = answers.get(mask_column(task.parent))
    counts = np.ones(len(label), dtype=bool) if mask is None else mask.to_numpy() == 1
    faults.mark((label > 0) & (above == 0) & counts, "orphan_label", task.label, answers[label_column(name)])


def _numbers(what: str, values: pa.Array) -> NDArray[Any]:
    """float64 (n,), NaN where missing."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise ConfigError(f"{what} is {values.type}; allowed: int64 or float32")
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _mask(task: str, column: str, values: pa.Array, faults: Faults) -> NDArray[Any]:
    numbers = _numbers(f"task '{task}': mask '{column}'", values)
    faults.mark(~((numbers == 0) | (numbers == 1)), "bad_mask", column, values)
    return np.asarray(numbers == 1)


def _weight(task: str, column: str, values: pa.Array, counts: NDArray[Any], faults: Faults) -> NDArray[Any]:
    numbers = _numbers(f"task '{task}': sample_weight '{column}'", values)
    faults.mark(counts & ~((numbers >= 0) & np.isfinite(numbers)), "bad_weight", column, values)
    return np.where(counts, numbers, 0).astype(np.float32)


def _label(name: str, task: Task, values: pa.Array, counts: NDArray[Any], faults: Faults) -> NDArray[Any]:
    missing = np.zeros(len(values), dtype=bool)
    if values.null_count:
        missing = np.asarray(pc.is_null(values).to_numpy(zero_copy_only=False))
    faults.mark(missing & counts, "missing_label", task.label, values)
    if task.positive is not None:
        found = pc.is_in(values, value_set=tokens(task.positive, values.type))
        return np.asarray(found.to_numpy(zero_copy_only=False)).astype(np.float32)
    numbers = _numbers(f"task '{name}': label '{task.label}'", values)
    numbers = numbers if np.isfinite(numbers).all() else np.nan_to_num(numbers)
    if task.kind == "binary":
        faults.mark(counts & ~missing & ~((numbers == 0) | (numbers == 1)), "bad_label", task.label, values)
    return np.asarray(numbers.astype(np.float32))
