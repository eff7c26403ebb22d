"""Where tests find the public logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

VARIABLE = "FEEDRANK_TEST_DATA"
BESIDE = Path(__file__).parents[2] / "shared" / "data"


class PublicLogs(NamedTuple):
    """The folder of the public logs, each of which has a folder of its own in it."""

    root: Path

    @classmethod
    def find(cls) -> PublicLogs:
        """Where the environment says, else beside the checkout."""
        return cls(Path(os.environ.get(VARIABLE, BESIDE)).resolve())

    def __truediv__(self, log: str) -> Path:
        """The log's folder; skips the test where there is none."""
        folder = self.root / log
        if not folder.is_dir() or not any(folder.iterdir()):
            pytest.skip(f"no log at {folder}; {VARIABLE} names the folder of all logs (see README.md, 'Data')")
        return folder
