"""What each stage of the data costs a row: core-seconds, seconds and memory, beside stock TFX on the same rows.

    python -m benchmarks.stages --rows 200000 1000000 [--alone 10000000 50000000] [--form csv parquet] [--stages ingest ...]
        [--workers N] [--folder FOLDER]

The log has 18 columns: the time, ten columns of tokens, two numbers and five labels; a third of the rows is trained on, a third
tested on. First one model is trained on 200,000 rows, which both sides then ask about the test rows. For each number of rows a
process a stage runs feedrank's ingest, statistics, transform and evaluation by FnApiRunner; another runs stock TFX's CsvExampleGen,
StatisticsGen, Transform and Evaluator (`--alone`: not for these numbers). `--stages` leaves out feedrank's others, of which a
stage needs those before it, and all of stock TFX; the model too where nothing asks it. What a stage does before its first row
(imports, loading a model's graph) is in the sizes' own figures and not in the marginal cost: the difference between two sizes, by
their rows. The ratio in the end is that of stock TFX's marginal cost and of feedrank's between its two largest sizes: below a
million rows its fixed cost drowns it.

Core-seconds count all threads and children; they say what a row costs wherever it is computed. Memory is that of the largest process.
Evaluation's figures are by evaluated row.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.stages import log
from benchmarks.stages.ours import STAGES, run_stage
from benchmarks.stages.usage import Usage

MODEL_ROWS = 200_000
Found = dict[str, Usage]
"""By stage."""


def main() -> None:
    """Measures, or is one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[200_000, 1_000_000], help="beside stock TFX")
    parser.add_argument("--alone", type=int, nargs="*", default=[], help="feedrank alone")
    parser.add_argument("--form", nargs="*", choices=("csv", "parquet"), default=["csv", "parquet"])
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES), help="feedrank's alone")
    parser.add_argument("--workers", type=int, default=1, help="processes of feedrank's stages on Beam")
    parser.add_argument("--folder", type=Path, help="where logs and artifacts go; a temporary folder by default")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_step(arguments.step.split(), arguments.folder, arguments.workers)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        _measure_all(arguments, Path(folder))


def _measure_all(arguments: argparse.Namespace, folder: Path) -> None:
    stages = [stage for stage in STAGES if stage in arguments.stages]
    if "evaluate" in stages:
        log.write(folder / "model" / "csv", MODEL_ROWS, "csv")
        _child("train", folder / "model")
    ours: dict[str, dict[int, Found]] = {form: {} for form in arguments.form}
    stock: dict[int, Found] = {}
    for rows in sorted([*arguments.rows, *arguments.alone]):
        place = folder / str(rows)
        for form in arguments.form:
            log.write(place / form, rows, form)
            ours[form][rows] = {stage: _usage(_child(f"{stage} {form}", place, arguments.workers)) for stage in stages}
            shutil.rmtree(place / "ours")
            _show(f"feedrank, {form}", rows, ours[form][rows])
        if rows in arguments.rows and "csv" in arguments.form and stages == list(STAGES):
            stock[rows] = {stage: _usage(used) for stage, used in _child("stock csv", place).items()}
            _show("stock TFX, csv", rows, stock[rows])
        shutil.rmtree(place)
    for form in arguments.form:
        _show_marginal(f"feedrank, {form}", ours[form])
    _show_marginal("stock TFX, csv", stock)
    if stock:
        _show_ratios(_marginal(stock), _marginal({rows: ours["csv"][rows] for rows in sorted(ours["csv"])[-2:]}))


def _child(step: str, folder: Path, workers: int = 1) -> dict[str, object]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.stages", "--folder", str(folder)]
    command += ["--workers", str(workers), "--step", step]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet})
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _usage(used: object) -> Usage:
    assert isinstance(used, dict)
    return Usage(**used)


def _step(words: Sequence[str], folder: Path, workers: int) -> Mapping[str, object]:
    """What a child does; `words` are the stage and the form."""
    name, *form = words
    if name == "train":
        shutil.copytree(_trained(folder), _serving(folder / "exported"))
        return {}
    exported = folder.parent / "model" / "exported"
    if name == "stock":
        from benchmarks.stages import stock

        used = stock.run(folder / form[0], folder, exported)
        return {stage: dataclasses.asdict(usage) for stage, usage in used.items()}
    usage, note = run_stage(name, form[0], folder, _serving(exported), workers)
    if note:
        print(f"  {name}: {note}", file=sys.stderr)
    return dataclasses.asdict(usage)


def _serving(model: Path) -> Path:
    return model / "Format-Serving"


def _trained(folder: Path) -> Path:
    """The SavedModel of a short training on the log in `folder`."""
    from tfx.types import standard_artifacts

    from pipeline import commands
    from pipeline.components.evaluate import serving_model
    from pipeline.runs import RunRecord

    config = folder / "stages.yaml"
    settings = {
        "name": "stages",
        "dataset": log.dataset("csv").model_dump(mode="json"),
        "data": {"path": str(folder / "csv")},
        "output": str(folder / "runs"),
        "train": {"epochs": 1},
        "evaluate": {"max_regression": None},
    }
    config.write_text(json.dumps(settings), encoding="utf-8")
    commands.run(config, [])
    (record,) = (folder / "runs" / "stages" / "history").glob("*/run.json")
    artifact = standard_artifacts.Model()
    artifact.uri = str(RunRecord.model_validate_json(record.read_text(encoding="utf-8")).output("train", "model"))
    return Path(serving_model(artifact))


def _rows_of(stage: str, rows: int) -> float:
    """Rows that a stage goes through; only those of the test part are evaluated."""
    return rows / 3 if stage == "evaluate" else rows


def _show(who: str, rows: int, found: Found) -> None:
    for stage, used in found.items():
        print(
            f"{who:16} {rows:>12,} rows  {stage:10} {used.core_seconds:8.1f} core-s {used.seconds:8.1f} s {used.peak_mb:7,.0f} MB",
            flush=True,
        )


def _marginal(found: Mapping[int, Found]) -> dict[str, float]:
    """Microseconds of one core by row and stage, between the smallest and the largest size."""
    low, high = min(found), max(found)
    return {
        stage: 1e6 * (found[high][stage].core_seconds - found[low][stage].core_seconds) / _rows_of(stage, high - low)
        for stage in found[low]
    }


def _show_marginal(who: str, found: Mapping[int, Found]) -> None:
    if len(found) < 2:
        return
    sizes = sorted(found)
    for low, high in itertools.pairwise(sizes):
        costs = _marginal({low: found[low], high: found[high]})
        told = ", ".join(f"{stage} {cost:.2f}" for stage, cost in costs.items())
        hours = sum(cost * _rows_of(stage, 1_000) for stage, cost in costs.items()) / 3_600
        print(f"{who}: core-microseconds a row, {low:,} to {high:,} rows: {told}; 1,000M rows {hours:.2f} core-hours")


def _show_ratios(stock: Mapping[str, float], ours: Mapping[str, float]) -> None:
    told = ", ".join(f"{stage} {stock[stage] / ours[stage]:.1f}" for stage in STAGES)
    print(f"stock TFX / feedrank, core-time a row of csv: {told}")


if __name__ == "__main__":
    main()
