"""Functions that a spec names: found, called and held to what they declare."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.columns import arrow_type
from features.errors import ConfigError, DataError
from features.logs.quarantine import Faults
from features.spec import REFUSED, Derived

Derivation = tuple[Derived, Callable[..., Any]]
"""What a function declares, and the function."""


def function_named(name: str) -> Callable[..., Any]:
    """The function that a spec names as ``package.module:function``.

    Raises:
        ConfigError: if there is no such module or function.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"function '{name}' cannot be found: {error}; allowed: 'package.module:function'") from error
    if not callable(function):
        raise ConfigError(f"'{name}' is {type(function).__name__}, no function")
    return function


def derive(derivations: Sequence[Derivation], batch: pa.RecordBatch, faults: Faults) -> pa.RecordBatch:
    """Rows with the outputs of derived functions, in their order.

    Args:
        derivations: the functions.
        batch: rows with all columns that they read.
        faults: gets ``refused`` for the rows that a function refuses.

    Raises:
        DataError: if a function gives something else than it declares.
    """
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    for derived, function in derivations:
        inputs = pa.RecordBatch.from_arrays([arrays[n] for n in derived.inputs], names=list(derived.inputs))
        made = _outputs(derived, function(inputs), batch.num_rows)
        if (reasons := made.pop(REFUSED, None)) is not None:
            bad = np.asarray(pc.is_valid(reasons).to_numpy(zero_copy_only=False))
            faults.mark(bad, "refused", derived.inputs[-1] if derived.inputs else "", reasons)
        arrays |= made
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _outputs(derived: Derived, made: object, rows: int) -> dict[str, pa.Array]:
    """The declared outputs of a derivation, checked."""
    if not isinstance(made, dict) or set(made) - {REFUSED} != set(derived.outputs):
        got = ", ".join(map(str, made)) if isinstance(made, dict) else type(made).__name__
        raise DataError(f"derived '{derived.function}' returned {got}; allowed: a dict of {', '.join(derived.outputs)}")
    arrays: dict[str, pa.Array] = {}
    declared = {name: column.type for name, column in derived.outputs.items()}
    for name, kind in (declared | ({REFUSED: "string"} if REFUSED in made else {})).items():
        array = made[name].combine_chunks() if isinstance(made[name], pa.ChunkedArray) else made[name]
        if not isinstance(array, pa.Array):
            raise DataError(f"derived '{derived.function}', '{name}' is {type(array).__name__}; allowed: pyarrow.Array")
        if len(array) != rows:
            raise DataError(f"derived '{derived.function}', '{name}' has {len(array)} rows; allowed: {rows}, one each")
        arrays[name] = conform(f"derived '{derived.function}', '{name}'", array, arrow_type(kind))
    return arrays


def conform(what: str, values: Any, kind: pa.DataType) -> Any:
    """The output of a user's function as the declared type; numbers may be widened or rounded to float32, nothing else.

    Raises:
        DataError: if the types are of different families or a value does not fit.
    """
    if values.type == kind:
        return values
    if _family(values.type) != _family(kind) and not (_family(values.type) == "int" and _family(kind) == "float"):
        raise DataError(f"{what} is {values.type}; the spec declares {kind}")
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{what} is {values.type} and does not become {kind}: {error}") from error


def _family(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_family(kind.value_type)}"
    if pa.types.is_dictionary(kind):
        return _family(kind.value_type)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "int"
    if pa.types.is_floating(kind):
        return "float"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
