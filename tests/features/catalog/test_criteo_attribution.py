"""Criteo's attribution log, as the documented format has it: rows, labels, days, quarantine."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from features import catalog
from features.columns import kept_columns
from features.kinds import Bucketized
from features.logs import Tables, read_log
from features.spec import SPLITS
from tests.features.catalog import samples
from tests.features.logs.small_log import read

FILE = "criteo_attribution_dataset.tsv.gz"
CATS = "\t".join(map(str, (5824233, 9312274, 3490278, 29196072, 11409686, 1973606, 25162884, 29196072, 29196072)))
NOTHING = "-1\t-1"


def _write(folder: Path, *lines: str) -> Path:
    (folder / FILE).write_bytes(gzip.compress("".join(f"{line}\n" for line in (samples.CRITEO, *lines)).encode()))
    return folder


def _line(time: str = "0", conversion: str = "0", attribution: str = "0", click: str = "0", last: str = "-1") -> str:
    told, position = ("1449193\t3063962", "0\t1") if conversion == "1" else (NOTHING, NOTHING)
    outcome = f"{conversion}\t{told}\t{attribution}\t{click}\t{position}\t1e-05\t0.390794"
    return f"{time}\t20073966\t22589\t{outcome}\t{last}\t{CATS}"


def test_rows_and_labels(tmp_path: Path) -> None:
    table, bad = read(
        catalog.load("criteo_attribution"),
        _write(
            tmp_path,
            _line(),
            _line("2", click="1", last="423858"),
            _line("2", click="1", conversion="1", last="0"),
            _line("3", click="1", conversion="1", attribution="1"),
        ),
    )
    rows = table.to_pylist()
    assert bad == []
    assert [tuple(int(row[f"label_{task}"]) for task in ("click", "conversion", "attribution")) for row in rows] == [
        (0, 0, 0),
        (1, 0, 0),
        (1, 1, 0),
        (1, 1, 1),
    ]
    assert [row["time_since_last_click"] for row in rows] == [-1, 423858, 0, -1]
    assert (rows[0]["uid"], rows[0]["campaign"], rows[0]["cat1"], rows[0]["cat9"]) == (
        20073966,
        22589,
        5824233,
        29196072,
    )


def test_quarantine(tmp_path: Path) -> None:
    _, bad = read(
        catalog.load("criteo_attribution"),
        _write(
            tmp_path,
            _line(),
            _line(conversion="-1"),
            _line("-7"),
            _line(click=""),
            _line(last="-2"),
            _line().removesuffix("\t29196072"),
        ),
    )
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (2, "out_of_bounds", "conversion"),
        (3, "out_of_bounds", "timestamp"),
        (4, "missing_value", "click"),
        (5, "out_of_bounds", "time_since_last_click"),
        (6, "wrong_width", ""),
    ]


@pytest.mark.parametrize(
    ("seconds", "day", "part"),
    [
        (0, 19700101, "train"),
        (86_399, 19700101, "train"),
        (86_400, 19700102, "train"),
        (28 * 86_400 - 1, 19700128, "train"),
        (28 * 86_400, 19700129, "validation"),
        (29 * 86_400, 19700130, "test"),
        (30 * 86_400 - 1, 19700130, "test"),
        (2_671_199, 19700131, "test"),
    ],
)
def test_seconds_since_the_first_impression_are_days_of_1970(seconds: int, day: int, part: str, tmp_path: Path) -> None:
    dataset, folder = catalog.load("criteo_attribution"), _write(tmp_path, _line(str(seconds)))
    (batch,) = read_log(dataset, str(folder), Tables())
    assert batch.rows["feedrank_day"].to_pylist() == [day]
    assert [split for split in SPLITS if batch.of(split).num_rows] == [part]


def test_a_whole_file_counted_again(tmp_path: Path) -> None:
    samples.write_banners(tmp_path / FILE, 500)
    table, bad = read(catalog.load("criteo_attribution"), tmp_path)
    assert bad == []
    with gzip.open(tmp_path / FILE, "rt", newline="") as lines:
        raw = list(csv.DictReader(lines, delimiter="\t"))
    assert table.num_rows == len(raw) == 500
    for task in ("click", "conversion", "attribution"):
        assert table[f"label_{task}"].to_pylist() == [float(row[task]) for row in raw]
    assert table["feedrank_day"].to_pylist() == [19700101 + int(row["timestamp"]) // 86_400 for row in raw]


def test_what_is_known_later_is_no_feature_and_is_not_kept() -> None:
    dataset = catalog.load("criteo_attribution")
    after = {
        "click", "conversion", "attribution", "conversion_timestamp", "conversion_id", "click_pos", "click_nb", "cost", "cpo",
    }  # fmt: skip
    assert {name for name, column in dataset.columns.items() if column.outcome} == after
    assert not after & (set(dataset.feature_columns()) | set(kept_columns(dataset)))


def test_no_click_before_is_a_bucket_of_its_own() -> None:
    feature = catalog.load("criteo_attribution").features["time_since_last_click"]
    assert isinstance(feature, Bucketized)
    assert feature.boundaries is not None
    assert feature.boundaries[0] == 0


def test_each_task_is_the_parent_of_the_next() -> None:
    tasks = catalog.load("criteo_attribution").tasks
    assert {name: task.parent for name, task in tasks.items()} == {
        "click": None,
        "conversion": "click",
        "attribution": "conversion",
    }
