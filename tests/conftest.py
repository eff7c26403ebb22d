"""What all tests share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from features import environment
from tests.gcs_server import GcsServer, gcs_server
from tests.kafka_broker import KafkaBroker, kafka_broker
from tests.public_logs import PublicLogs
from tests.s3_server import ACCOUNT, S3Server, s3_server

if TYPE_CHECKING:
    from tests.serving.exports import Export

environment.prepare()

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _turn(item: pytest.Item) -> int:
    if item.path.parent.name == "logs":
        return 0
    return 1 if {"e2e", "golden"}.isdisjoint(item.path.parts) else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Readers of logs come first and whole pipelines last.

    TensorFlow, and pipelines even more, leave millions of objects behind, which pyarrow looks through at every CSV read: after
    them thousands of small files take eight times as long.
    """
    items.sort(key=_turn)


@pytest.fixture(scope="session")
def test_data() -> PublicLogs:
    """The public logs: ``test_data / "kuairand"`` is a folder, or skips the test where that log is absent."""
    return PublicLogs.find()


@pytest.fixture(scope="session")
def _running_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(_running_s3: S3Server, s3_account: None) -> S3Server:
    """A server of S3, the same for all tests: each takes a bucket of its own."""
    return _running_s3


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, ``s3://NAME``, to which the environment leads all clients."""
    name = f"store-{uuid.uuid4().hex}"
    s3.files.create_dir(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://{name}"


@pytest.fixture
def s3_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, and nothing else that AWS' environment might say."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """A server of Cloud Storage, the same for all tests: each takes a bucket of its own."""
    with gcs_server(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker of Kafka for the tests of one file: each takes topics of its own."""
    with kafka_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A tiny exported model, made once: it takes Transform a while."""
    from tests.serving.exports import make_export

    return make_export(tmp_path_factory.mktemp("export"))
