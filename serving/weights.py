"""What an exported model has learned: its variables by name, its vocabularies by table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from features.errors import ModelError

VARIABLES = "ranker_variables"
"""The attribute under which `serving.signatures.ServedRanker` keeps the ranker's variables."""


def read_weights(model: str | Path) -> dict[str, npt.NDArray[Any]]:
    """The ranker's variables by name. Reads files only: no graph is loaded.

    Args:
        model: folder of the SavedModel.

    Raises:
        ModelError: if the folder is no model exported by feedrank.
    """
    try:
        saved = saved_model_pb2.SavedModel.FromString((Path(model) / "saved_model.pb").read_bytes())
        values = tf.train.load_checkpoint(str(Path(model) / "variables" / "variables"))
        nodes = saved.meta_graphs[0].object_graph_def.nodes
        (variables,) = (nodes[child.node_id] for child in nodes[0].children if child.local_name == VARIABLES)
        return {
            nodes[child.node_id].variable.name: values.get_tensor(
                f"{VARIABLES}/{child.local_name}/.ATTRIBUTES/VARIABLE_VALUE"
            )
            for child in variables.children
        }
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
        raise ModelError(f"the weights of {model} cannot be read: {error}") from error


def read_vocabularies(model: str | Path, tables: Iterable[str]) -> dict[str, list[bytes]]:
    """Tokens of each table that has a vocabulary, in the order of their rows.

    Args:
        model: folder of the SavedModel, or of Transform's, which keep vocabularies as assets of the tables' names.
        tables: names of the embedding tables.
    """
    files = {table: Path(model) / "assets" / table for table in tables}
    return {
        table: file.read_bytes().removesuffix(b"\n").split(b"\n") for table, file in files.items() if file.is_file()
    }


def weights_fingerprint(model: str | Path) -> str:
    """A name that other weights or another graph do not have.

    Raises:
        ModelError: if the folder is no SavedModel.
    """
    try:
        return str(tf.saved_model.experimental.read_fingerprint(str(model)).singleprint())
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ModelError(f"{model} is no SavedModel with a fingerprint: {error}") from error
