"""Reviews of Amazon and Yelp: who gave which product or place how many stars.

Read from the documented formats; no real file was at hand. Both are JSON, an object a line, and have the same two tasks: `like`, more
than 3 stars, and `rating`, the stars, a regression (of both datasets the survey of multi-task recommenders names the rating; its other
task, an explanation, is text, which nothing here writes: Wang et al., arXiv 2302.03525, table 2). Both are of one column. Who
did not review has no row, so there is no task of reviewing at all.

`amazon_reviews` is a 5-core file of the 2014 edition (McAuley et al., SIGIR 2015), by default ``reviews_Electronics_5.json.gz``: 1,689,188
reviews, 192,403 users, 63,001 products, each with five reviews at least. ``dataset.source.files`` names another category's. ``helpful``,
the votes of later readers, is an outcome. ``meta_Electronics.json.gz`` is written as Python and not as JSON, and is not read.

`yelp_reviews` is ``yelp_academic_dataset_review.json`` with ``yelp_academic_dataset_business.json``, as of 2022: 6,990,280 reviews of 150,346
places, two thirds with more than 3 stars. ``useful``, ``funny`` and ``cool``, votes of later readers, are outcomes. A place's own ``stars`` and
``review_count`` were counted at the end, the row's own stars among them: they are not read, nor are users' averages.
``categories`` is a text (``Restaurants, Pizza``), null for some places.

Split at random, 80 : 10 : 10. A random split knows later reviews when it predicts earlier ones, and flatters; with days of ``time``,
``--set "dataset.split={train: [...], validation: ..., test: ...}"`` splits by them.
"""

from __future__ import annotations

from features.spec import (
    Bag,
    Categorical,
    Column,
    Columns,
    Dataset,
    Expected,
    Id,
    IdVocabulary,
    RandomSplit,
    SideTable,
    Source,
    Task,
    TimeColumn,
    Vocabulary,
)

VOTES = ("useful", "funny", "cool")
STARS = Column(type="int64", required=True, outcome=True, minimum=1, maximum=5)


def amazon() -> Dataset:
    """A 5-core file of Amazon's reviews."""
    return Dataset(
        name="amazon_reviews",
        description="Amazon reviews, a 5-core file of 2014 (Electronics unless source.files says another): liked, and the stars.",
        source=_json("reviews_Electronics_5.json.gz"),
        columns={
            **_ids("reviewerID", "asin"),
            "overall": STARS,
            "helpful": Column(type="list<int64>", outcome=True),
            "unixReviewTime": Column(type="int64", required=True),
        },
        time=TimeColumn(column="unixReviewTime", unit="s"),
        group="reviewerID",
        item="asin",
        features={
            "reviewerID": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
            "asin": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
        },
        tasks=_tasks("overall"),
        split=RandomSplit(),
        expected=(Expected(rows={"reviews_Electronics_5.json": 1_689_188}),),
    )


def yelp() -> Dataset:
    """Yelp's reviews with the places that they are of."""
    return Dataset(
        name="yelp_reviews",
        description="Yelp reviews with the reviewed places: liked, and the stars.",
        source=_json("yelp_academic_dataset_review.json"),
        columns={
            **_ids("user_id", "business_id"),
            "stars": STARS,
            **dict.fromkeys(VOTES, Column(type="int64", outcome=True)),
            "date": Column(type="string", required=True),
        },
        time=TimeColumn(column="date", unit="iso8601"),
        group="user_id",
        item="business_id",
        tables={
            "places": SideTable(
                source=_json("yelp_academic_dataset_business.json"),
                on="business_id",
                columns={
                    **dict.fromkeys(("business_id", "city", "state"), Column(type="string")),
                    "categories": Column(type="list<string>"),
                },
            )
        },
        features={
            "user_id": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
            "business_id": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
            **dict.fromkeys(("city", "state"), Categorical(vocabulary=Vocabulary(min_count=20))),
            "categories": Bag(vocabulary=Vocabulary(min_count=20)),
        },
        tasks=_tasks("stars"),
        split=RandomSplit(),
        expected=(
            Expected(
                rows={"yelp_academic_dataset_review.json": 6_990_280},
                tables={"places": 150_346},
                rates={"like": 0.6702},
            ),
        ),
    )


def _json(file: str) -> Source:
    return Source(files=file, format="jsonl")


def _ids(*names: str) -> Columns:
    return dict.fromkeys(names, Column(type="string", required=True))


def _tasks(stars: str) -> dict[str, Task]:
    return {"like": Task(label=stars, positive=(4, 5)), "rating": Task(label=stars, kind="regression")}
