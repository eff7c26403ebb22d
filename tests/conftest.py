"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from features import environment

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
