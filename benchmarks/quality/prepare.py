"""Brings a dataset through ingest, validation and Transform, and writes it down for all competitors."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality.problem import Array
from features.layout import Layout
from features.spec import ROW_ID
from features.synthesis import synthesize
from pipeline import loading
from pipeline.components.transform import LAYOUT_FILE
from pipeline.config import RunConfig
from pipeline.runners import local
from pipeline.runs import RunFolder, RunRecord, StageResult

SPLITS = ("train", "validation", "test")


class _Silence:
    def stage_started(self, name: str) -> None:
        pass

    def stage_finished(self, result: StageResult) -> None:
        print(f"    {result.name} {result.seconds:.0f} s", flush=True)


def prepare(config: str, overrides: list[str], folder: pathlib.Path) -> None:
    """Runs the pipeline once, with the shortest training there is, and writes ``problem.json`` and ``groups.npy``.

    Args:
        config: a run's YAML file.
        overrides: as with ``feedrank run --set``.
        folder: gets the problem.
    """
    shortest = ["model.preset=shared_bottom", "train.epochs=1", f"output={folder / 'runs'}", "evaluate.thresholds={}"]
    loaded = loading.load(config, [*overrides, *shortest])
    if loaded.data.synthesize is not None:
        synthesize(loaded.data.synthesize, pathlib.Path(loaded.data.path))
    with RunFolder.create(loaded) as run:
        record = local.run(loaded, run, _Silence())
    wanted = loading.load(config, overrides)
    if (groups := _groups(record, wanted)) is not None:
        np.save(folder / "groups.npy", groups)
    (folder / "problem.json").write_text(json.dumps(_spec(record, wanted), indent=1))  # last: it says that all is there


def _output(record: RunRecord, stage: str, name: str) -> pathlib.Path:
    found = record.output(stage, name)
    if found is None:
        raise RuntimeError(f"the run has no output '{name}' of stage '{stage}'")
    return found


def _spec(record: RunRecord, config: RunConfig) -> dict[str, Any]:
    layout = Layout.model_validate_json((_output(record, "transform", "transform_graph") / LAYOUT_FILE).read_text())
    rows = {table.name: table.rows for table in layout.tables}
    examples = _output(record, "transform", "transformed_examples")
    model, train = config.model, config.train
    return {
        "layout": layout.model_dump(mode="json"),
        "files": {split: sorted(map(str, (examples / f"Split-{split}").glob("*"))) for split in SPLITS},
        "features": [
            {"name": i.name, "kind": i.kind, "table": i.table, "rows": rows.get(str(i.table)), "length": i.length}
            for i in layout.inputs
        ],
        "tasks": {n: task.mask is not None for n, task in config.dataset.tasks.items() if task.kind == "binary"},
        "settings": {
            "embedding_dim": model.embedding_dim,
            "input_dropout": model.input_dropout,
            "units": list(model.trunk.units),
            "dropout": model.trunk.dropout,
            "tower_units": list(model.head.tower_units),
            "batch_size": train.batch_size,
            "learning_rate": train.dense_optimizer.learning_rate,
            "epochs": train.epochs,
            "patience": train.patience,
            "task_weights": {n: task.weight for n, task in config.dataset.tasks.items() if task.kind == "binary"},
        },
    }


def _groups(record: RunRecord, config: RunConfig) -> Array | None:
    """The group of each test row, in the order of the transformed test files."""
    if (group := config.dataset.group) is None:
        return None
    examples = _output(record, "ingest", "examples") / "Split-test"
    transformed = _output(record, "transform", "transformed_examples") / "Split-test"
    before = _table(examples, [ROW_ID, group])
    ids, groups = (np.asarray(before.column(name).combine_chunks().flatten()) for name in (ROW_ID, group))
    _, numbers = np.unique(groups.astype(str), return_inverse=True)
    order = np.argsort(ids)
    wanted = _table(transformed, [ROW_ID]).column(ROW_ID).to_numpy()
    places = np.searchsorted(ids, wanted, sorter=order)
    return np.asarray(numbers[order[places]])


def _table(folder: pathlib.Path, columns: list[str]) -> pa.Table:
    return pa.concat_tables([pq.read_table(path, columns=columns) for path in sorted(folder.glob("*"))])
