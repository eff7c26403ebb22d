"""What all tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from features import environment
from tests.public_logs import PublicLogs

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
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A tiny exported model, made once: it takes Transform a while."""
    from tests.serving.exports import make_export

    return make_export(tmp_path_factory.mktemp("export"))
