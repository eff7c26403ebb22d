"""The command line. Each command loads what it needs when it runs, so that ``feedrank --help`` answers at once."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import traceback
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from features.errors import ConfigError, FeedrankError
from pipeline import failures, history, pushed, tables
from pipeline.console import RunConsole, captured_output
from pipeline.failures import RunError
from pipeline.runs import PipelinePaths, RunFolder, RunRecord, StageResult, StageState

app = typer.Typer(
    help="Production training pipeline for multi-task ranking.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Logs to train on.", no_args_is_help=True)
app.add_typer(data_app, name="data")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML laid over pipeline/configs/base.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides one key: --set train.epochs=3")
]
Output = Annotated[Path, typer.Option("--output", help="Folder of the pipelines.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id or its beginning, a pipeline's name, or latest.")
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model's folder, a folder of versions, a pipeline's name or a run's id."),
]
DataFiles = Annotated[str, typer.Option("--data", help="A file, a glob, or a folder with the files the spec names.")]
TableFolder = Annotated[
    str | None, typer.Option("--tables", help="Folder of the side tables' files; by default those the model brings.")
]
_RUNS = Path("runs")


def main() -> None:
    """The program ``feedrank``: every failure ends here, with one message and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        _say_failure("interrupted")
        sys.exit(130)
    except FeedrankError as error:
        _say_failure(failures.message(error))
        sys.exit(1)
    except Exception as error:
        _say_failure(f"{failures.message(error)}\n  traceback: {failures.write_traceback(error)}")
        sys.exit(1)


def _say_failure(text: str) -> None:
    Console(stderr=True, highlight=False).print(f"[red]✗[/red] {tables.plain(text)}", soft_wrap=True)


@app.command()
def run(config: ConfigFile, overrides: Overrides = None) -> None:
    """Run the pipeline: ingest, validate, transform, train, evaluate, check, push, report."""
    from pipeline import loading

    settings = loading.load(config, overrides or ())
    folder = RunFolder.create(PipelinePaths(root=settings.directory))
    with captured_output(folder.log) as screens, RunConsole(screens.output) as listener:
        logging.basicConfig(level=logging.INFO)
        record = _run(settings, folder, listener)
    tables.show_outcome(Console(highlight=False), history.outcome(folder, record, settings.push_directory))


def _run(settings: Any, folder: RunFolder, listener: RunConsole) -> RunRecord:
    try:
        if settings.data.synthesize is not None:
            _synthesize(settings, listener)
        listener.stage_started("start")
        from pipeline.runners import local

        return local.run(settings, folder, listener)
    except Exception as error:
        logging.getLogger(__name__).exception("the run failed")
        raise RunError(f"{failures.message(error)}\n  log: {folder.log}") from error


def _synthesize(settings: Any, listener: RunConsole) -> None:
    from features.synthesis import synthesize

    listener.stage_started("synthesize")
    started = time.monotonic()
    summary = synthesize(settings.data.synthesize, Path(settings.data.path))
    seconds = time.monotonic() - started
    state: StageState = "cached" if summary.reused else "done"
    listener.stage_finished(StageResult(name="synthesize", state=state, seconds=seconds, rows=summary.rows))


@app.command()
def runs(output: Output = _RUNS) -> None:
    """List earlier runs."""
    tables.show_runs(Console(highlight=False), [(folder, folder.read_record()) for folder in history.folders(output)])


@app.command()
def show(run: RunName = "latest", output: Output = _RUNS) -> None:
    """Show a run: its stages, what came of it, where its files are."""
    folder = history.find(output, run)
    record = folder.read_record()
    console = Console(highlight=False)
    tables.show_stages(console, folder, record)
    tables.show_outcome(console, history.outcome(folder, record, _push_directory(folder)))


def _push_directory(folder: RunFolder) -> str:
    from pipeline import loading

    return loading.load(folder.config).push_directory


@app.command()
def report(
    run: RunName = "latest",
    output: Output = _RUNS,
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Tell where a run's report is."""
    page = history.find(output, run).report
    if not page.exists():
        raise ConfigError(f"run '{page.parent.name}' ended before its report; its log: {page.parent / 'log.txt'}")
    print(page)
    if browser:
        webbrowser.open(page.resolve().as_uri())


@app.command()
def score(
    model: ModelName,
    data: DataFiles,
    output: Annotated[Path | None, typer.Option(help="Scores: .parquet or .csv; by default scores.parquet.")] = None,
    top: Annotated[int | None, typer.Option(help="Show one user's best items instead of writing all scores.")] = None,
    user: Annotated[str | None, typer.Option(help="With --top: whose; by default one with many rows.")] = None,
    options: TableFolder = None,
) -> None:
    """Score the rows of a log with a model."""
    console = Console(highlight=False)
    if top is not None:
        with _quietly("score") as (scoring, model_log):
            best = scoring.top_items(pushed.find_model(model), data, user, top, model_log.LogOptions(tables=options))
        tables.show_top_items(console, best)
        return
    with _quietly("score") as (scoring, model_log):
        target = str(output or "scores.parquet")
        result = scoring.score(pushed.find_model(model), data, target, model_log.LogOptions(tables=options))
    tables.show_scored(console, result)


@app.command()
def evaluate(
    model: ModelName,
    data: DataFiles,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    output: Annotated[Path, typer.Option(help="The evaluation as JSON.")] = Path("evaluation.json"),
    slices: Annotated[list[str] | None, typer.Option("--slice", help="Also by the values of this column.")] = None,
    options: TableFolder = None,
) -> None:
    """Evaluate a model on a log with labels."""
    with _quietly("evaluate") as (scoring, model_log):
        refused = str(output.with_suffix(".quarantine.parquet"))
        log = model_log.LogOptions(tables=options, quarantine=refused)
        evaluation = scoring.evaluate(pushed.find_model(model), data, log, slices or ())
        titles, rows = scoring.evaluation_table(evaluation)
    text = json.dumps(evaluation, indent=2)
    output.write_text(text + "\n", encoding="utf-8")
    if as_json:
        print(text)
    else:
        tables.show_evaluation(Console(highlight=False), evaluation, titles, rows)
        print(f"saved  {output}")


@contextlib.contextmanager
def _quietly(stage: str) -> Iterator[Any]:
    """Loads `pipeline.scoring` and `pipeline.model_log`; progress goes to standard error, what libraries say to a file that a failure names."""
    log = failures.new_log()
    try:
        with captured_output(log) as screens, RunConsole(screens.errors) as listener:
            listener.stage_started(stage)
            from pipeline import model_log, scoring

            yield scoring, model_log
    except FeedrankError:
        log.unlink()
        raise
    except Exception as error:
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
        raise RunError(f"{failures.message(error)}\n  log: {log}") from error
    log.unlink()


@app.command("compile")
def compile_(
    config: ConfigFile,
    target: Annotated[str, typer.Option(help="Orchestrator: kubeflow.")] = "kubeflow",
    output: Annotated[Path | None, typer.Option(help="File to write; by default <name>.<target>.json.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write the same graph as another orchestrator's pipeline."""
    from pipeline import loading

    if target != "kubeflow":
        raise ConfigError(f"unknown target '{target}'; targets: kubeflow")
    settings = loading.load(config, overrides or ())
    from pipeline.runners import kubeflow

    file = output or Path(f"{settings.name}.{target}.json")
    kubeflow.compile_pipeline(settings, str(file))
    print(file)


@data_app.command()
def synth(
    directory: Annotated[Path, typer.Argument(help="Folder to fill.")] = Path("data/synthetic"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="rows, users, items, days, seed, format, ...")
    ] = None,
) -> None:
    """Write a synthetic feed log, and the truth beside it."""
    from features.synthesis import synthesize
    from pipeline import loading

    with RunConsole(sys.stdout) as listener:
        listener.stage_started("synthesize")
        summary = synthesize(loading.synthesis(overrides or ()), directory)
    again = " (already there)" if summary.reused else ""
    print(f"{summary.rows:,} rows in {summary.files} files below {summary.directory}{again}")
    print("positive rates: " + "  ".join(f"{task} {rate:.4f}" for task, rate in summary.rates.items()))


@app.command()
def datasets() -> None:
    """List the catalog's datasets."""
    from features import catalog

    tables.show_datasets(Console(highlight=False), [catalog.load(name) for name in catalog.names()])


@app.command()
def models() -> None:
    """List the models that `model:` in a configuration can name."""
    from models.config import ALIASES, PRESETS

    tables.show_models(Console(highlight=False), PRESETS, ALIASES)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="File to write; standard output by default.")] = None,
) -> None:
    """Write the JSON Schema of configurations, with which editors complete them."""
    from pipeline import loading

    if output is None:
        print(loading.json_schema())
    else:
        output.write_text(loading.json_schema(), encoding="utf-8")
        print(f"{output}; first line of a configuration:  # yaml-language-server: $schema={output}")


@app.command()
def doctor(data: Annotated[Path, typer.Option(help="Folder of the logs.")] = Path("data")) -> None:
    """Check whether this machine can run the pipeline."""
    from pipeline import doctor as examination

    if not tables.show_findings(Console(highlight=False), examination.examine(data)):
        raise typer.Exit(1)
