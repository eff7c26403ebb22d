"""AliExpress search (Li et al., Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting Task Relationships in the Label Space,
CIKM 2020; Tianchi 74690): items shown on pages of search results in five countries, with click and purchase.

Read from the documented format; no real file was at hand, and of its rows and rates nothing is expected. A country (NL, ES, FR, US, RU)
has four CSV files without header: ``nl_user_train.csv`` and ``nl_user_test.csv`` (33 columns, a row a search page), ``nl_item_train.csv``
and ``nl_item_test.csv`` (49 columns, a row an item shown). The first column of both is the search's id, by which they are joined,
within the training and within the test files, for nothing says that an id of one is not used for something else in the other.
The join is an inner one: an item of a search that has no row of its own is quarantined (``no_match``), so that it is counted and can be
looked at. The dataset is NL's; another country is

    --set dataset.source.files='es_item_*.csv' --set dataset.tables.searches.source.files='es_user_*.csv'

Columns have no documented meaning. They are named as MTReclib names those of its preparation, ``categorical_1`` to ``categorical_16`` and
``numerical_1`` to ``numerical_63``: first those of the search page, in their order, then those of the item. By MTReclib's account
categorical are columns 2 to 8, 32 and 33 of the search page and 19, 34, 35, 36, 40, 41, 42 of the item, and all others numbers, which the
source has normalised: they are used as they are. The order within each kind is ours where MTReclib's is not documented.

The item's last column says what the user did: 0 nothing, 1 a click, 2 a purchase, which is a click too. So no purchase is without a
click, and `click` is the parent of `conversion`.

The split is the official one, by time: tested on the test files; a tenth of the training rows, by a hash, chooses the best epoch. GAUC
is averaged over searches: it says how well the items of one page are ordered.

Memory: ingest holds the search pages of both parts in each of its processes, about 400 bytes a page (23 numbers, 9 categories, the id).
"""

from __future__ import annotations

from features.spec import (
    Categorical,
    Column,
    Columns,
    ColumnSplit,
    Dataset,
    Feature,
    Numeric,
    SideTable,
    Source,
    Task,
    Vocabulary,
)

SEARCH_COLUMNS, ITEM_COLUMNS = 33, 49
SEARCH_CATEGORIES = (*range(2, 9), 32, 33)
"""Columns of the search page, from 1."""
ITEM_CATEGORIES = (19, 34, 35, 36, 40, 41, 42)
"""Columns of the item, from 1."""
SEARCH_NUMBERS = tuple(at for at in range(2, SEARCH_COLUMNS + 1) if at not in SEARCH_CATEGORIES)
ITEM_NUMBERS = tuple(at for at in range(2, ITEM_COLUMNS) if at not in ITEM_CATEGORIES)


def dataset() -> Dataset:
    """Trained on a country's official training file but for a tenth, which validates; tested on the official test file."""
    searches = _named(SEARCH_CATEGORIES, SEARCH_NUMBERS, behind=(0, 0))
    items = _named(ITEM_CATEGORIES, ITEM_NUMBERS, behind=(len(SEARCH_CATEGORIES), len(SEARCH_NUMBERS)))
    key = {"search_id": Column(type="string", required=True)}
    part = {"part": Column(type="string", required=True)}
    action = {"action": Column(type="int64", required=True, outcome=True, minimum=0, maximum=2)}
    return Dataset(
        name="aliexpress",
        description="AliExpress search, one country (NL unless source.files says another): click and conversion.",
        source=_source("[Nn][Ll]_item_*.csv"),
        columns=key | items | action | part,
        group="search_id",
        tables={
            "searches": SideTable(
                source=_source("[Nn][Ll]_user_*.csv"),
                on=("part", "search_id"),
                required=True,
                columns=key | searches | part,
            )
        },
        features={name: _feature(column) for name, column in (searches | items).items()},
        tasks={
            "click": Task(label="action", positive=(1, 2)),
            "conversion": Task(label="action", positive=(2,), parent="click"),
        },
        split=ColumnSplit(column="part", train=("train",), test=("test",)),
    )


def _source(files: str) -> Source:
    return Source(files=files, header=False, from_name={"part": "_(train|test)[^/]*$"})


def _named(categories: tuple[int, ...], numbers: tuple[int, ...], behind: tuple[int, int]) -> Columns:
    """Columns in the order of a file, from its second on; each kind is counted from behind those of an earlier file."""
    names = {at: f"categorical_{behind[0] + place}" for place, at in enumerate(categories, 1)}
    names |= {at: f"numerical_{behind[1] + place}" for place, at in enumerate(numbers, 1)}
    return {names[at]: Column(type="string" if at in categories else "float32") for at in sorted(names)}


def _feature(column: Column) -> Feature:
    if column.type == "string":
        return Categorical(vocabulary=Vocabulary(min_count=10))
    return Numeric(scaling="none")
