"""UserBehavior (Taobao; Zhu et al., TDM, KDD 2018; Tianchi 649): what users of a shop did with items, on nine days.

Read from the documented format; no real file was at hand. ``UserBehavior.csv`` has no header and a row an action: user, item, category,
behaviour (``pv``, ``cart``, ``fav``, ``buy``), second. As others have counted: 100,150,807 rows, 987,994 users, 4,162,024 items, 9,439
categories; 89,716,264 page views, 5,530,446 into the cart, 2,888,258 favourites, 2,015,839 purchases.

It is a log of actions, not of impressions: nothing says what was shown and left alone, and of the four tasks exactly one is
positive in a row. `buy` is the probability that an action of this user with this item is a purchase, no conversion rate, and no
task has a parent, for a purchase is a row of its own and not the continuation of a page view's. The four tasks and the three
categorical fields are those of AutoMTL (Jiang et al., 2024), which keeps users and items with 10 purchases at least and
splits 7 : 1 : 2 at random (``--set dataset.split={by: random, train: 0.7, validation: 0.1, test: 0.2}``); neither is done here.

Split by days of Beijing: 2017-11-25..12-01, then 12-02, then 12-03. 55,576 rows (0.06 %) have times outside of these days,
some before 1970 and some in 2037: they are quarantined, well within the usual budget of 1 %.
"""

from __future__ import annotations

import datetime

from features.spec import (
    Clock,
    Column,
    Dataset,
    Expected,
    Id,
    IdVocabulary,
    Source,
    Task,
    TimeColumn,
    TimeSplit,
)

BEHAVIOURS = {"click": "pv", "cart": "cart", "favorite": "fav", "buy": "buy"}
"""By task, as the file writes them."""


def dataset() -> Dataset:
    """Trained on 2017-11-25..12-01, validated on 12-02, tested on 12-03 (Beijing days)."""
    whole = Column(type="int64", required=True)
    return Dataset(
        name="user_behavior",
        description="UserBehavior (Taobao): a log of actions; which of click, cart, favorite, buy an action is.",
        source=Source(files="UserBehavior.csv", header=False),
        columns={
            **dict.fromkeys(("user_id", "item_id", "category_id"), whole),
            "behavior": Column(type="string", required=True, outcome=True),
            "timestamp": whole,
        },
        time=TimeColumn(column="timestamp", unit="s", utc_offset_hours=8),
        group="user_id",
        item="item_id",
        features={
            "user_id": Id(vocabulary=IdVocabulary(min_count=20), frequency_rank=True),
            "item_id": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
            "category_id": Id(frequency_rank=True),
            "hour": Clock(),
        },
        tasks={task: Task(label="behavior", positive=(value,)) for task, value in BEHAVIOURS.items()},
        split=TimeSplit(
            train=(datetime.date(2017, 11, 25), datetime.date(2017, 12, 1)),
            validation=(datetime.date(2017, 12, 2), datetime.date(2017, 12, 2)),
            test=(datetime.date(2017, 12, 3), datetime.date(2017, 12, 3)),
        ),
        expected=(
            Expected(
                rows={"UserBehavior.csv": 100_150_807},
                rates={"click": 0.8958, "cart": 0.0552, "favorite": 0.0288, "buy": 0.0201},
            ),
        ),
    )
