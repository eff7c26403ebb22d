"""What each command does. TensorFlow and TFX are loaded by those that need them, when they need them."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import sys
import time
import traceback
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import yaml

from features import catalog
from features.errors import ConfigError, FeedrankError
from features.folders import local_copy
from features.frozen import unknown
from features.logs import pseudonyms_of
from features.paths import check_local
from features.synthesis import synthesize
from models.config import ALIASES, PRESETS, ModelConfig
from models.settings.pictures import picture
from pipeline import doctor as examination
from pipeline import failures, history, loading, tables
from pipeline.config import RunConfig
from pipeline.console import RunConsole, Screens, captured_output
from pipeline.failures import RunError
from pipeline.pushed import named_beginning
from pipeline.runs import RunFolder, RunRecord, StageResult

TARGETS = ("kubeflow",)
_OUR_LOGGERS = ("feedrank", "features", "models", "pipeline", "serving")
"""How names of our loggers begin."""


# -- runs ------------------------------------------------------------------------------------------------------------


def run(file: Path, overrides: Sequence[str]) -> None:
    """Runs the pipeline and says what came of it.

    Raises:
        ConfigError: if the configuration cannot be run, a key of hashes is missing, or another run of this pipeline goes on.
        ModelError: if `train.warm_start` names no model, or one of another architecture.
        RunError: if it fails; the message names the log.
        InterruptedByUserError: at Ctrl-C and SIGTERM.
    """
    config = loading.load(file, overrides)
    named_beginning(config)
    pseudonyms_of(config.dataset, config.data.hash_key)  # whether there is a key, before TFX is loaded
    with RunFolder.create(config) as folder:
        record = _logged_run(config, folder)
    tables.show_outcome(tables.screen(), history.outcome(folder, record, config))


def _logged_run(config: RunConfig, folder: RunFolder) -> RunRecord:
    with captured_output(folder.library_log) as screens, _logged(folder), RunConsole(screens.output) as listener:
        try:
            return _run(config, folder, listener)
        except KeyboardInterrupt as error:
            logging.getLogger(__name__).exception("the run was interrupted")
            raise failures.interrupted(error, f"{_left(folder)}\n  {_going_on(folder)}") from error
        except Exception as error:
            logging.getLogger(__name__).exception("the run failed")
            raise RunError(f"{failures.message(error)}{_left(folder)}") from error


def _left(folder: RunFolder) -> str:
    """Lines that name what a run left that did not come to its end."""
    report = f"\n  report: {folder.report}" if folder.report.exists() else ""
    return f"\n  log: {folder.log}{report}"


def _going_on(folder: RunFolder) -> str:
    """How an interrupted run goes on: its saved configuration reads the same rows, whatever topics and tables hold by now."""
    if not folder.config.exists():
        return "to go on: the same command"
    return f"to go on (what was done is reused): feedrank run {shlex.quote(str(folder.config))}"


@contextlib.contextmanager
def _logged(folder: RunFolder) -> Iterator[None]:
    """What Python's loggers say, from INFO on, goes to two files: ours and all errors to the log, everybody else's to that of the libraries.

    TFX and Beam would make handlers of their own otherwise.
    """
    handlers = [logging.FileHandler(log, encoding="utf-8") for log in (folder.log, folder.library_log)]
    handlers[0].addFilter(lambda record: _is_ours(record) or record.levelno >= logging.ERROR)
    handlers[1].addFilter(lambda record: not _is_ours(record))
    root = logging.getLogger()
    level = root.level
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger(__name__).info("what libraries log and print is in %s", folder.library_log)
    try:
        yield
    finally:
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _OUR_LOGGERS


def _run(config: RunConfig, folder: RunFolder, listener: RunConsole) -> RunRecord:
    if config.data.synthesize is not None:
        _synthesize(config, listener)
    listener.stage_started("start")
    from pipeline.runners import local

    return local.run(config, folder, listener)


def _synthesize(config: RunConfig, listener: RunConsole) -> None:
    assert config.data.synthesize is not None
    listener.stage_started("synthesize")
    started = time.monotonic()
    summary = synthesize(config.data.synthesize, Path(config.data.path))
    listener.stage_finished(
        StageResult(
            name="synthesize",
            state="cached" if summary.reused else "done",
            seconds=time.monotonic() - started,
            rows=summary.rows,
        )
    )


def runs(output: Path) -> None:
    """Lists earlier runs."""
    ended = [(folder, folder.read_record()) for folder in history.folders(output)]
    tables.show_runs(tables.screen(), [*ended, *((folder, None) for folder in history.endless(output))])


def show(run_name: str, output: Path) -> None:
    """Shows one run."""
    folder = history.find(output, run_name)
    record = folder.read_record()
    tables.show_stages(tables.screen(), folder, record)
    config = loading.load(folder.config)
    tables.show_outcome(tables.screen(), history.outcome(folder, record, config))


def report(run_name: str, output: Path, browser: bool) -> None:
    """Tells where a run's report is, and opens it where that is wanted."""
    folder = history.find(output, run_name)
    if not folder.report.exists():
        raise ConfigError(f"run '{folder.run_id}' left no report; its log: {folder.log}")
    print(folder.report)
    if browser:
        webbrowser.open(folder.report.resolve().as_uri())


def compile_pipeline(file: Path, target: str, output: Path | None, image: str | None, overrides: Sequence[str]) -> None:
    """Writes the same graph for another orchestrator."""
    if target not in TARGETS:
        raise ConfigError(f"unknown target '{target}'; targets: {', '.join(TARGETS)}")
    config = loading.load(file, overrides)
    written = output or Path(f"{config.name}.{target}.yaml")
    with _quiet():
        from pipeline.pinning import pinned
        from pipeline.runners import kubeflow

        kubeflow.compile_pipeline(pinned(config), str(written), image)
    print(written)


# -- models ----------------------------------------------------------------------------------------------------------


class Asking(NamedTuple):
    """Modules that ask a model."""

    scoring: ModuleType
    model_log: ModuleType


@contextlib.contextmanager
def _asking(stage: str) -> Iterator[Asking]:
    """Progress goes to standard error, what libraries say to a file that a failure names."""
    with _quiet() as screens, RunConsole(screens.errors) as listener:
        listener.stage_started(stage)
        from pipeline import model_log, scoring

        yield Asking(scoring, model_log)


@contextlib.contextmanager
def _quiet() -> Iterator[Screens]:
    """What libraries print goes to a file, which stays where they fail."""
    log = failures.new_log()
    try:
        with captured_output(log) as screens:
            yield screens
    except FeedrankError:
        log.unlink()
        raise
    except KeyboardInterrupt as error:
        log.unlink()
        raise failures.interrupted(error) from error
    except Exception as error:
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
        raise RunError(f"{failures.message(error)}\n  log: {log}") from error
    log.unlink()


class Beside(NamedTuple):
    """What a log is read with, as options of a command name it."""

    tables: str | None
    """Folder of the side tables' files."""
    hash_key: str | None
    """File with the key of hashed columns."""
    actions: str | None = None
    """Files of the log of actions that labels come from."""


def score(model: str, data: str, output: Path, beside: Beside) -> None:
    """Scores all rows of a log into a file."""
    check_local("--output", str(output))
    with _asking("score") as asking, local_copy(model) as here:
        options = asking.model_log.LogOptions(**beside._asdict())
        result = asking.scoring.score(here, data, str(output), options)
    tables.show_scored(tables.screen(), result)


def top(model: str, data: str, user: str | None, items: int, beside: Beside) -> None:
    """Shows one user's best items."""
    with _asking("score") as asking, local_copy(model) as here:
        options = asking.model_log.LogOptions(**beside._asdict())
        best = asking.scoring.top_items(here, data, user, items, options)
    tables.show_top_items(tables.screen(), best)


def evaluate(model: str, data: str, output: Path, slices: Sequence[str], as_json: bool, beside: Beside) -> None:
    """Evaluates a model on a log with labels, saves the evaluation and prints it: the tables, or the JSON with the tables
    on standard error.
    """
    check_local("--output", str(output))
    refused = output.with_suffix(".quarantine.parquet")
    with _asking("evaluate") as asking, local_copy(model) as here:
        options = asking.model_log.LogOptions(**beside._asdict(), quarantine=str(refused))
        evaluation = asking.scoring.evaluate(here, data, options, slices) | {"model": model}
        printed = asking.scoring.evaluation_tables(evaluation)
    text = json.dumps(evaluation, indent=2)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n", encoding="utf-8")
    console = tables.screen(errors=as_json)
    tables.show_evaluation(console, evaluation, printed)
    if refused.exists():
        console.print(f"kept apart: {refused}", soft_wrap=True)
    console.print(f"saved {output}", soft_wrap=True)
    if as_json:
        print(text)


# -- what there is ---------------------------------------------------------------------------------------------------


def synth(directory: Path, overrides: Sequence[str], overwrite: bool = False) -> None:
    """Writes a synthetic log; over another one only where `overwrite` says so."""
    check_local("directory", str(directory))
    config = loading.synthesis(overrides)
    with RunConsole(sys.stderr) as listener:
        listener.stage_started("synthesize")
        summary = synthesize(config, directory, overwrite)
    again = ", already there" if summary.reused else ""
    print(f"{summary.rows:,} rows in {summary.files} files below {summary.directory}{again}")
    print("positive rates: " + "  ".join(f"{task} {rate:.4f}" for task, rate in summary.rates.items()))


def datasets() -> None:
    """Lists the catalog."""
    tables.show_datasets(tables.screen(), [catalog.load(name) for name in catalog.names()])


def models(name: str | None) -> None:
    """Lists the presets, or shows one."""
    if name is None:
        tables.show_models(tables.screen(), PRESETS, ALIASES)
        return
    if name not in (*PRESETS, *ALIASES):
        raise ConfigError(unknown("model", name, [*PRESETS, *ALIASES]))
    preset, model = PRESETS[ALIASES.get(name, name)], ModelConfig.model_validate(name)
    settings = yaml.safe_dump({"model": model.chosen()}, sort_keys=False)
    print(f"{name}: {preset.description}\n{preset.paper}\n\n{picture(model)}\n\n{settings}", end="")


def schema(output: Path | None) -> None:
    """Writes the JSON Schema of configurations."""
    if output is None:
        print(loading.json_schema(), end="")
    else:
        output.write_text(loading.json_schema(), encoding="utf-8")
        print(f"{output}; first line of a configuration:  # yaml-language-server: $schema={output}")


def doctor(data: Path) -> bool:
    """Examines this machine.

    Returns:
        Whether there is no problem.
    """
    return tables.show_findings(tables.screen(), examination.examine(data), examination.longest_name())
