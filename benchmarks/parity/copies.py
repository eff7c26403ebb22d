"""A peer's weights into our rankers, part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import numpy as np

from benchmarks.parity import problem
from benchmarks.parity.peers import Layer, Network, PeerWeights, Rechub
from features.layout import Input, Layout, Table
from features.spec import Task
from models.config import ModelConfig
from models.layers.expert_bank import ExpertBank
from models.layers.mlp import Mlp
from models.layers.tower import Tower
from models.ranker import Ranker, build_ranker

INDEPENDENT = {"kind": "independent", "tower_units": problem.TOWER_UNITS}
PARTS: Mapping[str, dict[str, Any]] = {
    "shared_bottom": {"trunk": {"kind": "shared_bottom"}, "head": INDEPENDENT},
    "mmoe": {"trunk": {"kind": "mmoe", "experts": problem.EXPERTS}, "head": INDEPENDENT},
    "ple": {
        "trunk": {
            "kind": "ple",
            "shared_experts": problem.SHARED_EXPERTS,
            "task_experts": problem.TASK_EXPERTS,
            "layers": problem.LAYERS,
        },
        "head": INDEPENDENT,
    },
    "esmm": {"trunk": {"kind": "single_task"}, "head": {"kind": "esmm", "tower_units": ()}},
    "aitm": {"trunk": {"kind": "single_task"}, "head": {"kind": "aitm", "tower_units": problem.TOWER_UNITS}},
}


def copied_ranker(model: str, peer: PeerWeights) -> Ranker:
    """Our ranker with the peer's weights.

    Raises:
        ValueError: if a weight of the peer was not read, or one of ours not written.
    """
    ranker = _make_ranker(model, with_numbers=not (model == "esmm" and isinstance(peer, Rechub)))
    for variable in ranker.trainable_variables:
        variable.assign(np.full(variable.shape, np.nan))
    for feature in problem.IDS:
        ranker.lookups.tables[feature].table.assign(peer.table(feature))
    COPIES[model](peer, ranker)
    unwritten = [variable.name for variable in ranker.trainable_variables if np.isnan(variable.numpy()).any()]
    if peer.unread or unwritten:
        raise ValueError(
            f"{model}: weights of the peer never read: {sorted(peer.unread)}; of ours never written: {unwritten}"
        )
    return ranker


def _make_ranker(model: str, with_numbers: bool) -> Ranker:
    numbers = problem.NUMBERS if with_numbers else ()
    layout = Layout(
        inputs=(
            *(Input(name=name, kind="index", table=name) for name in problem.IDS),
            *(Input(name=name, kind="number") for name in numbers),
        ),
        tables=tuple(Table(name=name, rows=problem.ROWS) for name in problem.IDS),
    )
    names = problem.CHAIN if model == "esmm" else problem.TASKS
    parents = dict(zip(names[1:], names, strict=False)) if model in ("esmm", "aitm") else {}
    tasks = {name: Task(label=f"y_{name}", parent=parents.get(name)) for name in names}
    parts = PARTS[model]
    config = {**parts, "trunk": {**parts["trunk"], "units": problem.UNITS}, "embedding_dim": problem.DIM}
    rates = {name: 0.3 / (i + 1) for i, name in enumerate(names)}  # the biases they start are overwritten
    return build_ranker(layout, tasks, ModelConfig.model_validate(config), rates)


def _shared_bottom(peer: PeerWeights, ranker: Any) -> None:
    _fill_mlp(ranker.trunk.bottom, peer.bottom())
    _fill_towers(peer, ranker)


def _mmoe(peer: PeerWeights, ranker: Any) -> None:
    _fill_bank(ranker.trunk.bank, [peer.expert(i) for i in range(problem.EXPERTS)])
    _fill_gates(ranker.trunk.gates, [peer.gate(task) for task in range(len(problem.TASKS))])
    _fill_towers(peer, ranker)


def _ple(peer: PeerWeights, ranker: Any) -> None:
    tasks = range(len(problem.TASKS))
    for level, layer in enumerate(ranker.trunk.layers):
        own = [peer.expert(i, level, task) for task in tasks for i in range(problem.TASK_EXPERTS)]
        _fill_bank(layer.bank, own + [peer.expert(i, level) for i in range(problem.SHARED_EXPERTS)])
        _fill_gates(layer.task_gates, [peer.gate(task, level) for task in tasks])
        if layer.shared_gate:
            _fill_gates(layer.all_gate, [peer.gate(None, level)])
    _fill_towers(peer, ranker)


def _esmm(peer: PeerWeights, ranker: Any) -> None:
    _fill_bank(ranker.trunk.bank, [peer.bottom(task) for task in range(len(problem.CHAIN))])
    for task, name in enumerate(problem.CHAIN):
        _fill_tower(ranker.head.towers[name], [], peer.esmm_output(task))


def _aitm(peer: PeerWeights, ranker: Any) -> None:
    if not isinstance(peer, Rechub):
        raise ValueError(f"{type(peer).__name__} has no AITM")
    _fill_bank(ranker.trunk.bank, [peer.bottom(task) for task in range(len(problem.TASKS))])
    for parent, name in enumerate(problem.TASKS[:-1]):
        _fill_mlp(ranker.head.transfers[name], peer.transfer(parent))
    for name, kernel in peer.attention(len(problem.TASKS) - 1).items():
        getattr(ranker.head.attention, name).kernel.assign(kernel)
    _fill_towers(peer, ranker)


COPIES: Mapping[str, Callable[[PeerWeights, Any], None]] = {
    "shared_bottom": _shared_bottom,
    "mmoe": _mmoe,
    "ple": _ple,
    "esmm": _esmm,
    "aitm": _aitm,
}


def _fill_bank(bank: ExpertBank, networks: Sequence[Network]) -> None:
    """Networks side by side: kernels (experts, in, out), biases (experts, 1, out)."""
    for kernel, bias, layers in zip(bank.kernels, bank.biases, zip(*networks, strict=True), strict=True):
        kernel.assign(np.stack([k for k, _ in layers]))
        bias.assign(np.stack([b for _, b in layers])[:, None])


def _fill_gates(gates: Any, kernels: Sequence[problem.Array]) -> None:
    gates.kernel.assign(np.stack(kernels))


def _fill_mlp(mlp: Mlp, network: Network) -> None:
    for layer, weights in zip(mlp.layers, network, strict=True):
        layer.set_weights(weights)


def _fill_tower(tower: Tower, hidden: Network, output: Layer) -> None:
    _fill_mlp(tower.hidden, hidden)
    tower.output_layer.set_weights(output)


def _fill_towers(peer: PeerWeights, ranker: Any) -> None:
    for task, name in enumerate(problem.TASKS):
        _fill_tower(ranker.head.towers[name], *peer.tower(task))
