"""What a run of ingest reads, found and looked at before anything is read that costs."""

from __future__ import annotations

from typing import Any, NamedTuple

from features.logs import resolve_log
from features.logs.files import ActionFiles, EarlierFiles, name_of, resolve_earlier
from features.logs.kafka_slice import check_slice, window_of
from features.logs.sources import check_columns
from features.spec import Dataset
from pipeline.components.joining import find_actions
from pipeline.config import DataConfig


class FoundLog(NamedTuple):
    """What there is, but for BigQuery's rows: there a run opens what it reads.

    Attributes:
        files: the log's; none of BigQuery.
        earlier: of days before the split's.
        acted: what actions are joined from.
        topic: of a log in Kafka, what the manifest says of it.
    """

    files: list[str]
    earlier: EarlierFiles
    acted: ActionFiles
    topic: dict[str, Any] | None


def find_log(dataset: Dataset, data: DataConfig) -> FoundLog:
    """Finds the logs' files, and looks whether they have their columns.

    Raises:
        ConfigError: if a topic cannot be asked, or a path is of a file system that is not read.
        DataError: if a file or column is missing, a day is not complete, or a topic does not hold the slice.
    """
    files = resolve_log(dataset, data.path) if dataset.source.bigquery is None else []
    earlier = resolve_earlier(dataset, data.path)
    topic = _told_topic(dataset)
    for file in (*files, *earlier.files):
        check_columns(file, name_of(file, data.path), dataset.source, dataset.columns)
    return FoundLog(files, earlier, find_actions(dataset, data, earlier), topic)


def _told_topic(dataset: Dataset) -> dict[str, Any] | None:
    """Which topic it is, and which stretch of time its slice, if it is one."""
    kafka, span = dataset.source.kafka, window_of(dataset)
    if kafka is None:
        return None
    window = {} if span is None else {"window": [time.isoformat() for time in span]}
    return {"topic": kafka.topic, **check_slice(kafka)._asdict(), **window}
