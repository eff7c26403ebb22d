"""Which model a user means: a folder, a pipeline, a run. Loads no TensorFlow."""

from __future__ import annotations

from pathlib import Path

from features.errors import ConfigError, ModelError
from pipeline import history


def find_model(model: str, runs: str | Path = "runs") -> Path:
    """The folder of the SavedModel that `model` names.

    Args:
        model: a version's folder, TF Serving's folder of versions (the highest number counts), a pipeline's folder or name
            (its latest run that pushed), or a run's id.
        runs: the folder of the pipelines.

    Raises:
        ModelError: if it names no model; says what was looked for.
    """
    path = Path(model)
    if path.is_dir():
        for folder in (path, path / "serving"):
            if found := _latest_version(folder):
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
        pushed = candidate.read_record().output("push", "pushed_model")
        if pushed is not None and (found := _latest_version(pushed)):
            return found
    raise ModelError(f"'{model}' pushed no model; see why with: feedrank show {model}")


def _latest_version(folder: Path) -> Path | None:
    """`folder` itself if it holds a SavedModel, else its highest numbered version that does."""
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [part for part in folder.glob("*/saved_model.pb") if part.parent.name.isdigit()]
    return max((part.parent for part in versions), key=lambda version: int(version.name), default=None)
