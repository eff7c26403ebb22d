"""Positive labels whose parent is not positive."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.spec import Task
from tests.features.logs.small_log import GOOD, dataset, read, write

CLICK_LIKE_SEEN = ("0,0,1", "1,0,1", "1,1,1", "0,1,1", "0,1,0")


def _write(path: Path) -> Path:
    return write(path, *[GOOD.removesuffix("1,0,1") + answers for answers in CLICK_LIKE_SEEN])


@pytest.mark.parametrize(("orphans", "refused"), [("keep", []), ("quarantine", [(4, "orphan_label", "like", "1.0")])])
def test_orphans_are_kept_or_quarantined(orphans: str, refused: list[tuple], tmp_path: Path) -> None:
    # In the last row the mask says that the like is unknown.
    tasks = {"click": Task(label="click"), "like": Task(label="like", mask="seen", parent="click", orphans=orphans)}
    rows, bad = read(dataset(tasks=tasks), _write(tmp_path))
    assert [(b["row"], b["reason"], b["column"], b["value"]) for b in bad] == refused
    assert rows.num_rows == 5 - len(refused)


def test_where_the_parent_is_unknown_there_is_no_orphan(tmp_path: Path) -> None:
    tasks = {
        "click": Task(label="click", mask="seen"),
        "like": Task(label="like", parent="click", orphans="quarantine"),
    }
    _, bad = read(dataset(tasks=tasks), _write(tmp_path))
    assert [b["row"] for b in bad] == [4]


def test_without_a_parent_nothing_is_an_orphan(tmp_path: Path) -> None:
    tasks = {"click": Task(label="click"), "like": Task(label="like", orphans="quarantine")}
    _, bad = read(dataset(tasks=tasks), _write(tmp_path))
    assert bad == []
