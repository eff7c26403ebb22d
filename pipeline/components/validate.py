"""The validate stage: a schema curated by the spec, and a gate that stops a run before it trains on bad data."""

import json
import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from features.errors import DataError
from features.progress import report
from features.schema import build_schema
from features.spec import SPLITS, Dataset
from pipeline.artifacts import DataVerdict, IngestManifest
from pipeline.components.annotations import InputArtifact, OptionalInputArtifact, OutputArtifact, Parameter, component
from pipeline.components.statistics import read_statistics
from pipeline.data_checks import DataGateConfig, Previous, judge
from pipeline.runs import stopped_folder

STAGE = "validate"
SCHEMA_FILE = "schema.pbtxt"
VERDICT_FILE = "verdict.json"


@component()
def SpecSchema(dataset: Parameter[str], schema: OutputArtifact[standard_artifacts.Schema]) -> None:
    """Writes the schema that the spec means.

    Args:
        dataset: the `Dataset` as JSON.
        schema: gets ``schema.pbtxt``.
    """
    spec = Dataset.model_validate_json(dataset)
    io_utils.write_pbtxt_file(os.path.join(schema.uri, SCHEMA_FILE), build_schema(spec))


@component()
def DataGate(  # noqa: PLR0913, PLR0917 - a component's arguments are its arrows
    dataset: Parameter[str],
    validate: Parameter[str],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    manifest: InputArtifact[IngestManifest],
    verdict: OutputArtifact[DataVerdict],
    previous_statistics: OptionalInputArtifact[standard_artifacts.ExampleStatistics] = None,
    previous_manifest: OptionalInputArtifact[IngestManifest] = None,
) -> None:
    """Stops the run if the data is not fit to train on.

    Args:
        dataset: the `Dataset` as JSON.
        validate: the `DataGateConfig` as JSON.
        statistics: StatisticsGen's, of every split, made with `schema`.
        schema: the curated schema that the anomalies were measured against.
        anomalies: ExampleValidator's.
        manifest: ingest's.
        verdict: gets ``verdict.json``: ok, problems, warnings, measured drift. Where it stops the run, it is kept in
            :func:`pipeline.runs.stopped_folder`.
        previous_statistics: of the previous run, if there was one.
        previous_manifest: the same run's.

    Raises:
        DataError: naming every problem and its column, task, day or split.
    """
    del schema  # an arrow of the graph: the anomalies below are against it
    ingested = _read_manifest(manifest)
    previous = None
    if previous_statistics is not None and previous_manifest is not None:
        previous = Previous(read_statistics(previous_statistics)[SPLITS[0]], _read_manifest(previous_manifest))
    found = judge(
        Dataset.model_validate_json(dataset),
        DataGateConfig.model_validate_json(validate),
        ingested,
        read_statistics(statistics),
        _read_anomalies(anomalies),
        previous,
    )
    for folder in [verdict.uri] if found.ok else [verdict.uri, stopped_folder(verdict.uri)]:
        io_utils.write_string_file(os.path.join(folder, VERDICT_FILE), found.model_dump_json(indent=2))
    rows = sum(ingested["rows_out"].values())
    report(STAGE, rows=rows, problems=len(found.problems), warnings=len(found.warnings))
    if not found.ok:
        count = f"{len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}"
        lines = "\n".join(f"- {problem}" for problem in found.problems)
        raise DataError(f"the data is not fit to train on, {count}; nothing was trained:\n{lines}")


def _read_manifest(artifact: IngestManifest) -> dict[str, Any]:
    return dict(json.loads(io_utils.read_string_file(os.path.join(artifact.uri, "manifest.json"))))


def _read_anomalies(artifact: standard_artifacts.ExampleAnomalies) -> dict[str, anomalies_pb2.Anomalies]:
    found = {}
    for split in artifact_utils.decode_split_names(artifact.split_names):
        path = os.path.join(artifact_utils.get_split_uri([artifact], split), "SchemaDiff.pb")
        with fileio.open(path, "rb") as file:
            found[str(split)] = anomalies_pb2.Anomalies.FromString(file.read())
    return found
