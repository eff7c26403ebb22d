"""Asks an exported model from a process that knows nothing but the export: ``python -m serving.ask MODEL ROWS OUT``.

It loads TensorFlow alone, neither Transform nor our models, as TF Serving does: an export that leans on anything else
fails here first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from features.raw_inputs import arrow_to_dense
from features.spec import ROW_ID, Dataset
from serving.bundle import Bundle
from serving.examples import to_examples

SIGNATURES_FILE = "signatures.json"
ASKED = ("raw", "serving_default")
"""Signatures that answer predictions."""
BATCH_ROWS = 100
"""Not a divisor of the usual number of rows, so that the last batch has another size than the others."""

Answer = dict[str, npt.NDArray[np.float32]]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m serving.ask", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the SavedModel")
    parser.add_argument("rows", type=Path, help=f"Parquet file of raw rows with a column {ROW_ID}")
    parser.add_argument("out", type=Path, help=f"folder for <signature>.parquet and {SIGNATURES_FILE}")
    parsed = parser.parse_args(arguments)
    ask(parsed.model, pq.read_table(parsed.rows), parsed.out)


def ask(model: Path, rows: pa.Table, out: Path) -> None:
    """Puts `rows` through the signatures and writes what came back.

    Args:
        model: folder of the SavedModel.
        rows: raw rows, plain or list-typed, with ``feedrank_row_id``.
        out: gets ``raw.parquet`` and ``serving_default.parquet`` (row id and one float32 column per output) and
            ``signatures.json``, as :func:`describe` returns it.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / SIGNATURES_FILE).write_text(json.dumps(describe(model)))
    dataset = Bundle(model).dataset()
    loaded = tf.saved_model.load(str(model))
    for name in ASKED:
        if name in loaded.signatures:
            signature = loaded.signatures[name]
            answers = [_answer(name, signature, part, dataset) for part in _parts(rows)]
            columns = {key: pa.array(np.concatenate([part[key] for part in answers])) for key in answers[0]}
            ids = pa.array(np.concatenate([_row_ids(part) for part in _parts(rows)]))
            pq.write_table(pa.table({ROW_ID: ids} | columns), out / f"{name}.parquet")


def describe(model: Path) -> dict[str, Any]:
    """The signatures as a server sees them: ``{signature: {"inputs": {name: [dtype, rank]}, "outputs": {...}}}``."""
    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(saved.meta_graphs[0].signature_def)
    return {
        name: {"inputs": _tensors(signature.inputs), "outputs": _tensors(signature.outputs)}
        for name, signature in signatures.items()
        if not name.startswith("__")
    }


def _tensors(tensors: Any) -> dict[str, list[Any]]:
    return {
        name: [tf.as_dtype(tensor.dtype).name, len(tensor.tensor_shape.dim)] for name, tensor in sorted(tensors.items())
    }


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, max(rows.num_rows, 1), BATCH_ROWS):
        yield rows.slice(start, BATCH_ROWS)


def _row_ids(rows: pa.Table) -> npt.NDArray[np.int64]:
    column = rows.column(ROW_ID).combine_chunks()
    return (column.flatten() if pa.types.is_list(column.type) else column).to_numpy(zero_copy_only=False)


def _answer(name: str, signature: Callable[..., Any], rows: pa.Table, dataset: Dataset) -> Answer:
    if name == "raw":
        dense = arrow_to_dense(rows, dataset)
        outputs = signature(**{column: tf.constant(values) for column, values in dense.items()})
    else:
        outputs = signature(examples=tf.constant(to_examples(rows, dataset), tf.string))
    return {key: outputs[key].numpy() for key in sorted(outputs)}


if __name__ == "__main__":
    main()
