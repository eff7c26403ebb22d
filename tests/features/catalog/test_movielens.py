"""MovieLens' files, as the documented format has them: rows, labels, tables, quarantine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features import catalog
from features.catalog.movielens import FLAGS, GENRES, flagged_genres, year_at_end, zip_area
from features.columns import kept_columns
from features.logs import load_tables
from tests.features.catalog import samples
from tests.features.logs.small_log import read


def _read(name: str, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    dataset = catalog.load(name)
    tables = load_tables(dataset, str(folder))
    assert tables.rejects == []
    rows, bad = read(dataset, folder, tables)
    return rows.to_pylist(), bad


def _million(folder: Path, *ratings: str) -> Path:
    files = {
        "users": ["1::F::1::10::48067", "2::M::56::16::98107-2117"],
        "movies": [
            "1193::One Flew Over the Cuckoo's Nest (1975)::Drama",
            "73::Misérables, Les (1995)::Drama|Musical",
            '661::James: and the "Giant" Peach (1996)::Animation|Children\'s|Musical',
        ],
        "ratings": ratings,
    }
    for name, lines in files.items():
        (folder / f"{name}.dat").write_bytes("".join(f"{line}\n" for line in lines).encode("latin-1"))
    return folder


def test_rows_of_1m(tmp_path: Path) -> None:
    lines = ["1::1193::5::978300760", "1::661::3::978302109", "2::73::4::956703932"]
    rows, bad = _read("movielens_1m", _million(tmp_path, *lines))
    assert bad == []
    assert [(row["label_like"], row["label_rating"]) for row in rows] == [(1.0, 5.0), (0.0, 3.0), (1.0, 4.0)]
    assert [(row["gender"], row["age"], row["occupation"], row["zip_area"]) for row in rows] == [
        ("F", 1, 10, "480"),
        ("F", 1, 10, "480"),
        ("M", 56, 16, "981"),
    ]
    assert [row["genres"] for row in rows] == [["Drama"], ["Animation", "Children's", "Musical"], ["Drama", "Musical"]]
    assert [row["release_year"] for row in rows] == [1975, 1996, 1995]
    # 2000-12-31 22:12:40, 22:35:09 and 2000-04-25 23:05:32 UTC.
    assert [row["feedrank_day"] for row in rows] == [20001231, 20001231, 20000425]


def test_quarantine_of_1m(tmp_path: Path) -> None:
    lines = ["1::1193::5::978300760", "1::1193::6::978300760", "1::1193::::978300760", "::1193::5::978300760"]
    lines += ["1::1193::5", "1::1193::5::978300760::", "1:1193::5::978300760", "1::1193::5::-1"]
    rows, bad = _read("movielens_1m", _million(tmp_path, *lines))
    assert len(rows) == 1
    assert sorted((reject["row"], reject["reason"], reject["column"]) for reject in bad) == [
        (2, "out_of_bounds", "rating"),
        (3, "missing_value", "rating"),
        (4, "missing_value", "user_id"),
        (5, "wrong_width", ""),
        (6, "wrong_width", ""),
        (7, "wrong_width", ""),
        (8, "out_of_bounds", "timestamp"),
    ]


def test_rows_of_100k(tmp_path: Path) -> None:
    flags = {1: "0|0|0|1|1|1" + "|0" * 13, 267: "1" + "|0" * 18}
    (tmp_path / "u.data").write_text("196\t1\t3\t881250949\n196\t267\t5\t891717742\n9\t1\t1\t878887116\n")
    (tmp_path / "u.user").write_text("196|49|M|writer|V3N4P\n9|29|F|other|01002\n")
    films = [
        f"1|Bébé (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?B%E9b%E9|{flags[1]}",
        f"267|unknown||||{flags[267]}",
    ]
    (tmp_path / "u.item").write_bytes("\n".join(films).encode("latin-1"))
    rows, bad = _read("movielens_100k", tmp_path)
    assert bad == []
    assert [(row["label_like"], row["label_rating"]) for row in rows] == [(0.0, 3.0), (1.0, 5.0), (0.0, 1.0)]
    assert [row["genres"] for row in rows] == [
        ["Animation", "Children's", "Comedy"],
        ["unknown"],
        ["Animation", "Children's", "Comedy"],
    ]
    assert [row["release_year"] for row in rows] == [1995, None, 1995]
    assert [(row["age"], row["occupation"], row["zip_area"]) for row in rows] == [
        (49, "writer", "V3N"),
        (49, "writer", "V3N"),
        (29, "other", "010"),
    ]


@pytest.mark.parametrize(
    ("name", "file", "delimiter"), [("movielens_1m", "ratings.dat", "::"), ("movielens_100k", "u.data", "\t")]
)
def test_a_whole_file_counted_again(name: str, file: str, delimiter: str, tmp_path: Path) -> None:
    {"movielens_1m": samples.write_movielens_1m, "movielens_100k": samples.write_movielens_100k}[name](tmp_path, 500)
    rows, bad = _read(name, tmp_path)
    raw = [line.split(delimiter) for line in (tmp_path / file).read_text().splitlines()]
    assert bad == []
    assert [row["label_rating"] for row in rows] == [float(line[2]) for line in raw]
    assert [row["label_like"] for row in rows] == [float(int(line[2]) > 3) for line in raw]
    assert all(row["gender"] in ("F", "M") and row["genres"] is not None for row in rows)


def test_derived_columns() -> None:
    def of(*values: str | None) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.array(values, pa.string())], names=["a"])

    titles = ("Toy Story (1995)", "01-Jan-1994", "2001: A Space Odyssey", "", None, "1984 (1984)", "Up (19956)")
    assert year_at_end(of(*titles))["release_year"].to_pylist() == [1995, 1994, None, None, None, 1984, 9956]
    assert zip_area(of("98107-2117", "V3N4P", "1", None))["zip_area"].to_pylist() == ["981", "V3N", "1", None]
    batch = pa.RecordBatch.from_arrays([pa.array([1, 0, None, int(at > 16)]) for at in range(19)], names=list(FLAGS))
    assert flagged_genres(batch)["genres"].to_pylist() == [list(GENRES), [], [], ["War", "Western"]]
    assert flagged_genres(batch.slice(3))["genres"].to_pylist() == [["War", "Western"]]
    assert flagged_genres(batch.slice(0, 0))["genres"].to_pylist() == []


@pytest.mark.parametrize("name", ["movielens_1m", "movielens_100k"])
def test_stars_and_titles_are_no_features(name: str) -> None:
    dataset = catalog.load(name)
    assert not {"rating", "title", "timestamp", "imdb_url"} & set(dataset.feature_columns())
    assert "rating" not in kept_columns(dataset)
