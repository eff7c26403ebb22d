"""The tiny models that `benchmarks.peer_parity` compares: sizes, inputs, what a peer leaves. Needs NumPy alone."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
IDS = ("id_0", "id_1", "id_2")
NUMBERS = ("number_0", "number_1")
ROWS, DIM, BATCH = 12, 4, 64
"""Rows and width of each id's table; rows of the batch."""
TASKS = ("task_0", "task_1", "task_2")
CHAIN = TASKS[:2]
"""The tasks of ESMM: click, then click and conversion."""
UNITS, TOWER_UNITS = (6, 4), (5,)
EXPERTS, SHARED_EXPERTS, TASK_EXPERTS, LAYERS = 3, 2, 2, 2
"""Of MMoE; of PLE: shared ones, those of each task, and layers of both."""


LEAST_SPREAD = 0.02
"""Standard deviation over the batch that each of a peer's outputs must have: equal constants would prove nothing."""
DRAWS = 100


def inputs() -> dict[str, Array]:
    """{feature: (batch,)}."""
    draw = np.random.default_rng(0)
    ids = {name: draw.integers(0, ROWS, BATCH) for name in IDS}
    return ids | {name: draw.normal(size=BATCH).astype(np.float32) for name in NUMBERS}


def spread(shape: Sequence[int]) -> float:
    """Standard deviation of random weights (in, out) or (out,): twice He's variance, so that rows differ."""
    return float(np.sqrt(4 / shape[0])) if len(shape) > 1 else 0.5


def varied(answer: Callable[[int], Mapping[str, Array]]) -> Mapping[str, Array]:
    """A model's outputs with the first random weights that make them vary.

    Args:
        answer: draws weights from a seed and gives the outputs.

    Raises:
        ValueError: if none of `DRAWS` seeds does.
    """
    for seed in range(DRAWS):
        outputs = answer(seed)
        if all(np.std(values) >= LEAST_SPREAD for values in outputs.values()):
            return outputs
    raise ValueError(f"the outputs hardly vary, whatever the weights: {', '.join(outputs)}")


def save(folder: str, model: str, weights: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """What a peer leaves of one model: all its weights by its own names, and each output by ours."""
    named = {f"weight {name}": values for name, values in weights.items()}
    np.savez(pathlib.Path(folder) / model, **named, **{f"output {name}": values for name, values in outputs.items()})


def load(path: pathlib.Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """What `save` left: weights and outputs."""
    with np.load(path) as file:
        parts = {
            part: {name.removeprefix(f"{part} "): file[name] for name in file.files if name.startswith(f"{part} ")}
            for part in ("weight", "output")
        }
    return parts["weight"], parts["output"]
