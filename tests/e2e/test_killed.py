"""`feedrank run` killed in the middle of its training, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from serving.weights import read_weights
from tests.e2e.conftest import versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EVERY = 20


def start(folder: Path, name: str) -> subprocess.Popen:
    """Two epochs of some 80 steps, several pools of rows, dropout and averaged weights."""
    changes = [
        f"name={name}",
        f"output={folder / 'runs'}",
        f"data.path={folder / 'log'}",
        "data.synthesize={rows: 30000, users: 400, items: 200, seed: 3}",
        f"train={{batch_size: 256, epochs: 2, shuffle_rows: 5000, checkpoint_every_steps: {EVERY}, ema_decay: 0.9}}",
        "model.input_dropout=0.2",
        "evaluate.thresholds={}",
    ]
    arguments = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "pipeline.cli", "run", "pipeline/configs/demo.yaml", *arguments]
    with (folder / f"{name}.txt").open("a") as said:
        return subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)


def weights(folder: Path, name: str) -> dict[str, np.ndarray]:
    serving = folder / "runs" / name / "serving"
    (version,) = versions(serving)
    return read_weights(str(serving / str(version)))


def test_a_run_killed_in_an_epoch_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    assert start(tmp_path, "whole").wait() == 0, (tmp_path / "whole.txt").read_text()

    run = start(tmp_path, "killed")
    steps: list[str] = []
    while not steps and run.poll() is None:
        time.sleep(0.05)
        steps = [path.name for path in tmp_path.glob(f"runs/killed/checkpoints/*/step-*{2 * EVERY}")]
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert steps, (tmp_path / "killed.txt").read_text()
    assert not (tmp_path / "runs" / "killed" / "serving").exists()

    assert start(tmp_path, "killed").wait() == 0, (tmp_path / "killed.txt").read_text()
    whole, killed = (weights(tmp_path, name) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(killed[name], values, err_msg=name)
