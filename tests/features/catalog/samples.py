"""Small logs written as the official files are, quirks included. Seeded, so each call writes the same."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

VIDEO = "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age"
HISTORY = ",".join(f"hist_{place}" for place in range(1, 11))
ARTICLE = (
    "user_id,item_id,click,gender,age,exposure_count,click_count,like_count,comment_count,read_percentage,item_score1,"
    "item_score2,category_second,category_first,item_score3,read,read_time,share,like,follow,favorite"
)
QB_ARTICLE = ARTICLE.partition(",read,")[0]
"""All but what happens after the click."""
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


def write_articles(path: Path, rows: int, feedback: bool = True) -> None:
    """A log of Tenrec's articles: every row is a click, written as a float; without `feedback` as in ``QB-article.csv``."""
    draw = random.Random(2)
    lines = [ARTICLE if feedback else QB_ARTICLE]
    for row in range(rows):
        user, item = 1 + row // 20, draw.randrange(1, 100)
        read, share, like, follow, favorite = (int(draw.random() < rate) for rate in (0.9, 0.1, 0.2, 0.1, 0.1))
        counts = [draw.randrange(1000) for _ in range(4)]
        first = draw.choice(["12", "7", "\\N"])
        values = [user, item, "1.0", user % 3, user % 8, *counts, draw.randrange(101), item % 5, item % 7 / 10]
        values += [f"{first}01" if first != "\\N" else first, first, item % 10]
        values += [read, draw.randrange(300), share, like, follow, favorite] if feedback else []
        lines.append(",".join(map(str, values)))
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


ZIPS = ("48067", "98107-2117", "V3N4P", "90210", "02460")
TITLES = ("Toy Story (1995)", "Misérables, Les (1995)", "2 Fast: 2: Furious (2001)", 'Movie "X" (1996)', "Café (1933)")


def write_movielens_1m(folder: Path, rows: int) -> None:
    """``ratings.dat``, ``users.dat`` and ``movies.dat``: users one after the other, times of 2000 to 2003, Latin-1."""
    draw = random.Random(5)
    users = [
        f"{u}::{draw.choice('FM')}::{draw.choice([1, 18, 25, 35, 45, 50, 56])}::{u % 21}::{draw.choice(ZIPS)}"
        for u in range(1, 41)
    ]
    genres = ("Animation|Children's|Comedy", "Drama", "Film-Noir|Sci-Fi", "Action")
    films = [f"{m}::{draw.choice(TITLES)}::{draw.choice(genres)}" for m in range(1, 101)]
    ratings = [
        f"{1 + row * 40 // rows}::{draw.randrange(1, 101)}::{_stars(draw)}::{draw.randrange(956_703_932, 1_046_454_591)}"
        for row in range(rows)
    ]
    for name, lines in (("users", users), ("movies", films), ("ratings", ratings)):
        (folder / f"{name}.dat").write_text("".join(f"{line}\n" for line in lines), encoding="latin-1")


def write_movielens_100k(folder: Path, rows: int) -> None:
    """``u.data``, ``u.user`` and ``u.item``, in it a film without date and address."""
    draw = random.Random(6)
    users = [
        f"{u}|{draw.randrange(7, 74)}|{draw.choice('FM')}|{draw.choice(['technician', 'other'])}|{draw.choice(ZIPS)}"
        for u in range(1, 41)
    ]
    films = []
    for film in range(1, 101):
        about = (
            "unknown|||"
            if film == 67
            else f"{draw.choice(TITLES)}|01-Jan-{1990 + film % 9}||http://us.imdb.com/M/title-exact?{film}"
        )
        flags = "1" + "|0" * 18 if film == 67 else "0|" + "|".join(str(draw.randrange(2)) for _ in range(18))
        films.append(f"{film}|{about}|{flags}")
    ratings = [
        f"{draw.randrange(1, 41)}\t{draw.randrange(1, 101)}\t{_stars(draw)}\t{draw.randrange(874_724_710, 893_286_639)}"
        for _ in range(rows)
    ]
    for name, lines in (("u.user", users), ("u.item", films), ("u.data", ratings)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="latin-1")


def _stars(draw: random.Random) -> int:
    return draw.choices((1, 2, 3, 4, 5), (6, 11, 26, 35, 22))[0]


def write_user_behavior(path: Path, rows: int) -> None:
    """Taobao's actions, users one after the other, evenly over the nine days of Beijing; one in 200 has an impossible time."""
    draw = random.Random(7)
    first, days = 1_511_539_200, 9  # 2017-11-25 00:00 in Beijing
    lines = []
    for row in range(rows):
        time = first + row % days * 86_400 + draw.randrange(86_400)
        if row % 200 == 100:
            time = draw.choice([-2_134_949_234, 0, first - 1, first + days * 86_400, 2_135_569_405])
        behaviour = draw.choices(("pv", "cart", "fav", "buy"), (60, 15, 15, 10))[0]
        item = draw.randrange(1, 150)
        lines.append(f"{1 + row * 40 // rows},{item},{item % 20},{behaviour},{time}")
    path.write_text("\n".join(lines) + "\n")


def write_ijcai_15(folder: Path, rows: int) -> None:
    """Tmall's actions and users: some actions without a brand, some users without age or gender."""
    draw = random.Random(8)
    lines = ["user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type"]
    for _ in range(rows):
        item = draw.randrange(1, 150)
        day = draw.choice(["511", "829", "1031", "1111", "1111", "1112"])
        action = draw.choices((0, 1, 2, 3), (60, 5, 20, 15))[0]
        lines.append(f"{draw.randrange(1, 41)},{item},{item % 20},{item % 9},{item % 13 or ''},{day},{action}")
    (folder / "user_log_format1.csv").write_text("\n".join(lines) + "\n")
    users = [f"{user},{draw.choice([*range(9), ''])},{draw.choice([0, 1, 2, ''])}" for user in range(1, 41)]
    (folder / "user_info_format1.csv").write_text("\n".join(["user_id,age_range,gender", *users]) + "\n")


def write_amazon_reviews(path: Path, rows: int) -> None:
    """A 5-core file, gzip: stars as floats, votes as pairs, some reviewers without a name."""
    draw = random.Random(9)
    lines = []
    for _ in range(rows):
        time = draw.randrange(929_232_000, 1_406_073_600) // 86_400 * 86_400
        votes = draw.randrange(4)
        review = {"reviewerID": f"A{draw.randrange(40):013X}", "asin": f"{draw.randrange(100):010d}"}
        review |= {"reviewerName": 'J. "Mc" Donald'} if draw.random() < 0.9 else {}
        review |= {
            "helpful": [votes // 2, votes],
            "reviewText": "Très bien.\nNew line.",
            "overall": float(_stars(draw)),
        }
        lines.append(json.dumps(review | {"summary": "!", "unixReviewTime": time, "reviewTime": "09 13, 2009"}))
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def write_yelp_reviews(folder: Path, rows: int) -> None:
    """Reviews and places: stars as floats, categories in one text or null, a place's own stars and hours among its keys."""
    draw = random.Random(10)
    places, reviews = [], []
    for place in range(60):
        kinds = draw.choice(["Restaurants, Pizza", "Beauty & Spas", "Bars, Nightlife, Restaurants", None])
        about = {
            "business_id": f"b{place:021d}",
            "name": "Café",
            "city": draw.choice(["Tampa", "Boise"]),
            "state": "FL",
        }
        about |= {"stars": 3.5, "review_count": 7, "is_open": 1, "attributes": {"WiFi": "u'free'"}, "categories": kinds}
        places.append(json.dumps(about | {"hours": None}))
    for row in range(rows):
        ids = {
            "review_id": f"r{row:021d}",
            "user_id": f"u{draw.randrange(40):021d}",
            "business_id": f"b{draw.randrange(60):021d}",
        }
        votes = {"useful": draw.randrange(3), "funny": 0, "cool": draw.randrange(2)}
        date = f"20{draw.randrange(10, 22)}-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d} 22:09:11"
        reviews.append(json.dumps(ids | {"stars": float(_stars(draw))} | votes | {"text": "Très bon.\n", "date": date}))
    for name, lines in (("business", places), ("review", reviews)):
        (folder / f"yelp_academic_dataset_{name}.json").write_text("\n".join(lines) + "\n")
