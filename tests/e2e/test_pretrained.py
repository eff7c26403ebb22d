"""A run with pretrained vectors and a down-sampled training split, to the pushed model and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.weights import read_weights
from tests.e2e.conftest import run_pipeline, versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_with_vectors_and_left_out_negatives(small, tmp_path) -> None:
    ids = np.arange(0, 150)  # of 200 items: some have no vector
    vectors = np.random.default_rng(4).normal(size=(len(ids), 6)).astype(np.float32)
    np.savez(tmp_path / "vectors.npz", id=ids, vector=vectors)
    look = f"{{kind: pretrained, column: item_id, vectors: {tmp_path / 'vectors.npz'}, dimension: 6}}"
    reduced = look.replace("dimension: 6", "dimension: 6, pca: 2, missing: mean")
    folder, record = run_pipeline(
        "demo.yaml",
        [
            *small,
            "name=vectors",
            "model=shared_bottom",
            "train.epochs=1",
            f"dataset.features.look={look}",
            f"dataset.features.look_reduced={reduced}",
            "dataset.downsample={keep: 0.25}",
        ],
    )
    assert record.status == "done"
    manifest = json.loads((record.output("ingest", "manifest") / "manifest.json").read_text())
    out, left_out = manifest["rows_out"], manifest["sampled_out"]
    assert manifest["rows_read"] == sum(out.values()) + manifest["quarantined"]["rows"] + left_out
    assert out["train"] > 0 < left_out
    assert manifest["vectors"]["look_reduced"]["width"] == 2
    centred = vectors - vectors.mean(axis=0)
    values = np.linalg.eigvalsh(centred.T @ centred)
    explained = manifest["vectors"]["look_reduced"]["explained_variance"]
    assert explained == pytest.approx(values[-2:].sum() / values.sum(), rel=1e-4)
    serving = folder.directory.parents[1] / "serving"
    model = serving / str(versions(serving)[-1])
    (table,) = [rows for name, rows in read_weights(str(model)).items() if "table_look/" in name]
    np.testing.assert_array_equal(
        table, np.concatenate([np.zeros((1, 6)), vectors, np.zeros((1, 6))]).astype(np.float32)
    )
    coverage = Bundle(model).training()["coverage"]["look"]
    assert {split: of["rows"] for split, of in coverage.items()} == out
    unknown = sum(of["unknown"] for of in coverage.values())
    assert 0 < unknown < sum(out.values())
    page = folder.report.read_text()
    assert "Pretrained vectors" in page
    assert "sampled out of train" in page
