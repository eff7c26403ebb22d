"""AUC per task of several models and seeds, each a whole run of the pipeline: mean and spread over the seeds.

    python -m benchmarks.quality pipeline/configs/kuairand.yaml --models mmoe mmoe_dlen ple --seeds 1 2 3 \
        --set data.path=FOLDER

Ingest, validation and transform are done once and then come from TFX's cache. Metrics are those of the evaluate stage: the
test part of the split, asked through the export; training selects its epoch on the validation part alone.
"""

from __future__ import annotations

import argparse
import json
import logging

import numpy as np

from pipeline import loading
from pipeline.runs import RunFolder, StageResult

Aucs = dict[str, float]


class _Silence:
    def stage_started(self, name: str) -> None:
        pass

    def stage_finished(self, result: StageResult) -> None:
        if result.state != "cached" and result.seconds > 1:
            print(f"    {result.name} {result.seconds:.0f} s", flush=True)


def test_aucs(config: str, overrides: list[str]) -> Aucs:
    """Runs the pipeline; each task's AUC on the test part."""
    from pipeline.runners import local

    loaded = loading.load(config, overrides)
    with RunFolder.create(loaded) as folder:
        evaluation = local.run(loaded, folder, _Silence()).output("evaluate", "evaluation")
    assert evaluation is not None
    tasks = json.loads((evaluation / "evaluation.json").read_text())["tasks"]
    return {name: numbers["auc"] for name, numbers in tasks.items() if numbers.get("auc") is not None}


def table(results: dict[str, list[Aucs]]) -> str:
    """Markdown: a row a model, a column a task, mean and half the range over the seeds."""
    tasks = list(next(iter(results.values()))[0])
    lines = ["| model | " + " | ".join([*tasks, "mean"]) + " |", "|---" * (len(tasks) + 2) + "|"]
    for model, runs in results.items():
        columns = [[run[task] for run in runs] for task in tasks]
        columns.append([float(np.mean(list(run.values()))) for run in runs])
        cells = [f"{np.mean(values):.4f} ± {(max(values) - min(values)) / 2:.4f}" for values in columns]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--models", nargs="+", default=["mmoe", "mmoe_dlen", "ple"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    results: dict[str, list[Aucs]] = {}
    for model in arguments.models:
        for seed in arguments.seeds:
            chosen = [*arguments.overrides, f"model.preset={model}", f"train.seed={seed}"]
            aucs = test_aucs(arguments.config, chosen)
            print(model, seed, json.dumps({task: round(value, 4) for task, value in aucs.items()}), flush=True)
            results.setdefault(model, []).append(aucs)
    print(table(results))


if __name__ == "__main__":
    main()
