from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from features.errors import ModelError
from features.raw_inputs import MISSING_INT, arrow_to_dense
from features.spec import ROW_ID
from serving.ask import ask, describe
from serving.bundle import FOLDER, Bundle, Extras
from serving.examples import to_examples
from tests.serving.exports import DATASET, ROWS, Export

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def loaded(export: Export) -> object:
    return tf.saved_model.load(str(export.directory))


def test_raw_answers_as_the_ranker_in_memory(export: Export, loaded: object) -> None:
    inputs = {name: tf.constant(values) for name, values in arrow_to_dense(ROWS, DATASET).items()}
    answers = loaded.signatures["raw"](**inputs)
    assert set(answers) == {"click", "like", "click_and_up"}
    for name, expected in export.predictions.items():
        assert answers[name].dtype == tf.float32
        np.testing.assert_allclose(answers[name].numpy(), expected, atol=TOLERANCE, rtol=0)


def test_serialised_examples_answer_as_the_ranker_in_memory(export: Export, loaded: object) -> None:
    answers = loaded.signatures["serving_default"](examples=tf.constant(to_examples(ROWS, DATASET)))
    for name, expected in export.predictions.items():
        np.testing.assert_allclose(answers[name].numpy(), expected, atol=TOLERANCE, rtol=0)


def test_transform_features_answers_as_tfts_beam_pipeline(export: Export, loaded: object) -> None:
    answers = loaded.signatures["transform_features"](examples=tf.constant(to_examples(ROWS, DATASET)))
    assert set(answers) == {part.name for part in export.layout.inputs}
    for name, expected in export.transformed.items():
        np.testing.assert_allclose(answers[name].numpy(), expected, atol=TOLERANCE, rtol=0)


def test_a_row_answers_alone_as_among_others(export: Export, loaded: object) -> None:
    for row in range(ROWS.num_rows):
        inputs = {name: tf.constant(values) for name, values in arrow_to_dense(ROWS.slice(row, 1), DATASET).items()}
        answers = loaded.signatures["raw"](**inputs)
        np.testing.assert_allclose(answers["like"].numpy(), export.predictions["like"][row : row + 1], atol=TOLERANCE)


def test_a_row_of_sentinels_is_a_row_of_missing_values(loaded: object) -> None:
    sentinels = {
        "user_id": tf.constant([MISSING_INT], tf.int64),
        "home-town": tf.constant([""]),
        "tags": tf.constant([["", ""]]),
        "watched": tf.constant([[MISSING_INT]], tf.int64),
        "age": tf.constant([float("nan")]),
        "visits": tf.constant([MISSING_INT], tf.int64),
    }
    empty = tf.constant([tf.train.Example().SerializeToString()])
    raw, default = loaded.signatures["raw"](**sentinels), loaded.signatures["serving_default"](examples=empty)
    for name in ("click", "like"):
        assert np.isfinite(raw[name].numpy()).all()
        np.testing.assert_allclose(raw[name].numpy(), default[name].numpy(), atol=TOLERANCE, rtol=0)


def test_no_rows_answer_nothing(loaded: object) -> None:
    inputs = {name: tf.constant(values) for name, values in arrow_to_dense(ROWS.slice(0, 0), DATASET).items()}
    assert loaded.signatures["raw"](**inputs)["click"].shape == (0,)


def test_signatures_name_the_specs_columns(export: Export) -> None:
    signatures = describe(export.directory)
    assert set(signatures) == {"raw", "serving_default", "transform_features"}
    assert signatures["raw"]["inputs"] == {
        "user_id": ["int64", 1],
        "home-town": ["string", 1],
        "tags": ["string", 2],
        "watched": ["int64", 2],
        "age": ["float32", 1],
        "visits": ["int64", 1],
    }
    assert signatures["serving_default"]["inputs"] == {"examples": ["string", 1]}
    for name in ("raw", "serving_default"):
        assert signatures[name]["outputs"] == {
            "click": ["float32", 1],
            "like": ["float32", 1],
            "click_and_up": ["float32", 1],
        }


def test_the_export_needs_nothing_outside_its_folder(export: Export, tmp_path: Path) -> None:
    moved = shutil.copytree(export.directory, tmp_path / "1")
    graph = export.directory.parent / "graph"
    hidden = graph.rename(tmp_path / "graph")
    try:
        answers = tf.saved_model.load(str(moved)).signatures["serving_default"](tf.constant(to_examples(ROWS, DATASET)))
    finally:
        hidden.rename(graph)
    np.testing.assert_allclose(answers["click"].numpy(), export.predictions["click"], atol=TOLERANCE, rtol=0)


def test_the_export_holds_no_keras_objects(export: Export) -> None:
    """Keras would trace each of them again when it is saved."""
    saved = saved_model_pb2.SavedModel.FromString((export.directory / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    kinds = {node.user_object.identifier for node in graph.object_graph_def.nodes if node.HasField("user_object")}
    assert kinds
    assert not [kind for kind in kinds if "keras" in kind]


def test_the_bundle_reads_back(export: Export) -> None:
    bundle = Bundle(export.directory)
    assert bundle.dataset() == DATASET
    assert bundle.layout() == export.layout
    assert bundle.outputs() == ("click", "like", "click_and_up")
    assert bundle.model_config() == {"preset": "tiny"}
    assert bundle.versions()["tensorflow"] == tf.__version__
    assert [*bundle.tables()] == ["user"]
    assert bundle.predictions().column("like").to_pylist() == pytest.approx(export.predictions["like"].tolist())


def test_another_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model exported by feedrank"):
        Bundle(tmp_path)


def test_a_broken_bundle_names_the_file(export: Export, tmp_path: Path) -> None:
    broken = shutil.copytree(export.directory, tmp_path / "model")
    (broken / FOLDER / "layout.json").write_text("{}")
    (broken / FOLDER / "gates.json").write_text("{")
    (broken / FOLDER / "training.json").unlink()
    with pytest.raises(ModelError, match=r"layout\.json is no Layout"):
        Bundle(broken).layout()
    with pytest.raises(ModelError, match=r"gates\.json is no JSON"):
        Bundle(broken).gates()
    with pytest.raises(ModelError, match=r"lacks .*training\.json"):
        Bundle(broken).training()


@pytest.mark.parametrize(
    "columns",
    [
        {"click": pa.array([0.5], pa.float32())},
        {ROW_ID: pa.array([1], pa.int64())},
        {ROW_ID: pa.array([1], pa.int64()), "click": pa.array([0.5], pa.float64())},
    ],
)
def test_predictions_need_ids_and_float32(columns: dict[str, pa.Array]) -> None:
    with pytest.raises(ModelError, match="predictions need"):
        Extras(model_json="{}", predictions=pa.table(columns), gates={}, training={})


def test_ask_writes_each_signatures_answers(export: Export, tmp_path: Path) -> None:
    rows = pa.concat_tables([ROWS] * 20)
    ask(export.directory, rows, tmp_path)
    for signature in ("raw", "serving_default"):
        answers = pq.read_table(tmp_path / f"{signature}.parquet")
        assert answers.column(ROW_ID).to_pylist() == ROWS.column(ROW_ID).to_pylist() * 20
        np.testing.assert_allclose(answers["like"].to_numpy(), np.tile(export.predictions["like"], 20), atol=TOLERANCE)


def test_a_fresh_process_needs_neither_transform_nor_our_models(export: Export, tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    program = (
        "import sys; from serving import ask; ask.main(sys.argv[1:]); import json; "
        "print(json.dumps([m for m in ('tensorflow_transform', 'tfx_bsl', 'apache_beam', 'models') if m in sys.modules]))"
    )
    command = [sys.executable, "-c", program, str(export.directory), str(tmp_path / "rows.parquet"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    answers = pq.read_table(tmp_path / "raw.parquet")
    np.testing.assert_allclose(answers["click"].to_numpy(), export.predictions["click"], atol=TOLERANCE, rtol=0)
