"""Which model a user means: a folder, a pipeline, a run. Loads no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import pydantic

from features import folders
from features.errors import ConfigError, ModelError
from features.frozen import nearest
from features.paths import check_readable, remote
from models.config import ModelConfig, architecture_problem
from pipeline import history
from pipeline.config import RunConfig
from pipeline.runs import PipelinePaths
from serving.bundle import FOLDER, Bundle

_SAVED_MODEL = "saved_model.pb"
_WORDS = ("none", "last_pushed")
"""Values of `train.warm_start` that name no model."""


def named_beginning(config: RunConfig) -> str | None:
    """The folder of the model that `train.warm_start` names; None if it names none, or the last pushed one.

    Raises:
        ModelError: if it names no model, or one of another architecture.
    """
    if config.train.warm_start in _WORDS:
        return None
    try:
        path = find_model(config.train.warm_start, config.output)
    except ModelError as error:
        near = nearest(config.train.warm_start, _WORDS)
        hint = f" Did you mean '{near}'?" if near else ""
        raise ModelError(f"train.warm_start: {error}; or one of the words {', '.join(_WORDS)}.{hint}") from error
    check_beginning(config.model, path)
    return path


def check_beginning(model: ModelConfig, path: str) -> None:
    """Refuses to begin a training with a model of another architecture; reads its configuration alone.

    Args:
        model: of the training.
        path: folder of the other one, also of a store.

    Raises:
        ModelError: if it is one, or none of ours.
    """
    with folders.local_copy(path, [FOLDER]) as here:
        earlier = exported_config(here)
    if problem := architecture_problem(model, earlier, path):
        raise ModelError(problem)


def exported_config(path: str | Path) -> ModelConfig:
    """The configuration of an exported model.

    Raises:
        ModelError: if it is none of ours, or of a release whose configuration this one does not know.
    """
    try:
        return ModelConfig.model_validate(Bundle(path).model_config())
    except pydantic.ValidationError as error:
        raise ModelError(f"train.warm_start: the model at {path} was made by another release: {error}") from error


def find_model(model: str, runs: str | Path = "runs") -> str:
    """The folder of the SavedModel that `model` names, on this disk or in a store.

    Args:
        model: a version's folder, TF Serving's folder of versions (the highest number counts), both also of a store, a pipeline's folder or
            name (its latest run that pushed), or a run's id.
        runs: the folder of the pipelines.

    Raises:
        ModelError: if it names no model; says what was looked for.
    """
    if remote(model) is not None:
        check_readable("model", model)
        if found := _latest_version(model):
            return found
        raise ModelError(
            f"'{model}' names no model; allowed: a folder with saved_model.pb, a folder of numbered versions"
        )
    path = Path(model)
    if path.is_dir():
        has_runs = PipelinePaths(root=path).history.is_dir()
        for folder in (path,) if has_runs else (path, path / "serving"):
            if found := _latest_version(str(folder)):
                return found
        runs, model = path.resolve().parent, path.resolve().name
    try:
        run = history.find(runs, model, option="--runs")
    except ConfigError as error:
        raise ModelError(
            f"'{model}' names no model; allowed: a folder with saved_model.pb, a folder of numbered versions, a pipeline's "
            f"name or a run's id ({error})"
        ) from error
    candidates = [run]
    if run.directory.parents[1].name == model:
        candidates = [folder for folder in history.folders(runs) if folder.directory.parents[1].name == model]
    for candidate in reversed(candidates):
        pushed = candidate.read_record().uri("push", "pushed_model")
        if pushed is not None and (found := _latest_version(pushed)):
            return found
    raise ModelError(f"'{model}' pushed no model; see why with: feedrank show {model}")


def _latest_version(folder: str) -> str | None:
    """`folder` itself if it holds a SavedModel, else its highest numbered version that does."""
    if folders.exists(_below(folder, _SAVED_MODEL)):
        return folder
    versions = sorted((name for name in folders.list_names(folder) if name.isdigit()), key=int, reverse=True)
    found = (_below(folder, name) for name in versions)
    return next((version for version in found if folders.exists(_below(version, _SAVED_MODEL))), None)


def _below(folder: str, name: str) -> str:
    place = remote(folder)
    return os.path.join(folder, name) if place is None else str(place.below(name))
