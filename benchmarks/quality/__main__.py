"""Every model on every dataset, side by side with the peers': the same rows, columns and budget.

    python -m benchmarks.quality --data kuairand=FOLDER --data census_income=FOLDER [--jobs 2] [--results FOLDER]

For each dataset the pipeline's ingest, validation and Transform run once; then each of feedrank's presets, and DeepCTR,
torch-rechub and LightGBM (each in an environment of its own), are trained on the transformed training rows with every
seed, choose their epoch on the validation rows alone, and predict the test rows. Every training is a process of its own.

Writes ``quality.json`` and ``quality.md`` below ``--results``: AUC, GAUC, log loss and calibration of each task, parameters,
examples/s. What ``quality.json`` holds already is not measured again: a benchmark that was killed goes on where it was, what
failed is tried again. One whose results are to be new, or of another ``--set``, begins with an empty folder.

With ``--jobs 2`` two trainings run at once, each bound to its half of the processor's cores (Linux). AUCs do not depend on it;
examples/s do, and are comparable among results of the same ``cores`` alone.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import logging
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.environment import ROOT, PeerError, python_of, run_module
from benchmarks.quality import table
from benchmarks.quality.prepare import prepare
from benchmarks.quality.problem import Problem
from features.errors import ConfigError
from models.config import PRESETS
from pipeline import loading
from pipeline.config import dump

CONFIGS = {
    "kuairand": "pipeline/configs/kuairand.yaml",
    "census_income": "pipeline/configs/census_income.yaml",
    "synthetic": "benchmarks/quality/synthetic.yaml",
}
PEERS = (
    ("deepctr", "shared_bottom"),
    ("deepctr", "mmoe"),
    ("deepctr", "ple"),
    ("torch_rechub", "mmoe"),
    ("torch_rechub", "ple"),
    ("torch_rechub", "aitm"),
    ("lightgbm", ""),
)
MODULES = {"deepctr": "deepctr_quality", "torch_rechub": "rechub_quality", "lightgbm": "lightgbm_quality"}


class Entry(NamedTuple):
    """One competitor."""

    library: str
    model: str

    @property
    def name(self) -> str:
        """For tables and files."""
        return f"{self.library}_{self.model}".rstrip("_")


def entries(models: list[str], peers: list[str]) -> list[Entry]:
    """feedrank's presets, then the peers."""
    return [Entry("feedrank", name) for name in models] + [Entry(*peer) for peer in PEERS if peer[0] in peers]


class Dataset(NamedTuple):
    """One dataset, prepared for all competitors."""

    name: str
    folder: pathlib.Path
    """Of the problem and of predictions."""
    config: str
    overrides: list[str]

    @property
    def problem(self) -> Problem:
        """As all competitors get it."""
        return Problem(self.folder)

    def prepare(self) -> None:
        """Runs the pipeline once, if it has not been run.

        Raises:
            ConfigError: if the folder was prepared with other overrides: peers would keep its settings.
        """
        asked = self.folder / "set.json"
        if (self.folder / "problem.json").exists():
            kept = json.loads(asked.read_text())
            if kept != self.overrides:
                raise ConfigError(
                    f"{self.folder} was prepared with --set {kept}; got {self.overrides}; allowed: the same, or another folder of --work"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        asked.write_text(json.dumps(self.overrides))
        prepare(self.config, self.overrides, self.folder)


def measure_all(dataset: Dataset, results: table.Results, chosen: list[Entry], seeds: list[int], jobs: int) -> None:
    """Trains what has no result yet, `jobs` at once; each result says at which revision of feedrank, and on how many cores."""
    overrides = [override for override in dataset.overrides if not override.startswith("data.path=")]
    results.check(dataset.name, overrides)
    wanted = [(entry, seed) for seed in seeds for entry in chosen if not results.has(dataset.name, entry.name, seed)]
    if not wanted:
        return
    dataset.prepare()
    for library in {entry.library for entry, _ in wanted} - {"feedrank"}:
        python_of(library)  # installed before anything is timed
    places: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
    for cores in shares_of_cores(sorted(os.sched_getaffinity(0)), jobs):
        places.put(cores)

    def measured(entry: Entry, seed: int) -> None:
        cores = places.get()
        try:
            answer = _answer(dataset, entry, seed, cores)
        finally:
            places.put(cores)
        about = {
            "dataset": dataset.name,
            "model": entry.name,
            "seed": seed,
            "revision": revision(),
            "cores": len(cores),
            "set": overrides,
        }
        results.add({**about, **answer})
        print(f"{dataset.name} {entry.name} seed {seed}: {_summary(answer)}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as workers:
        for done in [workers.submit(measured, *one) for one in wanted]:
            done.result()


def shares_of_cores(cores: Sequence[int], jobs: int) -> list[set[int]]:
    """`cores` in `jobs` parts that differ by one at most.

    Raises:
        ValueError: if there are more jobs than cores.
    """
    if not 1 <= jobs <= len(cores):
        raise ValueError(f"jobs: got {jobs}; allowed: 1 to {len(cores)}, the cores of this machine")
    return [set(cores[i * len(cores) // jobs : (i + 1) * len(cores) // jobs]) for i in range(jobs)]


def _answer(dataset: Dataset, entry: Entry, seed: int, cores: set[int]) -> dict[str, Any]:
    predictions = dataset.folder / f"{entry.name}-{seed}.npz"
    try:
        answer = _run(entry, seed, dataset, predictions, cores)
    except ConfigError as error:
        return {"refused": str(error)}  # the preset does not fit the dataset
    except PeerError as error:
        return {"error": str(error)}
    if "refused" in answer:  # so said the process that builds the ranker
        return answer
    return {**answer, "tasks": table.measure(dataset.problem, predictions, dataset.folder / "groups.npy")}


def _run(entry: Entry, seed: int, dataset: Dataset, predictions: pathlib.Path, cores: set[int]) -> dict[str, Any]:
    folder = dataset.folder
    if entry.library != "feedrank":
        module = f"benchmarks.peers.{MODULES[entry.library]}"
        arguments = [str(folder), str(seed), str(predictions), *([entry.model] if entry.model else [])]
        return run_module(python_of(entry.library), module, *arguments, cores=cores)
    file = folder / f"{entry.name}-{seed}.yaml"
    file.write_text(dump(loading.load(dataset.config, [*dataset.overrides, f"model.preset={entry.model}"])))
    arguments = [str(folder), str(file), str(seed), str(predictions)]
    return run_module(sys.executable, "benchmarks.quality.ours", *arguments, cores=cores)


def _summary(answer: dict[str, Any]) -> str:
    if "tasks" not in answer:
        return table.reason(answer)
    areas = {task: numbers["auc"] for task, numbers in answer["tasks"].items()}
    known = [area for area in areas.values() if area is not None]
    said = [f"{task} {'-' if area is None else f'{area:.4f}'}" for task, area in areas.items()]
    return f"mean AUC {np.mean(known):.4f}  " + "  ".join(said) if known else "no AUC is defined"


def revision() -> str:
    """Of the checkout, with a plus sign if files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _data(arguments: list[str]) -> Iterator[tuple[str, str]]:
    for argument in arguments:
        name, _, path = argument.partition("=")
        if name not in CONFIGS or not path:
            raise SystemExit(f"--data {argument}: wanted NAME=FOLDER, NAME one of {', '.join(CONFIGS)}")
        yield name, str(pathlib.Path(path).resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--models", nargs="*", default=list(PRESETS))
    parser.add_argument("--peers", nargs="*", choices=MODULES, default=list(MODULES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--data", action="append", default=[], help="NAME=FOLDER of a dataset's files")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, each on its share of the cores")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "runs" / "quality", help="for prepared datasets")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "runs" / "quality")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    paths = dict(_data(arguments.data))
    chosen = entries(arguments.models, arguments.peers)
    results = table.Results(arguments.results)
    for name in arguments.datasets:
        path = [f"data.path={paths[name]}"] if name in paths else []
        folder = (arguments.work / name).resolve()
        dataset = Dataset(name, folder, CONFIGS[name], [*arguments.overrides, *path])
        measure_all(dataset, results, chosen, arguments.seeds, arguments.jobs)
    print(results.markdown())


if __name__ == "__main__":
    main()
