r"""Ali-CCP, Alibaba's click and conversion prediction (Ma et al., ESMM, SIGIR 2018; Tianchi 408), the raw files.

Read from the documented format; no real file was at hand. Four CSV files without header: ``sample_skeleton_train.csv`` (42,300,135 rows,
an impression each) and ``sample_skeleton_test.csv`` (43,016,840), ``common_features_train.csv`` (about 730,600, what impressions of one user
have in common) and ``common_features_test.csv`` (about 884,200), 38 GB together. The paper (table 1, rounded) counts 84 million impressions,
3.4 million clicks, 18 thousand conversions. Others have counted in the files: 1,644,256 clicks and 8,802 conversions of the training's
42,299,905 rows that are valid, 1,673,447 and 9,195 of the test's 43,016,614. (Some count one row less a file: its first, taken for a header.)

Each file has lists of features, ``field \x02 id \x03 value`` joined by ``\x01``, and says of each list how many features it has. A row
whose list cannot be read so is quarantined (``refused``, with the reason), and so is one with another number of features than it says; of
fields that this entry does not know nothing is read.

The split is the official one: tested on the test files; a tenth of the training rows, by a hash, chooses the best epoch. There is no time.

Common features are a side table, found by ``common_feature_index`` and by the part (train, test), for nothing says that an index of
one part is not used for something else in the other. An impression whose index the table does not have is quarantined (``no_match``).

The chain: a conversion needs a click. Rows that say otherwise (click 0, conversion 1) are invalid, and the usual preprocessing leaves
them out: here they are quarantined (``orphan_label``), so that they are counted and can be looked at.

An item's intentions (210) are several, and so may be the combinations with them (853): the list is kept whole, the values of one
combination are added up.

The histories ``109_14``, ``110_14``, ``127_14``, ``150_14`` (categories, shops, brands, intentions that the user had to do with) are kept
whole, as lists, where public readers keep one id of each. A history's value carries the count. No kind of feature weighs
the tokens of a list today, so the value does one thing here: it orders the list, the largest first, so that the `max_length` tokens that a
`Bag` reads are those that the user had most to do with. The value itself is not kept. Nor are those of the other fields, 1 by the format.
Histories have vocabularies of their own: nothing says that their ids are those of the items' fields.

Of the combinations of history and item (508 = 109_14 x 206, 509 = 110_14 x 207, 702 = 127_14 x 216, 853 = 150_14 x 210) the value is
read, not the id, which names a combination of two that are features by themselves.

Field 301, "position", comes as an id of four or so values, in no known order: it is no number that a `position_tower` could read, so
``dataset.position`` is not set. It is known after the ranking only, so it is no feature by default either. Public readers take it as one:
``--set dataset.features.position_id=categorical`` does.

Memory: ingest holds the common features of both parts, parsed, in each of its processes: 8 bytes a history token, all together 1.6 million
rows. By the files' sizes that are about 250 tokens a row, 3 GB; if it were the 629 that an impression has on average, 8 GB; twice
that while the files are read. A model carries the table too (`feedrank score` joins by it). Examples hold the histories of each impression,
some 5 KB before compression, 400 GB of all 85 million: on one machine, train on a part of the files.
"""

from __future__ import annotations

import pyarrow as pa

from features.catalog.ali_ccp_lists import ListedFeatures, parse
from features.spec import (
    REFUSED,
    Bag,
    Categorical,
    Column,
    Columns,
    ColumnSplit,
    Dataset,
    Derived,
    Expected,
    Feature,
    Id,
    IdVocabulary,
    Numeric,
    SideTable,
    Source,
    Task,
    Vocabulary,
)

USER_ID, ITEM_ID = "101", "205"
USER: dict[str, str] = {
    USER_ID: "user_id", "121": "profile_category", "122": "profile_group", "124": "gender", "125": "age",
    "126": "consumption_1", "127": "consumption_2", "128": "occupation", "129": "geography",
}  # fmt: skip
"""What a user has once, by field."""
HISTORIES: dict[str, str] = {
    "109_14": "category_history", "110_14": "shop_history", "127_14": "brand_history", "150_14": "intention_history",
}  # fmt: skip
ITEM: dict[str, str] = {
    ITEM_ID: "item_id", "206": "item_category", "207": "item_shop", "216": "item_brand", "301": "position_id",
}  # fmt: skip
"""What an impression has once, by field."""
ITEM_LISTS: dict[str, str] = {"210": "item_intentions"}
"""What it may have often: the official file's first impression has three intentions."""
COMBINATIONS: dict[str, str] = {
    "508": "category_match", "509": "shop_match", "702": "brand_match", "853": "intention_match",
}  # fmt: skip
"""Real numbers: how much of the user's history is of the item's category, shop, brand, intentions; of several of one field the sum."""
LISTS = ("feature_num", "feature_list")


def dataset() -> Dataset:
    """Trained on the official training file but for a tenth, which validates; tested on the official test file."""
    label = Column(type="int64", required=True, outcome=True, minimum=0, maximum=1)
    return Dataset(
        name="ali_ccp",
        description="Ali-CCP, raw: impressions of Taobao with click and conversion, and what their users did before.",
        source=_source("sample_skeleton_train.csv", "sample_skeleton_test.csv"),
        columns={
            "sample_id": Column(type="int64"),
            "click": label,
            "conversion": label,
            **_key_and_list(),
        },
        group=USER[USER_ID],
        item=ITEM[ITEM_ID],
        tables={
            "common_features": SideTable(
                source=_source("common_features_train.csv", "common_features_test.csv"),
                on=("part", "common_feature_index"),
                required=True,
                columns=_key_and_list(),
                derived=(
                    Derived(
                        function="features.catalog.ali_ccp:of_user",
                        inputs=LISTS,
                        outputs=_of("int64", USER) | _of("list<int64>", HISTORIES),
                    ),
                ),
            )
        },
        derived=(
            Derived(
                function="features.catalog.ali_ccp:of_impression",
                inputs=LISTS,
                outputs=_of("int64", ITEM) | _of("list<int64>", ITEM_LISTS) | _of("float32", COMBINATIONS),
            ),
        ),
        features=_features(),
        tasks={
            "click": Task(label="click"),
            "conversion": Task(label="conversion", parent="click", orphans="quarantine"),
        },
        split=ColumnSplit(column="part", train=("train",), test=("test",)),
        expected=(
            Expected(
                rows={"sample_skeleton_train.csv": 42_300_135, "sample_skeleton_test.csv": 43_016_840},
                rates={
                    "click": (1_644_256 + 1_673_447) / (42_299_905 + 43_016_614),
                    "conversion": (8_802 + 9_195) / (42_299_905 + 43_016_614),
                },
            ),
        ),
    )


def of_user(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Fields and histories of common features.

    Args:
        batch: ``feature_num`` int64 (n,), ``feature_list`` string (n,).
    """
    found = parse(batch.column(1), batch.column(0), tuple(USER), tuple(HISTORIES))
    histories = {name: found.many(len(USER) + place) for place, name in enumerate(HISTORIES.values())}
    return _ids(found, USER) | histories | _refused(found)


def of_impression(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Fields and lists of the impression's own, and the combinations' values.

    Args:
        batch: as of `of_user`.
    """
    found = parse(batch.column(1), batch.column(0), tuple(ITEM), (*ITEM_LISTS, *COMBINATIONS))
    lists = {name: found.many(len(ITEM) + place) for place, name in enumerate(ITEM_LISTS.values())}
    behind = len(ITEM) + len(ITEM_LISTS)
    values = {name: found.total(behind + place) for place, name in enumerate(COMBINATIONS.values())}
    return _ids(found, ITEM) | lists | values | _refused(found)


def _ids(found: ListedFeatures, fields: dict[str, str]) -> dict[str, pa.Array]:
    return {name: found.one(place)[0] for place, name in enumerate(fields.values())}


def _refused(found: ListedFeatures) -> dict[str, pa.Array]:
    return {REFUSED: pa.array(found.refused, pa.string())}


def _source(*files: str) -> Source:
    return Source(files=files, header=False, quote="", from_name={"part": "_(train|test)[^/]*$"})


def _key_and_list() -> Columns:
    return {
        "common_feature_index": Column(type="string", required=True),
        "feature_num": Column(type="int64", required=True, minimum=0, kept=False),
        "feature_list": Column(type="string", kept=False),
        "part": Column(type="string", required=True),
    }


def _of(kind: str, fields: dict[str, str]) -> Columns:
    return {name: Column.model_validate(kind) for name in fields.values()}


def _features() -> dict[str, Feature]:
    fine = ("user_id", "item_id", "item_category", "item_shop", "item_brand")
    coarse = tuple(name for name in USER.values() if name != USER[USER_ID])
    rare = IdVocabulary(min_count=10)  # as the public preparations have it
    return {
        **dict.fromkeys(fine, Id(vocabulary=rare)),
        **dict.fromkeys(coarse, Categorical(vocabulary=Vocabulary(min_count=10))),
        **dict.fromkeys(HISTORIES.values(), Bag(vocabulary=Vocabulary(min_count=10, oov_buckets=8), max_length=50)),
        **dict.fromkeys(ITEM_LISTS.values(), Bag(vocabulary=Vocabulary(min_count=10, oov_buckets=8), max_length=10)),
        **dict.fromkeys(COMBINATIONS.values(), Numeric(missing_indicator=True)),
    }
