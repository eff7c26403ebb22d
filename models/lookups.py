"""From transformed features to vectors: everything that touches embedding tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from features.errors import ModelError
from features.layout import Input, Layout
from models.layers.configured import Configured
from models.layers.embedding_table import EmbeddingTable, Pooling


class Embedded(NamedTuple):
    """A batch after its lookups: all that the dense part reads."""

    vectors: dict[str, tf.Tensor]
    """{feature: (batch, dim)}, lists pooled; with groups (batch, groups, dim)."""
    whole: dict[str, tf.Tensor]
    """{list feature: (batch, length, dim)}, not pooled; with groups (batch, length, groups, dim)."""
    present: dict[str, tf.Tensor]
    """{list feature of `whole`: bool (batch, length)}, False for padding."""
    numbers: tf.Tensor
    """float32 (batch, numbers), not encoded yet."""
    flags: tf.Tensor
    """float32 (batch, flags), 0 or 1."""


class Sequences(NamedTuple):
    """The ordered lists of a batch side by side, token by token.

    A row has as many steps as its longest list has tokens, and is padded behind. Lists that keep their last tokens end together
    at the row's last step, their newest tokens side by side; lists that keep their first begin together at step 0.
    """

    vectors: tf.Tensor
    """(batch, steps, width): at each step the vectors of one token of each list, zeros where it has none."""
    present: tf.Tensor
    """bool (batch, steps): whether any list has a token there."""


def side_by_side(embedded: Embedded, lists: Collection[Input]) -> Sequences:
    """Those lists, of `Embedded.whole`; as many steps as the longest may have."""
    steps = max(embedded.present[spec.name].shape[1] for spec in lists)
    present = [_padded(embedded.present[spec.name], steps) for spec in lists]
    lengths = tf.stack([tf.reduce_max(tf.where(there, tf.range(1, steps + 1), 0), axis=1) for there in present])
    vectors = []
    for place, spec in enumerate(lists):
        tokens = _padded(embedded.whole[spec.name], steps)
        if spec.keep == "last":
            later = tf.reduce_max(lengths, axis=0) - lengths[place]
            tokens, present[place] = _moved(tokens, later), _moved(present[place], later)
        vectors.append(tf.where(present[place][..., None], tokens, tf.zeros_like(tokens)))
    return Sequences(tf.concat(vectors, axis=-1), tf.reduce_any(tf.stack(present), axis=0))


def _padded(rows: tf.Tensor, steps: int) -> tf.Tensor:
    """(batch, length, ..) -> (batch, steps, ..)."""
    return tf.pad(rows, [(0, 0), (0, steps - rows.shape[1])] + [(0, 0)] * (rows.shape.rank - 2))


def _moved(rows: tf.Tensor, later: tf.Tensor) -> tf.Tensor:
    """(batch, steps, ..), each row's entries so many steps (batch,) later; those at its end come to its beginning."""
    steps = rows.shape[1]
    return tf.gather(rows, (tf.range(steps) - later[:, None]) % steps, batch_dims=1)


class Lookups(Configured):
    """Looks up every index. Tables of few rows and of many cost the same: gradients hold looked-up rows only.

    Features that name one table share its vectors. With `groups`, a row of a table holds one vector a group side by
    side, so that all are one lookup.

    Args:
        layout: what Transform hands over.
        embedding_dim: width of tables that name none.
        groups: vectors of each row; None: one, without an axis for it.
        whole: list features that are looked up without pooling, beside those of attention.

    Shapes:
        input: {name: int64 (batch,) | int64 (batch, length) | float32 (batch,)}; other names are ignored.
        output: see `Embedded`.

    Raises:
        ModelError: if an input is missing.
    """

    ARGUMENTS = {"layout": Layout, "embedding_dim": int, "groups": int | None, "whole": tuple[str, ...]}

    def __init__(
        self,
        layout: Layout,
        embedding_dim: int,
        groups: int | None = None,
        whole: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.layout, self.embedding_dim, self.groups, self.whole = layout, embedding_dim, groups, tuple(whole)
        self.tables = {
            table.name: EmbeddingTable(
                table.rows,
                (table.dim or embedding_dim) * (groups or 1),
                table.vectors == "frozen",
                name=f"table_{table.name}",
                dtype=self.dtype_policy,
            )
            for table in layout.tables
        }

    def call(self, inputs: Mapping[str, tf.Tensor]) -> Embedded:
        """All lookups of a batch."""
        if missing := [i.name for i in self.layout.inputs if i.name not in inputs]:
            raise ModelError(
                f"the model needs inputs that it was not given: {', '.join(missing)}; given: {', '.join(sorted(inputs))}"
            )
        whole = [i for i in self.layout.embedded() if i.name in self.whole or i.pooling == "din_attention"]
        pooled = [i for i in self.layout.embedded() if i not in whole]
        return Embedded(
            vectors={i.name: self._embed(i, inputs[i.name], _fixed(i)) for i in pooled},
            whole={i.name: self._embed(i, inputs[i.name], None) for i in whole},
            present={i.name: inputs[i.name] > 0 for i in whole},
            numbers=_columns(inputs, self.layout.numbers()),
            flags=_columns(inputs, self.layout.flags()),
        )

    def set_vectors(self, vectors: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Gives tables their pretrained rows, each (rows, dim); every group has the same."""
        for name, rows in vectors.items():
            self.tables[name].table.assign(np.tile(rows, (1, self.groups or 1)))

    def width(self, spec: Input) -> int:
        """Of an input's vector in one group."""
        return self.layout.table(str(spec.table)).dim or self.embedding_dim

    def _embed(self, spec: Input, indices: tf.Tensor, pooling: Pooling | None) -> tf.Tensor:
        vectors = self.tables[str(spec.table)](indices, pooling=pooling)
        if self.groups is None:
            return vectors
        grouped = (self.groups, vectors.shape[-1] // self.groups)
        return tf.reshape(vectors, (-1, *vectors.shape[1:-1], *grouped))


def _fixed(spec: Input) -> Pooling | None:
    """An input's pooling, if it is one without weights of its own."""
    return None if spec.pooling == "din_attention" else spec.pooling


def _columns(inputs: Mapping[str, tf.Tensor], specs: tuple[Input, ...]) -> tf.Tensor:
    """float32 (batch, columns), also where there are none."""
    if specs:
        return tf.stack([tf.cast(inputs[i.name], tf.float32) for i in specs], axis=1)
    return tf.zeros((tf.shape(next(iter(inputs.values())))[0], 0), tf.float32)
