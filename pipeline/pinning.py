"""What a run asks once, as it begins, and saves: a run of its saved configuration reads the same rows."""

from __future__ import annotations

from features.logs.kafka_slice import pinned as pinned_slice
from pipeline.config import RunConfig


def pinned(config: RunConfig) -> RunConfig:
    """A configuration in which a topic's slice stands fast (`features.logs.kafka_slice.pinned`); another one as it is.

    Raises:
        ConfigError: if the cluster cannot be asked so.
        DataError: if it does not answer, or holds no such slice.
    """
    dataset = pinned_slice(config.dataset)
    return config if dataset is config.dataset else config.model_copy(update={"dataset": dataset})
