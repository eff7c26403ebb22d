"""Rates and affinities of the earlier history: by hand on a table of three users, by naive loops on random ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features.catalog import kuairand_history as history

VIDEOS = pa.table(
    {
        "video_id": pa.array([10, 11, 12], pa.int64()),
        "author_id": pa.array([7, 7, 8], pa.int64()),
        "music_id": pa.array([1, None, 1], pa.int64()),
        "video_duration": pa.array([9_000, None, 19_000], pa.int64()),
        "tag": pa.array([[5], [5, 6], None], pa.list_(pa.int64())),
    }
)
HISTORY = pa.table(
    {
        "user_id": pa.array([3, 1, 2], pa.int64()),
        "history_len": pa.array([3, 100, 1], pa.int64()),
        "last_time_ms": pa.array([0, 0, 0], pa.int64()),
        # Video 99 is in no table: it counts nowhere.
        "watch_seq": pa.array([[10, 11, 10], [12, 10], [99]], pa.list_(pa.int64())),
        "like_seq": pa.array([[10], [], []], pa.list_(pa.int64())),
        "long_watch_seq": pa.array([[10, 11], [12], None], pa.list_(pa.int64())),
    }
)
TABLES = {"history": HISTORY, "videos": VIDEOS}
LIKE, LONG = 2 / 5, 4 / 5
"""Of the five known impressions, two are of a liked video, four of a long-watched one."""


def _smooth(positives: float, shown: float, mean: float, strength: float) -> float:
    return (positives + strength * mean) / (shown + strength)


def _rows(table: pa.Table, *key: str) -> dict[Any, dict[str, Any]]:
    rows = table.to_pylist()
    return {tuple(row[k] for k in key) if len(key) > 1 else row[key[0]]: row for row in rows}


def test_video_statistics_by_hand() -> None:
    rows = _rows(history.video_statistics(TABLES), "video_id")
    # Video 10 was shown twice to user 3, who liked and long-watched it, once to user 1, who did neither.
    assert rows[10]["video_watches"] == 3
    assert rows[10]["video_like_rate"] == pytest.approx(_smooth(2, 3, LIKE, 50))
    assert rows[10]["video_long_rate"] == pytest.approx(_smooth(2, 3, LONG, 20))
    # Author 7 made videos 10 and 11.
    assert (rows[11]["author_watches"], rows[11]["author_videos"], rows[12]["author_videos"]) == (4, 2, 1)
    assert rows[11]["author_long_rate"] == pytest.approx(_smooth(3, 4, LONG, 20))
    # Music 1 is in videos 10 and 12; missing music is a music of its own.
    assert (rows[10]["music_watches"], rows[11]["music_watches"]) == (4, 1)
    # Tag 5: videos 10 and 11 (four impressions, two liked); tag 6: video 11. Smoothed towards the mean of all
    # (impression, tag) pairs: 2 of 5 liked.
    tag5, tag6 = _smooth(2, 4, 2 / 5, 50), _smooth(0, 1, 2 / 5, 50)
    assert rows[10]["tag_like_rate"] == pytest.approx(tag5)
    assert rows[11]["tag_like_rate"] == pytest.approx((tag5 + tag6) / 2)
    assert rows[12]["tag_like_rate"] is None


def test_user_statistics_by_hand() -> None:
    tables = {**TABLES, "video_statistics": history.video_statistics(TABLES)}
    rows = _rows(history.user_statistics(tables), "user_id")
    assert rows[3]["user_like_rate"] == pytest.approx(_smooth(2, 3, LIKE, 50))
    assert rows[3]["user_long_rate"] == pytest.approx(_smooth(3, 3, LONG, 10))
    assert rows[2]["user_long_rate"] == pytest.approx(LONG)
    # One listed like in 104 impressions ever; 100 of them user 1's.
    assert rows[1]["user_ever_like_rate"] == pytest.approx(_smooth(0, 100, 1 / 104, 50))
    # log(1 + 9 s) twice; video 11 has no duration.
    assert rows[3]["user_log_duration"] == pytest.approx(math.log(10))
    assert rows[1]["user_log_duration"] == pytest.approx((math.log(20) + math.log(10)) / 2)
    assert rows[1]["user_log_duration_long"] == pytest.approx(math.log(20))
    assert rows[2]["user_log_duration"] is None
    # What user 1 did (no like of two) over what the videos' rates let expect.
    expected = _smooth(2, 3, LIKE, 50) + _smooth(0, 1, LIKE, 50)
    assert rows[1]["user_like_lift"] == pytest.approx(0.5 / (expected + 0.5))
    assert [rows[3][name] for name in ("met_tags", "met_watches", "met_longs", "met_likes")] == [
        [5, 6],
        [3, 1],
        [3, 1],
        [2, 0],
    ]
    assert rows[2]["met_tags"] == []


def test_user_authors_by_hand() -> None:
    rows = _rows(history.user_authors(TABLES), "user_id", "author_id")
    counts = {key: (row["pair_watches"], row["pair_longs"], row["pair_likes"]) for key, row in rows.items()}
    assert counts == {(3, 7): (3, 3, 2), (1, 7): (1, 0, 0), (1, 8): (1, 1, 0)}


def _impressions(**columns: Any) -> pa.RecordBatch:
    lists = ("tag", "watch_seq", "like_seq", "long_watch_seq", "met_tags", "met_watches", "met_longs", "met_likes")
    floats = ("user_like_rate", "user_long_rate")
    types = {name: pa.list_(pa.int64()) for name in lists} | dict.fromkeys(floats, pa.float32())
    return pa.RecordBatch.from_pydict({n: pa.array(v, types.get(n, pa.int64())) for n, v in columns.items()})


AFFINE = _impressions(
    video_id=[10, 12, 11],
    tag=[[5, 6], None, [5]],
    watch_seq=[[10, 11, 10], [11], None],
    like_seq=[[10], [], None],
    long_watch_seq=[[10, 11], [12], None],
    pair_watches=[3, None, None],
    pair_longs=[2, None, None],
    pair_likes=[1, None, None],
    met_tags=[[5, 9], [5], None],
    met_watches=[[3, 1], [1], None],
    met_longs=[[2, 0], [1], None],
    met_likes=[[1, 1], [0], None],
    user_like_rate=[0.5, 0.25, None],
    user_long_rate=[0.5, 0.25, None],
)


def test_affinities_by_hand() -> None:
    made = {name: values.to_pylist() for name, values in history.affinities(AFFINE).items()}
    assert made["seen_video"] == [2, 0, 0]
    assert made["watched_long_video"] == [1, 1, 0]
    assert made["liked_video"] == [1, 0, 0]
    assert (made["author_seen"], made["author_longs"], made["author_likes"]) == ([3, 0, 0], [2, 0, 0], [1, 0, 0])
    # Of the tags 5 and 6, only 5 was met: half of its counts.
    assert made["tag_seen"] == [1.5, 0, 0]
    assert made["tag_longs"] == [1.0, 0, 0]
    assert made["tag_likes"] == [0.5, 0, 0]
    assert made["tag_share"] == [0.5, 0, 0]
    assert made["user_tag_long_rate"] == [pytest.approx((1 + 5 * 0.5) / (1.5 + 5)), 0.25, None]
    assert made["user_tag_like_rate"] == [pytest.approx((0.5 + 10 * 0.5) / (1.5 + 10)), 0.25, None]


def test_affinities_do_not_depend_on_the_batch() -> None:
    whole = history.affinities(AFFINE)
    for row in range(AFFINE.num_rows):
        alone = history.affinities(AFFINE.slice(row, 1))
        assert {name: values.to_pylist() for name, values in alone.items()} == {
            name: values.slice(row, 1).to_pylist() for name, values in whole.items()
        }


def test_moment_by_hand() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "date": pa.array([20220425, 20220501, 20220430], pa.int64()),
            "hourmin": pa.array([0, 2300, None], pa.int64()),
            "time_ms": pa.array([7_200_000, 7_200_000, None], pa.int64()),
            "duration_ms": pa.array([9_000, 0, 0], pa.int64()),
            "video_duration": pa.array([1, 19_000, None], pa.int64()),
            "upload_dt": pa.array(["2022-04-10", "2022-04-30", None]),
            "last_time_ms": pa.array([0, None, 0], pa.int64()),
            "history_len": pa.array([4, None, 1], pa.int64()),
        }
    )
    made = {name: values.to_pylist() for name, values in history.moment(batch).items()}
    assert made["hour"] == [0, 23, None]
    assert made["hours_since_visit"] == [2.0, None, None]
    assert made["video_age_days"] == [15.0, 1.0, None]
    # A duration of 0 is none: the video table's is taken.
    assert made["log_duration"] == [pytest.approx(math.log(10)), pytest.approx(math.log(20)), None]
    assert made["history_impressions"] == [4, 0, 1]


def test_fame_by_hand() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"fans_user_num": pa.array([99, 0, None], pa.int64()), "follow_user_num": pa.array([9, 9, 1], pa.int64())}
    )
    assert history.fame(batch)["fans_over_follows"].to_pylist() == [
        pytest.approx(math.log(10)),
        pytest.approx(-math.log(10)),
        None,
    ]


# -- naive loops --------------------------------------------------------------------------------------------------


def _random_tables(seed: int) -> dict[str, pa.Table]:
    rng = np.random.default_rng(seed)
    videos = pa.table(
        {
            "video_id": rng.permutation(30),
            "author_id": rng.integers(0, 9, 30) * 10**6,
            "music_id": pa.array(rng.integers(0, 5, 30), mask=rng.random(30) < 0.2),
            "video_duration": rng.integers(5_000, 90_000, 30),
            "tag": pa.array(
                [rng.choice(6, rng.integers(0, 4), replace=False).tolist() for _ in range(30)], pa.list_(pa.int64())
            ),
        }
    )
    watched = [rng.integers(0, 30, rng.integers(0, 12)).tolist() for _ in range(20)]
    some = [[v for v in seen if rng.random() < 0.3] + [29] for seen in watched]
    return {
        "videos": videos,
        "history": pa.table(
            {
                "user_id": rng.permutation(20),
                "history_len": pa.array([len(seen) for seen in watched], pa.int64()),
                "last_time_ms": np.zeros(20, np.int64),
                "watch_seq": pa.array(watched, pa.list_(pa.int64())),
                "like_seq": pa.array(some, pa.list_(pa.int64())),
                "long_watch_seq": pa.array(some[::-1], pa.list_(pa.int64())),
            }
        ),
    }


@pytest.mark.parametrize("seed", range(3))
def test_statistics_equal_naive_loops(seed: int) -> None:
    tables = _random_tables(seed)
    video_of = _rows(tables["videos"], "video_id")
    events = [
        (user["user_id"], video_of[v], v in user["like_seq"], v in user["long_watch_seq"])
        for user in tables["history"].to_pylist()
        for v in user["watch_seq"]
    ]
    like, long = (sum(bool(event[k]) for event in events) / len(events) for k in (2, 3))
    for row in history.video_statistics(tables).to_pylist():
        video = video_of[row["video_id"]]
        for thing, key in (("video", "video_id"), ("author", "author_id"), ("music", "music_id")):
            mine = [event for event in events if event[1][key] == video[key]]
            assert row[f"{thing}_watches"] == len(mine)
            assert row[f"{thing}_like_rate"] == pytest.approx(_smooth(sum(e[2] for e in mine), len(mine), like, 50))
            assert row[f"{thing}_long_rate"] == pytest.approx(_smooth(sum(e[3] for e in mine), len(mine), long, 20))
    pairs = _rows(history.user_authors(tables), "user_id", "author_id")
    assert set(pairs) == {(user, video["author_id"]) for user, video, _, _ in events}
    for (user, author), row in pairs.items():
        mine = [event for event in events if event[0] == user and event[1]["author_id"] == author]
        assert row["pair_watches"] == len(mine)
        assert row["pair_likes"] == sum(event[2] for event in mine)
        assert row["pair_longs"] == sum(event[3] for event in mine)
    users = history.user_statistics({**tables, "video_statistics": history.video_statistics(tables)})
    for row in users.to_pylist():
        mine = [event for event in events if event[0] == row["user_id"]]
        tags = sorted({tag for _, video, _, _ in mine for tag in video["tag"]})
        assert row["met_tags"] == tags
        assert row["met_watches"] == [sum(tag in video["tag"] for _, video, _, _ in mine) for tag in tags]
        assert row["met_likes"] == [sum(liked for _, video, liked, _ in mine if tag in video["tag"]) for tag in tags]
        assert row["user_like_rate"] == pytest.approx(_smooth(sum(e[2] for e in mine), len(mine), like, 50))


@pytest.mark.parametrize("seed", range(3))
def test_affinities_equal_naive_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def lists(high: int) -> list[list[int] | None]:
        return [None if rng.random() < 0.1 else rng.integers(0, high, rng.integers(0, 6)).tolist() for _ in range(40)]

    met = [sorted(set(tags or [])) for tags in lists(6)]
    columns: dict[str, Any] = {name: lists(8) for name in ("watch_seq", "like_seq", "long_watch_seq")}
    columns |= {
        name: [rng.integers(0, 9, len(m)).tolist() for m in met] for name in ("met_watches", "met_longs", "met_likes")
    }
    columns |= {name: rng.integers(0, 3, 40) for name in ("pair_watches", "pair_longs", "pair_likes")}
    columns |= {name: rng.random(40) for name in ("user_like_rate", "user_long_rate")}
    tags = [sorted(set(t)) if t is not None else None for t in lists(6)]
    batch = _impressions(video_id=rng.integers(0, 8, 40), tag=tags, met_tags=met, **columns)
    made = history.affinities(batch)
    for row, values in enumerate(batch.to_pylist()):
        for name, seq in (("seen_video", "watch_seq"), ("liked_video", "like_seq")):
            assert made[name][row].as_py() == (values[seq] or []).count(values["video_id"])
        for name, of in (("tag_seen", "met_watches"), ("tag_longs", "met_longs"), ("tag_likes", "met_likes")):
            counts = dict(zip(values["met_tags"], values[of], strict=True))
            wanted = [counts.get(tag, 0) for tag in values["tag"] or []]
            assert made[name][row].as_py() == pytest.approx(np.mean(wanted) if wanted else 0)
