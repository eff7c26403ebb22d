"""Configurations of the catalog whose files are not at hand: each trains on a small log written as the official one is, from the files to
a pushed model, and loses no row. Those with more to say: test_public_formats.py, tests/pipeline/test_catalog_ingest.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from features.catalog.kuairand_files import prepare
from features.spec import SPLITS
from pipeline import loading
from pipeline.runs import RunRecord
from tests.e2e.conftest import CONFIGS, run_pipeline, versions
from tests.features.catalog import kuairand_sample, samples, samples_aliexpress

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _user_behavior(folder: Path) -> int:
    samples.write_user_behavior(folder / "UserBehavior.csv", 1800)
    return 1800


def _ijcai_15(folder: Path) -> int:
    samples.write_ijcai_15(folder, 1200)
    return 1200


def _movielens_1m(folder: Path) -> int:
    samples.write_movielens_1m(folder, 1500)
    return 1500


def _movielens_100k(folder: Path) -> int:
    samples.write_movielens_100k(folder, 1000)
    return 1000


def _amazon(folder: Path) -> int:
    samples.write_amazon_reviews(folder / "reviews_Electronics_5.json.gz", 1000)
    return 1000


def _aliexpress(folder: Path) -> int:
    return sum(
        len(samples_aliexpress.write_part(folder, "NL", part, 250, seed))
        for seed, part in enumerate(("train", "test"), 1)
    )


def _tenrec_ctr(folder: Path) -> int:
    samples.write_videos(folder / "ctr_data_1M.csv", 1200, history=True)
    return 1200


def _tenrec_video(folder: Path) -> int:
    samples.write_videos(folder / "QB-video.csv", 1200, history=False)
    return 1200


def _tenrec_article(folder: Path) -> int:
    samples.write_articles(folder / "QK-article.csv", 1200)
    return 1200


def _tenrec_qb_article(folder: Path) -> int:
    samples.write_articles(folder / "QB-article.csv", 1200, feedback=False)
    return 1200


def _criteo(folder: Path) -> int:
    samples.write_banners(folder / "criteo_attribution_dataset.tsv.gz", 1500)
    return 1500


def _kuairand_27k(folder: Path) -> int:
    """KuaiRand 1K differs in files' names alone: tests/pipeline/test_catalog_ingest.py."""
    kuairand_sample.write_kuairand(folder, "27k", 1700)
    prepare(folder)
    return 1700


def _read(record: RunRecord, stage: str, output: str, file: str) -> dict[str, Any]:
    return json.loads((record.output(stage, output) / file).read_text())


@pytest.mark.parametrize(
    ("config", "write"),
    [
        ("user_behavior", _user_behavior),
        ("ijcai_15", _ijcai_15),
        ("movielens_1m", _movielens_1m),
        ("movielens_100k", _movielens_100k),
        ("amazon_reviews", _amazon),
        ("aliexpress", _aliexpress),
        ("tenrec_ctr", _tenrec_ctr),
        ("tenrec_video", _tenrec_video),
        ("tenrec_article", _tenrec_article),
        ("tenrec_qb_article", _tenrec_qb_article),
        ("criteo_attribution", _criteo),
        ("kuairand_27k", _kuairand_27k),
    ],
)
def test_from_the_files_to_a_pushed_model(config: str, write: Callable[[Path], int], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    rows = write(log)
    loaded = loading.load(CONFIGS / f"{config}.yaml")
    folder, record = run_pipeline(
        f"{config}.yaml",
        [
            f"output={tmp_path / 'runs'}",
            f"data.path={log}",
            "train={batch_size: 128, epochs: 1}",
            "validate={max_drift: 1.0, max_numeric_drift: 1.0}",  # so few rows differ by chance
            "model={trunk: {units: [8]}, embedding_dim: 4}",
            *(  # what so few rows cannot reach
                f"evaluate.thresholds.{task}.{metric}.minimum=0"
                for task, metrics in loaded.evaluate.thresholds.items()
                for metric in metrics
            ),
        ],
    )
    manifest = _read(record, "ingest", "manifest", "manifest.json")
    assert manifest["rows_read"] == rows == sum(manifest["rows_out"].values()) + manifest["quarantined"]["rows"]
    assert all(manifest["rows_out"][split] > 0 for split in SPLITS)
    # Every task has something to learn and something to be tested on.
    tasks = set(loaded.dataset.tasks)
    assert set(manifest["tasks"]) == tasks
    assert all(of[split]["sum"] > 0 for of in manifest["tasks"].values() for split in ("train", "test"))
    evaluation = _read(record, "evaluate", "evaluation", "evaluation.json")
    assert evaluation["rows"] == manifest["rows_out"]["test"]
    assert set(evaluation["tasks"]) == tasks
    assert evaluation["verdict"]["blessed"], evaluation["verdict"]
    assert len(versions(folder.directory.parents[1] / "serving")) == 1
