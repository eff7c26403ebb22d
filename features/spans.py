"""Spans of time as settings write them: ``24h``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import pydantic

from features.frozen import SpecError

_SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*")


def seconds(value: Any, has_unit: bool = True) -> Any:
    """A span of time as seconds; what is neither text nor number is returned as it is.

    A number needs its unit, as whoever writes 24 hardly means seconds; 0 is the same in all units.

    >>> seconds("24h"), seconds("1.5 m"), seconds(0)
    (86400.0, 90.0, 0)

    Args:
        value: what was written.
        has_unit: a number without one is refused, instead of being seconds.

    Raises:
        SpecError: if a text is no span, or a number has no unit.
    """
    if has_unit and isinstance(value, int | float) and value != 0:
        raise SpecError(
            f"{value} is a number without a unit; allowed: a number and s, m, h or d, as in 24h, 30m or 90s"
        )
    if not isinstance(value, str):
        return value
    if (found := _SPAN.fullmatch(value)) is None:
        raise SpecError(f"'{value}' is no span of time; allowed: a number and s, m, h or d, as in 24h, 30m or 90s")
    return float(found[1]) * _SECONDS[found[2]]


def span(value: float) -> str:
    """Seconds as a text that :func:`seconds` reads as the same number.

    >>> span(86_400.0), span(0.5)
    ('86400s', '0.5s')
    """
    return f"{Decimal(repr(value)).normalize():f}s"


def _read(value: Any, info: pydantic.ValidationInfo) -> Any:
    # What is saved beside a model is JSON, and models that were pushed before numbers needed a unit have seconds there.
    return seconds(value, has_unit=info.mode != "json")


Span = Annotated[
    float,
    pydantic.BeforeValidator(_read, json_schema_input_type=Literal[0] | str),
    pydantic.PlainSerializer(span, return_type=str),
]
"""Seconds, written as a number and its unit, or as 0."""
