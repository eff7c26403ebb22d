"""The evaluate stage: asks the exported model about the test split, measures, and blesses or refuses it.

Writes ``evaluation.json`` and TFMA's own files into TFX's ``ModelEvaluation``, and the files and properties of TFX's own evaluator into its
``ModelBlessing``, so that stock resolvers and the stock Pusher honour the verdict.
"""

import contextlib
import json
import logging
import time
from pathlib import Path

import pyarrow as pa
from tfx import types
from tfx.components.evaluator import constants
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from features.errors import DataError, ModelError
from features.folders import local_copy
from features.spec import Dataset
from pipeline.components.annotations import InputArtifact, OptionalInputArtifact, OutputArtifact, Parameter, component
from pipeline.config import EvaluateConfig
from pipeline.evaluation import tfma_files
from pipeline.evaluation.gate import verdict
from pipeline.evaluation.measure import Numbers, change_errors, measure, without_nan
from pipeline.evaluation.predictor import Predictor, TimedPredictor
from pipeline.evaluation.rows import EvaluatedRows, collect, read_split
from pipeline.evaluation.truth import against_truth, key_column

LOGGER = logging.getLogger(__name__)
FILE = "evaluation.json"
SPLIT = "test"


@component(parts={"examples": [f"Split-{SPLIT}"], "baseline_model": None})
def Evaluate(  # noqa: PLR0913, PLR0917 - a component's arguments are its arrows
    dataset: Parameter[str],
    evaluate: Parameter[str],
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    baseline_model: OptionalInputArtifact[standard_artifacts.Model] = None,
    baseline_pushed: OptionalInputArtifact[standard_artifacts.PushedModel] = None,
    truth: Parameter[str] = "",
    truth_fingerprint: Parameter[str] = "",
) -> None:
    """Measures `model`, and `baseline_model` on the same rows, and blesses or refuses `model`.

    Args:
        dataset: the `Dataset` as JSON.
        evaluate: the `EvaluateConfig` as JSON.
        examples: ingest's examples; the ``test`` split is read.
        model: judged.
        evaluation: gets ``evaluation.json``.
        blessing: gets BLESSED or NOT_BLESSED.
        baseline_model: the last blessed model, if there is one.
        baseline_pushed: its push: names its version, and is what changes when another model went live in between.
        truth: folder of a synthetic log's truth; empty if there is none.
        truth_fingerprint: of its files. Not read: it is there so that TFX's cache notices another truth.
    """
    LOGGER.info("evaluate against a truth with fingerprint '%s'", truth_fingerprint)
    baseline = serving_model(baseline_model) if baseline_model else None
    with contextlib.nullcontext() if baseline is None else local_copy(baseline) as here:
        found = evaluate_split(
            artifact_utils.get_split_uri([examples], SPLIT),
            Dataset.model_validate_json(dataset),
            EvaluateConfig.model_validate_json(evaluate),
            serving_model(model),
            here,
            truth,
        )
    if found["baseline"]:
        found["baseline"]["model"] = baseline
    if found["baseline"] and baseline_pushed:
        found["baseline"]["version"] = baseline_pushed.get_string_custom_property("pushed_version")
    write_evaluation(found, evaluation.uri)
    bless(blessing, found["verdict"]["blessed"], model, baseline_model)


def serving_model(model: types.Artifact) -> str:
    """Folder of the SavedModel inside a `Model` artifact."""
    path: str = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    return path


def evaluate_split(
    directory: str, dataset: Dataset, config: EvaluateConfig, model: str, baseline: str | None = None, truth: str = ""
) -> Numbers:
    """The whole evaluation of a model on one split, verdict included.

    Args:
        directory: Parquet files of the split.
        dataset: the spec that the split was made with.
        config: slices, bounds, allowed fall.
        model: folder of the SavedModel.
        baseline: folder of the last blessed SavedModel, if there is one.
        truth: folder of a synthetic log's truth (`pipeline.evaluation.truth`); empty if there is none.

    Returns:
        What ``evaluation.json`` holds, see `pipeline.evaluation`; ``seconds`` are of all, ``predict_seconds`` (of the clock) and
        ``predict_core_seconds`` (of all threads) of asking `model` alone.

    Raises:
        DataError: if the split holds no row or lacks a column.
        ModelError: if `model` cannot be loaded.
    """
    started = time.monotonic()
    key = key_column(truth, dataset) if truth else None
    timed = TimedPredictor(Predictor(model))
    rows = collect(read_split(directory, dataset), dataset, timed, config.slices, key)
    found = measure(rows, dataset, config.up_interactions)
    if key:
        found["truth"] = against_truth(rows, dataset, truth, key)
    found["baseline"] = measure_baseline(directory, dataset, rows, baseline) if baseline else None
    problem = found["baseline"]["problem"] if found["baseline"] else None
    found["verdict"] = verdict(found, config, problem)
    return found | {
        "seconds": time.monotonic() - started,
        "predict_seconds": timed.seconds,
        "predict_core_seconds": timed.core_seconds,
    }


def measure_baseline(directory: str, dataset: Dataset, now: EvaluatedRows, baseline: str) -> Numbers:
    """Metrics of the last blessed model on the same rows, asked through its own inputs.

    Args:
        directory: Parquet files of the split.
        dataset: the spec that the split was made with.
        now: the rows with the judged model's predictions.
        baseline: folder of the last blessed SavedModel.

    Returns:
        ``{"model", "tasks", "change_errors", "problem"}``: metrics and the standard error of each task's change. If
        the model cannot be asked or measured, `problem` says why and both are empty.
    """
    nothing: Numbers = {"model": baseline, "tasks": {}, "change_errors": {}}
    try:
        rows = collect(read_split(directory, dataset), dataset, Predictor(baseline))
        found = {"tasks": measure(rows, dataset)["tasks"], "change_errors": change_errors(now, rows, dataset)}
    # A ValueError is the metrics' own: an older model may answer what they do not take, such as a value beyond [0, 1].
    except (DataError, ModelError, ValueError, pa.ArrowException) as error:
        return nothing | {"problem": str(error)}
    return nothing | found | {"problem": None}


def write_evaluation(found: Numbers, directory: str) -> None:
    """Writes ``evaluation.json``, and the same metrics as TFMA has them."""
    path = Path(directory) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(without_nan(found), indent=1, allow_nan=False))
    tfma_files.write(found, directory)


def bless(blessing: types.Artifact, blessed: bool, model: types.Artifact, baseline: types.Artifact | None) -> None:
    """Marks a `ModelBlessing` exactly as TFX's evaluator does."""
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    )
    directory = Path(blessing.uri)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / (constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME)).touch()
