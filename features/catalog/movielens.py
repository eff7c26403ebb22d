"""MovieLens 1M and 100K (Harper and Konstan, The MovieLens Datasets, TiiS 2015): ratings of films, 1 to 5 stars.

Read from the documented format (the README of either archive); no real file was at hand.

`movielens_1m`: ``ratings.dat`` (1,000,209 rows), ``users.dat`` (6,040), ``movies.dat`` (3,883), fields between ``::``, Latin-1.
`movielens_100k`: ``u.data`` (100,000 rows, between tabs), ``u.user`` (943) and ``u.item`` (1,682), between ``|``, Latin-1. No file
has a header, none quotes its values.

Tasks: `like`, more than 3 stars, the binary task that the survey of multi-task recommenders names (Wang et al., arXiv 2302.03525,
section 4.3), and `rating`, the stars, a regression. The other usual task, whether a user watches a film, has no negative rows in these
files, for who did not watch has no rating: sampling them makes a log of your own. Both tasks are of one column, so
the second adds an order among the liked ones, not another kind of feedback.

Split at random, 80 : 10 : 10: many users have rated all their films in one sitting, so a split by time would have few test
rows of known users. A random split knows a user's later ratings when it predicts earlier ones, and flatters;
``--set "dataset.split={train: [2000-04-25, 2000-10-31], ...}"`` splits by days.

Quirks that this entry takes care of: titles are text in Latin-1 and no features, but the year at their end (1M) is; in 100K the film
``unknown`` has neither date nor address, and one column of ``u.item``, the video's date, is always empty; zip codes are text (``98107-2117``,
``V3N4P``), of which the first three characters are a region; 100K writes genres as 19 flags.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.columns import list_array
from features.spec import (
    Bag,
    Categorical,
    Column,
    Columns,
    Dataset,
    Derived,
    Expected,
    Feature,
    Id,
    Numeric,
    RandomSplit,
    SideTable,
    Source,
    Task,
    TimeColumn,
    Vocabulary,
)

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""In the order of the flags of ``u.item``; 1M writes all but the first by name."""
FLAGS = tuple(f"is_{number}" for number in range(len(GENRES)))
_HERE = "features.catalog.movielens"
_TEXT, _INTEGER = Column(type="string"), Column(type="int64")


def million() -> Dataset:
    """MovieLens-1M."""
    users = {
        "user_id": _INTEGER,
        "gender": _TEXT,
        "age": _INTEGER,
        "occupation": _INTEGER,
        "zip_code": _TEXT,
    }
    films = {"movie_id": _INTEGER, "title": _TEXT, "genres": Column(type="list<string>", separator="|")}
    return Dataset(
        name="movielens_1m",
        description="MovieLens-1M: a million ratings of films, as stars and as more than three of them.",
        source=_dats("ratings.dat"),
        columns=_rating_columns(),
        time=TimeColumn(column="timestamp", unit="s"),
        group="user_id",
        item="movie_id",
        tables={
            "users": SideTable(source=_dats("users.dat"), on="user_id", columns=users),
            "movies": SideTable(source=_dats("movies.dat"), on="movie_id", columns=films),
        },
        derived=(_zip_area(), _year("title")),
        # An age is one of seven ranges, written as its first year.
        features=_features() | {"age": Categorical()},
        tasks=_tasks(),
        split=RandomSplit(),
        expected=(
            Expected(rows={"ratings.dat": 1_000_209}, tables={"users": 6_040, "movies": 3_883}, rates={"like": 0.5752}),
        ),
    )


def hundred_thousand() -> Dataset:
    """MovieLens-100K."""
    users = {"user_id": _INTEGER, "age": _INTEGER, "gender": _TEXT, "occupation": _TEXT, "zip_code": _TEXT}
    films = {
        "movie_id": _INTEGER,
        **dict.fromkeys(("title", "release_date", "video_release_date", "imdb_url"), _TEXT),
        **dict.fromkeys(FLAGS, _INTEGER),
    }
    return Dataset(
        name="movielens_100k",
        description="MovieLens-100K: a hundred thousand ratings of films, as stars and as more than three of them.",
        source=_plain("u.data", "\t"),
        columns=_rating_columns(),
        time=TimeColumn(column="timestamp", unit="s"),
        group="user_id",
        item="movie_id",
        tables={
            "users": SideTable(source=_plain("u.user", "|"), on="user_id", columns=users),
            "movies": SideTable(source=_plain("u.item", "|"), on="movie_id", columns=films),
        },
        derived=(
            _zip_area(),
            _year("release_date"),
            Derived(function=f"{_HERE}:flagged_genres", inputs=FLAGS, outputs={"genres": Column(type="list<string>")}),
        ),
        features=_features() | {"age": Numeric()},
        tasks=_tasks(),
        split=RandomSplit(),
        expected=(Expected(rows={"u.data": 100_000}, tables={"users": 943, "movies": 1_682}, rates={"like": 0.55375}),),
    )


# -- derived ------------------------------------------------------------------------------------------------------


def zip_area(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """``zip_area``: the first three characters of the zip code, in the United States a region; string (n,)."""
    return {"zip_area": pc.utf8_slice_codeunits(batch.column(0), 0, 3)}


def year_at_end(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """``release_year``: the last four digits of ``Toy Story (1995)`` or ``01-Jan-1995``, null without; int64 (n,)."""
    found = pc.extract_regex(batch.column(0), r"(?P<year>[0-9]{4})\)?$")
    return {"release_year": pc.struct_field(found, [0]).cast(pa.int64())}


def flagged_genres(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """``genres``: the names of the flags that are 1, in their order; of a film that the table lacks none.

    Args:
        batch: the flags, int64 (n,) each, in the order of `GENRES`.
    """
    flags = np.stack([pc.fill_null(column, 0).to_numpy() for column in batch.columns], axis=1) == 1
    rows, genres = np.nonzero(flags)
    return {"genres": list_array(pa.array(GENRES).take(pa.array(genres)), np.bincount(rows, minlength=len(flags)))}


# -- parts --------------------------------------------------------------------------------------------------------


def _plain(file: str, delimiter: str) -> Source:
    return Source(files=file, header=False, delimiter=delimiter, quote="", encoding="latin-1")


def _dats(file: str) -> Source:
    return _plain(file, "::")


def _rating_columns() -> Columns:
    ids = dict.fromkeys(("user_id", "movie_id"), Column(type="int64", required=True))
    stars = Column(type="int64", required=True, outcome=True, minimum=1, maximum=5)
    return {**ids, "rating": stars, "timestamp": Column(type="int64", required=True, minimum=0)}


def _zip_area() -> Derived:
    return Derived(function=f"{_HERE}:zip_area", inputs=("zip_code",), outputs={"zip_area": _TEXT})


def _year(column: str) -> Derived:
    return Derived(function=f"{_HERE}:year_at_end", inputs=(column,), outputs={"release_year": _INTEGER})


def _features() -> dict[str, Feature]:
    return {
        "user_id": Id(frequency_rank=True),
        "movie_id": Id(frequency_rank=True),
        "gender": Categorical(),
        "occupation": Categorical(),
        "zip_area": Categorical(vocabulary=Vocabulary(min_count=20)),
        "genres": Bag(max_length=6),
        "release_year": Numeric(scaling="quantile"),
    }


def _tasks() -> dict[str, Task]:
    return {"like": Task(label="rating", positive=(4, 5)), "rating": Task(label="rating", kind="regression")}
