"""What travels beside an exported model: the spec, the side tables, the trainer's own predictions.

A SavedModel may carry a folder ``assets.extra`` that TensorFlow and TF Serving leave alone. feedrank keeps there what a
later process needs to prepare rows for the model and to check it. This module loads no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from features.errors import ModelError
from features.layout import Layout
from features.spec import ROW_ID, Dataset

FOLDER = "assets.extra/feedrank"
"""Where the bundle lies inside a SavedModel."""


@dataclasses.dataclass(frozen=True)
class Extras:
    """What only the trainer knows about a model, kept beside it.

    Attributes:
        model_json: the model's configuration.
        predictions: int64 ``feedrank_row_id`` and one float32 column per output: the trainer's own predictions on some
            validation rows, from the in-memory model.
        gates: mean gate weights for the report; ``{}`` if the model has no gates.
        training: the curves.
    """

    model_json: str
    predictions: pa.Table
    gates: Mapping[str, Any]
    training: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raises ModelError where `predictions` is not what it should be."""
        fields = {field.name: field.type for field in self.predictions.schema}
        if fields.pop(ROW_ID, None) != pa.int64() or not fields or set(fields.values()) != {pa.float32()}:
            raise ModelError(
                f"predictions need an int64 column {ROW_ID} and a float32 column per output; "
                f"received: {self.predictions.schema.to_string()}"
            )


class Bundle:
    """Reads the bundle of one exported model.

    Args:
        model: folder of the SavedModel.

    Raises:
        ModelError: if the folder is no model exported by feedrank.
    """

    def __init__(self, model: str | Path) -> None:
        self.model = Path(model)
        self.directory = self.model / FOLDER
        if not (self.directory / "dataset.json").is_file():
            raise ModelError(
                f"{self.model} is no model exported by feedrank: it has no {FOLDER}/dataset.json; allowed: a folder that "
                f"holds saved_model.pb and {FOLDER}, such as one version of a pushed model"
            )

    def dataset(self) -> Dataset:
        """The spec of the log that the model was trained on."""
        return self._parsed(Dataset, "dataset.json")

    def layout(self) -> Layout:
        """The transformed inputs and the embedding tables."""
        return self._parsed(Layout, "layout.json")

    def model_config(self) -> dict[str, Any]:
        """The model's configuration."""
        return self._json("model.json")

    def gates(self) -> dict[str, Any]:
        """Mean gate weights over validation rows; empty if the model has no gates."""
        return self._json("gates.json")

    def training(self) -> dict[str, Any]:
        """The curves of the training."""
        return self._json("training.json")

    def versions(self) -> dict[str, str]:
        """Versions of feedrank and of the libraries that exported the model."""
        return self._json("versions.json")

    def tables(self) -> dict[str, Path]:
        """Parquet file of each side table, by its name."""
        return {path.stem: path for path in sorted((self.directory / "tables").glob("*.parquet"))}

    def predictions(self) -> pa.Table:
        """The trainer's own predictions, see :class:`Extras`."""
        return pq.read_table(self._file("predictions.parquet"))

    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        names = pq.read_schema(self._file("predictions.parquet")).names
        return tuple(name for name in names if name != ROW_ID)

    def _file(self, name: str) -> Path:
        if not (path := self.directory / name).is_file():
            raise ModelError(f"{self.model} lacks {FOLDER}/{name}; export the model again")
        return path

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads(self._file(name).read_text())
        except json.JSONDecodeError as error:
            raise ModelError(f"{self._file(name)} is no JSON: {error}") from error

    def _parsed(self, kind: type[Any], name: str) -> Any:
        try:
            return kind.model_validate_json(self._file(name).read_text())
        except pydantic.ValidationError as error:
            raise ModelError(f"{self._file(name)} is no {kind.__name__}: {error}") from error


def write_bundle(model: Path, dataset: Dataset, layout: Layout, extras: Extras, tables: Iterable[Path]) -> None:
    """Writes the bundle of a model that was just saved.

    Args:
        model: folder of the SavedModel.
        dataset: the spec.
        layout: the transformed inputs and tables.
        extras: what only the trainer knows.
        tables: Parquet files of the side tables, named ``<table>.parquet``.
    """
    directory = model / FOLDER
    (directory / "tables").mkdir(parents=True, exist_ok=True)
    (directory / "dataset.json").write_text(dataset.model_dump_json(indent=2))
    (directory / "layout.json").write_text(layout.model_dump_json(indent=2))
    (directory / "model.json").write_text(extras.model_json)
    (directory / "gates.json").write_text(json.dumps(extras.gates))
    (directory / "training.json").write_text(json.dumps(extras.training))
    (directory / "versions.json").write_text(json.dumps(_versions(), indent=2))
    pq.write_table(extras.predictions, directory / "predictions.parquet")
    for table in tables:
        shutil.copyfile(table, directory / "tables" / table.name)


def _versions() -> dict[str, str]:
    packages = ("feedrank", "tensorflow", "tf-keras", "tensorflow-transform")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
