"""A shallow tower that takes the position's part of an interaction upon itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features.errors import ModelError
from features.kinds import frequency_input, missing_input
from features.layout import Layout
from features.spec import Task
from models.beside.beside import Beside
from models.config import PositionTowerBeside, tower_problem
from models.layers.dropout import Dropout
from models.layers.tower import Tower
from models.lookups import Embedded


class PositionTower(Beside):
    """A logit of the position for each binary task's tower: ``P(task) = sigmoid(tower(x_task) + position_tower([onehot(position),
    context]))`` with independent towers; what heads that compose probabilities add it to, they say.

    In training it sees where an item was shown, a share of `position_dropout` of the rows apart, and learns how that raises or
    lowers interactions; so the rest of the model need not. Everywhere else the position counts as missing (row 0 of the
    one-hot code): what it learned of such rows is one number a task, which changes no order of a tower's logits. The
    context's part stays. The first layer of a one-hot code is an embedding of each position.

    The paper adds its one logit to the engagement objectives, whose bias by position it is to take, and not to those of
    satisfaction. Here each binary task has a logit of its own, which may learn that a position changes nothing; regressions,
    engagement such as watch time among them, stay as they are, for not all of them end in a logit.

    Raises:
        ModelError: if the layout has no positions, a context feature is none or a list, or no task is binary.

    Shapes:
        input: the batch after its lookups, and int64 (batch,) positions: 0 is missing, 1 + k position k.
        output: {binary task: float32 (batch,)}.

    Paper: Zhao et al., Recommending What Video to Watch Next, RecSys 2019, section 4.3.
    """

    config: PositionTowerBeside

    def __init__(self, layout: Layout, tasks: Mapping[str, Task], config: PositionTowerBeside, **kwargs: Any) -> None:
        super().__init__(layout, tasks, config, **kwargs)
        _check(layout, tasks, config)
        self.binary = [name for name, task in tasks.items() if task.kind == "binary"]
        self.context = [
            name for feature in config.context for name in (feature, missing_input(feature), frequency_input(feature))
        ]
        self.dropout = Dropout(config.position_dropout, name="dropout", dtype="float32")
        self.tower = Tower(config.units, [0.0] * len(self.binary), name="tower", dtype=self.dtype_policy)

    def call(
        self, embedded: Embedded, position: tf.Tensor | None = None, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """{binary task: logit}."""
        if position is None:
            position = tf.zeros(tf.shape(embedded.numbers)[:1], tf.int64)
        kept = self.dropout(tf.ones(tf.shape(position)), training=training) > 0
        last = 1 + self.config.max_position
        code = tf.one_hot(tf.where(kept, tf.minimum(position, last), 0), 1 + last, dtype=self.compute_dtype)
        logits = self.tower(tf.concat([code, *self._context(embedded)], axis=1), training=training)
        return {name: logits[:, place] for place, name in enumerate(self.binary)}

    def _context(self, embedded: Embedded) -> list[tf.Tensor]:
        """(batch, width) of each context feature; of several vectors a feature the shared one, which is last."""
        vectors = [embedded.vectors[name] for name in self.context if name in embedded.vectors]
        parts = [vector[:, -1] if vector.shape.rank == 3 else vector for vector in vectors]
        for columns, specs in ((embedded.numbers, self.layout.numbers()), (embedded.flags, self.layout.flags())):
            parts += [columns[:, place, None] for place, spec in enumerate(specs) if spec.name in self.context]
        return [tf.cast(part, self.compute_dtype) for part in parts]


def _check(layout: Layout, tasks: Mapping[str, Task], config: PositionTowerBeside) -> None:
    if not layout.position:
        raise ModelError("a position_tower needs positions; the transformed data has none: give the dataset `position`")
    lists = {i.name: i.kind == "indices" for i in layout.inputs if i.scale != "flag"}
    if problem := tower_problem(config, tasks, lists):
        raise ModelError(f"a position_tower {problem}")
