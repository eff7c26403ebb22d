"""Artifact types that TFX does not have. Everything else is one of its standard types."""

from __future__ import annotations

from tfx import types


class Quarantine(types.Artifact):
    """Dead-letter Parquet files: file, row, line, column, reason, value and raw text of every row left out."""

    TYPE_NAME = "FeedrankQuarantine"


class IngestManifest(types.Artifact):
    """``manifest.json``: rows read, rows out and quarantined (they add up), files, days, labels, unmatched keys."""

    TYPE_NAME = "FeedrankIngestManifest"


class SideTables(types.Artifact):
    """One Parquet file per side table, derived tables included, with the columns that the spec names."""

    TYPE_NAME = "FeedrankSideTables"


class DataVerdict(types.Artifact):
    """``verdict.json``: the problems and warnings that validation found."""

    TYPE_NAME = "FeedrankDataVerdict"


class HtmlReport(types.Artifact):
    """``report.html``: one self-contained page about a run."""

    TYPE_NAME = "FeedrankHtmlReport"
