"""From looked-up vectors and numbers to one vector a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import tensorflow as tf

from features.errors import ModelError
from features.layout import Input, Layout
from models.config import NumbersConfig
from models.layers.configured import Configured
from models.layers.embedding_table import Pooling, pool
from models.layers.identity import Identity
from models.layers.periodic import Periodic
from models.layers.piecewise_linear import PiecewiseLinear
from models.layers.target_attention import TargetAttention
from models.lookups import Embedded

NUMBERS: Mapping[str, Any] = {"identity": Identity, "piecewise_linear": PiecewiseLinear, "periodic": Periodic}


class Inputs(Configured):
    """Encodes every number and puts all inputs side by side.

    ``x = [E_1[i_1], pool(E_2[j_1], E_2[j_2], ..), .., encode(numbers), flags]``: embeddings in the layout's order, then numbers, then
    0/1 flags as they are. With groups, numbers and flags are the same in each. Lists that arrive whole are pooled here: those of
    ``din_attention`` by `TargetAttention`, one layer a list.

    Args:
        layout: what Transform hands over.
        numbers: how numbers are encoded.

    Shapes:
        input: `models.lookups.Embedded`.
        output: (batch, width), or (batch, groups, width) if the lookups have groups.

    Raises:
        ModelError: if numbers without scaling are to be encoded piecewise.
    """

    ARGUMENTS = {"layout": Layout, "numbers": NumbersConfig}

    def __init__(self, layout: Layout, numbers: NumbersConfig, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.layout, self.numbers = layout, numbers
        # Numbers are encoded in full precision: bfloat16 would merge neighbouring values before they are spread out.
        if numbers.kind == "piecewise_linear" and (raw := [i.name for i in layout.numbers() if i.scale == "raw"]):
            raise ModelError(
                f"piecewise_linear numbers need scaled ones, for their bins lie where scaled numbers do; unscaled: "
                f"{', '.join(raw)}; give these features `scaling: quantile`, zscore or log_zscore"
            )
        self.attention = {
            i.name: TargetAttention(name=f"attention_{i.name}", dtype=self.dtype_policy)
            for i in layout.embedded()
            if i.pooling == "din_attention"
        }
        unit = tuple(i.scale == "unit" for i in layout.numbers())
        self.encoding = NUMBERS[numbers.kind].initial(numbers, unit, name="numbers", dtype="float32")

    def call(self, inputs: Embedded) -> tf.Tensor:
        """(batch, width) or (batch, groups, width)."""
        vectors = [self._vector(i, inputs) for i in self.layout.embedded()]
        numbers = [self.encoding(inputs.numbers)] if self.layout.numbers() else []
        numbers += [inputs.flags] if self.layout.flags() else []
        vectors, plain = ([tf.cast(part, self.compute_dtype) for part in parts] for parts in (vectors, numbers))
        groups = vectors[0].shape[1] if vectors and vectors[0].shape.rank == 3 else None
        if groups is not None:
            plain = [tf.repeat(part[:, None], groups, axis=1) for part in plain]
        return tf.concat([*vectors, *plain], axis=-1)

    def _vector(self, spec: Input, inputs: Embedded) -> tf.Tensor:
        if spec.name not in inputs.whole:
            return inputs.vectors[spec.name]
        vectors, present = inputs.whole[spec.name], inputs.present[spec.name]
        if spec.pooling == "din_attention":
            return self.attention[spec.name](vectors, inputs.vectors[str(spec.target)], present)
        return pool(vectors, present, cast("Pooling", spec.pooling))
