"""What KuaiRand's earlier history says about a user, a video and the two together.

Everything here is computed from the users' impressions before the log begins (their last 50 at most) and from the
columns of an impression itself, never from the log's outcomes: it is right at the point in time of each impression.

A rate is smoothed towards the mean of all impressions: ``(positives + strength * mean) / (impressions + strength)``.
An impression of the history counts as liked (or watched long) where its user's list of liked (long-watched) videos
holds its video.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Tables = Mapping[str, pa.Table]

LIKE_STRENGTH, LONG_STRENGTH = 50.0, 20.0
"""Impressions that the mean counts for in a thing's rates: likes are rare, so theirs need more."""
USER_LIKE_STRENGTH, USER_LONG_STRENGTH = 50.0, 10.0
PAIR_LIKE_STRENGTH, PAIR_LONG_STRENGTH = 10.0, 5.0
"""A user's rates within a tag are smoothed towards the user's own."""


@dataclasses.dataclass(frozen=True)
class Events:
    """The impressions of all histories, one value each, users in the table's order, oldest first."""

    row: Ints
    """Row of the user in the history table."""
    video: Ints
    """Row of the video in the video table."""
    like: Floats
    """1 where the user has liked the video, else 0."""
    long: Floats
    """1 where the user has watched the video long, else 0."""


def video_statistics(tables: Tables) -> pa.Table:
    """For each video: how often it, its author, music and tags were shown, and their smoothed like and long-view rates.

    Args:
        tables: ``history`` and ``videos``.

    Returns:
        a row for each row of ``videos``; a video's tag rates are the mean over its tags, and null without a tag.
    """
    history, videos = tables["history"], tables["videos"]
    events = _events(history, videos)
    columns: dict[str, pa.Array | npt.NDArray[np.generic]] = {"video_id": _flat(videos, "video_id")}
    things = {
        "video": np.arange(len(videos)),
        "author": _codes(videos, "author_id"),
        "music": _codes(videos, "music_id"),
    }
    for name, code in things.items():
        counts, like, long = _rates(code[events.video], events, int(code.max(initial=-1)) + 1)
        columns |= {f"{name}_watches": counts[code], f"{name}_like_rate": like[code], f"{name}_long_rate": long[code]}
    columns["author_videos"] = np.bincount(things["author"])[things["author"]]
    return pa.table(columns | _tag_statistics(videos, events))


def user_statistics(tables: Tables) -> pa.Table:
    """For each user with a history: smoothed rates, taste in lengths, and counts for each tag met.

    Args:
        tables: ``history``, ``videos`` and ``video_statistics``.

    Returns:
        a row for each row of ``history``. ``user_ever_like_rate`` counts the listed likes (50 at most) against the
        whole history. ``*_lift`` is what the user does over what the videos' rates let expect.
        ``met_tags`` and the lists beside it hold a user's distinct tags and the impressions, long views and likes of
        each.
    """
    history, videos, rates = tables["history"], tables["videos"], tables["video_statistics"]
    events, users = _events(history, videos), len(history)
    shown = np.bincount(events.row, minlength=users)

    def summed(values: Floats) -> Floats:
        return _sums(events.row, values, users)

    likes, longs = summed(events.like), summed(events.long)
    listed, ever = _lengths(history, "like_seq"), np.nan_to_num(_numbers(history, "history_len"))
    log_duration = np.log1p(_numbers(videos, "video_duration") / 1000)
    known = np.isfinite(log_duration[events.video])
    duration = np.where(known, log_duration[events.video], 0.0)
    ratio = _divide(summed(duration), summed(known.astype(float)))
    ratio_long = _divide(summed(duration * events.long), summed(known * events.long))
    expected_like = summed(_numbers(rates, "video_like_rate")[events.video])
    expected_long = summed(_numbers(rates, "video_long_rate")[events.video])
    columns: dict[str, pa.Array | npt.NDArray[np.generic]] = {
        "user_id": _flat(history, "user_id"),
        "user_like_rate": _smooth(likes, shown, _mean(events.like), USER_LIKE_STRENGTH),
        "user_long_rate": _smooth(longs, shown, _mean(events.long), USER_LONG_STRENGTH),
        "user_like_lift": (likes + 0.5) / (expected_like + 0.5),
        "user_long_lift": (longs + 5) / (expected_long + 5),
        "user_likes": listed,
        "user_ever_like_rate": _smooth(listed, ever, float(listed.sum() / max(ever.sum(), 1)), USER_LIKE_STRENGTH),
        "user_log_duration": pa.array(ratio, mask=np.isnan(ratio)),
        "user_log_duration_long": pa.array(ratio_long, mask=np.isnan(ratio_long)),
    }
    return pa.table(columns | _met_tags(videos, events, users))


def user_authors(tables: Tables) -> pa.Table:
    """For each user and author that the user has met: impressions, long views and likes.

    Args:
        tables: ``history`` and ``videos``.

    Returns:
        ``user_id, author_id, pair_watches, pair_longs, pair_likes``, one row a pair.
    """
    history, videos = tables["history"], tables["videos"]
    events = _events(history, videos)
    author_ids, code = np.unique(_flat(videos, "author_id"), return_inverse=True)
    pairs, place = np.unique(events.row * len(author_ids) + code[events.video], return_inverse=True)
    return pa.table(
        {
            "user_id": _flat(history, "user_id")[pairs // max(len(author_ids), 1)],
            "author_id": author_ids[pairs % max(len(author_ids), 1)],
            "pair_watches": np.bincount(place, minlength=len(pairs)),
            "pair_longs": np.bincount(place, events.long, minlength=len(pairs)).astype(np.int64),
            "pair_likes": np.bincount(place, events.like, minlength=len(pairs)).astype(np.int64),
        }
    )


# -- impressions ------------------------------------------------------------------------------------------------------


def affinities(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """What a user has done with this video, this author and these tags before; 0 for a user without history.

    Returns:
        ``seen_video``, ``watched_long_video``, ``liked_video``: times the video stands in the user's lists (int64).
        ``author_seen``, ``author_longs``, ``author_likes``: counts of the pair, filled with 0 (int64).
        ``tag_seen``, ``tag_longs``, ``tag_likes``: counts of the user's impressions of the video's tags, the mean over
        its tags (float32). ``tag_share``: tag_seen over all. ``user_tag_long_rate``, ``user_tag_like_rate``: smoothed
        towards the user's own rate (float32; null for a user without history).
    """
    column = _columns(batch)
    found = {"seen_video": "watch_seq", "watched_long_video": "long_watch_seq", "liked_video": "like_seq"}
    counts = {name: pa.array(_times_in(column["video_id"], column[seq])) for name, seq in found.items()}
    pairs = {"author_seen": "pair_watches", "author_longs": "pair_longs", "author_likes": "pair_likes"}
    counts |= {name: pc.fill_null(column[pair], 0) for name, pair in pairs.items()}
    seen, longs, likes = (
        _of_tags(column["tag"], column["met_tags"], column[of]) for of in ("met_watches", "met_longs", "met_likes")
    )
    all_seen = _floats(pc.list_value_length(column["watch_seq"]))
    long_rate, like_rate = _floats(column["user_long_rate"]), _floats(column["user_like_rate"])
    rates = {
        "tag_seen": seen,
        "tag_longs": longs,
        "tag_likes": likes,
        "tag_share": seen / np.fmax(all_seen, 1),
        "user_tag_long_rate": (longs + PAIR_LONG_STRENGTH * long_rate) / (seen + PAIR_LONG_STRENGTH),
        "user_tag_like_rate": (likes + PAIR_LIKE_STRENGTH * like_rate) / (seen + PAIR_LIKE_STRENGTH),
    }
    return counts | {name: _float32(values) for name, values in rates.items()}


def moment(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """When, and how long.

    Returns:
        ``hour``: 0..23, of ``hourmin`` (Beijing, as ``date`` is). ``hours_since_visit``: from the history's last
        impression. ``video_age_days``: since the upload. ``log_duration``: log(1 + seconds) of the impression's
        duration, of the video table's where that is 0 or missing; null where both are. ``history_impressions``:
        history_len, 0 without history. All float32 but ``hour`` and ``history_impressions`` (int64).
    """
    column = _columns(batch)
    hours = (_floats(column["time_ms"]) - _floats(column["last_time_ms"])) / 3_600_000
    day = pc.strptime(pc.cast(column["date"], pa.string()), format="%Y%m%d", unit="s", error_is_null=True)
    upload = pc.strptime(column["upload_dt"], format="%Y-%m-%d", unit="s", error_is_null=True)
    age = _floats(pc.subtract(pc.cast(day, pa.int64()), pc.cast(upload, pa.int64()))) / 86_400
    duration = _floats(column["duration_ms"])
    duration = np.where(duration > 0, duration, _floats(column["video_duration"]))
    return {
        "hour": pc.divide(column["hourmin"], 100),
        "hours_since_visit": _float32(hours),
        "video_age_days": _float32(age),
        "log_duration": _float32(np.log1p(np.where(duration > 0, duration, np.nan) / 1000)),
        "history_impressions": pc.fill_null(column["history_len"], 0),
    }


def fame(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """``fans_over_follows``: log((1 + fans) / (1 + followed)), float32: does the user watch, or is the user watched?"""
    column = _columns(batch)
    fans, follows = _floats(column["fans_user_num"]), _floats(column["follow_user_num"])
    return {"fans_over_follows": _float32(np.log1p(fans) - np.log1p(follows))}


# -- parts --------------------------------------------------------------------------------------------------------


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def _one(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _flat(table: pa.Table, name: str) -> Ints:
    """A column of ids; a missing id is -1 and so a thing of its own."""
    return np.asarray(pc.fill_null(_one(table, name), -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _numbers(table: pa.Table, name: str) -> Floats:
    return _floats(_one(table, name))


def _floats(values: pa.Array) -> Floats:
    """float64, NaN where null."""
    return np.asarray(pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _float32(values: Floats) -> pa.Array:
    """float32, null where NaN."""
    return pa.array(values, mask=np.isnan(values)).cast(pa.float32(), safe=False)


def _codes(table: pa.Table, name: str) -> Ints:
    return np.unique(_flat(table, name), return_inverse=True)[1].astype(np.int64)


def _ragged(lists: pa.Array) -> tuple[Ints, Ints]:
    """The row and the value of each element."""
    return (
        np.asarray(pc.list_parent_indices(lists), dtype=np.int64),
        np.asarray(pc.list_flatten(lists).to_numpy(zero_copy_only=False), dtype=np.int64),
    )


def _lengths(table: pa.Table, name: str) -> Ints:
    return np.asarray(pc.fill_null(pc.list_value_length(_one(table, name)), 0), dtype=np.int64)


def _events(history: pa.Table, videos: pa.Table) -> Events:
    row, video_id = _ragged(_one(history, "watch_seq"))
    video_ids = _flat(videos, "video_id")
    order = np.argsort(video_ids, kind="stable")
    place = np.minimum(np.searchsorted(video_ids, video_id, sorter=order), len(video_ids) - 1)
    # A video that the table does not know has no author or tag to count for.
    known = video_ids[order[place]] == video_id
    wide = int(max(video_id.max(initial=0), video_ids.max(initial=0))) + 1

    def marked(name: str) -> Floats:
        liked_row, liked = _ragged(_one(history, name))
        inside = liked < wide
        return np.isin(row * wide + video_id, (liked_row * wide + liked)[inside]).astype(np.float64)

    like, long = marked("like_seq"), marked("long_watch_seq")
    return Events(row[known], order[place[known]], like[known], long[known])


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _smooth(positives: Ints | Floats, shown: Ints | Floats, mean: float, strength: float) -> Floats:
    smoothed: Floats = (positives + strength * mean) / (shown + strength)
    return smoothed


def _sums(code: Ints, values: Floats, size: int) -> Floats:
    """Sum of the values of each code."""
    return np.bincount(code, values, minlength=size).astype(np.float64)


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def _rates(code: Ints, events: Events, size: int) -> tuple[Ints, Floats, Floats]:
    """Impressions, like rate and long-view rate of each code; `code` has one value an event."""
    shown = np.bincount(code, minlength=size)
    like = _smooth(_sums(code, events.like, size), shown, _mean(events.like), LIKE_STRENGTH)
    return (
        shown,
        like,
        _smooth(_sums(code, events.long, size), shown, _mean(events.long), LONG_STRENGTH),
    )


def _event_tags(videos: pa.Table, events: Events) -> tuple[Ints, Ints]:
    """(event, tag) pairs: each event once for every tag of its video."""
    video_row, tag = _ragged(_one(videos, "tag"))
    count = np.bincount(video_row, minlength=len(videos))
    first = np.cumsum(count) - count
    repeats = count[events.video]
    event = np.repeat(np.arange(len(events.video)), repeats)
    within = np.arange(len(event)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return event, tag[first[events.video[event]] + within]


def _tag_statistics(videos: pa.Table, events: Events) -> dict[str, pa.Array]:
    video_row, tag = _ragged(_one(videos, "tag"))
    tag_ids, code = np.unique(tag, return_inverse=True)
    event, event_tag = _event_tags(videos, events)
    spread = Events(events.row[event], events.video[event], events.like[event], events.long[event])
    _, like, long = _rates(np.searchsorted(tag_ids, event_tag), spread, len(tag_ids))
    count = np.bincount(video_row, minlength=len(videos)).astype(float)
    means = {
        name: _divide(_sums(video_row, rate[code], len(videos)), count)
        for name, rate in (("tag_like_rate", like), ("tag_long_rate", long))
    }
    return {name: pa.array(values, mask=np.isnan(values)) for name, values in means.items()}


def _met_tags(videos: pa.Table, events: Events, users: int) -> dict[str, pa.Array]:
    event, tag = _event_tags(videos, events)
    tag_ids, code = np.unique(tag, return_inverse=True)
    pairs, place = np.unique(events.row[event] * max(len(tag_ids), 1) + code, return_inverse=True)
    of_user = np.bincount(pairs // max(len(tag_ids), 1), minlength=users)
    offsets = pa.array(np.concatenate([[0], np.cumsum(of_user)]).astype(np.int32))
    values = {
        "met_tags": tag_ids[pairs % max(len(tag_ids), 1)],
        "met_watches": np.bincount(place, minlength=len(pairs)),
        "met_longs": np.bincount(place, events.long[event], minlength=len(pairs)),
        "met_likes": np.bincount(place, events.like[event], minlength=len(pairs)),
    }
    return {name: pa.ListArray.from_arrays(offsets, pa.array(v.astype(np.int64))) for name, v in values.items()}


def _times_in(value: pa.Array, lists: pa.Array) -> Ints:
    """How often each row's value stands in the row's list."""
    row, element = _ragged(lists)
    wanted = np.asarray(pc.fill_null(value, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    return np.bincount(row[element == wanted[row]], minlength=len(value)).astype(np.int64)


def _of_tags(tags: pa.Array, met: pa.Array, counts: pa.Array) -> Floats:
    """The mean, over a row's tags, of the count that stands beside the tag in the row's `met` list; 0 without tags."""
    tag_row, tag = _ragged(tags)
    met_row, met_tag = _ragged(met)
    _, count = _ragged(counts)
    wide = int(max(tag.max(initial=0), met_tag.max(initial=0))) + 1
    # Sorted by row and tag: `met` comes row by row, each row's tags ascending and distinct.
    known, wanted = met_row * wide + met_tag, tag_row * wide + tag
    place = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
    value = np.where(known[place] == wanted, count[place], 0) if len(known) else np.zeros(len(wanted))
    size = np.bincount(tag_row, minlength=len(tags))
    total: Floats = np.bincount(tag_row, value, minlength=len(tags)) / np.maximum(size, 1)
    return total
