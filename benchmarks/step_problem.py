"""The training step that all candidates take: its sizes, its data, and how it is timed. Needs NumPy alone.

A candidate is a module with a ``main`` that is given a `Problem` as JSON, runs in an environment of its own, and prints one
line of JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[np.generic]]
EXPERT_UNITS = (256, 128, 64)
TOWER_UNITS = (64,)
EXPERTS = 5
"""Of MMoE; shared ones of PLE."""
TASK_EXPERTS = 2
"""Of PLE, for each task and layer."""
LAYERS = 2
"""Of PLE."""
POSITIVES = 0.1


@dataclasses.dataclass(frozen=True)
class Problem:
    """A model and what it is trained on: id features alone, drawn uniformly, so that nearly every row of a batch is another one."""

    model: str = "mmoe"
    rows: int = 50_000
    """Of each table; every feature has a table of its own."""
    features: int = 10
    dim: int = 16
    tasks: int = 5
    batch: int = 2048
    precision: str = "float32"
    seconds: float = 5.0
    """About how long is timed."""

    @classmethod
    def from_command_line(cls) -> Problem:
        """The problem that this process was started for."""
        return cls(**json.loads(sys.argv[1]))

    def inputs(self, steps: int = 32) -> Arrays:
        """``{id_i: (steps, batch)}``."""
        draw = np.random.default_rng(0)
        return {f"id_{i}": draw.integers(0, self.rows, (steps, self.batch)) for i in range(self.features)}

    def labels(self, steps: int = 32) -> Arrays:
        """``{task_i: float32 (steps, batch)}``."""
        draw = np.random.default_rng(1)
        return {
            f"task_{i}": (draw.random((steps, self.batch)) < POSITIVES).astype(np.float32) for i in range(self.tasks)
        }

    def measure(self, run: Callable[[int], object]) -> float:
        """Examples per second of `run`, which takes a number of steps and returns when they are done."""
        run(2)
        began = time.perf_counter()
        run(3)
        steps = max(3, min(2000, round(3 * self.seconds / (time.perf_counter() - began))))
        began = time.perf_counter()
        run(steps)
        return steps * self.batch / (time.perf_counter() - began)


def answer(**numbers: object) -> None:
    """Prints what was measured, with the machine's load before the process is gone."""
    print(json.dumps({**numbers, "load": os.getloadavg()[0]}), flush=True)
