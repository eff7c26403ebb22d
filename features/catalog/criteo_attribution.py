"""Criteo Attribution Modeling for Bidding (Diemert, Meynet et al., AdKDD 2017): banners with click, conversion, attribution.

Read from the documented format; no real file was at hand. ``criteo_attribution_dataset.tsv.gz`` (2.4 GB unpacked) has a row an
impression, sorted by time. As others have counted in the public file: 16,468,027 rows, 6,142,256 users, 675 campaigns; positive
rates click .361, conversion .0490, attribution .0269 (the publisher has sampled: they are no rates of real traffic).

``timestamp`` counts seconds from the first impression, which has 0, so the days of the log are 1970-01-01 and the 30 after it: the
last second is 2,671,199, and 01-31 ends after 22 hours. Trained on the first 28, validated on the next, tested on the last two; the
split holds all days, for rows outside of it would be quarantined.

The chain: `conversion` is a purchase in the 30 days after the impression, whether or not its click was the last one; `attribution` says
that the conversion was credited to Criteo. Those who have counted the public file found no conversion without a click and no
attribution without a conversion, so each is the parent of the next. One purchase marks all clicked rows that led to it (435,810
purchases in 806,196 rows); rows are counted here, not purchases.

Outcomes: ``conversion_timestamp``, ``conversion_id``, ``click_pos`` and ``click_nb`` tell about the conversion, -1 where there was none.
``cost`` is the price that was paid for the display, ``cpo`` the cost of the order "in case of attributed conversion"; no documentation
says that either is known before the display.

``time_since_last_click`` is known at the impression, in seconds; -1, about half of the rows, says that there was no click before and is
a bucket of its own. ``cat1`` to ``cat9`` are categories without documented meaning; two have many values.
"""

from __future__ import annotations

import datetime

from features.spec import (
    Bucketized,
    Categorical,
    Column,
    Dataset,
    Expected,
    Id,
    IdVocabulary,
    Source,
    Task,
    TimeColumn,
    TimeSplit,
    Vocabulary,
)

FINE = ("cat3", "cat7")
"""Categories of thousands of values."""
CATEGORIES = tuple(name for name in (f"cat{number}" for number in range(1, 10)) if name not in FINE)
LABELS = ("click", "conversion", "attribution")
MINUTE, HOUR, DAY = 60, 3_600, 86_400
"""In seconds."""


def dataset() -> Dataset:
    """Trained on 1970-01-01..28, validated on 01-29, tested on 01-30 and 01-31 (days since the log's first impression)."""
    label = Column(type="int64", required=True, outcome=True, minimum=0, maximum=1)
    return Dataset(
        name="criteo_attribution",
        description="Criteo attribution: banners with the chain click, conversion, attribution to Criteo; 31 days.",
        source=Source(files="criteo_attribution_dataset.tsv.gz"),
        columns={
            "timestamp": Column(type="int64", required=True, minimum=0),
            **dict.fromkeys(("uid", "campaign"), Column(type="int64", required=True)),
            **dict.fromkeys(LABELS, label),
            **dict.fromkeys(
                ("conversion_timestamp", "conversion_id", "click_pos", "click_nb"), Column(type="int64", outcome=True)
            ),
            **dict.fromkeys(("cost", "cpo"), Column(type="float32", outcome=True)),
            "time_since_last_click": Column(type="int64", minimum=-1),
            **dict.fromkeys((*CATEGORIES, *FINE), Column(type="int64")),
        },
        time=TimeColumn(column="timestamp", unit="s"),
        group="uid",
        item="campaign",
        features={
            # Users have 2.7 impressions on average: a row of their own for those with many.
            "uid": Id(vocabulary=IdVocabulary(min_count=20), frequency_rank=True),
            **dict.fromkeys(("campaign", *FINE), Id(vocabulary=IdVocabulary(min_count=10), frequency_rank=True)),
            **dict.fromkeys(CATEGORIES, Categorical(vocabulary=Vocabulary(min_count=10))),
            "time_since_last_click": Bucketized(
                boundaries=(0, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY)
            ),
        },
        tasks={name: Task(label=name, parent=parent) for parent, name in zip((None, *LABELS), LABELS, strict=False)},
        split=TimeSplit(
            train=(datetime.date(1970, 1, 1), datetime.date(1970, 1, 28)),
            validation=(datetime.date(1970, 1, 29), datetime.date(1970, 1, 29)),
            test=(datetime.date(1970, 1, 30), datetime.date(1970, 1, 31)),
        ),
        expected=(
            Expected(
                rows={"criteo_attribution_dataset.tsv": 16_468_027},
                rates={"click": 0.361, "conversion": 0.0490, "attribution": 0.0269},
            ),
        ),
    )
