"""Types that several parts share."""

from __future__ import annotations

from typing import Annotated

import pydantic

Units = Annotated[tuple[pydantic.PositiveInt, ...], pydantic.Field(min_length=1)]
Rate = Annotated[float, pydantic.Field(ge=0, lt=1)]
PAPER_UNITS = (256, 128, 64)
