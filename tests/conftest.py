"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features import environment

if TYPE_CHECKING:
    from tests.serving.exports import Export

environment.prepare()

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

TEST_DATA_VARIABLE = "FEEDRANK_TEST_DATA"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the public logs (``kuairand/``, ``census_income/``); the test is skipped where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get(TEST_DATA_VARIABLE, beside)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no public logs at {folder}; {TEST_DATA_VARIABLE} names their folder (see README.md, 'Data')")
    return folder


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A tiny exported model, made once: it takes Transform a while."""
    from tests.serving.exports import make_export

    return make_export(tmp_path_factory.mktemp("export"))
