"""torch-rechub's models with random weights, for `benchmarks.peer_parity`; runs in torch-rechub's own environment.

In evaluation mode, where a batch norm is an affine map of its own; where the papers have no such thing it is switched off.
"""

from __future__ import annotations

import functools
import json
import sys

import torch
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import AITM, ESMM, MMOE, PLE, SharedBottom

from benchmarks.parity import problem

MODELS = ("shared_bottom", "mmoe", "ple", "esmm", "aitm")


def make_model(name: str) -> torch.nn.Module:
    """With the problem's sizes."""
    ids = [SparseFeature(i, problem.ROWS, problem.DIM) for i in problem.IDS]
    features = [*ids, *map(DenseFeature, problem.NUMBERS)]
    layers, towers = {"dims": problem.UNITS}, [{"dims": problem.TOWER_UNITS} for _ in problem.TASKS]
    types = ["classification"] * len(problem.TASKS)
    if name == "esmm":  # takes no numbers
        return ESMM(ids[:1], ids[1:], cvr_params=layers, ctr_params=layers)
    if name == "aitm":
        return AITM(features, len(problem.TASKS), layers, towers)
    if name == "shared_bottom":
        return SharedBottom(features, types, layers, towers)
    if name == "mmoe":
        return MMOE(features, types, problem.EXPERTS, layers, towers)
    return PLE(features, types, problem.LAYERS, problem.TASK_EXPERTS, problem.SHARED_EXPERTS, layers, towers)


def draw_weights(model: torch.nn.Module) -> None:
    """Random weights and statistics; no gate has a bias, and all of AITM's attentions are one."""
    for name, values in model.state_dict().items():
        if name.endswith("running_var") or (name.endswith("weight") and values.dim() == 1):
            values.uniform_(0.5, 2)
        elif values.dtype.is_floating_point:
            values.normal_(std=problem.spread(values.shape[::-1]))
        if (
            ("gates" in name or "gate_shared" in name)
            and "info" not in name
            and name.endswith(("bias", "running_mean"))
        ):
            values.zero_()
    attentions = list(getattr(model, "aits", []))
    for attention in attentions[1:]:
        attention.load_state_dict(attentions[0].state_dict())


def answer(model: torch.nn.Module, name: str, seed: int) -> dict[str, problem.Array]:
    """{output: (batch,)} with random weights."""
    torch.manual_seed(seed)
    draw_weights(model)
    with torch.no_grad():
        outputs = model({feature: torch.tensor(values) for feature, values in problem.inputs().items()}).numpy()
    # ESMM's first output is P(conversion | click).
    names = (f"{problem.CHAIN[1]}_given_{problem.CHAIN[0]}", *problem.CHAIN) if name == "esmm" else problem.TASKS
    return dict(zip(names, outputs.T, strict=True))


def main() -> None:
    for name in MODELS:
        model = make_model(name).eval()
        outputs = problem.varied(functools.partial(answer, model, name))
        problem.save(sys.argv[1], name, {key: values.numpy() for key, values in model.state_dict().items()}, outputs)
    print(json.dumps({"models": MODELS}))


if __name__ == "__main__":
    main()
