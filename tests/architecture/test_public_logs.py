from __future__ import annotations

from pathlib import Path

import pytest

from tests.public_logs import PublicLogs


def test_each_log_is_looked_for_by_itself(tmp_path: Path) -> None:
    (tmp_path / "kuairand").mkdir()
    (tmp_path / "kuairand" / "log.csv").touch()
    (tmp_path / "empty").mkdir()
    logs = PublicLogs(tmp_path)
    assert logs / "kuairand" == tmp_path / "kuairand"
    for log in ("census_income", "empty"):
        with pytest.raises(pytest.skip.Exception, match=f"no log at {tmp_path / log}; FEEDRANK_TEST_DATA"):
            logs / log
