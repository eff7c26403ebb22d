"""KuaiRand (Gao et al., CIKM 2022): impressions of a short-video feed, seven tasks.

Files (``data.path`` holds them, docs/datasets.md says where they come from): the standard log, the user and the video table,
and each user's earlier history, ``user_history_upto_0424.parquet`` (user_id, history_len, last_time_ms, and the last 50
at most of the videos watched, liked, watched long; oldest first). `features.catalog.kuairand_history` turns the history
into rates and affinities; `features.catalog.kuairand_files` writes it from the official logs.

Three versions with the same columns, whose ids differ:

=============== ======== ============ ==================================================================================
name            users    videos       log
=============== ======== ============ ==================================================================================
`kuairand`      27,285   7,583        Pure: 04-25..04-30, cut from the official logs; the history is all before 04-25
`kuairand_1k`   1,000    4,371,868    1K: the official log of 04-22..05-08 as it is; the history is that of 04-08..04-21
`kuairand_27k`  27,285   32,038,725   27K: the same in two parts each
=============== ======== ============ ==================================================================================

Of 1K and 27K no real file was at hand: names, columns and the rows of both together are from the official documentation, rows
and rates of each file as others have counted them. Nobody whom we found has counted comments and forwards of 1K, and of 27K's later
log alone profile entries, comments, follows and forwards: their rates are not compared. They are where all four parts of 27K are read. The table of videos is read into memory and travels with the model, as every side
table does: one of 1K's size took 1.8 GB to read and 0.9 GB to keep, 27K's has seven times as many rows. The random log and
``video_features_statistic_*`` (counts of the whole month, later days included) are not read.

Quirks that this entry takes care of: ``date`` and ``hourmin`` agree with each other and not always with ``time_ms``, so
day and hour come from the former; ``duration_ms`` may be 0; several integers are written as floats ("1.0"); some
categories hold undocumented values, so no domain is closed; `is_lowactive_period` and `visible_status` have one value
and are no features.

`click` is the parent of `long_view`: by the log's definitions a long view is a play that counts as a click. The log itself says
otherwise in a few rows (in KuaiRand-Pure's days here 104 of 29,123 long views, 0.36 %, have no click). No other task has a
parent: 2 % (comment) to 18 % (like) of the others' positives have no click.
"""

from __future__ import annotations

import datetime

from features.spec import (
    Bag,
    Bucketized,
    Categorical,
    Column,
    Columns,
    ColumnType,
    Dataset,
    Derived,
    DerivedTable,
    Expected,
    Feature,
    Id,
    IdVocabulary,
    Numeric,
    Sequence,
    SideTable,
    Source,
    Task,
    TimeColumn,
    TimeSplit,
    Variants,
    Vocabulary,
)

_HISTORY = "features.catalog.kuairand_history"

LABELS = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "profile_enter": "is_profile_enter",
    "comment": "is_comment",
    "follow": "is_follow",
    "forward": "is_forward",
}
FIRST_DAY, LAST_DAY = datetime.date(2022, 4, 22), datetime.date(2022, 5, 8)
"""Of the later one of the two official periods."""
OUTCOMES = ("is_hate", "play_time_ms", "profile_stay_time", "comment_stay_time")
FINE = ("onehot_feat3", "onehot_feat8")
"""Categories of hundreds of values."""
CATEGORIES = (
    "tab", "hour", "user_active_degree", "is_live_streamer", "is_video_author", "follow_user_num_range",
    "fans_user_num_range", "friend_user_num_range", "register_days_range", "video_type", "upload_dt", "upload_type",
    "music_type", *(name for name in (f"onehot_feat{number}" for number in range(18)) if name not in FINE),
)  # fmt: skip
RATES = (
    "user_like_rate", "user_ever_like_rate", "user_long_rate", "user_like_lift", "user_long_lift", "user_log_duration",
    "user_log_duration_long", "video_like_rate", "video_long_rate", "author_like_rate", "author_long_rate",
    "music_like_rate", "music_long_rate", "tag_like_rate", "tag_long_rate", "tag_share", "user_tag_long_rate",
    "user_tag_like_rate", "hours_since_visit", "video_age_days", "log_duration", "fans_over_follows",
)  # fmt: skip
"""Numbers with a shape of their own: by their rank among the training rows, so that later days stay within bounds."""
COUNTS = (
    "follow_user_num", "fans_user_num", "friend_user_num", "register_days", "history_impressions", "user_likes",
    "video_watches", "author_watches", "music_watches", "author_videos", "tag_seen", "tag_longs", "tag_likes",
    "seen_video", "watched_long_video", "liked_video", "author_seen", "author_longs", "author_likes", "server_width",
    "server_height",
)  # fmt: skip
"""Counts, skewed."""
CUT = (
    "user_like_rate", "user_ever_like_rate", "user_long_rate", "user_like_lift", "user_long_lift", "video_like_rate",
    "video_long_rate", "author_like_rate", "author_long_rate", "music_long_rate", "tag_long_rate", "user_tag_long_rate",
    "user_tag_like_rate", "log_duration", "fans_over_follows", "fans_user_num", "follow_user_num", "register_days",
    "history_impressions", "video_watches",
)  # fmt: skip
"""Also cut into buckets of their own: a network bends a straight input only slowly."""


def dataset() -> Dataset:
    """Pure: trained on 2022-04-25..28, validated on 04-29, tested on 04-30 (Beijing days)."""
    return _dataset(
        "kuairand",
        "KuaiRand: a short-video feed with seven kinds of feedback, user and video tables, and histories.",
        "*",
        "log_standard_4_25_to_4_30_*.csv",
        _split(datetime.date(2022, 4, 25), datetime.date(2022, 4, 30)),
        (
            Expected(
                rows={"log_standard_4_25_to_4_30_pure.csv": 94_784},
                tables={"users": 27_285, "videos": 7_583},
                rates={
                    "click": 0.438,
                    "long_view": 0.307,
                    "profile_enter": 0.0194,
                    "like": 0.0171,
                    "comment": 0.0023,
                    "follow": 0.00135,
                    "forward": 0.00080,
                },
            ),
        ),
    )


def thousand_users() -> Dataset:
    """1K: trained on 2022-04-22..05-06, validated on 05-07, tested on 05-08 (Beijing days)."""
    return _dataset(
        "kuairand_1k",
        "KuaiRand-1K: the feed of 1,000 users with all 4.4 million videos that they were shown; otherwise as kuairand.",
        "1k",
        "log_standard_4_22_to_5_08_1k.csv",
        _split(FIRST_DAY, LAST_DAY),
        (
            Expected(
                rows={"log_standard_4_22_to_5_08_1k.csv": 6_657_061},
                tables={"users": 1_000, "videos": 4_371_868},
                rates={
                    "click": 0.3773,
                    "long_view": 0.2610,
                    "profile_enter": 0.0179,
                    "like": 0.0160,
                    "follow": 0.00085,
                },
            ),
        ),
    )


def all_users() -> Dataset:
    """27K: trained on 2022-04-22..05-06, validated on 05-07, tested on 05-08 (Beijing days)."""
    tables = {"users": 27_285, "videos": 32_038_725}
    earlier = {f"log_standard_4_08_to_4_21_27k_part{part}.csv": 68_148_288 for part in (1, 2)}
    later = {
        "log_standard_4_22_to_5_08_27k_part1.csv": 93_062_020,
        "log_standard_4_22_to_5_08_27k_part2.csv": 92_919_789,
    }
    both = {
        "click": 122_052_542,
        "long_view": 83_936_743,
        "profile_enter": 5_777_660,
        "like": 5_366_646,
        "comment": 810_580,
        "follow": 343_328,
        "forward": 280_970,
    }
    return _dataset(
        "kuairand_27k",
        "KuaiRand-27K: the feed of 27,285 users with all 32 million videos that they were shown; otherwise as kuairand.",
        "27k",
        tuple(later),
        _split(FIRST_DAY, LAST_DAY),
        (
            Expected(rows=later, tables=tables, rates={"click": 0.3772, "long_view": 0.2587, "like": 0.0169}),
            Expected.counted(earlier | later, both, tables),
        ),
    )


def _split(first: datetime.date, last: datetime.date) -> TimeSplit:
    """The last day is tested on, the one before it chosen by."""
    day = datetime.timedelta(days=1)
    return TimeSplit(train=(first, last - 2 * day), validation=(last - day, last - day), test=(last, last))


def _dataset(
    name: str, description: str, version: str, log: str | tuple[str, ...], split: TimeSplit, expected: Variants
) -> Dataset:
    eve = split.train[0] - datetime.timedelta(days=1)
    return Dataset(
        name=name,
        description=description,
        source=Source(files=log),
        columns=_log_columns(),
        time=TimeColumn(column="date", unit="yyyymmdd"),
        group="user_id",
        item="video_id",
        tables={
            "users": SideTable(
                source=Source(files=f"user_features_{version}.csv"), on="user_id", columns=_user_columns()
            ),
            "videos": SideTable(
                source=Source(files=f"video_features_basic_{version}.csv"), on="video_id", columns=_video_columns()
            ),
            "history": SideTable(
                source=Source(files=f"user_history_upto_{eve:%m%d}.parquet", format="parquet"),
                on="user_id",
                columns=_history_columns(),
            ),
            **_derived_tables(),
        },
        derived=_derived(),
        features=_features(),
        tasks={
            task: Task(label=label, parent="click" if task == "long_view" else None) for task, label in LABELS.items()
        },
        split=split,
        expected=expected,
    )


def _of(kind: ColumnType, *names: str) -> Columns:
    return {name: Column(type=kind) for name in names}


def _log_columns() -> Columns:
    return {
        "user_id": Column(type="int64", required=True),
        "video_id": Column(type="int64", required=True),
        "date": Column(type="int64", required=True),
        "hourmin": Column(type="int64", minimum=0, maximum=2359),
        "time_ms": Column(type="int64", minimum=0),
        "duration_ms": Column(type="int64", minimum=0),
        "tab": Column(type="int64"),
        **dict.fromkeys(LABELS.values(), Column(type="int64", required=True, outcome=True, minimum=0, maximum=1)),
        **{name: Column(type="int64", outcome=True) for name in OUTCOMES},
    }


def _user_columns() -> Columns:
    numbers = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
    ranges = tuple(f"{name}_range" for name in numbers)
    flags = ("is_lowactive_period", "is_live_streamer", "is_video_author")
    onehots = tuple(f"onehot_feat{number}" for number in range(18))
    return _of("int64", "user_id", *flags, *numbers, *onehots) | _of("string", "user_active_degree", *ranges)


def _video_columns() -> Columns:
    return {
        **_of("int64", "video_id", "author_id", "music_id", "music_type", "video_duration", "visible_status"),
        **_of("int64", "server_width", "server_height"),
        **_of("string", "video_type", "upload_dt", "upload_type"),
        "tag": Column(type="list<int64>"),
    }


def _history_columns() -> Columns:
    return _of("int64", "user_id", "history_len", "last_time_ms") | _of(
        "list<int64>", "watch_seq", "like_seq", "long_watch_seq"
    )


def _derived_tables() -> dict[str, DerivedTable]:
    things = ("video", "author", "music")
    video_rates = [f"{thing}_{kind}_rate" for thing in (*things, "tag") for kind in ("like", "long")]
    user_rates = [name for name in RATES if name.startswith("user_") and not name.startswith("user_tag")]
    return {
        "video_statistics": DerivedTable(
            function=f"{_HISTORY}:video_statistics",
            inputs=("history", "videos"),
            on="video_id",
            columns=_of("int64", "video_id", "author_videos", *(f"{thing}_watches" for thing in things))
            | _of("float32", *video_rates),
        ),
        "user_statistics": DerivedTable(
            function=f"{_HISTORY}:user_statistics",
            inputs=("history", "videos", "video_statistics"),
            on="user_id",
            columns=_of("int64", "user_id", "user_likes")
            | _of("float32", *user_rates)
            | _of("list<int64>", "met_tags", "met_watches", "met_longs", "met_likes"),
        ),
        "user_authors": DerivedTable(
            function=f"{_HISTORY}:user_authors",
            inputs=("history", "videos"),
            on=("user_id", "author_id"),
            columns=_of("int64", "user_id", "author_id", "pair_watches", "pair_longs", "pair_likes"),
        ),
    }


def _derived() -> tuple[Derived, ...]:
    return (
        Derived(
            function=f"{_HISTORY}:fame",
            inputs=("fans_user_num", "follow_user_num"),
            outputs=_of("float32", "fans_over_follows"),
        ),
        Derived(
            function=f"{_HISTORY}:moment",
            inputs=(
                "date", "hourmin", "time_ms", "duration_ms", "video_duration", "upload_dt", "last_time_ms",
                "history_len",
            ),
            outputs=_of("int64", "hour", "history_impressions")
            | _of("float32", "hours_since_visit", "video_age_days", "log_duration"),
        ),
        Derived(
            function=f"{_HISTORY}:affinities",
            inputs=(
                "video_id", "tag", "watch_seq", "like_seq", "long_watch_seq", "pair_watches", "pair_longs",
                "pair_likes", "met_tags", "met_watches", "met_longs", "met_likes", "user_like_rate", "user_long_rate",
            ),
            outputs=_of("int64", "seen_video", "watched_long_video", "liked_video")
            | _of("int64", "author_seen", "author_longs", "author_likes")
            | _of("float32", "tag_seen", "tag_longs", "tag_likes", "tag_share")
            | _of("float32", "user_tag_long_rate", "user_tag_like_rate"),
        ),
    )  # fmt: skip


def _features() -> dict[str, Feature]:
    return {
        # Most rows are of users with fewer than ten in the training days: a row of their own learns them by heart.
        "user_id": Id(vocabulary=IdVocabulary(min_count=20), frequency_rank=True),
        "video_id": Id(frequency_rank=True),
        "author_id": Id(frequency_rank=True),
        "music_id": Id(frequency_rank=True),
        "tag": Bag(max_length=3),
        "watch_seq": Sequence(vocabulary_of="video_id"),
        "like_seq": Sequence(vocabulary_of="video_id"),
        "long_watch_seq": Sequence(vocabulary_of="video_id"),
        **{name: Categorical(vocabulary=Vocabulary(min_count=10)) for name in CATEGORIES},
        **{name: Id(vocabulary=IdVocabulary(min_count=10), frequency_rank=True) for name in FINE},
        **{name: Numeric(scaling="quantile") for name in RATES},
        **{name: Numeric(scaling="log_zscore") for name in COUNTS},
        **{f"{name}_bucket": Bucketized(column=name, buckets=16, dim=4) for name in CUT},
    }
