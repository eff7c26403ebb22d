"""Asks an exported model for its predictions, as a server would: raw rows through its ``raw`` signature."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.errors import ModelError
from features.raw_inputs import arrow_to_dense
from features.spec import Dataset
from serving.bundle import Bundle

Predictions = dict[str, npt.NDArray[np.float32]]
"""One (rows,) column per output of a model."""

BATCH_ROWS = 8192
SIGNATURE = "raw"


class Predictor:
    """A SavedModel exported by feedrank.

    Args:
        directory: the folder that holds ``saved_model.pb``.

    Raises:
        ModelError: if the folder holds no model, or one without feedrank's bundle or its ``raw`` signature.
    """

    def __init__(self, directory: str | Path) -> None:
        import tensorflow as tf

        self.directory = Path(directory)
        self.bundle = Bundle(directory)
        self.dataset: Dataset = self.bundle.dataset()
        try:
            # Kept: the signature does not hold on to the variables that it reads.
            self._model = tf.saved_model.load(str(directory))
        except (OSError, ValueError) as error:
            raise ModelError(f"{directory} cannot be loaded as a SavedModel: {error}") from error
        if SIGNATURE not in self._model.signatures:
            raise ModelError(
                f"{directory} has no signature '{SIGNATURE}'; it has: {', '.join(self._model.signatures) or '(none)'}"
            )
        self._ask = self._model.signatures[SIGNATURE]

    def predict(self, rows: pa.RecordBatch | pa.Table) -> Predictions:
        """Predictions for `rows`, plain or list-typed, with at least the raw columns.

        Raises:
            DataError: if a raw column that the model needs is absent.
            ModelError: if the model's signature does not take these inputs, or fails on them.
        """
        inputs = arrow_to_dense(rows, self.dataset)
        parts = [self._predict(part) for part in _parts(inputs, rows.num_rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _predict(self, inputs: dict[str, npt.NDArray[Any]]) -> Predictions:
        import tensorflow as tf

        try:
            outputs = self._ask(**{name: tf.constant(values) for name, values in inputs.items()})
        except (tf.errors.OpError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{self.directory} cannot answer signature '{SIGNATURE}' for inputs {', '.join(sorted(inputs))}: {error}"
            ) from error
        return {name: outputs[name].numpy() for name in sorted(outputs)}


class TimedPredictor:
    """Asks a model, and keeps what that took.

    Attributes:
        seconds: of the clock.
        core_seconds: of all threads of the process meanwhile.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.seconds = self.core_seconds = 0.0

    def predict(self, rows: pa.RecordBatch | pa.Table) -> Predictions:
        """See :meth:`Predictor.predict`."""
        started, cores = time.perf_counter(), time.process_time()
        predictions = self._predictor.predict(rows)
        self.seconds += time.perf_counter() - started
        self.core_seconds += time.process_time() - cores
        return predictions


def _parts(inputs: dict[str, npt.NDArray[Any]], rows: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
    for start in range(0, max(rows, 1), BATCH_ROWS):
        yield {name: values[start : start + BATCH_ROWS] for name, values in inputs.items()}
