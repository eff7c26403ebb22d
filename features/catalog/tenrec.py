"""Tenrec (Yuan et al., NeurIPS 2022 datasets track, arXiv 2210.10629): feeds of videos and articles, four kinds of feedback.

Read from the documented format; no real file was at hand. Four datasets:

`tenrec_ctr` is ``ctr_data_1M.csv``, the paper's file for CTR and multi-task learning (sections 3.1, 3.3): 120,342,306 rows,
999,447 users, 2,310,087 items; positive rates click .240, like .0189, share .0021, follow .0015. The paper's pair is click and like.
``hist_1`` to ``hist_10`` are items that the user has clicked, the same in all rows of a user; the authors' script (``gen_ctr.py``) takes
those clicks out of the rows.

`tenrec_video` is a raw log of videos, by default ``QB-video.csv``: 2.44 million rows, 34,240 users, 130,637 items, 1.70 million clicks,
20,687 likes, 2,541 shares, 2,487 follows. ``QK-video.csv`` (493,458,970 rows, 5.02 million users, 3.75 million items; 142,321,193 clicks,
10,141,195 likes, 1,128,312 shares, 857,678 follows) and ``sbr_data_1M.csv``, of which nobody tells sizes, have the same columns:
``dataset.source.files`` names another one. One at a time, for the latter is a part of the former.

`tenrec_article` is ``QK-article.csv``. The paper counts clicks of articles and no exposures, and those who have looked into the file saw
``click`` 1 in every row: it is an outcome here and no task, for a task without a negative row stops a run. If your file has
some, ``dataset.tasks.click.label=click`` adds it.

`tenrec_qb_article` is ``QB-article.csv``: 348,736 rows, as many as clicks (the paper's table 2), 24,516 users, 7,355 items. Its header, as one
who has looked into the file gives it (columns that others read agree), is that of the other up to ``item_score3``; none of the five kinds of
feedback is in it. What is left to learn is
``read_percentage``, by the paper's datasheet how much of the article the user has read, 0 to 100: the only task, a regression.

Quirks that this entry takes care of: ``\\N`` is a missing value; 0 in the history is padding; gender 0 and age 0 stand for unknown and
are categories like the others. There are no timestamps. The rows of one user are in the order of clicks, so the
split is by a hash of file and row, 80 : 10 : 10 as in the paper, which samples two negatives a positive beforehand (not done here).

No task has a parent: the format does not say that a like, a share or a follow needs a click. ``dataset.tasks.like.parent=click`` states
it, as the paper's ESMM takes it, for the heads that follow chains; validation then counts the likes without a click.

Outcomes: ``watching_times``, ``read_time``, and ``read_percentage``, which may be the row's own. The counts of an article (exposures,
clicks, likes, comments) are no features, for nothing says that they were taken before the row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.columns import list_array
from features.losses import SquaredError
from features.spec import (
    Categorical,
    Column,
    Columns,
    ColumnType,
    Dataset,
    Derived,
    Expected,
    Feature,
    Id,
    IdVocabulary,
    Numeric,
    RandomSplit,
    Sequence,
    Source,
    Task,
    Vocabulary,
)

VIDEO_TASKS = ("click", "like", "share", "follow")
ARTICLE_TASKS = ("read", "like", "share", "favorite", "follow")
_QK_VIDEOS, _QB_VIDEOS, _QK_ARTICLES, _QB_ARTICLES = 493_458_970, 2_442_299, 46_111_728, 348_736
"""Rows, by the paper's table 2: exposures, and clicks, for of articles no others are kept."""
HISTORY = tuple(f"hist_{place}" for place in range(1, 11))
SCORES = ("item_score1", "item_score2", "item_score3")
"""Of the article."""
COUNTS = ("exposure_count", "click_count", "like_count", "comment_count")


def ctr() -> Dataset:
    """The log of CTR and multi-task learning, with a history of ten clicked items."""
    return Dataset(
        name="tenrec_ctr",
        description="Tenrec, the file for CTR and multi-task: videos with click, like, share, follow, and ten clicked items.",
        source=_source("ctr_data_1M.csv"),
        columns=_video_columns() | dict.fromkeys(HISTORY, Column(type="int64", minimum=0)),
        group="user_id",
        item="item_id",
        derived=(
            Derived(
                function="features.catalog.tenrec:clicked_items",
                inputs=HISTORY,
                outputs={"clicked_items": Column(type="list<int64>")},
            ),
        ),
        features=_video_features() | {"clicked_items": Sequence(vocabulary_of="item_id", max_length=len(HISTORY))},
        tasks=_tasks(VIDEO_TASKS),
        split=RandomSplit(),
        expected=(
            Expected(
                rows={"ctr_data_1M.csv": 120_342_306},
                rates={"click": 0.240, "like": 0.0189, "share": 0.0021, "follow": 0.0015},
            ),
        ),
    )


def video() -> Dataset:
    """A raw log of videos: exposures with and without feedback."""
    return Dataset(
        name="tenrec_video",
        description="Tenrec, a raw log of videos (QB-video.csv unless source.files says another): click, like, share, follow.",
        source=_source("QB-video.csv"),
        columns=_video_columns(),
        group="user_id",
        item="item_id",
        features=_video_features(),
        tasks=_tasks(VIDEO_TASKS),
        split=RandomSplit(),
        expected=(
            Expected.counted(
                {"QB-video.csv": _QB_VIDEOS}, {"click": 1_701_171, "like": 20_687, "share": 2_541, "follow": 2_487}
            ),
            Expected.counted(
                {"QK-video.csv": _QK_VIDEOS},
                {"click": 142_321_193, "like": 10_141_195, "share": 1_128_312, "follow": 857_678},
            ),
        ),
    )


def article() -> Dataset:
    """The log of clicked articles: what happens after the click."""
    return Dataset(
        name="tenrec_article",
        description="Tenrec, clicked articles (QK-article.csv): read, like, share, favorite, follow.",
        source=_source("QK-article.csv"),
        columns={
            **_article_columns(),
            **_labels(*ARTICLE_TASKS),
            "read_time": Column(type="float32", outcome=True),
        },
        group="user_id",
        item="item_id",
        features=_article_features(),
        tasks=_tasks(ARTICLE_TASKS),
        split=RandomSplit(),
        expected=(
            Expected.counted(
                {"QK-article.csv": _QK_ARTICLES},
                {"read": 44_228_593, "like": 821_888, "share": 591_834, "favorite": 316_627, "follow": 62_239},
            ),
        ),
    )


def qb_article() -> Dataset:
    """The small log of clicked articles: how much of it is read."""
    read = Column(type="float32", required=True, outcome=True, minimum=0, maximum=100)
    return Dataset(
        name="tenrec_qb_article",
        description="Tenrec, clicked articles (QB-article.csv): how much of the article is read, in percent.",
        source=_source("QB-article.csv"),
        columns={**_article_columns(), "read_percentage": read},
        group="user_id",
        item="item_id",
        features=_article_features(),
        # In log1p the labels span 0 to 4.6.
        tasks={
            "read_percentage": Task(label="read_percentage", kind="regression", loss=SquaredError(transform="log1p"))
        },
        split=RandomSplit(),
        expected=(Expected(rows={"QB-article.csv": _QB_ARTICLES}),),
    )


def clicked_items(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """``clicked_items``: the ten items of the history in their order, without padding (0) and what is missing; perhaps none.

    Args:
        batch: the columns of the history, int64 (n,) each.
    """
    items = np.stack([pc.fill_null(column, 0).to_numpy() for column in batch.columns], axis=1)
    kept = items != 0
    return {"clicked_items": list_array(pa.array(items[kept]), kept.sum(axis=1))}


def _source(file: str) -> Source:
    return Source(files=file, null_values=("", "\\N"))


def _of(kind: ColumnType, *names: str) -> Columns:
    return {name: Column(type=kind) for name in names}


def _labels(*names: str) -> Columns:
    return dict.fromkeys(names, Column(type="int64", required=True, outcome=True, minimum=0, maximum=1))


def _person_and_item() -> Columns:
    ids = dict.fromkeys(("user_id", "item_id"), Column(type="int64", required=True))
    return {**ids, **_of("int64", "gender", "age")}


def _video_columns() -> Columns:
    return {
        **_person_and_item(),
        **_labels(*VIDEO_TASKS),
        **_of("int64", "video_category"),
        "watching_times": Column(type="int64", outcome=True),
    }


def _article_columns() -> Columns:
    return {
        **_person_and_item(),
        **_labels("click"),
        **_of("int64", *COUNTS),
        **_of("float32", *SCORES),
        **_of("string", "category_first", "category_second"),
        "read_percentage": Column(type="float32", outcome=True),
    }


def _article_features() -> dict[str, Feature]:
    return {
        **_ids_and_person(),
        **dict.fromkeys(("category_first", "category_second"), Categorical(vocabulary=Vocabulary(min_count=10))),
        **dict.fromkeys(SCORES, Numeric(missing_indicator=True)),
    }


def _ids_and_person() -> dict[str, Feature]:
    return {
        "user_id": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
        "item_id": Id(vocabulary=IdVocabulary(min_count=5), frequency_rank=True),
        "gender": Categorical(),
        "age": Categorical(),
    }


def _video_features() -> dict[str, Feature]:
    return {**_ids_and_person(), "video_category": Categorical(vocabulary=Vocabulary(min_count=10))}


def _tasks(names: tuple[str, ...]) -> dict[str, Task]:
    return {name: Task(label=name) for name in names}
