"""The command line. `pipeline.commands` does the work and is loaded when a command runs: ``feedrank --help`` is instant."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from features.errors import FeedrankError

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
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one key: --set train.epochs=3; may be given several times."
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id or its beginning, a pipeline's name, or latest.")
]
Runs = Annotated[Path, typer.Option("--output", help="Folder of the pipelines.")]
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model's folder, a folder of versions, a pipeline's name or a run's id."),
]
Data = Annotated[str, typer.Option("--data", help="A file, a glob, or a folder with the files the spec names.")]
SideTables = Annotated[
    str | None, typer.Option("--tables", help="Folder of the side tables' files; by default those the model brings.")
]
HashKey = Annotated[
    str | None, typer.Option("--hash-key", help="File with the key that the model's personal columns were hashed with.")
]
ModelRuns = Annotated[Path, typer.Option("--runs", help="Folder of the pipelines, where MODEL names one or a run.")]


def main() -> None:
    """The program ``feedrank``: every failure ends here, with one message and exit code 1; Ctrl-C with 130, SIGTERM with 143."""
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except Exception as error:
        from pipeline import failures

        log = "" if isinstance(error, FeedrankError) else f"\n  traceback: {failures.write_traceback(error)}"
        typer.echo(typer.style("✗ ", fg="red") + failures.message(error) + log, err=True)
        sys.exit(error.EXIT_CODE if isinstance(error, failures.InterruptedByUserError) else 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, frame: object) -> None:
    """Ends the program as Ctrl-C does, so that a run leaves its record and page; a second SIGTERM ends it at once."""
    del frame
    from pipeline import failures

    signal.signal(number, signal.SIG_DFL)
    raise failures.Terminated


@app.command()
def run(config: ConfigFile, overrides: Overrides = None) -> None:
    """Run the pipeline: ingest, validate, transform, train, evaluate, check, push, report."""
    from pipeline import commands

    commands.run(config, overrides or ())


@app.command()
def runs(output: Runs = Path("runs")) -> None:
    """List earlier runs."""
    from pipeline import commands

    commands.runs(output)


@app.command()
def show(run: RunName = "latest", output: Runs = Path("runs")) -> None:
    """Show a run: its stages, what came of it, where its files are."""
    from pipeline import commands

    commands.show(run, output)


@app.command()
def report(
    run: RunName = "latest",
    output: Runs = Path("runs"),
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Tell where a run's report is."""
    from pipeline import commands

    commands.report(run, output, browser)


@app.command()
def score(  # noqa: PLR0913, PLR0917 - a command's arguments are its options
    model: Model,
    data: Data,
    output: Annotated[Path, typer.Option(help="File to (over)write: .parquet or .csv.")] = Path("scores.parquet"),
    top: Annotated[int | None, typer.Option(help="Show one user's best items instead of writing all scores.")] = None,
    user: Annotated[str | None, typer.Option(help="With --top: whose; by default one with many rows.")] = None,
    side_tables: SideTables = None,
    hash_key: HashKey = None,
    runs: ModelRuns = Path("runs"),
) -> None:
    """Score the rows of a log with a model."""
    from pipeline import commands, pushed

    found = pushed.find_model(model, runs)
    if top is None:
        commands.score(found, data, output, commands.Beside(side_tables, hash_key))
    else:
        commands.top(found, data, user, top, commands.Beside(side_tables, hash_key))


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - a command's arguments are its options
    model: Model,
    data: Data,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON; the tables go to stderr.")] = False,
    output: Annotated[
        Path, typer.Option(help="JSON file to (over)write; rows left out go into a Parquet file beside it.")
    ] = Path("evaluation.json"),
    slices: Annotated[list[str] | None, typer.Option("--slice", help="Also by the values of this column.")] = None,
    actions: Annotated[
        str | None,
        typer.Option(
            help="Where labels come from a log of actions: its files (one, a glob, a folder); by default those in --data's folder."
        ),
    ] = None,
    side_tables: SideTables = None,
    hash_key: HashKey = None,
    runs: ModelRuns = Path("runs"),
) -> None:
    """Evaluate a model on a log with labels."""
    from pipeline import commands, pushed

    beside = commands.Beside(side_tables, hash_key, actions)
    commands.evaluate(pushed.find_model(model, runs), data, output, slices or (), as_json, beside)


@app.command("compile")
def compile_(
    config: ConfigFile,
    target: Annotated[str, typer.Option(help="Orchestrator: kubeflow.")] = "kubeflow",
    output: Annotated[Path | None, typer.Option(help="File to write; by default <name>.<target>.yaml.")] = None,
    image: Annotated[
        str | None,
        typer.Option(
            help="Container image of the workers; by default feedrank:<version>, which you build: pipeline/runners/Dockerfile."
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Write the same graph as another orchestrator's pipeline."""
    from pipeline import commands

    commands.compile_pipeline(config, target, output, image, overrides or ())


@data_app.command()
def synth(
    directory: Annotated[Path, typer.Argument(help="Folder to fill.")] = Path("data/synthetic"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="rows, users, items, days, seed, format, ...")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another log in this folder.")] = False,
) -> None:
    """Write a synthetic feed log, and the truth beside it."""
    from pipeline import commands

    commands.synth(directory, overrides or (), overwrite)


@app.command()
def datasets() -> None:
    """List the catalog's datasets."""
    from pipeline import commands

    commands.datasets()


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model: its picture, paper and settings.")] = None,
) -> None:
    """List the models that `model:` in a configuration can name, or show one."""
    from pipeline import commands

    commands.models(name)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="File to write; standard output by default.")] = None,
) -> None:
    """Write the JSON Schema of configurations, with which editors complete them."""
    from pipeline import commands

    commands.schema(output)


@app.command()
def doctor(data: Annotated[Path, typer.Option(help="Folder of the logs.")] = Path("data")) -> None:
    """Check whether this machine can run the pipeline."""
    from pipeline import commands

    if not commands.doctor(data):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
