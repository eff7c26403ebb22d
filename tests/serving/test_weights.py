from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from features.errors import ModelError
from serving.weights import read_vocabularies, read_weights, weights_fingerprint
from tests.serving.exports import Export, make_other_export


def test_weights_are_those_of_the_loaded_model(export: Export) -> None:
    variables = tf.saved_model.load(str(export.directory)).ranker_variables
    found = read_weights(export.directory)
    assert sorted(found) == sorted(variable.name.removesuffix(":0") for variable in variables)
    for variable in variables:
        np.testing.assert_array_equal(found[variable.name.removesuffix(":0")], variable.numpy())


def test_vocabularies_of_an_export_are_those_of_its_transform(export: Export) -> None:
    graph = tft.TFTransformOutput(str(export.directory.parent / "graph"))
    tables = [table.name for table in export.layout.tables]
    found = read_vocabularies(export.directory, tables)
    assert set(found) == {"user_id", "town", "tags", "watched"}  # visits are buckets
    assert found == {table: graph.vocabulary_by_name(table) for table in found}
    assert found == read_vocabularies(graph.transform_savedmodel_dir, tables)


def test_other_weights_have_another_fingerprint(export: Export, tmp_path: Path) -> None:
    same, other = make_other_export(export, tmp_path / "same", seed=0), make_other_export(export, tmp_path / "other")
    assert weights_fingerprint(same.directory) == weights_fingerprint(same.directory)
    assert weights_fingerprint(same.directory) != weights_fingerprint(other.directory)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    for read in (read_weights, weights_fingerprint):
        with pytest.raises(ModelError, match=str(tmp_path)):
            read(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(ModelError, match="foreign"):
        read_weights(tmp_path / "foreign")
