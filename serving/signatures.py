"""The ways in which an exported ranker can be asked.

- ``serving_default``: ``examples``, a ``(batch,)`` string tensor of serialised ``tf.Example``.
- ``raw``: one input per raw column, ``(batch,)``, or ``(batch, n)`` of a list; a missing value is the sentinel of
  `features.raw_inputs`.
- ``transform_features``: ``examples`` as above; answers the transformed features instead of predictions.

The first two answer one ``(batch,)`` float32 tensor per output of the ranker. None of them needs a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform.output_wrapper import TFTransformOutput

from features.layout import Layout
from features.raw_inputs import dense_to_raw, raw_input_specs
from features.schema import feature_spec
from features.spec import Dataset

SERVING_DEFAULT = "serving_default"
RAW = "raw"
TRANSFORM_FEATURES = "transform_features"
EXAMPLES_INPUT = "examples"

Tensors = Mapping[str, tf.Tensor]
Ranker = Callable[[dict[str, tf.Tensor]], Tensors]
"""Transformed features to predictions, ``(batch,)`` each; with ``variables`` to be saved."""


class ServedRanker(tf.Module):
    """A ranker behind the transform graph: raw rows in, predictions out.

    It keeps the state of the ranker and of the transform graph but neither Keras object: no optimizer slots and no Keras metadata
    get into the export, and Keras does not trace its models once more, for signatures that nobody asks (19 s of KuaiRand's graph).

    Args:
        ranker: the trained, built model.
        tft_output: the transform graph.
        dataset: the spec.
        layout: the transformed inputs that the ranker reads.
    """

    def __init__(self, ranker: tf.Module, tft_output: TFTransformOutput, dataset: Dataset, layout: Layout) -> None:
        super().__init__(name="served_ranker")
        layer = tft_output.transform_features_layer()
        # A bound method is not tracked; the two attributes below them are, and hold all the state that the graphs touch.
        self._predict: Ranker = ranker.__call__
        self._transform = layer.__call__
        self.ranker_variables = list(ranker.variables)
        self.transform_graph = layer._saved_model_loader_tracked_dict
        self._dataset = dataset
        self._parsing = feature_spec(dataset)
        self._inputs = tuple(part.name for part in layout.inputs)

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Traces the three signatures."""
        examples = tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT)
        return {
            SERVING_DEFAULT: _traced(self._serve_examples, examples),
            RAW: _traced(self._serve_raw, raw_input_specs(self._dataset)),
            TRANSFORM_FEATURES: _traced(self._transform_examples, examples),
        }

    def _serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._score(self._transform_examples(examples))

    def _serve_raw(self, inputs: Tensors) -> dict[str, tf.Tensor]:
        return self._score(self._transformed(dense_to_raw(self._dataset, inputs)))

    def _transform_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._transformed(tf.io.parse_example(examples, self._parsing))

    def _transformed(self, raw: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor]:
        transformed = self._transform(dict(raw))
        return {name: transformed[name] for name in self._inputs}

    def _score(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            name: tf.cast(tf.reshape(prediction, [-1]), tf.float32, name=name)
            for name, prediction in self._predict(inputs).items()
        }


def _traced(function: Callable[..., Any], specs: Any) -> tf.types.experimental.ConcreteFunction:
    # Without AutoGraph, which would rewrite the plain Python that the functions call; no flow here depends on a tensor.
    return tf.function(function, autograph=False).get_concrete_function(specs)
