"""The base of every part of a spec: immutable, strict about keys, kind about shorthands."""

from __future__ import annotations

from typing import Any, ClassVar

import pydantic
import pydantic_core
from pydantic import json_schema


class SpecError(ValueError):
    """A spec that contradicts itself. The message says what it got and what is allowed."""


class Frozen(pydantic.BaseModel):
    """Base of every part of a spec: immutable, and an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    SHORTHAND: ClassVar[str | None] = None
    """The key that a bare value stands for, if there is one."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, value: Any) -> Any:
        bare = cls.SHORTHAND is not None and isinstance(value, str | list | tuple)
        return {cls.SHORTHAND: value} if bare else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: pydantic_core.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> json_schema.JsonSchemaValue:
        """The JSON Schema, in which the bare value is allowed too."""
        schema = handler(core_schema)
        if cls.SHORTHAND is None or handler.mode != "validation":
            return schema
        whole = handler.resolve_ref_schema(schema)
        bare = dict(whole["properties"][cls.SHORTHAND])
        mapping = dict(whole)
        whole.clear()
        whole.update({"title": mapping["title"], "anyOf": [bare, mapping]})
        return schema
