"""How Kafka is spoken to: the library, which is an extra, and its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.errors import ConfigError
from features.kafka import KafkaSource
from features.kafka_security import KafkaSecurity, Secret

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
        ConfigError: if a setting is unknown, or the file of settings, a secret or a certificate cannot be read.
    """
    kafka_library, _ = library()
    security = {} if kafka.security is None else security_settings(kafka.security)
    said = {name: value for name, value in settings(kafka.settings_file).items() if not name.startswith(REGISTRY)}
    given = {**kafka.settings, **said, **security, **ours, "bootstrap.servers": kafka.servers}
    try:
        return kind(given)
    except (kafka_library.KafkaException, ValueError, TypeError) as error:
        where = "kafka.settings" if kafka.security is None else "kafka.security or kafka.settings"
        raise ConfigError(f"{where}: {error}; allowed: librdkafka's settings") from error


def security_settings(security: KafkaSecurity) -> dict[str, str]:
    """librdkafka's settings of TLS and passwords, the secrets among them: nothing of it is to be written anywhere.

    Raises:
        ConfigError: if a file cannot be read, or an environment variable is not set.
    """
    for what in ("ca", "certificate", "key"):
        if (file := getattr(security, what)) is not None:
            _read(file, f"kafka.security.{what}")
    found = {
        "security.protocol": security.protocol,
        "ssl.ca.location": security.ca,
        "ssl.certificate.location": security.certificate,
        "ssl.key.location": security.key,
        "ssl.key.password": _secret(security.key_password, "kafka.security.key_password"),
    }
    if security.username is not None:
        found |= {
            "sasl.mechanism": security.mechanism or "PLAIN",
            "sasl.username": security.username,
            "sasl.password": _secret(security.password, "kafka.security.password"),
        }
    return {name: value for name, value in found.items() if value is not None}


def _secret(secret: Secret | None, what: str) -> str | None:
    if secret is None:
        return None
    if secret.env is not None:
        found, where = os.environ.get(secret.env, ""), f"environment variable {secret.env}"
    else:
        found, where = _read(str(secret.file), what).rstrip("\r\n"), f"file {secret.file}"
    if not found:
        raise ConfigError(f"{what}: {where} is not set or empty; allowed: where the secret is, on every worker")
    return found


def _read(file: str, what: str) -> str:
    """A file's text, of which no message repeats anything."""
    try:
        return Path(file).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {what} {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {file}: allowed: text in UTF-8; byte {error.start} is none") from None


def settings(file: str | None) -> dict[str, str]:
    """Lines ``name=value``; blank ones and those that begin with ``#`` say nothing.

    Raises:
        ConfigError: if the file cannot be read, or a line has another form; repeats none of it, for it may be a password.
    """
    if file is None:
        return {}
    lines = [line.strip() for line in _read(file, "kafka.settings_file").splitlines()]
    said = {number: line.partition("=") for number, line in enumerate(lines, 1) if line and not line.startswith("#")}
    if wrong := [number for number, (name, sign, _) in said.items() if not sign or not name.strip()]:
        raise ConfigError(f"kafka.settings_file {file}, line {wrong[0]}: allowed: name=value, or # and a remark")
    return {name.strip(): value.strip() for name, _, value in said.values()}
