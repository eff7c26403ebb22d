"""Training on several machines: a process of its own in each, for TensorFlow learns of a cluster when it starts.

The chief is the process that runs the pipeline; its TF_CONFIG (see `models.training.strategies`) makes it so. Every other one is started
by ``python -m pipeline.components.train_workers FILE`` with a TF_CONFIG of its own, FILE being ``train_arguments.json`` beside the run's checkpoints.
It waits for the file, so it may start first; files and folders have the same paths on all machines.
"""

from __future__ import annotations

import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import time

from tfx import v1 as tfx

from features import progress

ARGUMENTS = "train_arguments.json"
PROGRESS = "progress "
"""What lines of the chief's process begin with that tell how far it is."""
_LOOK_EVERY_S = 1.0


def train_as_chief(fn_args: tfx.components.FnArgs) -> None:
    """Leaves the arguments for the workers, trains in a new process, and takes the arguments away.

    Raises:
        RuntimeError: if the process failed, with what it said.
    """
    path = pathlib.Path(fn_args.custom_config["checkpoints"]) / ARGUMENTS
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({name: value for name, value in vars(fn_args).items() if name != "data_accessor"}))
    partial.rename(path)
    try:
        _run([sys.executable, "-m", __name__, str(path)])
    finally:
        path.unlink()


def _run(command: list[str]) -> None:
    """Runs a process, and reports its progress as this one's."""
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            try:
                for line in process.stdout or ():
                    if line.startswith(PROGRESS):
                        progress.report(**json.loads(line.removeprefix(PROGRESS)))
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"the chief's process ended with code {process.returncode}: {errors.read()[-10_000:]}")


class _Told(logging.Handler):
    """Writes progress where `_run` reads it."""

    def emit(self, record: logging.LogRecord) -> None:
        told = vars(record)
        if "numbers" in told:
            print(PROGRESS + json.dumps({"stage": told["stage"], **told["numbers"]}), flush=True)


def main(path: str) -> None:
    """One process of the training, the chief's or a worker's."""
    from pipeline.components.train import train

    progress.LOGGER.addHandler(_Told())
    progress.LOGGER.setLevel(logging.INFO)
    while not pathlib.Path(path).exists():
        time.sleep(_LOOK_EVERY_S)
    train(tfx.components.FnArgs(**json.loads(pathlib.Path(path).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
