"""A small AliExpress country: its four raw files. Seeded, so each call writes the same."""

from __future__ import annotations

import random
from pathlib import Path

SEARCH_CATEGORIES = {2, 3, 4, 5, 6, 7, 8, 32, 33}
ITEM_CATEGORIES = {19, 34, 35, 36, 40, 41, 42}


def write_part(folder: Path, country: str, part: str, searches: int, seed: int) -> list[list[str]]:
    """Writes ``<country>_user_<part>.csv`` and ``<country>_item_<part>.csv``; returns the items' rows.

    Both parts count their searches from 1 on. The last search shows items and has no row of its own, as an inner join must notice.
    """
    draw = random.Random(seed)
    pages, items = [], []
    for search in range(1, searches + 1):
        pages.append([str(search), *(_value(draw, at in SEARCH_CATEGORIES) for at in range(2, 34))])
        for _ in range(draw.randrange(1, 20)):
            action = draw.choices([0, 1, 2], [6, 3, 1])[0]
            values = (_value(draw, at in ITEM_CATEGORIES) for at in range(2, 49))
            items.append([str(search), *values, str(action)])
    pages.pop()
    for kind, rows in (("user", pages), ("item", items)):
        text = "".join(",".join(row) + "\n" for row in rows)
        (folder / f"{country}_{kind}_{part}.csv").write_text(text)
    return items


def _value(draw: random.Random, is_category: bool) -> str:
    if is_category:
        return str(draw.randrange(5))
    return draw.choice(["", "0.0", f"{draw.gauss(0, 1):.6f}", f"{draw.gauss(0, 1):.6f}"])
