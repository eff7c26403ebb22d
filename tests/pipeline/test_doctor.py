"""What `feedrank doctor` shows."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from pipeline import doctor, tables


def test_what_the_doctor_finds_stands_in_two_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = list(itertools.takewhile(lambda finding: finding.what != "data", doctor.examine(tmp_path)))
    assert "google-cloud-bigquery-storage" in [finding.what for finding in quick]
    tables.show_findings(tables.screen(), quick, doctor.longest_name())
    lines = capsys.readouterr().out.splitlines()[:-1]
    begins = {re.match(rf"\S {re.escape(found.what)} +", line).end() for found, line in zip(quick, lines, strict=True)}  # type: ignore[union-attr]
    assert len(begins) == 1
