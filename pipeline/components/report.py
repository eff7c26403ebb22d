"""The report stage: gathers what the other stages wrote into one self-contained HTML page.

``report.html`` is the page, ``report.json`` the data it was made from, so that a runner that measured the stages' times
can make the page again (:func:`refresh`).
"""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfx import types
from tfx.components.evaluator import constants
from tfx.types import standard_artifacts

from features.folders import local_copy, read_text
from features.logs import told_losses
from features.spec import SPLITS, Dataset
from pipeline.artifacts import DataVerdict, HtmlReport, IngestManifest
from pipeline.components.annotations import InputArtifact, OptionalInputArtifact, OutputArtifact, Parameter, component
from pipeline.components.evaluate import serving_model
from pipeline.components.ingest import MANIFEST
from pipeline.components.statistics import read_statistics
from pipeline.history import read_json
from pipeline.report.data import (
    Artifact,
    ColumnStatistics,
    Execution,
    FinishedStage,
    Json,
    ReportData,
    Stage,
    with_stages,
)
from pipeline.report.html import counted
from pipeline.report.page import render
from pipeline.report.statistics import column_statistics
from serving.bundle import FOLDER, Bundle

PAGE, DATA = "report.html", "report.json"
_INPUTS = (
    *("manifest", "statistics", "verdict", "model", "model_run", "evaluation", "blessing", "infra_blessing"),
    "pushed_model",
)
"""Of the stage. Little is read of each, where it lies; a stopped run has no stage, and its page reads them, too."""
_PACKAGES = ("feedrank", "tfx", "tensorflow", "tensorflow-transform", "tensorflow-data-validation", "apache-beam")


@component(parts=dict.fromkeys(_INPUTS))
def Report(  # noqa: PLR0913, PLR0917 - a component's arguments are its arrows
    config: Parameter[str],
    manifest: InputArtifact[IngestManifest],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    verdict: InputArtifact[DataVerdict],
    model: InputArtifact[standard_artifacts.Model],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    report: OutputArtifact[HtmlReport],
    pushed_model: OptionalInputArtifact[standard_artifacts.PushedModel] = None,
) -> None:
    """Writes ``report.html`` and ``report.json``.

    Args:
        config: the `RunConfig` as JSON, by alias.
        manifest: ingest's.
        statistics: StatisticsGen's.
        verdict: of data validation.
        model: the exported model.
        model_run: the trainer's curves.
        evaluation: the metrics and the gate's verdict.
        blessing: evaluation's.
        infra_blessing: the serving check's.
        report: gets the page.
        pushed_model: what the pusher wrote, if it ran.
    """
    inputs: dict[str, types.Artifact] = {
        "manifest": manifest,
        "statistics": statistics,
        "verdict": verdict,
        "model": model,
        "model_run": model_run,
        "evaluation": evaluation,
        "blessing": blessing,
        "infra_blessing": infra_blessing,
    }
    if pushed_model is not None:
        inputs["pushed_model"] = pushed_model
    write(gather(json.loads(config), inputs), report.uri)


def gather(config: Json, inputs: Mapping[str, types.Artifact]) -> ReportData:
    """Reads what the page shows from the artifacts, which are named as in :func:`Report`.

    Those that a run did not come to are left out; so is what they would have told.
    """
    dataset = Dataset.model_validate(config["dataset"])
    manifest = _read(inputs.get("manifest"), MANIFEST)
    training = _read(inputs.get("model_run"), "curves.json")
    gates = {}
    if "model" in inputs:
        with local_copy(serving_model(inputs["model"]), [FOLDER]) as here:
            bundle = Bundle(here)
            gates = bundle.gates()
            if coverage := bundle.training().get("coverage"):
                training = {**training, "coverage": coverage}
    evaluation = _read(inputs.get("evaluation"), "evaluation.json")
    check = _read(inputs.get("infra_blessing"), "check.json")
    version = pushed_version(inputs.get("pushed_model"))
    return ReportData(
        name=config["name"],
        dataset=dataset.model_dump(mode="json", exclude_defaults=True),
        config=config,
        created=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        stages=_stages(manifest, training, evaluation, check, version),
        manifest=manifest,
        manifest_file=os.path.join(inputs["manifest"].uri, MANIFEST) if manifest else "",
        statistics=_statistics(inputs.get("statistics"), dataset),
        verdict=_read(inputs.get("verdict"), "verdict.json"),
        training=training,
        gates=gates,
        evaluation=evaluation,
        check=check,
        blessed=_is_blessed(inputs.get("blessing")),
        infra_blessed=_is_blessed(inputs.get("infra_blessing")),
        version=version,
        lineage=(_own_inputs(inputs),),
        versions=_versions(),
        truth=evaluation.get("truth"),
    )


def _own_inputs(inputs: Mapping[str, types.Artifact]) -> Execution:
    """All of the lineage that a stage can see; a runner with the MLMD store at hand tells the rest by :func:`refresh`."""
    read = [Artifact(name=name, type=found.type_name, id=found.id, uri=found.uri) for name, found in inputs.items()]
    return Execution(stage="report", id=0, read=tuple(read))


def pushed_version(pushed: types.Artifact | None) -> str | None:
    """The version that the pusher wrote; None if it ran but pushed nothing."""
    if pushed is None or not pushed.get_int_custom_property("pushed"):
        return None
    return pushed.get_string_custom_property("pushed_version") or None


def write(data: ReportData, directory: str) -> None:
    """Writes the page and its data."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA).write_text(data.model_dump_json(indent=1), "utf-8")
    (folder / PAGE).write_text(render(data), "utf-8")


def refresh(directory: str, finished: Iterable[FinishedStage], run: str, lineage: Iterable[Execution]) -> str:
    """The page of a report made again with what a runner knows.

    Args:
        directory: of a report artifact, on a disk or in a store.
        finished: the run's stages in order, with the times and states that were measured.
        run: the run's id.
        lineage: what was made from what.
    """
    data = ReportData.model_validate_json(read_text(os.path.join(directory, DATA)))
    return render(with_stages(data, finished).model_copy(update={"run": run, "lineage": tuple(lineage)}))


def _read(artifact: types.Artifact | None, name: str) -> Json:
    return read_json(artifact.uri if artifact is not None else None, name)


def _is_blessed(blessing: types.Artifact | None) -> bool:
    if blessing is None:
        return False
    return bool(blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == constants.BLESSED_VALUE)


def _statistics(artifact: types.Artifact | None, dataset: Dataset) -> dict[str, tuple[ColumnStatistics, ...]]:
    if artifact is None:
        return {}
    return column_statistics(read_statistics(artifact), dataset, SPLITS[0])


def _stages(manifest: Json, training: Json, evaluation: Json, check: Json, version: str | None) -> tuple[Stage, ...]:
    """The flow as far as the artifacts know it; a runner that measured it calls :func:`refresh`."""
    epochs = training.get("epochs") or []
    learned = [epoch["seconds"] for epoch in epochs if epoch.get("seconds") is not None]
    out = manifest.get("rows_out") or {}
    rows = sum(out.values())
    best = training.get("best_epoch")
    return (
        Stage(
            name="ingest",
            seconds=manifest.get("seconds"),
            rows=manifest.get("rows_read"),
            note=told_losses(manifest),
        ),
        Stage(name="statistics", rows=rows),
        Stage(name="validate"),
        Stage(name="transform", rows=rows),
        Stage(
            name="train",
            seconds=sum(learned) if learned else None,
            rows=out.get(SPLITS[0]),
            note=f"{counted(len(epochs), 'epoch')}, best {best}",
        ),
        Stage(
            name="evaluate",
            seconds=evaluation.get("seconds"),
            rows=evaluation.get("rows"),
            note=_told_asking(evaluation.get("predict_seconds")),
        ),
        Stage(name="check_serving", seconds=check.get("seconds"), rows=check.get("rows")),
        Stage(name="push", note=f"version {version}" if version else "nothing pushed"),
    )


def _told_asking(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s of it asking the model"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}
