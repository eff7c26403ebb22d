"""A trained ranker becomes a SavedModel that answers raw rows and explains itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from tensorflow_transform.output_wrapper import TFTransformOutput

from features.layout import Layout
from features.spec import Dataset
from serving.bundle import Extras, write_bundle
from serving.signatures import ServedRanker

__all__ = ["Extras", "export_ranker"]


def export_ranker(
    ranker: tf.Module,
    tft_output: TFTransformOutput,
    dataset: Dataset,
    layout: Layout,
    directory: str,
    extras: Extras,
) -> None:
    """Writes the SavedModel with its signatures (see `serving.signatures`) and the bundle (see `serving.bundle`).

    Args:
        ranker: the trained model: transformed features, a dict of ``(batch,)`` and ``(batch, length)`` tensors, to a dict
            of ``(batch,)`` predictions.
        tft_output: the transform graph that made the features it was trained on.
        dataset: the spec.
        layout: the transformed inputs and the embedding tables.
        directory: where to write.
        extras: what only the trainer knows.
    """
    served = ServedRanker(ranker, tft_output, dataset, layout)
    tf.saved_model.save(served, directory, signatures=served.signatures())
    write_bundle(Path(directory), dataset, layout, extras, _side_tables(tft_output))


def _side_tables(tft_output: TFTransformOutput) -> Iterable[Path]:
    return sorted((Path(tft_output.transform_savedmodel_dir).parent / "feedrank" / "tables").glob("*.parquet"))
