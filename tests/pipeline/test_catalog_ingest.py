"""Configurations of the catalog whose files are not at hand: each reads a small log written as the official one is, and loses no row.

Whole runs of others: tests/e2e/test_catalog_runs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq

from features.catalog.kuairand_files import prepare
from features.spec import SPLITS
from pipeline import loading
from pipeline.components.ingest import Folders, ingest
from pipeline.components.transform import transform
from pipeline.config import RunConfig
from tests.features.catalog import kuairand_sample, samples, samples_aliexpress

CONFIGS = Path(__file__).parents[2] / "pipeline" / "configs"
RUNNER = ["--runner=FnApiRunner"]


def _ingested(config: str, log: Path, more: Sequence[str] = ()) -> tuple[RunConfig, dict[str, Any], Folders]:
    loaded = loading.load(CONFIGS / f"{config}.yaml", [f"output={log / 'runs'}", f"data.path={log}", *more])
    folders = Folders(*[str(log / "out" / name / "1") for name in ("examples", "quarantine", "manifest", "tables")])
    return loaded, ingest(loaded.dataset, loaded.data, folders, beam.Pipeline(argv=RUNNER)), folders


def test_every_row_of_kuairand_1k_is_accounted_for(tmp_path: Path) -> None:
    kuairand_sample.write_kuairand(tmp_path, "1k", 1700)
    prepare(tmp_path)
    loaded, manifest, _ = _ingested("kuairand_1k", tmp_path)
    assert manifest["rows_read"] == 1700 == sum(manifest["rows_out"].values()) + manifest["quarantined"]["rows"]
    assert all(manifest["rows_out"][split] > 0 for split in SPLITS)
    assert set(manifest["tasks"]) == set(loaded.dataset.tasks)
    # Every task has something to learn and something to be tested on.
    assert all(of[split]["sum"] > 0 for of in manifest["tasks"].values() for split in ("train", "test"))


def test_movielens_1m_up_to_the_training(tmp_path: Path) -> None:
    samples.write_movielens_1m(tmp_path, 1500)
    loaded, manifest, folders = _ingested("movielens_1m", tmp_path)
    assert manifest["quarantined"]["rows"] == 0
    files = {split: sorted(map(str, Path(folders.examples, f"Split-{split}").glob("*.parquet"))) for split in SPLITS}
    outputs = {split: str(tmp_path / "transformed" / split) for split in SPLITS}
    transform(loaded.dataset, files, outputs, str(tmp_path / "graph"), beam.Pipeline(argv=RUNNER))
    for split, folder in outputs.items():
        table = pq.read_table(folder)
        assert table.num_rows == manifest["rows_out"][split]
        stars = table["label_rating"].to_numpy()
        assert table["label_like"].to_pylist() == (stars > 3).tolist()
        # A year's place among the quantiles.
        years = table["release_year"].to_numpy()
        assert 0 <= years.min() < years.max() <= 1
        assert set(loaded.dataset.features) <= set(table.column_names)


def test_aliexpress_of_another_country(tmp_path: Path) -> None:
    written = {
        part: samples_aliexpress.write_part(tmp_path, "ES", part, 250, seed)
        for seed, part in enumerate(("train", "test"), 1)
    }
    country = ["dataset.source.files=ES_item_*.csv", "dataset.tables.searches.source.files=ES_user_*.csv"]
    _, manifest, _ = _ingested("aliexpress", tmp_path, country)
    kept = {part: [item for item in items if item[0] != "250"] for part, items in written.items()}
    assert manifest["rows_read"] == sum(map(len, written.values()))
    assert manifest["quarantined"]["rows"] == manifest["rows_read"] - sum(map(len, kept.values()))
    found = {task: (of["test"]["rows"], of["test"]["positives"]) for task, of in manifest["tasks"].items()}
    assert found == {
        "click": (len(kept["test"]), sum(item[-1] != "0" for item in kept["test"])),
        "conversion": (len(kept["test"]), sum(item[-1] == "2" for item in kept["test"])),
    }
