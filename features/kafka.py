"""A slice of a Kafka topic: rows that a rerun reads again, exactly."""

from __future__ import annotations

from typing import Literal

import pydantic

from features.frozen import Frozen, SpecError

_OURS = (
    *("bootstrap.servers", "group.id", "auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store"),
    *("enable.partition.eof", "isolation.level", "allow.auto.create.topics", "check.crcs"),
)
_SECRET = ("password", "passphrase", "secret", "key.pem")


class KafkaSource(Frozen):
    """Messages of a topic from offset to offset, a row each. Needs the extra ``feedrank[kafka]``."""

    servers: str
    """Brokers, ``HOST:PORT,...``."""
    topic: str
    """The topic's name."""
    offsets: dict[int, tuple[pydantic.NonNegativeInt, pydantic.NonNegativeInt]]
    """By partition the first offset and the one behind the last: ``{0: [0, 1000], 1: [0, 970]}``."""
    topic_id: str | None = None
    """The topic's id, as an earlier run's manifest has it: a topic that was made anew under its name is refused."""
    cluster_id: str | None = None
    """The cluster's id, likewise."""
    format: Literal["jsonl"] = "jsonl"
    """``jsonl``: each message is a JSON object."""
    settings: dict[str, str] = {}
    """librdkafka's settings of the connection, such as ``security.protocol``; passwords belong into `settings_file`."""
    settings_file: str | None = None
    """File of further settings, ``name=value`` a line, that every worker reads and that is not saved with the run."""
    idle_s: pydantic.PositiveInt = 60
    """Seconds without a message, before the end, after which the run stops: more than a broker's restart takes."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> KafkaSource:
        if not self.offsets:
            raise SpecError("kafka.offsets names no partition; allowed: {PARTITION: [FIRST, BEHIND THE LAST], ...}")
        for partition, (begin, end) in self.offsets.items():
            if partition < 0 or begin >= end:
                raise SpecError(
                    f"kafka.offsets: partition {partition} from {begin} to {end} is no slice; allowed: from < to"
                )
        for name in self.settings:
            if name in _OURS:
                raise SpecError(f"kafka.settings: '{name}' is set by the reader, for a rerun must read the same rows")
            if any(part in name for part in _SECRET):
                raise SpecError(
                    f"kafka.settings: '{name}' would be saved with the run; allowed: in kafka.settings_file"
                )
        return self

    @property
    def names(self) -> list[str]:
        """Of the slices, a partition each, as row ids, manifests and dead letters have them."""
        return [f"kafka://{self.topic}/{partition}" for partition in sorted(self.offsets)]

    @property
    def messages(self) -> int:
        """How many the slices have at most."""
        return sum(end - begin for begin, end in self.offsets.values())
