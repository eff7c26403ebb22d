"""What is said of files that carry an official name."""

from __future__ import annotations

import pydantic
import pytest

from features.expected import Variants, differences
from features.spec import Expected

WHOLE = Expected(rows={"a.csv": 100, "b.csv": 50}, tables={"users": 7}, rates={"click": 0.2, "like": 0.01})
SMALL = Expected(rows={"a.csv": 100}, rates={"click": 0.3})
LOG = {"a.csv": 100, "b.csv": 50}


@pytest.mark.parametrize(
    ("rows", "rates", "said"),
    [
        (LOG, {"click": 0.2, "like": 0.01}, []),
        ({"log/a.csv": 100, "log/b.csv.gz": 50}, {"click": 0.2099, "like": 0.0096}, []),  # within 5 %
        ({"a.csv.bz2": 7}, {"click": 0.9}, ["a.csv.bz2 has 7 rows, the official file 100"]),
        ({"a.csv.gz": 99}, {"click": 0.9}, ["a.csv.gz has 99 rows, the official file 100"]),
        (LOG, {"click": 0.25, "like": 0.01}, ["task 'click' has rate 0.25, in the official files 0.2"]),
        ({**LOG, "a.csv": 99}, {"click": 0.9}, ["a.csv has 99 rows, the official file 100"]),
        ({**LOG, "mine.csv": 7}, {"click": 0.9}, []),  # a log of one's own among them
        ({"mine.csv": 7}, {"click": 0.9}, []),
        ({}, {"click": 0.9}, []),
        (LOG, {"another": 0.9}, []),
    ],
)
def test_differences(rows: dict[str, int], rates: dict[str, float], said: list[str]) -> None:
    assert list(differences([WHOLE], list(rows.items()), rates, {"users": 7, "others": 1})) == said


@pytest.mark.parametrize(
    ("rows", "rate", "said"),
    [
        ({"a.csv": 100}, 0.3, []),
        ({"a.csv": 100}, 0.2, ["task 'click' has rate 0.2, in the official files 0.3"]),
        (LOG, 0.2, []),
        (LOG, 0.3, ["task 'click' has rate 0.3, in the official files 0.2"]),
        ({"b.csv": 50}, 0.9, []),  # its rows are known, its rate by itself is not
        ({"b.csv": 51}, 0.9, ["b.csv has 51 rows, the official file 50"]),
    ],
)
def test_each_variant_has_its_own_rates(rows: dict[str, int], rate: float, said: list[str]) -> None:
    assert list(differences([WHOLE, SMALL], list(rows.items()), {"click": rate}, {})) == said


def test_a_file_of_one_name_in_two_variants_may_be_either() -> None:
    variants = [SMALL, Expected(rows={"a.csv": 1_000}, rates={"click": 0.5})]
    assert list(differences(variants, [("a.csv", 1_000)], {"click": 0.5}, {})) == []
    assert list(differences(variants, [("a.csv", 7)], {"click": 0.5}, {})) == [
        "a.csv has 7 rows, the official file 100 or 1,000"
    ]


def test_the_same_file_twice_is_no_official_log() -> None:
    assert list(differences([SMALL], [("x/a.csv", 100), ("y/a.csv", 100)], {"click": 0.9}, {})) == []


def test_side_tables_are_compared_beside_the_official_log_alone() -> None:
    said = "table 'users' has 6 rows, in the official files 7"
    assert list(differences([WHOLE], list(LOG.items()), {"click": 0.2}, {"users": 6})) == [said]
    assert list(differences([WHOLE], [("mine.csv", 100)], {"click": 0.2}, {"users": 6})) == []
    assert list(differences([WHOLE], list(LOG.items()), {"click": 0.2}, {})) == []


def test_one_variant_stands_for_itself() -> None:
    variants = pydantic.TypeAdapter(Variants)
    assert variants.validate_python({"rows": {"a.csv": 100}, "rates": {"click": 0.3}}) == (SMALL,)
    assert variants.validate_python(SMALL) == (SMALL,)
    assert variants.validate_python([SMALL, WHOLE]) == (SMALL, WHOLE)
