"""One dataset as every competitor gets it: the rows that feedrank's Transform wrote, and what their columns are.

Loads numpy and pyarrow only, for the peers' environments have no feedrank installed.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from models.metrics import auc, mean_auc

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Feature:
    """One transformed input; the fields are those of `features.layout.Input`."""

    name: str
    kind: str
    """``index``: int64 (rows,), below `rows`. ``indices``: int64 (rows, length), 0 is padding. ``number``: float32."""
    table: str | None
    rows: int | None
    """Of the table."""
    length: int | None


class Problem:
    """A folder with ``problem.json``, as `benchmarks.quality.prepare` writes it.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        spec = json.loads((folder / "problem.json").read_text())
        self.files: dict[str, list[str]] = spec["files"]
        self.features = tuple(Feature(**feature) for feature in spec["features"])
        self.tasks: dict[str, bool] = spec["tasks"]
        """Binary tasks, and whether each has a mask."""
        self.settings: dict[str, Any] = spec["settings"]
        """What all competitors share: embedding_dim, units, tower_units, dropout, batch_size, learning_rate, epochs, patience,
        task_weights."""

    def inputs(self, split: str) -> dict[str, Array]:
        """{feature: values} of a split's rows, in the files' order."""
        table = self._read(split, [feature.name for feature in self.features])
        return {f.name: _values(table.column(f.name), f.length) for f in self.features}

    def labels(self, split: str) -> dict[str, Array]:
        """{task: float32 (rows,)}."""
        table = self._read(split, [f"label_{task}" for task in self.tasks])
        return {task: table.column(f"label_{task}").to_numpy() for task in self.tasks}

    def masks(self, split: str) -> dict[str, Array]:
        """{task: float32 (rows,)}, ones for a task without a mask."""
        masked = [task for task, has in self.tasks.items() if has]
        table = self._read(split, [f"mask_{task}" for task in masked])
        masks = {task: table.column(f"mask_{task}").to_numpy() for task in masked}
        return {task: masks.get(task, np.ones_like(labels)) for task, labels in self.labels(split).items()}

    def loss_weights(self) -> list[float]:
        """Of each task in the loss; 1 where the settings give none."""
        return [float(self.settings["task_weights"].get(task, 1)) for task in self.tasks]

    def mean_auc(self, split: str, predictions: dict[str, Array]) -> float:
        """What selects an epoch, ours or a peer's."""
        labels, masks = self.labels(split), self.masks(split)
        areas = {task: auc(labels[task], predictions[task], masks[task]) for task in self.tasks}
        area = mean_auc(areas, labels, masks)
        if area is None:
            raise ValueError(f"no task has both classes among the rows of split '{split}'")
        return area

    def _read(self, split: str, columns: list[str]) -> pa.Table:
        return pa.concat_tables([pq.read_table(path, columns=columns) for path in sorted(self.files[split])])


def _values(column: pa.ChunkedArray, length: int | None) -> Array:
    if length is None:
        return np.asarray(column.to_numpy())
    return np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks]).reshape(-1, length)
