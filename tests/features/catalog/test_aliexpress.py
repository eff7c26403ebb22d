"""AliExpress' four files a country, as the documented format has them: columns, join, labels, parts, quarantine."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from features import catalog
from features.logs import load_tables, read_log
from features.spec import Categorical, Dataset, Numeric
from pipeline.loading import CONFIGS, load
from tests.features.catalog import samples_aliexpress as samples
from tests.features.logs.small_log import read


def _page(search: str) -> str:
    return ",".join([search, *(f"{at}" for at in range(2, 34))])


def _item(search: str, action: str) -> str:
    return ",".join(
        [search, *(f"{at}.5" if at not in samples.ITEM_CATEGORIES else f"{at}" for at in range(2, 49)), action]
    )


def _write(folder: Path, pages: list[str], items: list[str], part: str = "train") -> Path:
    (folder / f"nl_user_{part}.csv").write_text("".join(f"{row}\n" for row in pages))
    (folder / f"nl_item_{part}.csv").write_text("".join(f"{row}\n" for row in items))
    return folder


def _read(folder: Path) -> tuple[list[dict], list[dict]]:
    dataset = catalog.load("aliexpress")
    table, bad = read(dataset, folder, load_tables(dataset, str(folder)))
    return table.to_pylist(), bad


def test_columns_stand_where_mtreclib_says(tmp_path: Path) -> None:
    rows, bad = _read(_write(tmp_path, [_page("7")], [_item("7", "1")]))
    assert bad == []
    (row,) = rows
    # Search page: categories 2..8, 32, 33, numbers 9..31; item: categories 19, 34, 35, 36, 40, 41, 42, numbers the other ones of 2..48.
    assert [row[f"categorical_{place}"] for place in range(1, 17)] == [
        *"2345678", "32", "33", "19", "34", "35", "36", "40", "41", "42",
    ]  # fmt: skip
    numbers = [*map(float, range(9, 32)), *(at + 0.5 for at in range(2, 49) if at not in samples.ITEM_CATEGORIES)]
    assert len(numbers) == 63
    assert [row[f"numerical_{place}"] for place in range(1, 64)] == numbers


def test_labels(tmp_path: Path) -> None:
    rows, _ = _read(_write(tmp_path, [_page("7")], [_item("7", "0"), _item("7", "1"), _item("7", "2")]))
    assert [(row["label_click"], row["label_conversion"]) for row in rows] == [(0, 0), (1, 0), (1, 1)]
    assert "action" not in rows[0]


def test_quarantine(tmp_path: Path) -> None:
    items = [_item("7", "0"), _item("8", "1"), _item("7", "3"), _item("7", ""), _item("7", "0") + ",1", _item("", "0")]
    rows, bad = _read(_write(tmp_path, [_page("7")], items))
    assert len(rows) == 1
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (2, "no_match", "search_id"),
        (3, "out_of_bounds", "action"),
        (4, "missing_value", "action"),
        (5, "wrong_width", ""),
        (6, "missing_value", "search_id"),
    ]


def test_one_search_id_of_both_parts_is_two_searches(tmp_path: Path) -> None:
    _write(tmp_path, [_page("7")], [_item("7", "0")])
    _write(tmp_path, [_page("7").replace("7,2,", "7,first,")], [_item("7", "0")], part="test")
    rows, bad = _read(tmp_path)
    assert bad == []
    assert {row["part"]: row["categorical_1"] for row in rows} == {"train": "2", "test": "first"}


def test_whole_files_counted_again(tmp_path: Path) -> None:
    dataset = catalog.load("aliexpress")
    written = {part: samples.write_part(tmp_path, "nl", part, 60, seed) for seed, part in enumerate(("train", "test"))}
    tables = load_tables(dataset, str(tmp_path))
    batches = {batch.rows["part"][0].as_py(): batch for batch in read_log(dataset, str(tmp_path), tables)}
    for part, items in written.items():
        batch, kept = batches[part], [item for item in items if item[0] != "60"]
        assert batch.rows_read == len(items)
        assert batch.quarantined["reason"].to_pylist() == ["no_match"] * (len(items) - len(kept))
        assert batch.unmatched == {"searches": len(items) - len(kept)}
        assert batch.rows["label_click"].to_pylist() == [float(item[-1] != "0") for item in kept]
        assert batch.rows["label_conversion"].to_pylist() == [float(item[-1] == "2") for item in kept]
        with (tmp_path / f"nl_user_{part}.csv").open(newline="") as file:
            pages = {page[0]: page for page in csv.reader(file)}
        assert batch.rows["categorical_9"].to_pylist() == [pages[item[0]][32] for item in kept]
        assert batch.rows["numerical_63"].to_pylist() == [
            None if item[47] == "" else pytest.approx(float(item[47]), rel=1e-6) for item in kept
        ]
    assert set(batches["test"].part.tolist()) == {2}
    assert set(batches["train"].part.tolist()) == {0, 1}


def test_features_are_all_columns_but_id_part_and_label() -> None:
    dataset: Dataset = catalog.load("aliexpress")
    kinds = [type(feature) for feature in dataset.features.values()]
    assert (kinds.count(Categorical), kinds.count(Numeric)) == (16, 63)
    assert not {"search_id", "part", "action"} & set(dataset.feature_columns())


def test_another_country() -> None:
    other = ["dataset.source.files=ES_item_*.csv", "dataset.tables.searches.source.files=ES_user_*.csv"]
    dataset = load(CONFIGS / "aliexpress.yaml", other).dataset
    assert dataset.source.patterns == ("ES_item_*.csv",)
    assert dataset.tables["searches"].source.patterns == ("ES_user_*.csv",)
    assert dataset.tables["searches"].source.from_name == dataset.source.from_name != {}
