"""The join of actions against a loop over dictionaries: ties, several impressions, duplicates, missing keys, the window's ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.actions import Actions
from features.errors import DataError
from features.logs.action_counts import told_few
from features.logs.action_log import action_schema
from features.logs.attribution import REASON, attribute, note_schema
from features.logs.places import ACTIONS, BEGIN, FILE, ROW, TIME

WINDOW = 5
LABELS = {
    "liked": {"column": "action", "equals": "like"},
    "liked_or_shared": {"column": "action", "equals": ["like", "share"]},
    "acts": {"take": "count"},
    "plays": {"where": {"action": "play"}, "take": "count"},
    "watch": {"column": "ms", "where": {"action": "play"}, "take": "sum"},
    "total": {"column": "ms", "take": "sum", "otherwise": -1},
    "longest": {"column": "ms", "take": "max"},
    "shortest": {"column": "ms", "take": "min", "otherwise": 0},
    "opening": {"column": "ms", "take": "first"},
    "final": {"column": "action", "take": "last"},
    "share": {"column": "part", "take": "sum"},
    "best": {"column": "part", "take": "max"},
}
SPEC = Actions.model_validate(
    {
        "source": "actions.csv",
        "columns": {
            "user": "int64",
            "item": "string",
            "at": "int64",
            "action": "string",
            "ms": "int64",
            "part": "float32",
        },
        "on": ["user", "item"],
        "time": {"column": "at", "unit": "s"},
        "window": f"{WINDOW}s",
        "labels": LABELS,
    }
)
Row = dict[str, Any]

KEYS = {"user": st.integers(1, 2), "item": st.sampled_from(["a", "b"])}
IMPRESSION = st.fixed_dictionaries(
    {**KEYS, "at": st.integers(0, 20), "file": st.integers(0, 2), "begin": st.integers(0, 1)}
)
ACTION = st.fixed_dictionaries(
    {
        "user": st.none() | KEYS["user"],
        "item": st.none() | st.sampled_from(["a", "b", "c"]),
        "at": st.integers(0, 30),
        "action": st.none() | st.sampled_from(["like", "share", "play"]),
        "ms": st.none() | st.integers(-3, 3),
        "part": st.none() | st.integers(-8, 8).map(lambda eighths: eighths / 8),
        "file": st.integers(0, 1),
    }
)


def numbered(rows: list[Row]) -> list[Row]:
    """Rows with numbers, in the order of their files; a file's first piece comes before its second."""
    ordered = sorted(rows, key=lambda row: (row["file"], row.get("begin", 0)))
    return [row | {"row": number} for number, row in enumerate(ordered, start=1)]


def naive_label(name: str, actions: list[Row]) -> Any:
    """Of the actions of one impression, in the order of time."""
    label = LABELS[name]
    where = dict(label.get("where", {}))
    if "equals" in label:
        where[label["column"]] = label["equals"]
    values = []
    for action in actions:
        fits = all(action[c] in (v if isinstance(v, list) else [v]) for c, v in where.items())
        if fits and ("column" not in label or action[label["column"]] is not None):
            values.append(action.get(label.get("column")))
    if not values:
        return None
    take = label.get("take", "any")
    return {
        "any": lambda: 1,
        "count": lambda: len(values),
        "sum": lambda: sum(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "first": lambda: values[0],
        "last": lambda: values[-1],
    }[take]()


def naive(
    impressions: list[Row], actions: list[Row]
) -> tuple[dict[tuple[int, int, int], Row], dict[tuple[int, int], str]]:
    """Labels of impressions by file, piece and row; the other actions' reasons by file and row."""
    seen, reasons, of = set(), {}, {}
    for action in actions:
        values = tuple(action[name] for name in ("user", "item", "at", "action", "ms", "part"))
        place = action["file"], action["row"]
        if values in seen:
            reasons[place] = "duplicate"
            continue
        seen.add(values)
        if action["user"] is None or action["item"] is None:
            reasons[place] = "without_key"
            continue
        mine = [i for i in impressions if (i["user"], i["item"]) == (action["user"], action["item"])]
        before = [i for i in mine if i["at"] <= action["at"]]
        if not before:
            reasons[place] = "before_impression" if mine else "without_impression"
            continue
        latest = max(i["at"] for i in before)
        if action["at"] - latest > WINDOW:
            reasons[place] = "after_window"
            continue
        first = next(i for i in before if i["at"] == latest)
        of.setdefault((first["file"], first["begin"], first["row"]), []).append(action)
    labels = {}
    for place, own in of.items():
        ordered = sorted(own, key=lambda action: (action["at"], action["file"], action["row"]))
        labels[place] = {name: naive_label(name, ordered) for name in LABELS} | {ACTIONS: len(own)}
    return labels, reasons


def impression_table(rows: list[Row]) -> pa.Table:
    return pa.table(
        {
            "user": pa.array([row["user"] for row in rows], pa.int64()),
            "item": pa.array([row["item"] for row in rows], pa.string()),
            TIME: pa.array([row["at"] * 1_000_000 for row in rows], pa.int64()),
            FILE: pa.array([row["file"] for row in rows], pa.int32()),
            BEGIN: pa.array([row["begin"] for row in rows], pa.int64()),
            ROW: pa.array([row["row"] for row in rows], pa.int64()),
        }
    )


def action_table(rows: list[Row]) -> pa.Table:
    places = {TIME: "at", FILE: "file", ROW: "row"}
    columns = []
    for field in action_schema(SPEC):
        values = [row[places.get(field.name, field.name)] for row in rows]
        columns.append(pa.array([v * 1_000_000 for v in values] if field.name == TIME else values, field.type))
    return pa.table(columns, schema=action_schema(SPEC))


@given(
    st.lists(IMPRESSION, max_size=12),
    st.lists(ACTION, max_size=20),
    st.lists(st.integers(0, 50), max_size=5),
    st.randoms(),
)
@settings(max_examples=400, deadline=None)
def test_the_join_is_the_loop(shown: list[Row], acted: list[Row], again: list[int], order: Any) -> None:
    impressions = numbered(shown)
    actions = numbered([*acted, *([acted[i % len(acted)] for i in again] if acted else [])])
    labels, reasons = naive(impressions, actions)
    order.shuffle(impressions)
    order.shuffle(actions)
    found = attribute(impression_table(impressions), action_table(actions), SPEC)
    assert found.notes.schema == note_schema(SPEC)
    notes = found.notes.to_pylist()
    assert [(note[FILE], note[BEGIN], note[ROW]) for note in notes] == sorted(labels)
    for note in notes:
        assert {name: note[name] for name in (*LABELS, ACTIONS)} == labels[note[FILE], note[BEGIN], note[ROW]]
    assert {(row[FILE], row[ROW]): row[REASON] for row in found.others.to_pylist()} == reasons
    kept = {(row["file"], row["row"]): row for row in actions}
    for row in found.others.to_pylist():
        assert all(row[name] == kept[row[FILE], row[ROW]][name] for name in SPEC.columns)
    assert sum(found.outcomes.values()) == len(actions)
    assert found.outcomes["attributed"] == len(actions) - len(reasons)
    for reason in set(found.outcomes) - {"attributed"}:
        assert found.outcomes[reason] == list(reasons.values()).count(reason)


def one(**changes: Any) -> Row:
    whole = {"user": 1, "item": "a", "at": 0, "action": "like", "ms": 1, "part": None, "file": 0, "begin": 0, "row": 1}
    return whole | changes


@pytest.mark.parametrize(
    ("at", "outcome"), [(9, "before_impression"), (10, "attributed"), (15, "attributed"), (16, "after_window")]
)
def test_the_ends_of_the_window_belong_to_it(at: int, outcome: str) -> None:
    found = attribute(impression_table([one(at=10)]), action_table([one(at=at)]), SPEC)
    assert found.outcomes[outcome] == 1


def test_a_sum_beyond_the_integers_is_refused() -> None:
    actions = [one(ms=2**62, row=1), one(ms=2**62 - 1, row=2)]
    with pytest.raises(
        DataError, match=r"^actions: the sum 'total' of an impression is 9.22337e\+18; allowed: up to 4.61169e\+18$"
    ):
        attribute(impression_table([one()]), action_table(actions), SPEC)


def test_keys_that_differ_in_one_part_are_two() -> None:
    users = np.arange(1000)
    impressions = [one(user=int(u), item=f"{u % 7}", row=int(u) + 1) for u in users]
    actions = [one(user=int(u), item=f"{u % 7 + (u % 3 == 0)}", row=int(u) + 1) for u in users]
    found = attribute(impression_table(impressions), action_table(actions), SPEC)
    assert found.outcomes["attributed"] == 666
    assert found.outcomes["without_impression"] == 334


def test_a_join_that_finds_hardly_anything_is_told() -> None:
    counts = {"rows_read": 4558, "attributed": 19, "others": {"after_window": 4530, "duplicate": 0, "without_key": 9}}
    assert told_few(counts, 24.0) == (
        "only 19 of 4,558 actions attributed (4,530 after_window, 9 without_key): are `actions.on`, `time` and `window` (here 24 seconds) right?"
    )
    assert told_few(counts | {"attributed": 46}, 24.0) == ""
    assert told_few(counts | {"rows_read": 99, "attributed": 0}, 24.0) == ""
