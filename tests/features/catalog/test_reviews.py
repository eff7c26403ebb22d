"""Amazon's and Yelp's reviews, as the documented formats have them: rows, labels, places, quarantine."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from features import catalog
from features.columns import kept_columns
from features.logs import load_tables
from tests.features.catalog import samples
from tests.features.logs.small_log import read, write

AMAZON = {
    "reviewerID": "A2SUAM1J3GNN3B", "asin": "0000013714", "reviewerName": "J. McDonald", "helpful": [2, 3],
    "reviewText": "I bought this", "overall": 5.0, "summary": "Heavenly", "unixReviewTime": 1252800000, "reviewTime": "09 13, 2009",
}  # fmt: skip
YELP = {
    "review_id": "zdSx_SD6obEhz9VrW9uAWA", "user_id": "Ha3iJu77CxlrFm-vQRs_8g", "business_id": "tnhfDv5Il8EaGSXZGiuQGg",
    "stars": 4.0, "date": "2016-03-09 22:09:11", "text": "Great place", "useful": 0, "funny": 0, "cool": 1,
}  # fmt: skip
PLACE = {
    "business_id": "tnhfDv5Il8EaGSXZGiuQGg", "name": "Garaje", "city": "San Francisco", "state": "CA", "stars": 4.5,
    "review_count": 1198, "categories": "Mexican, Burgers, Gastropubs", "hours": {"Monday": "10:00-21:00"},
}  # fmt: skip


def _amazon(folder: Path, *changes: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lines = "".join(
        json.dumps({k: v for k, v in (AMAZON | change).items() if v is not ...}) + "\n" for change in changes
    )
    (folder / "reviews_Electronics_5.json.gz").write_bytes(gzip.compress(lines.encode()))
    table, bad = read(catalog.load("amazon_reviews"), folder)
    return table.to_pylist(), bad


def test_amazon_rows(tmp_path: Path) -> None:
    rows, bad = _amazon(tmp_path, {}, {"overall": 3.0, "helpful": [0, 0]}, {"overall": 4, "reviewerName": ...})
    assert bad == []
    assert [(row["label_like"], row["label_rating"]) for row in rows] == [(1.0, 5.0), (0.0, 3.0), (1.0, 4.0)]
    assert [(row["reviewerID"], row["asin"]) for row in rows] == [("A2SUAM1J3GNN3B", "0000013714")] * 3
    assert [row["feedrank_day"] for row in rows] == [20090913] * 3


def test_amazon_quarantine(tmp_path: Path) -> None:
    changes = [{}, {"overall": 6.0}, {"overall": 3.5}, {"overall": ...}, {"asin": None}, {"unixReviewTime": ...}]
    rows, bad = _amazon(tmp_path, *changes, {"helpful": 3})
    assert len(rows) == 1
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (2, "out_of_bounds", "overall"),
        (3, "bad_number", "overall"),
        (4, "missing_value", "overall"),
        (5, "missing_value", "asin"),
        (6, "missing_value", "unixReviewTime"),
        (7, "wrong_shape", "helpful"),
    ]


def test_yelp_rows(tmp_path: Path) -> None:
    lines = [
        json.dumps(YELP),
        json.dumps(YELP | {"stars": 2.0, "business_id": "unknown"}),
        "{",
        json.dumps(YELP | {"date": "x"}),
    ]
    write(tmp_path, *lines, name="yelp_academic_dataset_review.json", header=None)
    other = PLACE | {"business_id": "other", "categories": None}
    write(tmp_path, json.dumps(PLACE), json.dumps(other), name="yelp_academic_dataset_business.json", header=None)
    dataset = catalog.load("yelp_reviews")
    table, bad = read(dataset, tmp_path, load_tables(dataset, str(tmp_path)))
    rows = table.to_pylist()
    assert [(row["label_like"], row["label_rating"], row["feedrank_day"]) for row in rows] == [
        (1.0, 4.0, 20160309),
        (0.0, 2.0, 20160309),
    ]
    assert [(row["city"], row["state"], row["categories"]) for row in rows] == [
        ("San Francisco", "CA", ["Mexican", "Burgers", "Gastropubs"]),
        (None, None, None),
    ]
    assert [(reject["row"], reject["reason"]) for reject in bad] == [(3, "bad_json"), (4, "bad_time")]


def test_whole_files_counted_again(tmp_path: Path) -> None:
    samples.write_amazon_reviews(tmp_path / "reviews_Electronics_5.json.gz", 300)
    samples.write_yelp_reviews(tmp_path, 300)
    files = {"amazon_reviews": "reviews_Electronics_5.json.gz", "yelp_reviews": "yelp_academic_dataset_review.json"}
    for name, file in files.items():
        dataset = catalog.load(name)
        table, bad = read(dataset, tmp_path, load_tables(dataset, str(tmp_path)))
        data = (tmp_path / file).read_bytes()
        stars = dataset.tasks["rating"].label
        raw = [
            json.loads(line)[stars] for line in (gzip.decompress(data) if file.endswith(".gz") else data).splitlines()
        ]
        assert bad == []
        assert table["label_rating"].to_pylist() == raw
        assert table["label_like"].to_pylist() == [float(value > 3) for value in raw]


@pytest.mark.parametrize("name", ["amazon_reviews", "yelp_reviews"])
def test_stars_and_votes_are_no_features(name: str) -> None:
    dataset = catalog.load(name)
    after = {"overall", "helpful", "stars", "useful", "funny", "cool", "review_count", "reviewText", "text"}
    assert not after & {*dataset.feature_columns(), *kept_columns(dataset)}
