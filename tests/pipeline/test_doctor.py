"""What `feedrank doctor` shows."""

from __future__ import annotations

import itertools
import re
from importlib import metadata
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


@pytest.mark.parametrize(
    ("package", "state", "said"),
    [
        ("confluent-kafka", "note", "not installed; needs .*, for logs in Kafka alone \\(extra 'kafka'\\)"),
        ("google-cloud-bigquery", "note", "not installed; needs .*, for logs in BigQuery alone \\(extra 'bigquery'\\)"),
        ("tfx", "problem", "not installed; needs ==1.16.0"),
        ("pydantic", "problem", "not installed; needs .*"),
    ],
)
def test_what_some_logs_alone_need_is_no_problem(
    package: str, state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = metadata.version

    def without(name: str) -> str:
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor.metadata, "version", without)
    found = next(finding for finding in doctor.examine(tmp_path) if finding.what == package)
    assert found.state == state
    assert re.fullmatch(said, found.detail)
