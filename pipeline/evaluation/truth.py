"""What only a synthetic log knows: how likely it truly was that this user prefers this item.

`feedrank data synth` writes it beside the log, as Parquet with a key that the log has, too, and a float column ``up``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from features.errors import DataError
from features.logs.files import fingerprint_files
from features.outputs import UP
from features.paths import remote
from features.spec import Dataset
from models import metrics
from pipeline.evaluation.rows import EvaluatedRows

FOLDER = "truth"


def find_truth(data: str | Path) -> str:
    """The truth beside a log in the folder `data`; empty if there is none, or the log lies in a store."""
    if remote(str(data)) is not None:
        return ""
    folder = Path(data) / FOLDER
    return str(folder) if any(folder.rglob("*.parquet")) else ""


def truth_fingerprint(truth: str) -> str:
    """A hash of the files in the folder `truth`, as of a log's: it changes when they do; empty if there is no truth."""
    return fingerprint_files(sorted(map(str, Path(truth).rglob("*.parquet"))), truth) if truth else ""


def key_column(truth: str, dataset: Dataset) -> str:
    """The column by which rows of the truth belong to rows of the log: the only one that both have, besides `up`.

    Raises:
        DataError: if they share none or several, or the truth has no `up`.
    """
    names = _read(truth).schema.names
    shared = [name for name in names if name in dataset.all_columns() and name != UP]
    if UP not in names or len(shared) != 1:
        raise DataError(
            f"the truth in {truth} has columns {', '.join(names)}; allowed: '{UP}' and exactly one column of the log"
        )
    key: str = shared[0]
    return key


def against_truth(rows: EvaluatedRows, dataset: Dataset, truth: str, key: str) -> dict[str, Any]:
    """How well each output orders rows by the true preference.

    Args:
        rows: with `keys`.
        dataset: names the tasks.
        truth: folder of the truth.
        key: of both, see :func:`key_column`.

    Returns:
        ``{"auc": {output: area}, "ceiling", "rows"}``: the expected AUC against a draw of the true preference, for every
        output, for ``sum`` (of all binary tasks' scores) and, as the ceiling, for the truth itself.
    """
    if rows.keys is None:
        raise ValueError("the rows were collected without their keys")
    place, up = _look_up(rows.keys, truth, key)
    scores: dict[str, npt.NDArray[Any]] = {name: rows.predictions(name) for name in rows.predicted}
    binary = [name for name, task in dataset.tasks.items() if task.kind == "binary" and name in scores]
    scores["sum"] = np.sum([scores[name] for name in binary], axis=0)
    chosen = [name for name in (UP, "sum", *binary) if name in scores]
    return {
        "auc": {name: _area(up, scores[name][place]) for name in chosen},
        "ceiling": metrics.expected_auc(up, up),
        "rows": len(up),
    }


def _area(up: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float | None:
    return metrics.expected_auc(up, scores) if np.isfinite(scores).all() else None


def _read(truth: str) -> pads.Dataset:
    return pads.dataset(truth, format="parquet")


def _look_up(keys: npt.NDArray[Any], truth: str, key: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Places in `keys` that the truth knows, and the true preference there; memory grows with `keys` alone."""
    wanted = pa.array(keys)
    found: Mapping[str, list[Any]] = {key: [], UP: []}
    for batch in _read(truth).to_batches(columns=[key, UP]):
        part = batch.filter(pc.is_in(batch.column(0), value_set=wanted))
        for name, column in zip((key, UP), part.columns, strict=True):
            found[name].append(column.to_numpy(zero_copy_only=False))
    known, up = (np.concatenate(parts) if parts else np.array([]) for parts in found.values())
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known, keys, sorter=order), max(len(known) - 1, 0))
    place = np.flatnonzero(known[order][at] == keys) if len(known) else np.array([], np.int64)
    return place, up[order][at][place] if len(known) else up
