"""From transformed features to one vector a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic
import tensorflow as tf

from features.errors import ModelError
from features.layout import Input, Layout
from models.config import NumbersConfig
from models.layers.embedding_table import EmbeddingTable
from models.layers.identity_numbers import IdentityNumbers
from models.layers.periodic import Periodic
from models.layers.piecewise_linear import PiecewiseLinear

NUMBERS: Mapping[str, Any] = {"identity": IdentityNumbers, "piecewise_linear": PiecewiseLinear, "periodic": Periodic}


class Inputs(tf.keras.layers.Layer):
    """Looks up every index, encodes every number, and puts them side by side.

    ``x = [E_1[i_1], pool(E_2[j_1], E_2[j_2], ..), .., encode(numbers), flags]``: embeddings in the layout's order, then numbers, then
    0/1 flags as they are. Features that name one table share its vectors. Tables of few rows and of many cost the same:
    gradients hold looked-up rows only.

    Args:
        layout: what Transform hands over.
        embedding_dim: width of tables that name none.
        numbers: how numbers are encoded.

    Shapes:
        input: {name: int64 (batch,) | int64 (batch, length) | float32 (batch,)}; other names are ignored.
        output: (batch, width).

    Raises:
        ModelError: if an input is missing, or numbers without scaling are to be encoded piecewise.
    """

    def __init__(self, layout: Layout, embedding_dim: int, numbers: NumbersConfig, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.layout, self.embedding_dim, self.numbers_config = layout, embedding_dim, numbers
        self.tables = {
            table.name: EmbeddingTable(
                table.rows, table.dim or embedding_dim, name=f"table_{table.name}", dtype=self.dtype_policy
            )
            for table in layout.tables
        }
        self.embedded = tuple(i for i in layout.inputs if i.kind != "number")
        self.flags = tuple(i for i in layout.inputs if i.kind == "number" and i.scale == "flag")
        self.numbers = tuple(i for i in layout.inputs if i.kind == "number" and i.scale != "flag")
        # Numbers are encoded in full precision: bfloat16 would merge neighbouring values before they are spread out.
        if numbers.kind == "piecewise_linear" and (raw := [i.name for i in self.numbers if i.scale == "raw"]):
            raise ModelError(
                f"piecewise_linear numbers need scaled ones, for their bins lie where scaled numbers do; unscaled: "
                f"{', '.join(raw)}; give these features `scaling: quantile`, zscore or log_zscore"
            )
        unit = tuple(i.scale == "unit" for i in self.numbers)
        self.encoding = NUMBERS[numbers.kind].initial(numbers, unit, dtype="float32")

    @property
    def embedded_width(self) -> int:
        """How many of the outputs, from the first on, come from embedding tables."""
        return sum(int(self._table(i).dim) for i in self.embedded)

    def call(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """(batch, width)."""
        if missing := [i.name for i in self.layout.inputs if i.name not in inputs]:
            raise ModelError(
                f"the model needs inputs that it was not given: {', '.join(missing)}; given: {', '.join(sorted(inputs))}"
            )
        parts = [self._embed(i, inputs[i.name]) for i in self.embedded]
        if self.numbers:
            parts.append(tf.cast(self.encoding(_columns(inputs, self.numbers)), self.compute_dtype))
        if self.flags:
            parts.append(tf.cast(_columns(inputs, self.flags), self.compute_dtype))
        return tf.concat(parts, axis=1)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON values only."""
        return {
            **super().get_config(),
            "layout": self.layout.model_dump(mode="json"),
            "embedding_dim": self.embedding_dim,
            "numbers": self.numbers_config.model_dump(mode="json"),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Inputs:
        """A new layer of the same arguments (its weights are drawn anew)."""
        numbers: pydantic.TypeAdapter[NumbersConfig] = pydantic.TypeAdapter(NumbersConfig)
        parts = {
            "layout": Layout.model_validate(config["layout"]),
            "numbers": numbers.validate_python(config["numbers"]),
        }
        return cls(**{**config, **parts})

    def _table(self, spec: Input) -> EmbeddingTable:
        return self.tables[str(spec.table)]

    def _embed(self, spec: Input, indices: tf.Tensor) -> tf.Tensor:
        table = self._table(spec)
        return table(indices) if spec.kind == "index" else table(indices, pooling=spec.pooling)


def _columns(inputs: Mapping[str, tf.Tensor], specs: tuple[Input, ...]) -> tf.Tensor:
    return tf.stack([tf.cast(inputs[i.name], tf.float32) for i in specs], axis=1)
