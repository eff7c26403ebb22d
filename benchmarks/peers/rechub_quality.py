"""torch-rechub's models on a problem of `benchmarks.quality`; runs in torch-rechub's own environment. feedrank's sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import AITM, MMOE, PLE

from benchmarks.peers.competitor import Competitor, arrays, best_epoch, compete
from benchmarks.quality.problem import Array, Problem

EVALUATION_BATCH = 8192
EXPERTS, TASK_EXPERTS, LAYERS = 5, 2, 2


def features(problem: Problem) -> list[Any]:
    """torch-rechub's description of the features; features of one table share it."""
    found: list[Any] = []
    owners: dict[str | None, str] = {}
    for feature in problem.features:
        if feature.kind == "number":
            found.append(DenseFeature(feature.name))
            continue
        table = {"vocab_size": feature.rows, "embed_dim": problem.settings["embedding_dim"]}
        table |= {"shared_with": owners.get(feature.table)}
        owners.setdefault(feature.table, feature.name)
        if feature.kind == "indices":
            found.append(SequenceFeature(feature.name, pooling="mean", padding_idx=0, **table))
        else:
            found.append(SparseFeature(feature.name, **table))
    return found


def make_model(problem: Problem, name: str) -> torch.nn.Module:
    """With the problem's sizes."""
    inputs, layers = features(problem), {"dims": problem.settings["units"], "dropout": problem.settings["dropout"]}
    towers = [{"dims": problem.settings["tower_units"]} for _ in problem.tasks]
    types = ["classification"] * len(problem.tasks)
    if name == "mmoe":
        return MMOE(inputs, types, EXPERTS, layers, towers)
    if name == "ple":
        return PLE(inputs, types, LAYERS, TASK_EXPERTS, EXPERTS, layers, towers)
    return AITM(inputs, len(problem.tasks), layers, towers)


def run(problem: Problem, seed: int, name: str) -> Competitor:
    """Trains and predicts."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    model = make_model(problem, name)
    optimizer = torch.optim.Adam(model.parameters(), problem.settings["learning_rate"])
    inputs = {split: _tensors(problem.inputs(split)) for split in ("train", "validation", "test")}
    labels, masks = (torch.tensor(arrays(getattr(problem, what)("train"))) for what in ("labels", "masks"))
    weights = torch.tensor(problem.loss_weights())

    def train_epoch() -> None:
        model.train()
        for rows in torch.tensor(draw.permutation(len(labels))).split(problem.settings["batch_size"]):
            predicted = model({name: values[rows] for name, values in inputs["train"].items()})
            losses = torch.nn.functional.binary_cross_entropy(predicted, labels[rows], reduction="none")
            loss = (weights * (losses * masks[rows]).sum(dim=0) / masks[rows].sum(dim=0).clamp(min=1)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def predict(split: str) -> dict[str, Array]:
        model.eval()
        parts = []
        with torch.no_grad():
            for rows in torch.arange(len(next(iter(inputs[split].values())))).split(EVALUATION_BATCH):
                parts.append(model({name: values[rows] for name, values in inputs[split].items()}))
        return dict(zip(problem.tasks, torch.cat(parts).numpy().T, strict=True))

    predictions, numbers = best_epoch(problem, train_epoch, predict)
    return Competitor(predictions, {**numbers, "parameters": sum(p.numel() for p in model.parameters())})


def _tensors(columns: dict[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) for name, values in columns.items()}


if __name__ == "__main__":
    compete(run)
