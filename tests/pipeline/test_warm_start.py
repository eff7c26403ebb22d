from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import pipeline  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx

from features.errors import ModelError
from features.spec import ROW_ID
from models.config import ModelConfig
from models.ranker import Ranker, build_ranker
from pipeline.components.warm_start import begin, check
from serving.bundle import FOLDER
from serving.export import Extras, export_ranker
from tests.serving.exports import DATASET, ROWS, Export

MODEL = ModelConfig.model_validate({"embedding_dim": 4, "trunk": {"kind": "mmoe", "units": [8], "experts": 2}})


def ranker_of(export: Export, seed: int) -> Ranker:
    tf.keras.utils.set_random_seed(seed)
    return build_ranker(export.layout, DATASET.tasks, MODEL, {"click": 0.5, "like": 0.3})


def arguments(export: Export, **found: Any) -> tfx.components.FnArgs:
    custom = {"warm_start": found["named"]} if "named" in found else {}
    graph = str(export.directory.parent / "graph")
    return tfx.components.FnArgs(
        transform_graph_path=graph, base_model=found.get("base_model"), custom_config={"dataset": "", **custom}
    )


@pytest.fixture(scope="module")
def trained(export: Export, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ranker, str]:
    """A ranker and its export."""
    ranker, directory = ranker_of(export, seed=1), str(tmp_path_factory.mktemp("trained") / "1")
    predictions = {task: pa.array(np.zeros(len(ROWS), np.float32)) for task in DATASET.tasks}
    extras = Extras(MODEL.model_dump_json(), pa.table({ROW_ID: ROWS[ROW_ID], **predictions}), {}, {})
    graph = tft.TFTransformOutput(str(export.directory.parent / "graph"))
    export_ranker(ranker, graph, DATASET, export.layout, directory, extras)
    return ranker, directory


@pytest.mark.parametrize("found", ["base_model", "named"])
def test_a_ranker_begins_with_the_exported_weights(export: Export, trained: tuple[Ranker, str], found: str) -> None:
    ranker = ranker_of(export, seed=2)
    started = begin(ranker, arguments(export, **{found: trained[1]}))
    assert started is not None
    assert (started.model, started.fresh) == (trained[1], {})
    assert {name: (counts.matched, counts.new, counts.gone) for name, counts in started.tables.items()} == {
        "user_id": (4, 0, 0), "town": (3, 0, 0), "tags": (4, 0, 0), "watched": (5, 0, 0),
    }  # fmt: skip
    for variable, expected in zip(ranker.trainable_variables, trained[0].trainable_variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())


def test_without_an_earlier_model_nothing_is_taken_over(export: Export) -> None:
    ranker = ranker_of(export, seed=2)
    before = ranker.get_weights()
    assert begin(ranker, arguments(export)) is None
    assert all((one == other).all() for one, other in zip(before, ranker.get_weights(), strict=True))


@pytest.mark.parametrize("found", ["base_model", "named"])
def test_another_architecture_is_refused_before_a_ranker_is_built(
    export: Export, trained: tuple[Ranker, str], found: str
) -> None:
    given = arguments(export, **{found: trained[1]})
    check(MODEL, given)
    with pytest.raises(ModelError, match=rf"model.trunk is 'ple' and that of {trained[1]} is 'mmoe'"):
        check(ModelConfig.model_validate("ple"), given)
    check(ModelConfig.model_validate("ple"), arguments(export))


def test_a_model_of_another_release_is_named(export: Export, trained: tuple[Ranker, str], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained[1], tmp_path / "copy"))
    (copy / FOLDER / "model.json").write_text(json.dumps({"trunk": {"kind": "oracle"}}))
    with pytest.raises(ModelError, match=r"copy was made by another release"):
        begin(ranker_of(export, seed=2), arguments(export, base_model=str(copy)))
