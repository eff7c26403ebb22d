"""Lists of features against a naive reader, and lists that are none."""

from __future__ import annotations

import math
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalog.ali_ccp_lists import parse

ONCE, OFTEN = ("101", "205"), ("109_14", "150_14")


class Naive(NamedTuple):
    """A list read token by token; `bad` where a reader must refuse it."""

    bad: bool
    once: dict[str, tuple[int, float]]
    often: dict[str, list[int]]


def naive(text: str | None, count: int | None) -> Naive:
    """Splits with Python's own means."""
    once: dict[str, tuple[int, float]] = {}
    often: dict[str, list[tuple[float, int]]] = {field: [] for field in OFTEN}
    refused = Naive(True, {}, {field: [] for field in OFTEN})
    tokens = text.split("\x01") if text else []
    if len(tokens) != count:
        return refused
    for token in tokens:
        field, _, rest = token.partition("\x02")
        code, _, value = rest.partition("\x03")
        if not ("\x02" in token and "\x03" in rest) or any(sign in field + code + value for sign in "\x02\x03"):
            return refused
        if (
            not code.isdecimal()
            or not code.isascii()
            or not value.replace(".", "", 1).isdecimal()
            or not value.isascii()
        ):
            return refused
        if field in once:
            return refused
        if field in ONCE:
            once[field] = int(code), float(value)
        elif field in OFTEN:
            often[field].append((-float(value), int(code)))
    return Naive(False, once, {f: [code for _, code in sorted(many, key=lambda t: t[0])] for f, many in often.items()})


CODES = st.integers(0, 999).map(str)
VALUES = st.sampled_from(["1", "1.0", "0.5", "2.30259", "12"])
GOOD = st.builds("{}\x02{}\x03{}".format, st.sampled_from([*ONCE, *OFTEN, *OFTEN, "999", "é"]), CODES, VALUES)
BAD = st.sampled_from(
    [
        "",
        "101",
        "101\x025",
        "101\x03",
        "\x02\x03",
        "101\x02\x031",
        "101\x02a\x031",
        "205\x021\x03",
        "205\x021\x03x",
        "101\x021\x031\x02",
    ]
)
TEXTS = st.lists(GOOD | GOOD | GOOD | GOOD | GOOD | BAD, max_size=7).map("\x01".join)
ROWS = st.lists(st.tuples(TEXTS | st.none(), st.none() | st.integers(-1, 1)), max_size=8)


@given(rows=ROWS, cut=st.integers(0, 3))
def test_as_a_naive_reader(rows: list[tuple[str | None, int | None]], cut: int) -> None:
    # A count that is right, one too many or too few, or missing.
    told = [None if off is None else len(text.split("\x01") if text else []) + off for text, off in rows]
    texts = [text for text, _ in rows]
    found = parse(pa.array(texts, pa.string())[cut:], pa.array(told, pa.int64())[cut:], ONCE, OFTEN)
    expected = [naive(text, count) for text, count in zip(texts, told, strict=True)][cut:]
    assert [why is not None for why in found.refused] == [row.bad for row in expected]
    for place, field in enumerate(ONCE):
        codes, values = found.one(place)
        assert codes.to_pylist() == [row.once.get(field, (None, None))[0] for row in expected]
        for value, row in zip(values.to_pylist(), expected, strict=True):
            assert value is None if field not in row.once else math.isclose(value, row.once[field][1], rel_tol=1e-6)
    for place, field in enumerate(OFTEN, len(ONCE)):
        assert found.many(place).to_pylist() == [row.often[field] for row in expected]


@pytest.mark.parametrize(
    ("text", "count", "why"),
    [
        ("101\x021", 1, "the list is not made of"),
        ("101\x031\x021", 1, "the list is not made of"),
        ("101\x021\x031\x01", 2, "the list is not made of"),
        ("101\x021\x031", 2, "more or fewer features"),
        (None, 1, "more or fewer features"),
        ("101\x02x1\x031", 1, "an id is no integer"),
        ("101\x020x1\x031", 1, "an id is no integer"),
        ("101\x0299999999999999999999\x031", 1, "an id is no integer"),
        ("101\x021\x03inf", 1, "a value is no finite number"),
        ("101\x021\x031\x01101\x022\x031", 2, "field 101 stands twice"),
    ],
)
def test_the_reason_is_told_and_neighbours_stay(text: str | None, count: int, why: str) -> None:
    neighbour = "205\x027\x031\x01109_14\x021\x030.5\x01109_14\x022\x032"
    found = parse(pa.array([neighbour, text, neighbour]), pa.array([3, count, 3]), ONCE, OFTEN)
    assert [told is None for told in found.refused] == [True, False, True]
    assert why in found.refused[1]
    assert found.one(1)[0].to_pylist() == [7, None, 7]
    assert found.many(2).to_pylist() == [[2, 1], [], [2, 1]]
