"""What is said of files that carry an official name."""

from __future__ import annotations

import pytest

from features.spec import Expected

EXPECTED = Expected(rows={"a.csv": 100, "b.csv": 50}, tables={"users": 7}, rates={"click": 0.2, "like": 0.01})


@pytest.mark.parametrize(
    ("rows", "rates", "said"),
    [
        ({"a.csv": 100, "b.csv": 50}, {"click": 0.2, "like": 0.01}, []),
        ({"log/a.csv": 100}, {"click": 0.2099, "like": 0.0096}, []),  # within 5 %
        ({"a.csv.bz2": 7}, {"click": 0.9}, ["a.csv.bz2 has 7 rows, the official file 100"]),
        ({"a.csv.gz": 99}, {"click": 0.9}, ["a.csv.gz has 99 rows, the official file 100"]),
        ({"a.csv": 100}, {"click": 0.25, "like": 0.01}, ["task 'click' has rate 0.25, in the official files 0.2"]),
        ({"a.csv": 100, "mine.csv": 7}, {"click": 0.9}, []),  # a log of one's own among them
        ({"mine.csv": 7}, {"click": 0.9}, []),
        ({"a.csv": 100}, {"another": 0.9}, []),
    ],
)
def test_differences(rows: dict[str, int], rates: dict[str, float], said: list[str]) -> None:
    assert list(EXPECTED.differences(rows, rates, {"users": 7, "others": 1})) == said


def test_side_tables_are_compared_beside_the_official_log_alone() -> None:
    rates = {"click": 0.2}
    said = "table 'users' has 6 rows, in the official files 7"
    assert list(EXPECTED.differences({"a.csv": 100}, rates, {"users": 6})) == [said]
    assert list(EXPECTED.differences({"mine.csv": 100}, rates, {"users": 6})) == []
    assert list(EXPECTED.differences({"a.csv": 100}, rates, {})) == []
