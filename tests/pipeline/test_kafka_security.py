"""A real broker behind TLS and passwords: who is trusted reads, who is not hears why, and no secret is written anywhere."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from features.errors import ConfigError, DataError
from features.kafka import KafkaSource
from features.logs import kafka_slice
from features.logs.kafka_reader import read_kafka
from features.logs.kafka_slice import check_slice, pinned
from features.logs.pieces import Piece
from features.spec import Column, RandomSplit, Source
from pipeline.config import RunConfig
from pipeline.console import RunConsole
from pipeline.runners import local
from pipeline.runs import RunFolder
from tests.features.logs.small_log import dataset
from tests.kafka_broker import KafkaBroker, kafka_broker
from tests.kafka_security import KEY_PASSWORD, PASSWORD, SCRAM_PASSWORD, SECRETS, USER

pytestmark = pytest.mark.slow
ROWS = 50


class Secured:
    """A broker with a topic, and the folder of the certificates."""

    def __init__(self, broker: KafkaBroker, folder: Path) -> None:
        self._broker, self._folder = broker, folder

    def file(self, name: str) -> str:
        return str(self._folder / name)

    def of(self, listener: str, security: Mapping[str, Any] | None, **more: Any) -> KafkaSource:
        said = {
            "servers": self._broker.secure[listener],
            "topic": "feed",
            "offsets": {0: (0, ROWS)},
            "security": security,
        }
        return KafkaSource.model_validate(said | more)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secure")
    with kafka_broker(folder, secure=True) as running:
        from confluent_kafka import admin

        running.make("feed")
        running.send("feed", [json.dumps({"user": user}).encode() for user in range(ROWS)])
        scram = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_256, 4096)
        client = running.admin  # it must live until it is answered
        changes = [admin.UserScramCredentialUpsertion(USER, scram, SCRAM_PASSWORD.encode())]
        client.alter_user_scram_credentials(changes)[USER].result(60)
        (folder / "password").write_text(PASSWORD + "\n")
        (folder / "key-password").write_text(KEY_PASSWORD)
        yield Secured(running, folder)


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_slice, "ANSWER_S", 5.0)


def users(kafka: KafkaSource) -> list[int]:
    found: list[int] = []
    for batch in read_kafka(Piece(kafka.names[0]), "feed", Source(kafka=kafka), {"user": Column(type="int64")}):
        found += batch.columns["user"].to_pylist()
    return found


@pytest.mark.parametrize(
    ("listener", "security"),
    [
        ("TLS", {"protocol": "SSL"}),
        ("MUTUAL", {"protocol": "SSL", "certificate": "client.pem", "key": "client.key", "key_password": {"file": "key-password"}}),
        ("SASLTLS", {"protocol": "SASL_SSL", "username": USER, "password": {"file": "password"}}),
        ("SASLTLS", {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-256", "username": USER, "password": {"env": "FEED_SCRAM"}}),
        ("SASLBARE", {"protocol": "SASL_PLAINTEXT", "username": USER, "password": {"env": "FEED_PLAIN"}}),
    ],
)  # fmt: skip
def test_who_is_trusted_reads(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, listener: str, security: dict[str, Any]
) -> None:
    monkeypatch.setenv("FEED_PLAIN", PASSWORD)
    monkeypatch.setenv("FEED_SCRAM", SCRAM_PASSWORD)
    kafka = secured.of(listener, _in_folder(secured, security))
    check_slice(kafka)
    assert users(kafka) == [*range(ROWS)]
    window = {"window": {"since": "2026-01-01T00:00:00Z", "until": _soon()}, "offsets": {}}
    now = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)
    asked = pinned(
        dataset(source=Source(kafka=kafka.model_validate(kafka.model_dump() | window)), split=RandomSplit()), now
    )
    assert asked.source.kafka is not None
    assert asked.source.kafka.offsets == {0: (0, ROWS)}
    assert not any(secret in asked.model_dump_json() for secret in SECRETS)


def _soon() -> str:
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).isoformat()


def _in_folder(secured: Secured, security: Mapping[str, Any]) -> dict[str, Any]:
    """Files' names below the folder of the certificates; TLS trusts the test's signer unless something else is said."""
    found = {"ca": "ca.pem"} | dict(security) if "SSL" in security["protocol"] else dict(security)
    files = {name: secured.file(found[name]) for name in ("ca", "certificate", "key") if name in found}
    places = {
        name: {"file": secured.file(found[name]["file"])}
        for name in ("password", "key_password")
        if "file" in found.get(name, {})
    }
    return found | files | places


@pytest.mark.parametrize(
    ("listener", "security", "said"),
    [
        ("TLS", {"protocol": "SSL", "ca": "other-ca.pem"}, r"certificate verify failed.*; see ca, certificate and key of kafka.security"),
        ("MUTUAL", {"protocol": "SSL"}, r"no answer of Kafka at .*(certificate|handshake|SSL)"),
        ("SASLTLS", {"protocol": "SASL_SSL", "username": "other", "password": {"file": "password"}}, r"Authentication failed: Invalid username or password .*; see mechanism, username and password of kafka.security"),
        ("SASLTLS", {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": USER, "password": {"file": "password"}}, r"SCRAM-SHA-512.*; see mechanism, username and password of kafka.security"),
        ("TLS", None, r"about topic 'feed': the connection is cut; where brokers want TLS or a password, kafka.security"),
        ("SASLBARE", {"protocol": "SSL"}, r"no answer of Kafka at .*(SSL|security.protocol)"),
    ],
)  # fmt: skip
def test_who_is_not_trusted_hears_why(
    secured: Secured, listener: str, security: dict[str, Any] | None, said: str
) -> None:
    kafka = secured.of(listener, None if security is None else _in_folder(secured, security))
    with pytest.raises(DataError, match=said) as refused:
        check_slice(kafka)
    assert not any(secret in str(refused.value) for secret in SECRETS)


def test_a_broker_of_another_name_is_not_trusted(secured: Secured) -> None:
    """Its certificate names 127.0.0.1 alone."""
    kafka = secured.of("TLS", _in_folder(secured, {"protocol": "SSL"}))
    named = kafka.model_copy(update={"servers": kafka.servers.replace("127.0.0.1", "localhost")})
    check_slice(kafka)
    with pytest.raises(DataError, match=r"certificate verify failed.*; see ca, certificate and key of kafka.security"):
        check_slice(named)


@pytest.mark.parametrize(
    ("security", "said"),
    [
        ({"protocol": "SSL", "ca": "absent.pem"}, r"cannot read kafka.security.ca .*absent.pem: No such file"),
        ({"protocol": "SSL", "ca": "client.csr"}, r"kafka.security or kafka.settings: .*ssl.ca.location"),
        (
            {"protocol": "SSL", "certificate": "client.pem", "key": "client.key", "key_password": {"file": "password"}},
            r"kafka.security or kafka.settings: .*ssl.key.location",
        ),
        (
            {"protocol": "SASL_SSL", "username": USER, "password": {"env": "FEED_NOWHERE"}},
            r"kafka.security.password: environment variable FEED_NOWHERE is not set or empty",
        ),
    ],
)
def test_what_cannot_be_used_is_no_wait(secured: Secured, security: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        check_slice(secured.of("TLS", _in_folder(secured, security)))
    assert not any(secret in str(refused.value) for secret in SECRETS)


def test_a_run_writes_no_secret(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that connects nor one that is refused; the saved configuration says where the password is."""

    def stop(config: RunConfig, run_id: str) -> NoReturn:
        raise DataError("far enough")

    monkeypatch.setattr(local, "compile_local", stop)
    for username, said in ((USER, "far enough"), ("other", "Invalid username or password")):
        security = {"protocol": "SASL_SSL", "username": username, "password": {"file": "password"}}
        kafka = secured.of("SASLTLS", _in_folder(secured, security))
        config = RunConfig(name="secret", output=str(tmp_path), dataset=dataset(source=Source(kafka=kafka)))
        with RunFolder.create(config) as folder, RunConsole(sys.stderr) as listener:
            with pytest.raises(DataError, match=said):
                local.run(config, folder, listener)
            assert said in str(folder.read_record().error)
            assert secured.file("password") in folder.config.read_text()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert not any(secret.encode() in data for secret in SECRETS for data in written)
