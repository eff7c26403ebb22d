"""A slice of a Kafka topic: rows that a rerun reads again, exactly."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

import pydantic

from features.errors import ConfigError
from features.frozen import Frozen, SpecError
from features.kafka_security import KafkaSecurity
from features.spans import Span

_OURS = (
    *("bootstrap.servers", "group.id", "auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store"),
    *("enable.partition.eof", "isolation.level", "allow.auto.create.topics", "check.crcs"),
)
_SECRET = ("password", "passphrase", "secret", "key.pem", "user.info")
_SECURITY = ("security.", "ssl.", "sasl.")
BARE = 0
"""Stands for an id in `KafkaAvro.schemas` where messages name none."""
_LATER = "/later/"
"""In the names of what `KafkaSource.later` has."""


class KafkaSlice(NamedTuple):
    """Offsets of a partition, from the first to the one behind the last."""

    partition: int
    begin: int
    end: int


class KafkaWindow(Frozen):
    """A stretch of time. A run asks the cluster once, as it begins, which offsets it is, and saves them: started again from its saved
    configuration, it reads the same messages."""

    SHORTHAND: ClassVar[str | None] = "by"

    by: Literal["times", "days"] = "times"
    """``times``: messages that have a time from `since` until `until` in Kafka. ``days``: rows of the split's days by the dataset's `time`;
    Kafka's times only say where they are looked for, from the first day's beginning until `late` after the last day's end. Other days'
    rows that are found beside them are left out (``out_of_window``), and no budget counts them."""
    since: pydantic.AwareDatetime | None = None
    """The first time, such as ``2026-11-20T00:00:00Z``; of ``times``."""
    until: pydantic.AwareDatetime | None = None
    """The first time behind it, likewise."""
    late: Annotated[Span, pydantic.Field(ge=0, le=366 * 86_400)] = 3_600.0
    """How much later a message may stand in the topic than its time says, such as ``1h`` or ``0``: what comes later is not read. A run
    starts no sooner than this after the window's end. Not used of ``times`` that the broker sets (``LogAppendTime``), which rise."""
    deleted: Literal["refuse", "accept"] = "refuse"
    """Where a partition's first message is one of the window and earlier ones are deleted, nobody knows whether the window is whole:
    ``refuse`` stops the run, ``accept`` reads what is left."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> KafkaWindow:
        if self.by == "days" and (self.since is not None or self.until is not None):
            raise SpecError("kafka.window: by days, the split says from when until when; allowed: no since, no until")
        if self.by == "times" and (self.since is None or self.until is None):
            raise SpecError("kafka.window: allowed: since and until, or the word days for those of a split by time")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise SpecError(f"kafka.window: from {self.since} until {self.until} is no time; allowed: since < until")
        return self

    def span(
        self, days: Sequence[datetime.date], utc_offset_hours: float
    ) -> tuple[datetime.datetime, datetime.datetime]:
        """The first time, and the first one behind.

        Args:
            days: of the split, in their order; looked at by ``days`` alone.
            utc_offset_hours: where their midnights are.
        """
        if self.since is not None and self.until is not None:
            return self.since, self.until
        zone = datetime.timezone(datetime.timedelta(hours=utc_offset_hours))
        first, last = (datetime.datetime.combine(day, datetime.time(), zone) for day in (days[0], days[-1]))
        return first, last + datetime.timedelta(days=1)

    def reach(self, days: Sequence[datetime.date]) -> tuple[datetime.date, datetime.date]:
        """The first and the last day of which rows may well stand beside those of ``days``: up to `late` from them."""
        whole = datetime.timedelta(days=-(-self.late // 86_400))
        return days[0] - whole, days[-1] + whole


class KafkaAvro(Frozen):
    """Where the schemas of Avro messages are. A run reads files once, as it begins, and saves what they say."""

    SHORTHAND: ClassVar[str | None] = "file"

    file: str | None = None
    """A schema as JSON (``feed.avsc``) by which every message is one datum, without anything before it."""
    files: dict[pydantic.NonNegativeInt, str] = {}
    """Such files by id, of messages as Confluent's serializers write them: a byte 0, four of the schema's id, the datum."""
    registry: str | None = None
    """Of such messages, the address of a Schema Registry (``http://HOST:8081``), which is asked once for each id in every piece of a slice. It
    stands beside `files` if both are named: then those know some of the ids. A name and password belong into ``kafka.settings_file``, as
    ``schema.registry.basic.auth.user.info=NAME:PASSWORD``."""
    schemas: dict[pydantic.NonNegativeInt, str] = {}
    """What the files said when the run began, by id, 0 for `file`; where it stands, no file is read."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> KafkaAvro:
        if (self.file is not None) == bool(self.files or self.registry is not None):
            raise SpecError(
                "kafka.avro: allowed: `file` for datums alone, or `files` by id, `registry` or both for Confluent's"
            )
        if self.registry is not None:
            address = urlsplit(self.registry)
            if address.scheme not in ("http", "https") or not address.hostname:
                raise SpecError(f"kafka.avro.registry: '{self.registry}' is no address; allowed: http://HOST:PORT")
            if address.username is not None or address.password is not None or address.query:
                raise SpecError(
                    "kafka.avro.registry holds a name or a query, which would be saved with the run; allowed: in kafka.settings_file"
                )
        if self.schemas and set(self.schemas) != ({BARE} if self.file is not None else set(self.files)):
            raise SpecError(
                f"kafka.avro.schemas has ids {sorted(self.schemas)}; allowed: one of each file (0 of `file`)"
            )
        return self

    @property
    def framed(self) -> bool:
        """Whether messages begin with the id of their schema."""
        return self.file is None


class KafkaSource(Frozen):
    """Messages of a topic from offset to offset, a row each. Needs the extra ``feedrank[kafka]``."""

    servers: str
    """Brokers, ``HOST:PORT,...``."""
    topic: str
    """The topic's name."""
    offsets: dict[int, tuple[pydantic.NonNegativeInt, pydantic.NonNegativeInt]] = {}
    """By partition the first offset and the one behind the last: ``{0: [0, 1000], 1: [0, 970]}``. A run fills in those of a `window`."""
    window: KafkaWindow | None = None
    """In the place of `offsets`: a stretch of time. ``days``: that of the split's days."""
    later: dict[int, tuple[pydantic.NonNegativeInt, pydantic.NonNegativeInt]] = {}
    """Behind a window's `offsets`, what the window of `actions` reaches into: its impressions take the actions that are their own, and are
    no rows of the run, which fills this in."""
    topic_id: str | None = None
    """The topic's id, which a run fills in: a topic that was made anew under its name is refused."""
    cluster_id: str | None = None
    """The cluster's id, likewise."""
    format: Literal["jsonl", "avro"] = "jsonl"
    """``jsonl``: each message is a JSON object. ``avro``, which goes without saying beside `avro`: an Avro datum."""
    avro: KafkaAvro | None = None
    """Of Avro messages, where their schemas are; a bare name is that of one file."""
    security: KafkaSecurity | None = None
    """TLS and passwords; null: neither, unless `settings` say otherwise."""
    settings: dict[str, str] = {}
    """librdkafka's further settings of the connection, such as ``client.id``; secrets belong into `settings_file`."""
    settings_file: str | None = None
    """File of further settings, ``name=value`` a line, that every worker reads and that is not saved with the run."""
    idle_s: pydantic.PositiveInt = 60
    """Seconds without a message, before the end, after which the run stops: more than a broker's restart takes."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _format_from_avro(cls, value: Any) -> Any:
        is_avro = isinstance(value, dict) and value.get("avro") is not None
        return {"format": "avro", **value} if is_avro else value

    @pydantic.model_validator(mode="after")
    def _check(self) -> KafkaSource:
        if not self.offsets and self.window is None:
            raise SpecError(
                "kafka.offsets names no partition; allowed: {PARTITION: [FIRST, BEHIND THE LAST], ...}, or a `window`"
            )
        if (self.format == "avro") != (self.avro is not None):
            raise SpecError(f"kafka.format is {self.format}; allowed: avro together with `avro`, where its schemas are")
        for what, slices in (("offsets", self.offsets), ("later", self.later)):
            for partition, (begin, end) in slices.items():
                if partition < 0 or begin >= end:
                    raise SpecError(
                        f"kafka.{what}: partition {partition} from {begin} to {end} is no slice; allowed: from < to"
                    )
        if self.later and (self.window is None or not self.offsets):
            raise SpecError("kafka.later is of a window whose offsets a run has saved; allowed: neither, or both")
        self._check_settings()
        return self

    def _check_settings(self) -> None:
        for name in self.settings:
            if name in _OURS:
                raise SpecError(f"kafka.settings: '{name}' is set by the reader, for a rerun must read the same rows")
            if any(part in name for part in _SECRET):
                raise SpecError(
                    f"kafka.settings: '{name}' would be saved with the run; allowed: in kafka.settings_file"
                )
            if self.security is not None and name.startswith(_SECURITY):
                raise SpecError(f"kafka.settings: '{name}' stands beside kafka.security; allowed: one of them")

    @property
    def by_day(self) -> bool:
        """Whether the slice is that of the split's days."""
        return self.window is not None and self.window.by == "days"

    @property
    def names(self) -> list[str]:
        """Of the slices, a partition each, as row ids, manifests and dead letters have them.

        Raises:
            ConfigError: if nobody has asked yet which offsets the window is.
        """
        if not self.offsets:
            raise ConfigError(
                f"the window of topic '{self.topic}' has no offsets yet; allowed here: what `feedrank run` saved, or `offsets`"
            )
        return [f"kafka://{self.topic}/{partition}" for partition in sorted(self.offsets)]

    @property
    def later_names(self) -> list[str]:
        """Of what `later` has, likewise."""
        return [f"kafka://{self.topic}{_LATER}{partition}" for partition in sorted(self.later)]

    def slice_of(self, name: str) -> KafkaSlice:
        """What a name of `names` or `later_names` stands for."""
        is_later, partition = name.startswith(f"kafka://{self.topic}{_LATER}"), int(name.rpartition("/")[2])
        return KafkaSlice(partition, *(self.later if is_later else self.offsets)[partition])

    @property
    def messages(self) -> int:
        """How many the slices have at most."""
        return sum(end - begin for slices in (self.offsets, self.later) for begin, end in slices.values())
