"""What a run asks once, as it begins, and saves: a run of its saved configuration reads the same rows."""

from __future__ import annotations

import datetime

from features.logs.kafka_slice import pinned as pinned_slice
from features.spec import Dataset
from pipeline.config import RunConfig


def pinned(config: RunConfig) -> RunConfig:
    """A configuration in which a topic's slice stands fast (`features.logs.kafka_slice.pinned`), and the moment as of which BigQuery is read;
    another one as it is.

    Raises:
        ConfigError: if the cluster cannot be asked so.
        DataError: if it does not answer, or holds no such slice.
    """
    dataset = _at_one_moment(pinned_slice(config.dataset))
    return config if dataset is config.dataset else config.model_copy(update={"dataset": dataset})


def _at_one_moment(dataset: Dataset) -> Dataset:
    bigquery = dataset.source.bigquery
    if bigquery is None or bigquery.snapshot is not None:
        return dataset
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    source = dataset.source.model_copy(update={"bigquery": bigquery.model_copy(update={"snapshot": now})})
    return dataset.model_copy(update={"source": source})
