"""Tenrec's files, as the documented format has them: rows, labels, histories, quarantine."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pytest

from features import catalog
from features.catalog.tenrec import ARTICLE_TASKS, HISTORY, VIDEO_TASKS, clicked_items
from features.columns import kept_columns
from features.expected import differences
from features.spec import Dataset
from pipeline.loading import CONFIGS, load
from tests.features.catalog import samples
from tests.features.logs.small_log import read, write

CTR_HEADER = f"{samples.VIDEO},{samples.HISTORY}"
TEN = "2,3,80936,781,111774,1230,26403,991,2362,1202"
NONE = ",".join("0" * 10)


def _ctr(tmp_path: Path, *lines: str) -> tuple[list[dict], list[dict]]:
    folder = write(tmp_path, *lines, name="ctr_data_1M.csv", header=CTR_HEADER)
    rows, bad = read(catalog.load("tenrec_ctr"), folder)
    return rows.to_pylist(), bad


def test_ctr_rows(tmp_path: Path) -> None:
    rows, bad = _ctr(
        tmp_path,
        f"1,4,0,0,0,0,1,0,1,4,{TEN}",
        f"1,1201,1,0,1,0,\\N,1,1,4,{TEN}",
        "2,77,1,1,1,1,0,3,0,0,5,9,0,0,0,0,0,0,0,0",
        f"3,8,0,0,1,0,1,2,2,7,{NONE}",
    )
    assert bad == []
    told = [tuple(int(row[f"label_{task}"]) for task in ("click", "follow", "like", "share")) for row in rows]
    # The last one is a like without a click, which the format does not forbid.
    assert told == [(0, 0, 0, 0), (1, 0, 1, 0), (1, 1, 1, 1), (0, 0, 1, 0)]
    ten = [2, 3, 80936, 781, 111774, 1230, 26403, 991, 2362, 1202]
    assert [row["clicked_items"] for row in rows] == [ten, ten, [5, 9], []]
    assert [row["video_category"] for row in rows] == [1, None, 0, 1]
    assert [(row["gender"], row["age"]) for row in rows] == [(1, 4), (1, 4), (0, 0), (2, 7)]
    assert "watching_times" not in rows[0]


def test_ctr_quarantine(tmp_path: Path) -> None:
    rows, bad = _ctr(
        tmp_path,
        f"1,4,0,0,0,0,1,0,1,4,{TEN}",
        f"1,4,2,0,0,0,1,0,1,4,{TEN}",
        f"1,4,0,0,\\N,0,1,0,1,4,{TEN}",
        f"\\N,4,0,0,0,0,1,0,1,4,{TEN}",
        "1,4,0,0,0,0,1,0,1,4",
        "1,4,0,0,0,0,1,0,1,4,-5,0,0,0,0,0,0,0,0,0",
    )
    assert len(rows) == 1
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (2, "out_of_bounds", "click"),
        (3, "missing_value", "like"),
        (4, "missing_value", "user_id"),
        (5, "wrong_width", ""),
        (6, "out_of_bounds", "hist_1"),
    ]


def test_a_history_keeps_its_order_and_leaves_out_zeros_and_nulls() -> None:
    columns = [pa.array([place, 0, None if place > 2 else 7], pa.int64()) for place in range(10, 0, -1)]
    batch = pa.RecordBatch.from_arrays(columns, names=list(HISTORY))
    assert clicked_items(batch)["clicked_items"].to_pylist() == [[10, 9, 8, 7, 6, 5, 4, 3, 2, 1], [], [7, 7]]
    assert clicked_items(batch.slice(2))["clicked_items"].to_pylist() == [[7, 7]]
    assert clicked_items(batch.slice(0, 0))["clicked_items"].to_pylist() == []


def test_a_history_shares_the_vocabulary_of_the_candidates() -> None:
    dataset = catalog.load("tenrec_ctr")
    assert dataset.vocabulary_owner("clicked_items") == "item_id"
    assert not set(HISTORY) & set(dataset.feature_columns())


def test_articles(tmp_path: Path) -> None:
    lines = [
        "9,70,1.0,1,3,500,40,5,2,88,3,0.25,1203,12,7,1,35.5,0,1,0,0",
        "9,71,1.0,1,3,500,40,5,2,0,\\N,0.5,\\N,\\N,7,0,\\N,1,0,1,1",
        "9,72,1.0,1,3,500,40,5,2,0,3,0.5,1203,12,7,,0,0,0,0,0",
    ]
    folder = write(tmp_path, *lines, name="QK-article.csv", header=samples.ARTICLE)
    table, bad = read(catalog.load("tenrec_article"), folder)
    rows = table.to_pylist()
    assert [[int(row[f"label_{task}"]) for task in ARTICLE_TASKS] for row in rows] == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]
    assert [(row["category_first"], row["category_second"], row["item_score1"]) for row in rows] == [
        ("12", "1203", 3.0),
        (None, None, None),
    ]
    assert [(reject["row"], reject["reason"], reject["column"]) for reject in bad] == [(3, "missing_value", "read")]
    assert not {"click", "read_time", "read_percentage"} & set(rows[0])


def test_articles_without_feedback(tmp_path: Path) -> None:
    lines = [
        "9,70,1.0,1,3,500,40,5,2,88,3,0.25,1203,12,7",
        "9,71,1.0,1,3,500,40,5,2,0,\\N,0.5,\\N,\\N,7",
        "9,72,1.0,1,3,500,40,5,2,\\N,3,0.5,1203,12,7",
        "9,73,1.0,1,3,500,40,5,2,101,3,0.5,1203,12,7",
        "9,74,1.0,1,3,500,40,5,2,88,3,0.25,1203,12,7,1,35.5,0,1,0,0",
    ]
    folder = write(tmp_path, *lines, name="QB-article.csv", header=samples.QB_ARTICLE)
    table, bad = read(catalog.load("tenrec_qb_article"), folder)
    rows = table.to_pylist()
    assert [(row["item_id"], row["label_read_percentage"], row["category_first"]) for row in rows] == [
        (70, 88.0, "12"),
        (71, 0.0, None),
    ]
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (3, "missing_value", "read_percentage"),
        (4, "out_of_bounds", "read_percentage"),
        (5, "wrong_width", ""),
    ]
    assert "click" not in rows[0]


def test_each_log_of_videos_is_held_against_its_own_rates() -> None:
    # The paper's table 2: 1,701,171 of 2,442,299 and 142,321,193 of 493,458,970 are clicks.
    small, large = ("QB-video.csv", 2_442_299), ("QK-video.csv", 493_458_970)
    expected = catalog.load("tenrec_video").expected
    assert list(differences(expected, [small], {"click": 0.6965}, {})) == []
    assert list(differences(expected, [large], {"click": 0.2884}, {})) == []
    for log, other in ((small, 0.2884), (large, 0.6965)):
        (said,) = differences(expected, [log], {"click": other}, {})
        assert said.startswith(f"task 'click' has rate {other}, in the official files 0.")
    assert list(differences(expected, [("sbr_data_1M.csv", 7)], {"click": 1.0}, {})) == []


@pytest.mark.parametrize(
    ("name", "file", "tasks"),
    [
        ("tenrec_ctr", "ctr_data_1M.csv", VIDEO_TASKS),
        ("tenrec_video", "QB-video.csv", VIDEO_TASKS),
        ("tenrec_article", "QK-article.csv", ARTICLE_TASKS),
        ("tenrec_qb_article", "QB-article.csv", ("read_percentage",)),
    ],
)
def test_a_whole_file_counted_again(name: str, file: str, tasks: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / file
    if name.endswith("article"):
        samples.write_articles(path, 400, feedback=name == "tenrec_article")
    else:
        samples.write_videos(path, 400, history=name == "tenrec_ctr")
    dataset = catalog.load(name)
    table, bad = read(dataset, tmp_path)
    assert bad == []
    with path.open(newline="") as lines:
        raw = list(csv.DictReader(lines))
    assert table.num_rows == len(raw) == 400
    for task in tasks:
        assert table[f"label_{task}"].to_pylist() == [float(row[task]) for row in raw]
    if name == "tenrec_ctr":
        expected = [[int(row[place]) for place in HISTORY if row[place] != "0"] for row in raw]
        assert table["clicked_items"].to_pylist() == expected


def test_outcomes_and_undated_counts_are_no_features() -> None:
    for name in ("tenrec_ctr", "tenrec_video", "tenrec_article"):
        dataset = catalog.load(name)
        after = {column for column, spec in dataset.columns.items() if spec.outcome}
        assert after >= {"click", "like", "share", "follow"}
        assert not after & (set(dataset.feature_columns()) | set(kept_columns(dataset)))
    article: Dataset = dataset
    assert after >= {"read_time", "read_percentage"}
    assert not {"exposure_count", "click_count", "like_count", "comment_count"} & set(article.feature_columns())


def test_a_parent_can_be_stated_and_another_file_named() -> None:
    config = load(CONFIGS / "tenrec_ctr.yaml", ["dataset.tasks.like.parent=click", "model=esmm"])
    assert config.dataset.tasks["like"].parent == "click"
    config = load(CONFIGS / "tenrec_video.yaml", ["dataset.source.files=sbr_data_1M.csv"])
    assert config.dataset.source.patterns == ("sbr_data_1M.csv",)
    assert config.dataset.source.null_values == ("", "\\N")
