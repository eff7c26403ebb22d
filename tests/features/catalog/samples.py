"""Small logs written as the official files are, quirks included: Tenrec's and Criteo's. Seeded, so each call writes the same."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

VIDEO = "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age"
HISTORY = ",".join(f"hist_{place}" for place in range(1, 11))
ARTICLE = (
    "user_id,item_id,click,gender,age,exposure_count,click_count,like_count,comment_count,read_percentage,item_score1,"
    "item_score2,category_second,category_first,item_score3,read,read_time,share,like,follow,favorite"
)
CRITEO = (
    "timestamp\tuid\tcampaign\tconversion\tconversion_timestamp\tconversion_id\tattribution\tclick\tclick_pos\tclick_nb\t"
    "cost\tcpo\ttime_since_last_click\tcat1\tcat2\tcat3\tcat4\tcat5\tcat6\tcat7\tcat8\tcat9"
)


def write_videos(path: Path, rows: int, history: bool) -> None:
    """A log of Tenrec's videos, rows of one user one after the other; with `history` as in ``ctr_data_1M.csv``."""
    draw = random.Random(1)
    lines = [f"{VIDEO},{HISTORY}" if history else VIDEO]
    for row in range(rows):
        user = 1 + row // 20
        who = random.Random(user)
        person = [who.randrange(3), who.randrange(8)]
        items = [who.randrange(1, 200) for _ in range(who.randrange(11))]
        click = int(draw.random() < 0.4)
        follow, like, share = (int(draw.random() < rate) for rate in (0.1, 0.2, 0.1))
        category = draw.choice(["0", "1", "1", "\\N"])
        values = [user, draw.randrange(1, 200), click, follow, like, share, category, draw.randrange(4), *person]
        values += [*items, *[0] * (10 - len(items))] if history else []
        lines.append(",".join(map(str, values)))
    path.write_text("\n".join(lines) + "\n")


def write_articles(path: Path, rows: int) -> None:
    """A log of Tenrec's articles: every row is a click, written as a float."""
    draw = random.Random(2)
    lines = [ARTICLE]
    for row in range(rows):
        user, item = 1 + row // 20, draw.randrange(1, 100)
        read, share, like, follow, favorite = (int(draw.random() < rate) for rate in (0.9, 0.1, 0.2, 0.1, 0.1))
        counts = [draw.randrange(1000) for _ in range(4)]
        first = draw.choice(["12", "7", "\\N"])
        values = [user, item, "1.0", user % 3, user % 8, *counts, draw.randrange(101), item % 5, item % 7 / 10]
        values += [f"{first}01" if first != "\\N" else first, first, item % 10, read, draw.randrange(300)]
        lines.append(",".join(map(str, [*values, share, like, follow, favorite])))
    path.write_text("\n".join(lines) + "\n")


def write_banners(path: Path, rows: int) -> None:
    """A log of Criteo's banners, evenly over 30.9 days: conversions of clicks only, attributions of conversions only."""
    draw = random.Random(3)
    lines = [CRITEO]
    for row in range(rows):
        time = row * 2_671_199 // max(rows - 1, 1)
        click = int(draw.random() < 0.5)
        conversion = click * int(draw.random() < 0.4)
        attribution = conversion * int(draw.random() < 0.5)
        told = [time + 3600, 1000 + row] if conversion else [-1, -1]
        position = [draw.randrange(2), 2] if conversion else [-1, -1]
        last = draw.choice([-1, -1, draw.randrange(1_000_000)])
        values = [time, draw.randrange(100), draw.choice([73325, 22589, 884761]), conversion, *told, attribution, click]
        values += [*position, f"{draw.random() / 1e4:.17g}", f"{draw.random():.17g}", last]
        values += [draw.choice([5824233, 9312274, 3490278]) + place for place in range(9)]
        lines.append("\t".join(map(str, values)))
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
