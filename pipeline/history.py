"""Earlier runs: which there were, what came of each. Loads no TensorFlow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from features.errors import ConfigError
from features.folders import exists, read_text
from features.frozen import Frozen, did_you_mean, nearest_first
from features.paths import remote, without_options
from pipeline.beginnings import told_beginning
from pipeline.config import RunConfig
from pipeline.runs import PipelinePaths, RunFolder, RunRecord

_MOST_NAMED = 10
"""Names in a message."""


class Outcome(Frozen):
    """What came of a run, as far as it got."""

    delay_days: dict[str, int] = {}
    """Days just before a row's own that counters leave out, by their name, where they leave out some."""
    aucs: dict[str, float | None] = {}
    """By task; None where it is undefined. Regression tasks have none."""
    errors: dict[str, float | None] = {}
    """Mean squared error of each regression task."""
    blessed: bool | None = None
    """By evaluation."""
    serves: bool | None = None
    """Blessed by the check of the export."""
    reasons: tuple[str, ...] = ()
    """Why evaluation refused."""
    serving_reasons: tuple[str, ...] = ()
    """Why the check of the export refused."""
    pushed: str | None = None
    """Version folder that TF Serving loads; nobody asks a store whether it is still there."""
    refused_rows: int = 0
    """Rows of the log in the quarantine."""
    reasons_refused: tuple[str, ...] = ()
    """Why, the most frequent first."""
    quarantine: str | None = None
    """Folder of its dead letters."""
    beginning: str | None = None
    """Where a warm start took the weights from."""
    report: Path | None = None


def folders(output: str | Path) -> list[RunFolder]:
    """Runs of all pipelines below an output folder that wrote a record, oldest first."""
    return [folder for folder in _all_folders(output) if folder.record_file.exists()]


def endless(output: str | Path) -> list[RunFolder]:
    """Runs of all pipelines below an output folder that wrote no record, oldest first: killed ones and those that go on."""
    return [folder for folder in _all_folders(output) if not folder.record_file.exists() and folder.is_named_by_time()]


def _all_folders(output: str | Path) -> list[RunFolder]:
    logs = Path(output).glob("*/history/*/")
    found = [RunFolder(PipelinePaths(root=log.parents[1]), log.name) for log in logs if log.is_dir()]
    return sorted(found, key=lambda folder: folder.run_id)


def find(output: str | Path, run: str, option: str = "--output") -> RunFolder:
    """The run that `run` names: its id, the beginning of it, ``latest``, or a pipeline's name for its latest run.

    Args:
        output: the folder of the pipelines.
        run: see above.
        option: by which a user names that folder, for the message.

    Raises:
        ConfigError: if there is no such run, or several.
    """
    known = folders(output)
    matching = _named(known, run)
    if len(matching) == 1:
        return matching[0]
    if not matching and (without_end := _named(endless(output), run)):
        last = without_end[-1]
        raise ConfigError(
            f"run '{last.run_id}' was killed, or goes on: it wrote no record; its log: {last.log} "
            f"(what libraries said last: {last.library_log.name})"
        )
    if not known:
        raise ConfigError(
            f"no runs in '{output}'; make one with: feedrank run CONFIG (or name the folder with {option})"
        )
    names = nearest_first(run, sorted({_pipeline(folder) for folder in known}))
    ids = nearest_first(run, [folder.run_id for folder in reversed(known)])
    what = f"no run in '{output}' matches" if not matching else f"{len(matching)} runs in '{output}' match"
    allowed = f"use 'latest', a pipeline's name ({_some(names)}), or a run's id ({_some(ids)})"
    raise ConfigError(f"{what} '{run}'{did_you_mean(run, names)} {allowed}")


def _some(names: list[str]) -> str:
    """The first of them."""
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


def _named(known: list[RunFolder], run: str) -> list[RunFolder]:
    """Those that `run` may mean."""
    if run == "latest":
        return known[-1:]
    of_pipeline = [folder for folder in known if _pipeline(folder) == run]
    return of_pipeline[-1:] or [folder for folder in known if folder.run_id.startswith(run)]


def _pipeline(folder: RunFolder) -> str:
    return folder.directory.parents[1].name


def outcome(folder: RunFolder, record: RunRecord, config: RunConfig) -> Outcome:
    """Reads what a run's stages left behind.

    Args:
        folder: the run.
        record: its record.
        config: its configuration.
    """
    evaluation = read_json(record.uri("evaluate", "evaluation"), "evaluation.json")
    check = read_json(record.uri("check_serving", "blessing"), "check.json")
    curves = read_json(record.uri("train", "model_run"), "curves.json")
    tasks = evaluation.get("tasks", {})
    refused = read_json(record.uri("ingest", "manifest"), "manifest.json").get("quarantined", {})
    counters = config.dataset.delayed_counters()
    return Outcome(
        delay_days={name: counter.delay_days for name, counter in counters.items() if counter.delay_days},
        aucs={name: numbers.get("auc") for name, numbers in tasks.items() if numbers.get("kind") != "regression"},
        errors={name: numbers.get("mse") for name, numbers in tasks.items() if numbers.get("kind") == "regression"},
        blessed=evaluation.get("verdict", {}).get("blessed"),
        serves=check.get("verdict", {}).get("blessed"),
        reasons=tuple(evaluation.get("verdict", {}).get("reasons", ())),
        serving_reasons=tuple(check.get("verdict", {}).get("reasons", ())),
        pushed=_pushed_to(record),
        refused_rows=refused.get("rows", 0),
        reasons_refused=tuple(
            f"{reason['reason']} in {reason['column'] or 'the row'}: {reason['rows']:,}"
            for reason in refused.get("reasons", ())
        ),
        quarantine=record.uri("ingest", "quarantine"),
        beginning=told_beginning(config.train.warm_start, curves.get("warm_start")) if curves else None,
        report=folder.report if folder.report.exists() else None,
    )


def read_json(folder: str | None, name: str) -> dict[str, Any]:
    """A file's content, from a disk or a store; nothing where the run did not get so far or TFX's cache has been emptied since."""
    if folder is None or not exists(file := os.path.join(folder, name)):
        return {}
    content: dict[str, Any] = json.loads(read_text(file))
    return content


def _pushed_to(record: RunRecord) -> str | None:
    """Where to; of a folder of this disk also whether it is still there."""
    found = record.stage("push")
    to = found.pushed_to if found else None
    if to is None:
        return None
    is_gone = remote(to) is None and not Path(to).is_dir()
    return without_options(to) + (" (no longer there)" if is_gone else "")
