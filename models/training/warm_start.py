"""A ranker begins with what an earlier model learned, though its vocabularies have grown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from features.errors import ModelError
from features.frozen import Frozen
from features.layout import Layout, Table
from features.spec import Task
from models.config import (
    CgcTrunk,
    ChainHead,
    DselectKGate,
    ModelConfig,
    PleTrunk,
    PositionTowerBeside,
    SnrAverTrunk,
    SnrTransTrunk,
    architecture_problem,
)
from models.heads.scores import value_class
from models.layers.dselect_k_gates import DselectKGates
from models.layers.hard_concrete import HardConcrete
from models.ranker import Ranker

Vocabularies = Mapping[str, Sequence[bytes]]
"""Tokens of each table that has a vocabulary, in the order of their rows."""
READ_BEFORE_TRUNK = ("numbers", "interactions")
"""Parts that make what all dense layers read."""


@dataclasses.dataclass(frozen=True)
class Earlier:
    """A trained model, as an export keeps it."""

    path: str
    fingerprint: str
    layout: Layout
    tasks: Mapping[str, Task]
    config: ModelConfig
    weights: Mapping[str, npt.NDArray[Any]]
    """By the variables' names."""
    vocabularies: Vocabularies


class TableStart(Frozen):
    """Tokens of one vocabulary: in both models, in the new one only, in the earlier one only."""

    matched: int
    new: int
    gone: int


class WarmStart(Frozen):
    """What a ranker took from an earlier model."""

    model: str
    """Where the earlier model lies."""
    fingerprint: str
    tables: dict[str, TableStart]
    """Of each table that was taken over and has a vocabulary."""
    copied: int
    """Variables taken over, tables included."""
    fresh: dict[str, str]
    """Variables that were not, and why."""


def take_over(ranker: Ranker, vocabularies: Vocabularies, earlier: Earlier) -> WarmStart:
    """Gives `ranker` the weights of an earlier model, wherever they mean the same.

    Tables are matched by token. A new token gets the row that the earlier model looked up for it, that of its
    out-of-vocabulary bucket: it learned what rare tokens have in common, and the ranker answers as the earlier model did
    until it is trained; of pretrained vectors it keeps its own, and frozen ones are not taken over. (A row drawn anew would be noise in place of that.) Vanished tokens are dropped. Tables of bucketized
    numbers are matched by bucket.

    Other variables are matched by name and shape, provided that inputs (how lists are pooled, too), numbers, interactions
    and tasks (with a head along a chain their parents, too) are the same ones in the same order, on which the meaning of their
    rows depends; a position tower's, provided that it reads the same columns; a trunk's with experts of tasks' own, provided that
    each of its layers divides them alike; gates' that choose experts by binary codes, provided that codes and smooth step are the same;
    learned connections', provided that their distribution is cut at the same ends. Everything else keeps its fresh draw, with the reason in the answer. The
    optimizers' moments are not part of an export: they start anew.

    Args:
        ranker: from `models.ranker.build_ranker`; changed in place.
        vocabularies: of the ranker's tables.
        earlier: where to take from.

    Raises:
        ModelError: if the earlier model has another architecture.
    """
    if problem := architecture_problem(ranker.config, earlier.config, earlier.path):
        raise ModelError(problem)
    fresh: dict[str, str] = {}
    tables = {}
    for name, table in ranker.lookups.tables.items():
        if table.frozen:
            continue  # its rows are given with the data
        was, now = earlier.vocabularies.get(name), vocabularies.get(name)
        if why := _no_table(ranker, name, (was, now), earlier):
            fresh[_name(table.table)] = why
            continue
        values = earlier.weights[_name(table.table)]
        if was is not None and now is not None:
            rows, tables[name] = _match(now, was, (table.rows, len(values)))
            values = values[rows]
            if ranker.layout.table(name).vectors is not None:  # a new id has a vector already
                new = (rows > len(was)) & (np.arange(len(rows)) <= len(now))
                values = np.where(new[:, None], table.table.numpy(), values)
        table.table.assign(values)
    all_fresh, moved = _other_meaning(ranker, earlier), _moved(ranker, earlier)
    for variable in ranker.dense_variables:
        if why := all_fresh or moved.get(variable.ref()) or _unlike(variable, earlier):
            fresh[_name(variable)] = why
        else:
            variable.assign(earlier.weights[_name(variable)])
    copied = len(ranker.trainable_variables) - len(fresh)
    return WarmStart(model=earlier.path, fingerprint=earlier.fingerprint, tables=tables, copied=copied, fresh=fresh)


def _other_meaning(ranker: Ranker, earlier: Earlier) -> str | None:
    """Why no dense variable can be taken over."""
    # A list that is cut elsewhere means the same.
    now, was = (
        [i.model_copy(update={"length": None}) for i in layout.inputs] for layout in (ranker.layout, earlier.layout)
    )
    if now != was:
        changed = sorted({i.name for i in set(now) ^ set(was)})
        return f"the inputs differ: {', '.join(changed) or 'their order'}"
    for part in READ_BEFORE_TRUNK:
        if getattr(ranker.config, part) != getattr(earlier.config, part):
            return f"model.{part} differs"
    widths = [
        {table.name: table.dim or config.embedding_dim for table in layout.tables}
        for layout, config in ((ranker.layout, ranker.config), (earlier.layout, earlier.config))
    ]
    if widths[0] != widths[1]:
        return "the embeddings' widths differ"
    return _other_tasks(ranker, earlier)


def _moved(ranker: Ranker, earlier: Earlier) -> dict[Any, str]:
    """{reference of a dense variable: why it cannot be taken over}, where its shape may be the same and its meaning is not."""
    now, was, why = ranker.config, earlier.config, []
    if isinstance(now.beside, PositionTowerBeside) and isinstance(was.beside, PositionTowerBeside):
        read = [(beside.context, beside.max_position) for beside in (now.beside, was.beside)]
        if read[0] != read[1]:
            why.append((ranker.beside, f"the position tower reads {_read(*read[0])}, read {_read(*read[1])}"))
    if isinstance(now.gate, DselectKGate) and isinstance(was.gate, DselectKGate):
        gates = ((now.gate, now.trunk), (was.gate, was.trunk))
        choices = [_choice(gate, trunk.fewest_experts()) for gate, trunk in gates]
        if choices[0] != choices[1]:
            text = f"its gates choose {choices[0]}; chose {choices[1]}"
            why += [(layer, text) for layer in _layers(ranker.trunk, DselectKGates)]
    if isinstance(now.trunk, SnrTransTrunk | SnrAverTrunk) and isinstance(was.trunk, SnrTransTrunk | SnrAverTrunk):
        ends = [f"from {trunk.gamma} to {trunk.zeta}" for trunk in (now.trunk, was.trunk)]
        if ends[0] != ends[1]:
            text = f"the distribution of its connections goes {ends[0]}, was {ends[1]}"
            why += [(layer, text) for layer in _layers(ranker.trunk, HardConcrete)]
    if isinstance(now.trunk, CgcTrunk | PleTrunk) and isinstance(was.trunk, CgcTrunk | PleTrunk):
        owned = [
            [(layer.task_experts, layer.shared_experts) for layer in trunk.stacked()]
            for trunk in (now.trunk, was.trunk)
        ]
        if owned[0] != owned[1]:  # last: it is of all the trunk, its gates too
            why.append((ranker.trunk, f"its layers' experts, a task's own and shared, are {owned[0]}, were {owned[1]}"))
    return {variable.ref(): text for part, text in why for variable in part.trainable_variables}


def _choice(gate: DselectKGate, experts: int) -> str:
    """What a gate's logits stand for: digits of codes of so many experts, on the smooth step's scale."""
    rows = "a choice for each row" if gate.per_example else "one choice for all rows"
    return f"{gate.k} of {experts} experts with gamma {gate.gamma}, {rows}"


def _layers(part: tf.keras.layers.Layer, kind: type[tf.keras.layers.Layer]) -> list[tf.keras.layers.Layer]:
    return [layer for layer in part.submodules if isinstance(layer, kind)]


def _read(context: Sequence[str], max_position: int) -> str:
    return ", ".join([f"positions up to {max_position}", *context])


def _other_tasks(ranker: Ranker, earlier: Earlier) -> str | None:
    chained = isinstance(ranker.config.head, ChainHead)
    now, was = (
        [
            (name, None if task.kind == "binary" else value_class(task), task.parent if chained else None)
            for name, task in tasks.items()
        ]
        for tasks in (ranker.tasks, earlier.tasks)
    )
    if now == was:
        return None
    changed = sorted({name for name, *_ in set(now) ^ set(was)})
    return f"the tasks differ: {', '.join(changed) or 'their order'}"


def _no_table(
    ranker: Ranker, name: str, vocabularies: tuple[Sequence[bytes] | None, Sequence[bytes] | None], earlier: Earlier
) -> str | None:
    """Why a table cannot be taken over; `vocabularies`: the earlier and the new one."""
    was, now = vocabularies
    why = _unlike(ranker.lookups.tables[name].table, earlier, rows=was is None or now is None)
    if why is None and (was is None) != (now is None):
        why = "its rows were buckets" if was is None else "its rows were tokens"
    if why is None:
        ends = [_boundaries(layout.table(name)) for layout in (ranker.layout, earlier.layout)]
        why = f"its buckets' boundaries are {ends[0]}, were {ends[1]}" if ends[0] != ends[1] else None
    if why is None and ranker.lookups.groups is not None:  # a row holds a vector a task
        why = _other_tasks(ranker, earlier)
    return why


def _boundaries(table: Table) -> str:
    return "quantiles" if table.boundaries is None else ", ".join(f"{boundary:g}" for boundary in table.boundaries)


def _unlike(variable: tf.Variable, earlier: Earlier, rows: bool = True) -> str | None:
    """Why the earlier model has nothing for a variable; `rows`: as many rows are needed."""
    found = earlier.weights.get(_name(variable))
    if found is None:
        return "the earlier model has none"
    first = 0 if rows else 1
    if found.shape[first:] != tuple(variable.shape)[first:]:
        return f"its shape is {tuple(variable.shape)}, was {found.shape}"
    return None


def _match(
    now: Sequence[bytes], was: Sequence[bytes], rows: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], TableStart]:
    """For each row of the new table the row of the earlier one: missing, tokens, out-of-vocabulary buckets.

    Args:
        now, was: tokens of both.
        rows: of both tables.
    """
    first_bucket = 1 + len(was)
    buckets = rows[1] - first_bucket
    found = pc.index_in(pa.array(now, pa.binary()), value_set=pa.array(was, pa.binary()))
    places = found.fill_null(-1).to_numpy().astype(np.int64)
    # As Transform does it: apply_vocabulary's table hashes what it does not know.
    hashed = tf.strings.to_hash_bucket_fast(tf.constant(list(now), tf.string), buckets).numpy()
    tokens = np.where(places >= 0, 1 + places, first_bucket + hashed)
    unknown = first_bucket + np.arange(rows[0] - 1 - len(now)) % buckets
    matched = int((places >= 0).sum())
    start = TableStart(matched=matched, new=len(now) - matched, gone=len(was) - matched)
    return np.concatenate([[0], tokens, unknown]), start


def _name(variable: tf.Variable) -> str:
    return str(variable.name).removesuffix(":0")
