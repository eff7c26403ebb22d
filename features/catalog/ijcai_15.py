"""IJCAI-15 (Tmall, Repeat Buyers Prediction; Tianchi 42): half a year of users' actions in a shop, up to the sale of 11-11.

Read from the documented format; no real file was at hand. ``user_log_format1.csv`` has a row an action: user, item, category, seller,
brand, day (``mmdd`` of 2014, 05-11 to 11-12), action (0 click, 1 cart, 2 purchase, 3 favourite). As others have counted: 54,925,330
rows, 424,170 users, 1,090,390 items; 48,550,713 clicks, 76,750 into the cart, 3,292,144 purchases, 3,005,723
favourites; 91,015 rows without a brand. ``user_info_format1.csv``: age range (1 to 8, 0 unknown) and gender (0 female, 1 male, 2 unknown), each
empty for some users. The contest's own question, which new buyers come back to a seller (``train_format1.csv``), is another table.

It is a log of actions, not of impressions: nothing says what was shown and left alone. The tasks are those of AutoMTL (Jiang et al.,
2024), `favorite` and `purchase`, each the probability that an action of this user with this item is one; clicks and carts are
negative for both, no row is positive for both, and neither is the parent of the other. So are the seven fields and the split, 7 : 1 : 2 at
random; not done here is what it keeps, users with 20 purchased items and items with 10 buyers at least.

A fifth of all actions, and more than a third of the purchases, are of 11-11: the day is no feature, and a split by time would test on the sale alone.
A header of ``format2`` files names ``merchant_id`` and holds a user's actions in one text; they are not read.
"""

from __future__ import annotations

from features.spec import (
    Categorical,
    Column,
    Dataset,
    Expected,
    Id,
    IdVocabulary,
    RandomSplit,
    SideTable,
    Source,
    Task,
)

ACTIONS = {"favorite": 3, "purchase": 2}
"""By task, as the file writes them."""


def dataset() -> Dataset:
    """Split at random, 7 : 1 : 2."""
    known = Column(type="int64", required=True)
    return Dataset(
        name="ijcai_15",
        description="IJCAI-15 (Tmall): a log of actions; whether an action is a favourite or a purchase.",
        source=Source(files="user_log_format1.csv"),
        columns={
            **dict.fromkeys(("user_id", "item_id", "cat_id", "seller_id"), known),
            "brand_id": Column(type="int64"),
            "time_stamp": Column(type="int64", required=True, minimum=511, maximum=1112),
            "action_type": Column(type="int64", required=True, outcome=True, minimum=0, maximum=3),
        },
        group="user_id",
        item="item_id",
        tables={
            "users": SideTable(
                source=Source(files="user_info_format1.csv"),
                on="user_id",
                columns=dict.fromkeys(("user_id", "age_range", "gender"), Column(type="int64")),
            ),
        },
        features={
            "user_id": Id(vocabulary=IdVocabulary(min_count=20), frequency_rank=True),
            "item_id": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
            **dict.fromkeys(("cat_id", "seller_id", "brand_id"), Id(frequency_rank=True)),
            **dict.fromkeys(("age_range", "gender"), Categorical()),
        },
        tasks={task: Task(label="action_type", positive=(action,)) for task, action in ACTIONS.items()},
        split=RandomSplit(train=0.7, validation=0.1, test=0.2),
        expected=(Expected(rows={"user_log_format1.csv": 54_925_330}, rates={"favorite": 0.0547, "purchase": 0.0599}),),
    )
