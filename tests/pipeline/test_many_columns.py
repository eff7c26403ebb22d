"""What a column adds to Beam's and TensorFlow's graphs stays small, so that hundreds of columns are analysed in minutes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from tfx_bsl.tfxio import tensor_adapter

from benchmarks.columns import KINDS, count_transforms, dataset
from features.preprocessing import make_preprocessing_fn
from features.schema import build_schema
from pipeline.components.transform import raw_arrow_schema
from pipeline.components.vocabularies import WriteVocabularies

FEW, MANY = len(KINDS), 3 * len(KINDS)


class Sizes(NamedTuple):
    transforms: int
    """Of Beam."""
    nodes: int
    """Of the graph that TFT traces."""


def sizes(columns: int, folder: Path) -> Sizes:
    """Of the analysis of so many columns, of every kind alike; nothing is run."""
    spec = dataset(columns)
    preprocess = make_preprocessing_fn(spec, WriteVocabularies)
    nodes = []

    def counted(inputs: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor]:
        outputs = preprocess(inputs)
        nodes.append(len(tf.compat.v1.get_default_graph().get_operations()))
        return outputs

    group = build_schema(spec).tensor_representation_group[""].tensor_representation
    named = {name: group[name] for name in spec.transform_columns()}
    config = tensor_adapter.TensorAdapterConfig(raw_arrow_schema(spec), named)
    pipeline = beam.Pipeline(argv=["--runner=FnApiRunner"])
    with tft_beam.Context(temp_dir=os.fspath(folder), use_deep_copy_optimization=False):
        rows = pipeline | beam.Create([]) | beam.Map(lambda row: row).with_output_types(pa.RecordBatch)
        _ = (rows, config) | tft_beam.AnalyzeDataset(counted)
    return Sizes(count_transforms(pipeline), nodes[0])


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Sizes:
    return sizes(FEW, tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Sizes:
    return sizes(MANY, tmp_path_factory.mktemp("many"))


def test_a_column_adds_no_more_than_its_own_vocabulary_to_beam(few: Sizes, many: Sizes) -> None:
    """One collection with the path of the file; six of ten columns have one."""
    vocabularies = 0.6
    assert (many.transforms - few.transforms) / (MANY - FEW) <= vocabularies


def test_a_column_adds_few_nodes_to_the_graph(few: Sizes, many: Sizes) -> None:
    assert (many.nodes - few.nodes) / (MANY - FEW) <= 60
