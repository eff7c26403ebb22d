"""An evaluation as TensorFlow Model Analysis writes it, so that `tfma.load_eval_result` and TFMA's viewers read it, too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2
from tensorflow_model_analysis.version import VERSION

from features.outputs import UP

CONFIG, METRICS = "eval_config.json", "metrics-00000-of-00001.tfrecord"
"""Files of an evaluation; their names are TFMA's."""
_COUNT = "example_count"
"""TFMA's name of a metric that its viewers weigh slices by."""
_Slice = tuple[str, str] | None


def write(found: Mapping[str, Any], directory: str) -> None:
    """Writes TFMA's configuration and metrics: of all rows, and of each value of a sliced column; a task is an output.

    Args:
        found: what ``evaluation.json`` holds, see `pipeline.evaluation.measure`; a metric that is None becomes NaN.
        directory: a folder that is there.
    """
    run = config_pb2.EvalRun(version=VERSION, file_format="parquet", model_locations={"": ""})  # MLMD knows where
    run.eval_config.model_specs.add()
    run.eval_config.slicing_specs.add()
    for column in found["slices"]:
        run.eval_config.slicing_specs.add(feature_keys=[column])
    with open(os.path.join(directory, CONFIG), "w", encoding="utf-8") as stream:
        stream.write(json_format.MessageToJson(run))
    with tf.io.TFRecordWriter(os.path.join(directory, METRICS)) as writer:
        for key, outputs in _slices(found):
            writer.write(_metrics(key, outputs).SerializeToString())


def _slices(found: Mapping[str, Any]) -> Iterator[tuple[_Slice, Mapping[str, Any]]]:
    """Each slice, None for all rows, with the metrics of its outputs."""
    yield None, {**found["tasks"], **({UP: found["up"]} if found.get("up") else {})}
    for column, values in found["slices"].items():
        for value, of_value in values.items():
            yield (column, value), of_value["tasks"]


def _metrics(key: _Slice, outputs: Mapping[str, Any]) -> metrics_for_slice_pb2.MetricsForSlice:
    made = metrics_for_slice_pb2.MetricsForSlice()
    made.slice_key.SetInParent()
    if key is not None:
        made.slice_key.single_slice_keys.add(column=key[0], bytes_value=key[1].encode())
    for output, numbers in outputs.items():
        for name, value in numbers.items():
            if value is not None and not isinstance(value, int | float):
                continue  # its kind, bins of calibration
            metric = made.metric_keys_and_values.add()
            metric.key.name, metric.key.output_name = _COUNT if name == "rows" else name, output
            metric.value.double_value.value = float("nan") if value is None else value
    return made
