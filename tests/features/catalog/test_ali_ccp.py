"""Ali-CCP's four files, as the documented format has them: joins, histories, labels, parts, quarantine."""

from __future__ import annotations

from pathlib import Path

import pytest

from features import catalog
from features.columns import kept_columns
from features.errors import DataError
from features.logs import LogBatch, Tables, load_tables, read_log
from features.spec import Bag
from tests.features.catalog import samples_ali_ccp as samples
from tests.features.catalog.samples_ali_ccp import feature, line
from tests.features.logs.small_log import read

ITEM = [feature("205", 9), feature("206", 8), feature("508", 77, 2.3026), feature("301", 9351665)]


def _write(folder: Path, *impressions: str, commons: tuple[str, ...] = (), part: str = "train") -> Path:
    for other in ("train", "test"):
        for name in (f"sample_skeleton_{other}.csv", f"common_features_{other}.csv"):
            if not (folder / name).exists():
                (folder / name).write_text("")
    (folder / f"sample_skeleton_{part}.csv").write_text("".join(f"{text}\n" for text in impressions))
    (folder / f"common_features_{part}.csv").write_text("".join(f"{text}\n" for text in commons))
    return folder


def _tables(folder: Path) -> Tables:
    return load_tables(catalog.load("ali_ccp"), str(folder))


def test_an_impression_finds_its_user_and_histories_are_whole(tmp_path: Path) -> None:
    histories = [feature("109_14", 5, 0.69315), feature("109_14", 6, 2.0), feature("109_14", 7, 0.69315)]
    user = line("bacff916", features=[*histories, feature("101", 42), feature("150_14", 3), feature("124", 2)])
    folder = _write(tmp_path, line(1, 1, 0, "bacff916", features=ITEM), commons=(user,))
    table, bad = read(catalog.load("ali_ccp"), folder, _tables(folder))
    assert bad == []
    (row,) = table.to_pylist()
    assert (row["user_id"], row["gender"], row["age"]) == (42, 2, None)
    # The largest value first, then as in the file.
    assert (row["category_history"], row["intention_history"], row["brand_history"]) == ([6, 5, 7], [3], [])
    assert (row["item_id"], row["item_category"], row["item_shop"], row["position_id"]) == (9, 8, None, 9351665)
    assert row["category_match"] == pytest.approx(2.3026)
    assert row["shop_match"] is None
    assert (row["label_click"], row["label_conversion"]) == (1.0, 0.0)
    assert not {"feature_list", "feature_num"} & set(row)


def test_the_first_impression_of_the_official_file(tmp_path: Path) -> None:
    """Nine features, three of them intentions, as public code that reads the file quotes it."""
    features = [feature("210", code) for code in (9052218, 9064553, 9093445)]
    features += [feature("216", 9154780), feature("301", 9351665), feature("205", 4186222), feature("206", 8316799)]
    features += [feature("207", 8416205), feature("508", 9355039, 0.69315)]
    more = [*features, feature("853", 1, 0.69315), feature("853", 2, 1.6094)]
    impressions = (line(1, 0, 0, "u", features=features), line(2, 0, 0, "u", features=more))
    folder = _write(tmp_path, *impressions, commons=(line("u", features=[feature("101", 1)]),))
    table, bad = read(catalog.load("ali_ccp"), folder, _tables(folder))
    assert bad == []
    first, second = table.to_pylist()
    assert first["item_intentions"] == second["item_intentions"] == [9052218, 9064553, 9093445]
    assert (first["item_id"], first["item_brand"], first["position_id"]) == (4186222, 9154780, 9351665)
    assert (first["category_match"], first["intention_match"]) == (pytest.approx(0.69315), None)
    assert second["intention_match"] == pytest.approx(0.69315 + 1.6094)


def test_one_index_of_both_parts_is_two_users(tmp_path: Path) -> None:
    for part, user in (("train", 1), ("test", 2)):
        one = line("same", features=[feature("101", user)])
        _write(tmp_path, line(1, 0, 0, "same", features=ITEM), commons=(one,), part=part)
    table, bad = read(catalog.load("ali_ccp"), tmp_path, _tables(tmp_path))
    assert bad == []
    assert [(row["part"], row["user_id"]) for row in table.to_pylist()] == [("train", 1), ("test", 2)]


def test_quarantine(tmp_path: Path) -> None:
    user = line("u", features=[feature("101", 1)])
    folder = _write(
        tmp_path,
        line(1, 0, 0, "u", features=ITEM),
        line(2, 0, 1, "u", features=ITEM),
        line(3, 0, 0, "nobody", features=ITEM),
        "4,0,0,u,2,205\x029\x031",
        "5,0,0,u,1,205\x029",
        line(6, 2, 0, "u", features=ITEM),
        "7,0,0,u,1",
        line(8, 0, 0, "", features=ITEM),
        line(9, 1, 1, "u", features=[]),
        commons=(user, "v,2,101\x021\x031", "w,1,101\x02one\x031"),
    )
    tables = _tables(folder)
    assert [(r.file, r.row, r.reason, r.column, r.value) for r in tables.rejects] == [
        (
            "common_features_train.csv",
            2,
            "refused",
            "feature_list",
            "the list has more or fewer features than feature_num says",
        ),
        ("common_features_train.csv", 3, "refused", "feature_list", "an id is no integer"),
    ]
    table, bad = read(catalog.load("ali_ccp"), folder, tables)
    assert table["sample_id"].to_pylist() == [1, 9]
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (2, "orphan_label", "conversion"),
        (3, "no_match", "common_feature_index"),
        (4, "refused", "feature_list"),
        (5, "refused", "feature_list"),
        (6, "out_of_bounds", "click"),
        (7, "wrong_width", ""),
        (8, "missing_value", "common_feature_index"),
    ]


def test_an_index_that_stands_twice_in_one_part_stops(tmp_path: Path) -> None:
    folder = _write(tmp_path, commons=(line("u", features=[feature("101", 1)]),) * 2)
    with pytest.raises(
        DataError, match=r"key \{'part': 'train', 'common_feature_index': 'u'\} stands in more than one row"
    ):
        _tables(folder)


def _naive(path: Path) -> list[list[str]]:
    return [text.split(",") for text in path.read_text().splitlines()]


def test_whole_files_counted_again(tmp_path: Path) -> None:
    dataset = catalog.load("ali_ccp")
    written = {part: samples.write_part(tmp_path, part, 1000, seed) for seed, part in enumerate(("train", "test"), 1)}
    batches: list[LogBatch] = list(read_log(dataset, str(tmp_path), _tables(tmp_path)))
    for part, told in written.items():
        (batch,) = (found for found in batches if found.file == f"sample_skeleton_{part}.csv")
        assert batch.rows_read == 1000
        assert batch.quarantined["reason"].to_pylist() == ["orphan_label"] * told.orphans
        rows = batch.rows.to_pylist()
        assert sum(row["label_click"] for row in rows) == told.clicks
        assert sum(row["label_conversion"] for row in rows) == told.conversions - told.orphans
        users = {}
        for index, _, features in _naive(tmp_path / f"common_features_{part}.csv"):
            tokens = [token.replace("\x03", "\x02").split("\x02") for token in features.split("\x01")]
            users[index] = {
                "user_id": next(int(code) for field, code, _ in tokens if field == "101"),
                "shop_history": {int(code) for field, code, _ in tokens if field == "110_14"},
            }
        assert len(users) == told.users
        for row in rows:
            expected = users[row["common_feature_index"]]
            assert (row["user_id"], set(row["shop_history"])) == (expected["user_id"], expected["shop_history"])
            assert len(row["shop_history"]) == len(expected["shop_history"])
    train, test = (next(b for b in batches if b.file.endswith(f"_{part}.csv")) for part in ("train", "test"))
    assert set(test.part.tolist()) == {2}
    # A tenth of the training file's rows, within five standard deviations.
    assert set(train.part.tolist()) == {0, 1}
    assert abs((train.part == 1).mean() - 0.1) < 5 * (0.09 / train.rows.num_rows) ** 0.5


def test_what_is_known_later_is_no_feature() -> None:
    dataset = catalog.load("ali_ccp")
    assert not {"click", "conversion", "position_id", "part"} & set(dataset.feature_columns())
    assert not {"feature_list", "feature_num", "click", "conversion"} & set(kept_columns(dataset))
    assert isinstance(dataset.features["shop_history"], Bag)
    assert dataset.tasks["conversion"].parent == "click"
