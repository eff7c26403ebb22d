"""The log that `feedrank data synth` writes: see `features.synthesis` for what is true of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.spec import (
    Bag,
    Categorical,
    Column,
    Columns,
    Dataset,
    Derived,
    Feature,
    Id,
    Numeric,
    Sequence,
    SideTable,
    Source,
    Task,
    TimeColumn,
    TimeSplit,
    Vocabulary,
)
from features.synthesis.config import LABELS, TASKS, SynthesisConfig
from features.synthesis.writing import SEPARATOR

MS_PER_HOUR = 3_600_000


def dataset() -> Dataset:
    """The log of the default `SynthesisConfig`."""
    return dataset_for(SynthesisConfig())


def dataset_for(config: SynthesisConfig) -> Dataset:
    """The log of this config: tested on its last day, validated on the one before, trained on the others."""
    dates = config.dates
    return Dataset(
        name="synthetic",
        description="A feed with a known truth: latent tastes, personal habits of showing them, position effect.",
        source=Source(files=f"log/dt=*/part-*.{config.format}", format=config.format),
        columns=_log_columns(),
        time=TimeColumn(column="time_ms", unit="ms"),
        group="user_id",
        item="item_id",
        position="position",
        tables={
            "users": SideTable(
                source=Source(files=f"users.{config.format}", format=config.format),
                on="user_id",
                columns=_user_columns(),
            ),
            "items": SideTable(
                source=Source(files=f"items.{config.format}", format=config.format),
                on="item_id",
                columns=_item_columns(),
            ),
        },
        derived=(
            Derived(
                function="features.catalog.synthetic:hour_of_day",
                inputs=("time_ms",),
                outputs={"hour": Column(type="int64")},
            ),
            Derived(
                function="features.catalog.synthetic:interest_rank",
                inputs=("category", "interests"),
                outputs={"interest_rank": Column(type="int64")},
            ),
        ),
        features=_features(),
        tasks={task: Task(label=LABELS[task], parent="click" if task == "conversion" else None) for task in TASKS},
        split=TimeSplit(train=(dates[0], dates[-3]), validation=(dates[-2], dates[-2]), test=(dates[-1], dates[-1])),
    )


def hour_of_day(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """``hour``: 0 to 23, UTC."""
    time_ms = batch.column(batch.schema.get_field_index("time_ms"))
    hours = pc.divide(time_ms, MS_PER_HOUR)
    return {"hour": pc.subtract(hours, pc.multiply(pc.divide(hours, 24), 24))}


def interest_rank(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """``interest_rank``: 1 if the item's category is the first that the user named, 2 the second, ..., 0 if none."""
    category = batch.column(batch.schema.get_field_index("category"))
    interests = batch.column(batch.schema.get_field_index("interests"))
    row = np.asarray(pc.list_parent_indices(interests), dtype=np.int64)
    matches = pc.equal(pc.list_flatten(interests), category.take(pa.array(row)))
    place = np.arange(len(row)) - np.searchsorted(row, row) + 1
    matched = np.asarray(pc.fill_null(matches, False).to_numpy(zero_copy_only=False), dtype=bool)
    rank = np.zeros(batch.num_rows, dtype=np.int64)
    rank[row[matched]] = place[matched]
    return {"interest_rank": pa.array(rank)}


def _log_columns() -> Columns:
    return {
        "impression_id": Column(type="int64", required=True),
        "time_ms": Column(type="int64", required=True),
        "user_id": Column(type="int64", required=True),
        "item_id": Column(type="int64", required=True),
        "position": Column(type="int64", minimum=1),
        "device": Column(type="string"),
        "recent_clicks": Column(type="list<int64>", separator=SEPARATOR),
        **{LABELS[task]: Column(type="int64", required=True, outcome=True, minimum=0, maximum=1) for task in TASKS},
    }


def _user_columns() -> Columns:
    return {
        "user_id": Column(type="int64"),
        "age": Column(type="int64"),
        "gender": Column(type="string"),
        "city": Column(type="string"),
        "activity": Column(type="string"),
        "member_days": Column(type="int64"),
        "interests": Column(type="list<string>", separator=SEPARATOR),
    }


def _item_columns() -> Columns:
    return {
        "item_id": Column(type="int64"),
        "author_id": Column(type="int64"),
        "category": Column(type="string"),
        "tags": Column(type="list<string>", separator=SEPARATOR),
        "duration_s": Column(type="float32"),
        "price": Column(type="float32"),
    }


def _features() -> dict[str, Feature]:
    return {
        "user_id": Id(),
        "item_id": Id(),
        "author_id": Id(),
        "category": Categorical(),
        "tags": Bag(max_length=3),
        "recent_clicks": Sequence(vocabulary_of="item_id", max_length=10),
        "interests": Bag(vocabulary_of="category", max_length=3),
        "interest_rank": Categorical(values=(0, 1, 2, 3)),
        "device": Categorical(values=("android", "ios", "web")),
        "gender": Categorical(values=("female", "male")),
        "city": Categorical(vocabulary=Vocabulary(min_count=10)),
        "activity": Categorical(values=("low", "medium", "high")),
        "hour": Categorical(),
        "age": Numeric(missing_indicator=True),
        "member_days": Numeric(scaling="log_zscore"),
        "duration_s": Numeric(scaling="log_zscore"),
        "price": Numeric(scaling="log_zscore", missing_indicator=True),
    }
