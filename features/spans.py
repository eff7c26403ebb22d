"""Spans of time as settings write them: ``24h``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from features.frozen import SpecError

_SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*")


def seconds(value: Any) -> Any:
    """A span of time as seconds; what is no text is returned as it is.

    >>> seconds("24h"), seconds("1.5 m"), seconds(60)
    (86400.0, 90.0, 60)

    Raises:
        SpecError: if a text is no span.
    """
    if not isinstance(value, str):
        return value
    if (found := _SPAN.fullmatch(value)) is None:
        raise SpecError(f"'{value}' is no span of time; allowed: seconds, or a number and s, m, h or d, as in 24h")
    return float(found[1]) * _SECONDS[found[2]]


Span = Annotated[float, pydantic.BeforeValidator(seconds, json_schema_input_type=float | str)]
"""Seconds, or a number and its unit."""
