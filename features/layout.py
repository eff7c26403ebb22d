"""What Transform hands to the models: the inputs, and the embedding tables with their sizes.

A :class:`Layout` is derived from the spec and Transform's vocabularies (`features.preprocessing.transformed_layout`)
and travels as JSON with the exported model. This module loads no TensorFlow.
"""

from __future__ import annotations

from typing import Literal

import pydantic

from features.spec import Frozen


class Table(Frozen):
    """One embedding table. Row 0 is missing or padding, rows 1..V the vocabulary, the rest out-of-vocabulary buckets."""

    name: str
    rows: int = pydantic.Field(ge=1)
    dim: int | None = None
    """Width; None takes the model's ``embedding_dim``."""
    boundaries: tuple[float, ...] | None = None
    """Of a bucketized number whose boundaries are given; quantiles move from day to day and mean the same."""
    vectors: Literal["frozen", "trained"] | None = None
    """Of pretrained vectors: whether training moves them. None: rows are learned from a random draw."""


class Input(Frozen):
    """One transformed feature.

    ``index``: int64 (batch,), a row of `table`. ``indices``: int64 (batch, length), rows of `table`, padded with 0
    behind. ``number``: float32 (batch,).
    """

    name: str
    kind: Literal["index", "indices", "number"]
    table: str | None = None
    length: int | None = None
    pooling: Literal["mean", "sum", "sqrtn", "din_attention"] | None = None
    """Of ``indices``: how a list becomes one vector."""
    target: str | None = None
    """With ``din_attention``: the input, an ``index``, with which the list is compared."""
    ordered: bool = False
    """Whether the order of ``indices`` means something: a sequence, and no bag."""
    keep: Literal["first", "last"] = "last"
    """Of an ordered list: which end is whole where a list was too long. There lists of different lengths are aligned."""
    scale: Literal["standard", "log_standard", "unit", "raw", "flag"] = "standard"
    """Of a number: about mean 0 and deviation 1, its logarithm so, spread over [0, 1], as in the log, or 0/1."""


class Layout(Frozen):
    """All inputs of a model, in the features' order, and the tables they look up."""

    inputs: tuple[Input, ...]
    tables: tuple[Table, ...]
    position: bool = False
    """Whether rows have the column `POSITION`. It is no input: only training reads it."""
    row_weights: bool = False
    """Whether rows have the column `ROW_WEIGHT`, which only training reads."""

    def embedded(self) -> tuple[Input, ...]:
        """Inputs that look up a table."""
        return tuple(i for i in self.inputs if i.kind != "number")

    def sequences(self) -> tuple[Input, ...]:
        """Inputs that are ordered lists."""
        return tuple(i for i in self.inputs if i.ordered)

    def numbers(self) -> tuple[Input, ...]:
        """Inputs that are numbers and no flags."""
        return tuple(i for i in self.inputs if i.kind == "number" and i.scale != "flag")

    def flags(self) -> tuple[Input, ...]:
        """Inputs that are 0 or 1."""
        return tuple(i for i in self.inputs if i.kind == "number" and i.scale == "flag")

    def table(self, name: str) -> Table:
        """The table of that name."""
        return next(table for table in self.tables if table.name == name)
