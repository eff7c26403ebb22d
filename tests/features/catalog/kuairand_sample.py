"""Small files of KuaiRand's 1K and 27K written as the official ones are, quirks included. Seeded, so each call writes the same."""

from __future__ import annotations

import csv
import datetime
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,play_time_ms,"
    "duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
USER = (
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,follow_user_num_range,"
    "fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,register_days_range,"
    + ",".join(f"onehot_feat{number}" for number in range(18))
)
VIDEO = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,music_id,"
    "music_type,tag"
)
USERS, VIDEOS = 40, 120
PARTS = {"1k": ("",), "27k": ("_part1", "_part2")}
BEIJING = datetime.timezone(datetime.timedelta(hours=8))


def write_kuairand(folder: Path, version: str, rows: int) -> None:
    """Both periods' standard logs, the later one of `rows` rows evenly over its days, and the tables of users and videos."""
    draw = random.Random(4)
    _write(folder / f"user_features_{version}.csv", USER, (_user(user, draw) for user in range(USERS)))
    _write(folder / f"video_features_basic_{version}.csv", VIDEO, (_video(video, draw) for video in range(VIDEOS)))
    for period, first, days in (("4_08_to_4_21", 8, 14), ("4_22_to_5_08", 22, 17)):
        lines = [list(_impression(row % days, first, draw)) for row in range(rows)]
        lines[1:40:9] = lines[0:39:9]  # exact duplicates
        parts = PARTS[version]
        for at, part in enumerate(parts):
            _write(folder / f"log_standard_{period}_{version}{part}.csv", LOG, lines[at :: len(parts)])


def _write(path: Path, header: str, lines: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(lines)


def _impression(day: int, first: int, draw: random.Random) -> Iterator[int]:
    """The hour is that of Beijing; in one row of six it is the next one, as in the official log."""
    began = datetime.datetime(2022, 4, first, draw.randrange(24), draw.randrange(60), tzinfo=BEIJING)
    time = began + datetime.timedelta(days=day)
    hour = min(time.hour + (draw.random() < 0.17), 23)
    yield from (draw.randrange(USERS), draw.randrange(VIDEOS), int(f"{time:%Y%m%d}"), hour * 100)
    yield int(time.timestamp()) * 1000 + draw.randrange(1000)
    click = draw.random() < 0.5
    yield int(click)
    yield from (int(draw.random() < rate) for rate in (0.2, 0.1, 0.1, 0.1, 0.05))
    yield int(click and draw.random() < 0.6)
    yield from (draw.randrange(60_000), draw.choice([0, 11_933, 49_866]), 0, 0)
    yield from (int(draw.random() < 0.15), 0, draw.choice([1, 1, 1, 0, 4]))


def _user(user: int, draw: random.Random) -> Iterator[Any]:
    """Encoded categories are integers, from the twelfth on (and the fourth) written as floats, a few empty."""
    yield from (user, draw.choice(["full_active", "high_active", "2_14_day_new", "UNKNOWN"]), 0, 0, draw.randrange(2))
    yield from (draw.randrange(500), "[50,100)", draw.randrange(200), "[100,1k)", draw.randrange(30), "[1,5)")
    yield from (draw.randrange(2000), "730+")
    for number in range(18):
        code = draw.randrange(4)
        yield "" if number == 4 and draw.random() < 0.1 else f"{code}.0" if number == 4 or number > 11 else code


def _video(video: int, draw: random.Random) -> Iterator[Any]:
    yield from (video, 7_000_000 + video % 30, draw.choice(["NORMAL"] * 9 + ["AD"]))
    yield from (f"2022-04-{draw.randrange(1, 29):02d}", draw.choice(["LongImport", "Kmovie"]), "0.0")
    yield from (draw.choice(["", "87433.0", "9233.0"]), "720.0", "1280.0", 9_155_697_141 + video % 50, "9.0")
    yield draw.choice(["39", "12,65", "2", ""])
