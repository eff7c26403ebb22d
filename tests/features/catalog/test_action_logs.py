"""Logs of actions, UserBehavior's and IJCAI-15's, as the documented formats have them: rows, labels, days, quarantine."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from features import catalog
from features.catalog.user_behavior import BEHAVIOURS
from features.columns import kept_columns
from features.logs import Tables, load_tables, read_log
from features.spec import SPLITS
from tests.features.catalog import samples
from tests.features.logs.small_log import read, write

TASKS = ("click", "cart", "favorite", "buy")
MIDNIGHT = 1_511_539_200
"""2017-11-25 00:00 in Beijing, 16:00 UTC of the day before."""


def test_user_behavior_rows(tmp_path: Path) -> None:
    lines = [f"1,2268318,2520377,{what},{MIDNIGHT + at}" for at, what in enumerate(("pv", "cart", "fav", "buy"))]
    table, bad = read(catalog.load("user_behavior"), write(tmp_path, *lines, name="UserBehavior.csv", header=None))
    rows = table.to_pylist()
    assert bad == []
    assert [[int(row[f"label_{task}"]) for task in TASKS] for row in rows] == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    assert [(row["user_id"], row["item_id"], row["category_id"]) for row in rows] == [(1, 2268318, 2520377)] * 4


@pytest.mark.parametrize(
    ("seconds", "part"),
    [
        (MIDNIGHT, "train"),
        (MIDNIGHT + 7 * 86_400 - 1, "train"),
        (MIDNIGHT + 7 * 86_400, "validation"),
        (MIDNIGHT + 8 * 86_400, "test"),
        (MIDNIGHT + 9 * 86_400 - 1, "test"),
        (MIDNIGHT - 1, None),
        (MIDNIGHT + 9 * 86_400, None),
        (-2_134_949_234, None),
        (2_135_569_405, None),
        (0, None),
    ],
)
def test_user_behavior_days_are_those_of_beijing(seconds: int, part: str | None, tmp_path: Path) -> None:
    folder = write(tmp_path, f"1,2,3,pv,{seconds}", name="UserBehavior.csv", header=None)
    (batch,) = read_log(catalog.load("user_behavior"), str(folder), Tables())
    assert [split for split in SPLITS if batch.of(split).num_rows] == ([part] if part else [])
    assert batch.quarantined["reason"].to_pylist() == ([] if part else ["time_out_of_range"])


def test_user_behavior_counted_again(tmp_path: Path) -> None:
    samples.write_user_behavior(tmp_path / "UserBehavior.csv", 1800)
    table, bad = read(catalog.load("user_behavior"), tmp_path)
    raw = [line.split(",") for line in (tmp_path / "UserBehavior.csv").read_text().splitlines()]
    inside = [line for line in raw if MIDNIGHT <= int(line[4]) < MIDNIGHT + 9 * 86_400]
    assert {reject["reason"] for reject in bad} == {"time_out_of_range"}
    assert len(bad) == len(raw) - len(inside) == 9
    for task, value in BEHAVIOURS.items():
        assert table[f"label_{task}"].to_pylist() == [float(line[3] == value) for line in inside]


def test_user_behavior_quarantine(tmp_path: Path) -> None:
    lines = [f"1,2,3,pv,{MIDNIGHT}", f"1,2,3,,{MIDNIGHT}", f"1,2,3,pv,{MIDNIGHT},", "1,2,3,pv,x", f",2,3,pv,{MIDNIGHT}"]
    table, bad = read(catalog.load("user_behavior"), write(tmp_path, *lines, name="UserBehavior.csv", header=None))
    assert table.num_rows == 1
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (2, "missing_value", "behavior"),
        (3, "wrong_width", ""),
        (4, "bad_number", "timestamp"),
        (5, "missing_value", "user_id"),
    ]


def test_ijcai_15_rows(tmp_path: Path) -> None:
    header = "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type"
    lines = ["328862,323294,833,2882,2661,829,0", "328862,844400,1271,2882,,1111,2", "7,844400,1271,2882,2661.0,511,3"]
    lines += ["7,844400,1271,2882,2661,1112,1", "7,844400,1271,2882,2661,1113,1", "7,844400,1271,2882,2661,1112,4"]
    write(tmp_path, *lines, name="user_log_format1.csv", header=header)
    write(tmp_path, "328862,6.0,", "7,,1", name="user_info_format1.csv", header="user_id,age_range,gender")
    dataset = catalog.load("ijcai_15")
    table, bad = read(dataset, tmp_path, load_tables(dataset, str(tmp_path)))
    rows = table.to_pylist()
    assert [(row["label_favorite"], row["label_purchase"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (0, 0)]
    assert [row["brand_id"] for row in rows] == [2661, None, 2661, 2661]
    assert [(row["age_range"], row["gender"]) for row in rows] == [(6, None), (6, None), (None, 1), (None, 1)]
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (5, "out_of_bounds", "time_stamp"),
        (6, "out_of_bounds", "action_type"),
    ]


def test_ijcai_15_counted_again(tmp_path: Path) -> None:
    samples.write_ijcai_15(tmp_path, 600)
    dataset = catalog.load("ijcai_15")
    table, bad = read(dataset, tmp_path, load_tables(dataset, str(tmp_path)))
    assert bad == []
    raw = list(csv.DictReader((tmp_path / "user_log_format1.csv").read_text().splitlines()))
    assert table["label_favorite"].to_pylist() == [float(row["action_type"] == "3") for row in raw]
    assert table["label_purchase"].to_pylist() == [float(row["action_type"] == "2") for row in raw]
    assert table["brand_id"].null_count == sum(not row["brand_id"] for row in raw) > 0


@pytest.mark.parametrize(("name", "outcome"), [("user_behavior", "behavior"), ("ijcai_15", "action_type")])
def test_the_action_is_no_feature_and_no_task_has_a_parent(name: str, outcome: str) -> None:
    dataset = catalog.load(name)
    assert outcome not in {*dataset.feature_columns(), *kept_columns(dataset)}
    assert {task.parent for task in dataset.tasks.values()} == {None}
