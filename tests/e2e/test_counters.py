"""A run whose model reads counters, and logs scored with the counters that came with it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.columns import from_lists
from features.spec import ROW_ID, SPLITS
from serving.bundle import Bundle
from tests.e2e.conftest import run_pipeline, versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DAY_MS = 86_400_000
COUNTERS = {
    "items": {
        "by": "item_id",
        "days": 7,
        "days_before": "optional",
        "columns": {
            "item_shown": "count",
            "item_click_rate": {"take": "rate", "of": "clicked", "prior": 0.3, "strength": 20},
        },
    },
    "pairs": {
        "by": ["user_id", "author_id"],
        "days": 30,
        "days_before": "optional",
        "columns": {"author_unclicked": {"take": "days_since", "of": "clicked"}},
    },
}
GIVEN = ["item_shown", "item_click_rate", "author_unclicked"]


def scored(model, data) -> pd.DataFrame:
    """The counters of rows as `feedrank score` reads them."""
    from pipeline.model_log import LogOptions, ModelLog

    log = ModelLog(Bundle(model), str(data), LogOptions(), labels=False, stage="score")
    rows = [batch.rows.to_pandas() for batch in log.batches(None)]
    return pd.concat(rows).set_index(ROW_ID).sort_index()


def test_a_model_is_trained_and_asked_with_the_same_counters(small, tmp_path) -> None:
    from pipeline import scoring

    folder, record = run_pipeline(
        "demo.yaml",
        [
            *small,
            "name=counters",
            "model=shared_bottom",
            "train.epochs=1",
            f"dataset.counters={json.dumps(COUNTERS)}",
            "dataset.features.item_shown={kind: numeric, scaling: log_zscore}",
            "dataset.features.item_click_rate=numeric",
            "dataset.features.author_unclicked={kind: numeric, missing_indicator: true}",
        ],
    )
    assert record.status == "done"
    examples = record.output("ingest", "examples")
    serving = folder.directory.parents[1] / "serving"
    model = serving / str(versions(serving)[-1])
    dataset = Bundle(model).dataset()
    batches = [batch for split in SPLITS for batch in pq.read_table(examples / f"Split-{split}").to_batches()]
    ingested = pd.concat([from_lists(batch, dataset).to_pandas() for batch in batches]).set_index(ROW_ID).sort_index()
    assert ingested["item_shown"].max() > 100
    assert 0 < ingested["author_unclicked"].isna().sum() < len(ingested)
    log = next(option for option in small if option.startswith("data.path=")).removeprefix("data.path=")
    pd.testing.assert_frame_equal(scored(model, log)[GIVEN], ingested[GIVEN])

    # A month later: every row has what the morning after the log's last day knew of its item.
    later = tmp_path / "later.parquet"
    days = sorted((tmp_path / log / "log").glob("dt=*"))
    rows = pq.read_table(next(days[-1].glob("*.parquet")))
    now = pa.array(rows["time_ms"].to_numpy() + 30 * DAY_MS)
    pq.write_table(rows.set_column(rows.column_names.index("time_ms"), "time_ms", now), later)
    week = pa.concat_tables([pq.read_table(next(day.glob("*.parquet"))) for day in days[-7:]]).to_pandas()
    counted = week.groupby("item_id")["clicked"].agg(["size", "sum"])
    found = scored(model, later)
    expected = counted.reindex(found["item_id"]).fillna(0)
    np.testing.assert_array_equal(found["item_shown"], expected["size"])
    np.testing.assert_allclose(found["item_click_rate"], (expected["sum"] + 6) / (expected["size"] + 20), rtol=1e-6)
    result = scoring.score(str(model), str(later), str(tmp_path / "scores.parquet"))
    assert result.rows == rows.num_rows
    # The same rows on their own day, with the counters of that day: other scores, so the model reads them.
    source = next(days[-1].glob("*.parquet"))
    on_the_day = scoring.score(str(model), str(source), str(tmp_path / "first.parquet"))
    clicks = [pq.read_table(of.output)["click"].to_numpy() for of in (result, on_the_day)]
    assert np.abs(clicks[0] - clicks[1]).max() > 1e-4
