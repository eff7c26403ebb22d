from __future__ import annotations

import itertools
import math
import pathlib

import numpy as np
import pytest

from benchmarks.parity import problem
from benchmarks.parity.copies import copied_ranker
from benchmarks.parity.peers import DeepCtr, Rechub
from benchmarks.peer_parity import Result, compare, notes, table

DRAW = np.random.default_rng(0)
WIDTH = len(problem.IDS) * problem.DIM + len(problem.NUMBERS)


def shared_bottom() -> dict[str, np.ndarray]:
    """DeepCTR's weights of a shared bottom, by its names."""
    sizes = {"dnn": (WIDTH, *problem.UNITS)}
    sizes |= {f"tower_{task}": (problem.UNITS[-1], *problem.TOWER_UNITS) for task in problem.TASKS}
    shapes: dict[str, tuple[int, ...]] = {
        f"sparse_emb_{name}/embeddings:0": (problem.ROWS, problem.DIM) for name in problem.IDS
    }
    for name, widths in sizes.items():
        for i, shape in enumerate(itertools.pairwise(widths)):
            shapes |= {f"{name}/kernel{i}:0": shape, f"{name}/bias{i}:0": shape[1:]}
    for name, task in zip(("dense", "dense_1", "dense_2"), problem.TASKS, strict=True):
        shapes |= {f"{name}/kernel:0": (problem.TOWER_UNITS[-1], 1), f"{task}/global_bias:0": (1,)}
    return {
        name: DRAW.normal(scale=problem.spread(shape), size=shape).astype(np.float32) for name, shape in shapes.items()
    }


def outputs(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    batch = problem.inputs()
    x = [weights[f"sparse_emb_{name}/embeddings:0"][batch[name]] for name in problem.IDS]
    x = np.concatenate([*x, *(batch[name][:, None] for name in problem.NUMBERS)], axis=1)

    def network(name: str, hidden: np.ndarray) -> np.ndarray:
        for i in range(sum(key.startswith(f"{name}/kernel") for key in weights)):
            hidden = np.maximum(hidden @ weights[f"{name}/kernel{i}:0"] + weights[f"{name}/bias{i}:0"], 0)
        return hidden

    bottom = network("dnn", x)
    logits = {
        task: network(f"tower_{task}", bottom) @ weights[f"{dense}/kernel:0"] + weights[f"{task}/global_bias:0"]
        for dense, task in zip(("dense", "dense_1", "dense_2"), problem.TASKS, strict=True)
    }
    return {task: 1 / (1 + np.exp(-values[:, 0])) for task, values in logits.items()}


def test_it_sees_sameness_and_one_changed_weight(tmp_path: pathlib.Path):
    weights = shared_bottom()
    expected = outputs(weights)
    problem.save(str(tmp_path), "shared_bottom", weights, expected)
    assert all(result.agrees for result in compare("deepctr", tmp_path / "shared_bottom.npz"))
    weights["task_1/global_bias:0"] = weights["task_1/global_bias:0"] + np.float32(0.01)
    problem.save(str(tmp_path), "shared_bottom", weights, expected)
    found = {result.output: result.agrees for result in compare("deepctr", tmp_path / "shared_bottom.npz")}
    assert found == {"task_0": True, "task_1": False, "task_2": True}


def test_a_weight_that_nobody_read_is_an_error():
    with pytest.raises(ValueError, match=r"never read: \['gate/kernel:0'\]"):
        copied_ranker("shared_bottom", DeepCtr({**shared_bottom(), "gate/kernel:0": np.zeros((1, 1))}))


def rechub_layer(bias: float) -> dict[str, np.ndarray]:
    """One dense layer x -> 3 x + bias, and a batch norm: gamma 2, beta 5, mean 1, variance 4."""
    norm = {"weight": [2.0], "bias": [5.0], "running_mean": [1.0], "running_var": [4.0], "num_batches_tracked": 7}
    values = {"gates.0.mlp.0.weight": [[3.0]], "gates.0.mlp.0.bias": [bias]}
    return {k: np.array(v) for k, v in (values | {f"gates.0.mlp.1.{part}": v for part, v in norm.items()}).items()}


def test_a_batch_norm_is_folded_into_its_layer():
    peer = Rechub({name.replace("gates", "experts"): values for name, values in rechub_layer(bias=2.0).items()})
    [(kernel, bias)] = peer.expert(0)
    # 2 (3 x + 2 - 1) / sqrt(4) + 5 = 3 x + 6
    assert (float(kernel[0, 0]), float(bias[0])) == pytest.approx((3.0, 6.0), rel=1e-5)
    assert not peer.unread


def test_a_gate_with_a_bias_is_refused():
    with pytest.raises(ValueError, match="has a bias"):
        Rechub(rechub_layer(bias=2.0)).gate(0)


def test_weights_are_drawn_until_outputs_vary():
    drawn = problem.varied(lambda seed: {"task": np.array([0.5, 0.5 + seed / 10])})
    assert drawn["task"].tolist() == [0.5, 0.6]
    with pytest.raises(ValueError, match="hardly vary, whatever the weights: task"):
        problem.varied(lambda seed: {"task": np.ones(2)})


def test_the_report():
    lines = table([Result("deepctr", "mmoe", "task_0", 2e-7, 0.3), Result("deepctr", "mmoe", "task_1", math.nan, 0.3)])
    assert lines.splitlines()[2:] == [
        "| deepctr | mmoe | task_0 | 2.0e-07 | 0.30 | same |",
        "| deepctr | mmoe | task_1 | nan | 0.30 | DIFFERENT |",
    ]
    assert "- torch_rechub, mmoe: gates have a bias: set to 0" in notes(["torch_rechub"]).splitlines()
