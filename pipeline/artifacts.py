"""Artifact types that TFX does not have. Everything else is one of its standard types.

Each is named as it is imported from `pipeline`: on Kubeflow, TFX finds the class by the type's name, ``<package>.<Class>``.
"""

from __future__ import annotations

from tfx import types


class Quarantine(types.Artifact):
    """Dead-letter Parquet files: file, row, line, column, reason, value and raw text of every row left out. Beside them the folder
    ``_unattributed``: actions that belong to no impression, with the reason."""

    TYPE_NAME = "pipeline.Quarantine"


class IngestManifest(types.Artifact):
    """``manifest.json``: rows read, rows out and quarantined (they add up), files, days, labels, unmatched keys, actions."""

    TYPE_NAME = "pipeline.IngestManifest"


class SideTables(types.Artifact):
    """One Parquet file per side table, derived tables included, with the columns that the spec names."""

    TYPE_NAME = "pipeline.SideTables"


class DataVerdict(types.Artifact):
    """``verdict.json``: the problems and warnings that validation found."""

    TYPE_NAME = "pipeline.DataVerdict"


class HtmlReport(types.Artifact):
    """``report.html``: one self-contained page about a run."""

    TYPE_NAME = "pipeline.HtmlReport"
