"""A model's exact metrics and predictions on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from features.errors import ModelError
from features.spec import Task, label_column, mask_column
from models import metrics
from models.training.curves import Validation

Batch = Mapping[str, tf.Tensor]
Predictions = dict[str, npt.NDArray[Any]]
Predict = Callable[[Batch], dict[str, tf.Tensor]]


def predict_all(predict: Predict, batches: Iterable[Batch], keep: Iterable[str] = ()) -> Predictions:
    """Predictions of all batches, and the batches' columns named in `keep`: each (rows,)."""
    keep = tuple(keep)
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    for batch in batches:
        for name, values in [*predict(batch).items(), *((name, batch[name]) for name in keep)]:
            parts.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def validate(predict: Predict, batches: Iterable[Batch], tasks: Mapping[str, Task], epoch: int) -> Validation:
    """Exact metrics of every task.

    Args:
        predict: a batch to ``{task: (rows,)}``.
        batches: of the validation split, with labels and masks.
        tasks: what is predicted.
        epoch: counted from 1; for the error's text.

    Raises:
        ModelError: if a prediction is not a finite number.
    """
    labels = {name: label_column(name) for name in tasks}
    masks = {name: mask_column(name) for name, task in tasks.items() if task.mask}
    columns = predict_all(predict, batches, keep=[*labels.values(), *masks.values()])
    for task in tasks:
        wrong = ~np.isfinite(columns[task])
        if wrong.any():
            raise ModelError(
                f"epoch {epoch}: task '{task}' predicts {columns[task][wrong][0]} for {wrong.sum():,} of {len(wrong):,} "
                f"validation rows; allowed: finite numbers. A smaller learning rate or train.clip_norm may help"
            )

    def measured(metric: Callable[..., float | None], kind: str) -> dict[str, float | None]:
        return {
            name: metric(columns[labels[name]], columns[name], columns[masks[name]] if name in masks else None)
            for name, task in tasks.items()
            if task.kind == kind
        }

    areas = measured(metrics.auc, "binary")
    return Validation(
        auc=areas,
        log_loss=measured(metrics.log_loss, "binary"),
        mse=measured(metrics.mse, "regression"),
        mean_auc=metrics.mean_auc(
            areas,
            {name: columns[column] for name, column in labels.items()},
            {name: columns[column] for name, column in masks.items()},
        ),
    )
