"""How Kafka is spoken to: the library, which is an extra, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.errors import ConfigError
from features.kafka import KafkaSource

READING: Mapping[str, Any] = {
    "auto.offset.reset": "error",  # else deleted rows are skipped, or all, without an error
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "allow.auto.create.topics": False,
    "check.crcs": True,
    "fetch.queue.backoff.ms": 5,
    "group.id": "feedrank",  # asked for by the library; no group is joined
}
"""A consumer's settings, over which the user has no say."""
REGISTRY = "schema.registry."
"""How settings of a Schema Registry begin in the settings' file; librdkafka knows none of them."""


def library() -> tuple[Any, Any]:
    """confluent-kafka and its part for administrators.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import confluent_kafka
        from confluent_kafka import admin
    except ImportError as error:
        raise ConfigError(
            "source.kafka needs confluent-kafka: install feedrank[kafka] (uv sync --extra pipeline --extra kafka)"
        ) from error
    return confluent_kafka, admin


def made(kind: Any, kafka: KafkaSource, ours: Mapping[str, Any]) -> Any:
    """A client of the class `kind`.

    Raises:
        ConfigError: if a setting is unknown, or the file of settings cannot be read.
    """
    kafka_library, _ = library()
    said = {name: value for name, value in settings(kafka.settings_file).items() if not name.startswith(REGISTRY)}
    given = {**kafka.settings, **said, **ours, "bootstrap.servers": kafka.servers}
    try:
        return kind(given)
    except (kafka_library.KafkaException, ValueError, TypeError) as error:
        raise ConfigError(f"kafka.settings: {error}; allowed: librdkafka's settings") from error


def settings(file: str | None) -> dict[str, str]:
    """Lines ``name=value``; blank ones and those that begin with ``#`` say nothing.

    Raises:
        ConfigError: if the file cannot be read, or a line has another form; repeats none of it, for it may be a password.
    """
    if file is None:
        return {}
    try:
        lines = [line.strip() for line in Path(file).read_text("utf-8").splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read kafka.settings_file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"kafka.settings_file {file}: allowed: text in UTF-8; byte {error.start} is none") from None
    said = {number: line.partition("=") for number, line in enumerate(lines, 1) if line and not line.startswith("#")}
    if wrong := [number for number, (name, sign, _) in said.items() if not sign or not name.strip()]:
        raise ConfigError(f"kafka.settings_file {file}, line {wrong[0]}: allowed: name=value, or # and a remark")
    return {name.strip(): value.strip() for name, _, value in said.values()}
