"""The base of every part of a spec: immutable, strict about keys, kind about shorthands."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

import pydantic
import pydantic_core
from pydantic import json_schema

from features.docstrings import attribute_docstrings


class SpecError(ValueError):
    """A spec that contradicts itself. The message says what it got and what is allowed."""


class UnknownKeyError(SpecError):
    """Keys that a part of a spec does not have.

    Args:
        keys: these.
        known: those that it has.
    """

    def __init__(self, keys: list[str], known: list[str]) -> None:
        super().__init__("; ".join(unknown("key", key, known) for key in keys))
        self.keys = keys


class NoKindError(SpecError):
    """A part of a spec that does not say of which kind it is."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say of a `name` that is none of the `known` ones: the nearest of them, then all."""
    known = list(known)
    return f"unknown {kind} '{name}'{did_you_mean(name, known)} {kind}s: {', '.join(known) or '(none)'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What stands between a wrong name and the allowed ones: a semicolon, and the nearest of them if one is near."""
    near = nearest(name, known)
    return f"; did you mean '{near}'?" if near else ";"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a wrong one resembles most; None if it resembles none."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """The known names, those first that a wrong one resembles most; of equal ones as they were."""
    return sorted(known, key=lambda other: -difflib.SequenceMatcher(None, name, other).ratio())


class Frozen(pydantic.BaseModel):
    """Base of every part of a spec: immutable, its numbers finite, and an unknown key is an error that names the nearest known one."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    SHORTHAND: ClassVar[str | None] = None
    """The key that a bare value stands for, if there is one."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, value: Any) -> Any:
        bare = cls.SHORTHAND is not None and isinstance(value, str | list | tuple)
        return {cls.SHORTHAND: value} if bare else value

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            if strange := [str(key) for key in value if key not in known and key not in cls.model_fields]:
                raise UnknownKeyError(strange, known)
            for key, kinds in cls._numbers().items():
                if _has_bool(value.get(key), dict in kinds):
                    raise SpecError(f"{key}: true and false are no numbers; allowed: a number")
        return value

    @classmethod
    @functools.cache
    def _numbers(cls) -> dict[str, set[Any]]:
        """The keys that hold numbers and no booleans, with their types."""
        kinds = {field.alias or name: _scalars(field.annotation) for name, field in cls.model_fields.items()}
        return {key: of for key, of in kinds.items() if of & {int, float} and bool not in of}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: pydantic_core.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> json_schema.JsonSchemaValue:
        """The JSON Schema: each key with its docstring, and the bare value allowed too."""
        schema = handler(core_schema)
        _describe(cls, handler.resolve_ref_schema(schema)["properties"])
        if cls.SHORTHAND is None or handler.mode != "validation":
            return schema
        whole = handler.resolve_ref_schema(schema)
        mapping = dict(whole)
        whole.clear()
        whole.update({"title": mapping["title"], "anyOf": [dict(mapping["properties"][cls.SHORTHAND]), mapping]})
        return schema


def _scalars(annotation: Any) -> set[Any]:
    """The types of an annotation: those of a union, list or mapping one by one, and `dict` if it has a mapping."""
    if get_origin(annotation) is Annotated:
        return _scalars(get_args(annotation)[0])
    if (kind := get_origin(annotation)) in (Union, UnionType, tuple, list, dict):
        inside = {scalar for part in get_args(annotation) for scalar in _scalars(part)}
        return inside | {dict} if kind is dict else inside
    return {annotation}


def _has_bool(value: Any, in_mappings: bool) -> bool:
    """Whether a value is a bool, or holds one; what is inside a mapping is asked only if it is no part of a spec of its own."""
    if isinstance(value, Mapping):
        return in_mappings and any(_has_bool(inside, in_mappings) for inside in value.values())
    return isinstance(value, bool) or (
        isinstance(value, list | tuple) and any(_has_bool(v, in_mappings) for v in value)
    )


def _describe(cls: type[Frozen], properties: dict[str, json_schema.JsonSchemaValue]) -> None:
    """Not by pydantic's `use_attribute_docstrings`: that reads all sources as the classes are made, half a second a start."""
    texts = attribute_docstrings(cls)
    for name, field in cls.model_fields.items():
        if name in texts:
            properties[field.alias or name]["description"] = texts[name]


class BareKind:
    """Annotates a union told apart by a key: a bare string stands for ``{key: string}``.

    Args:
        key: the discriminator.

    Example::

        Optimizer = Annotated[AdamOptimizer | AdagradOptimizer, pydantic.Field(discriminator="kind"), BareKind()]
    """

    def __init__(self, key: str = "kind") -> None:
        self._key = key

    def _expand(self, value: Any, kinds: Mapping[str, Iterable[str]]) -> Any:
        """A string as a mapping. `kinds` holds each kind's keys."""
        value = {self._key: value} if isinstance(value, str) else value
        if isinstance(value, Mapping) and self._key not in value:
            told, given = f"no {self._key}; {self._key}s: {', '.join(kinds)}", set(map(str, value))
            fitting = [kind for kind, keys in kinds.items() if given <= set(keys)]
            if given and fitting:
                told += f"; set `{self._key}`, too: {', '.join(sorted(given))} may stand beside {', '.join(fitting)}"
            raise NoKindError(told)
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> pydantic_core.CoreSchema:
        """Expands a string before the union sees it."""
        kinds = {variant.model_fields[self._key].default: tuple(variant.model_fields) for variant in get_args(source)}
        expand = functools.partial(self._expand, kinds=kinds)
        return pydantic_core.core_schema.no_info_before_validator_function(expand, handler(source))

    def __get_pydantic_json_schema__(
        self, core_schema: pydantic_core.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> json_schema.JsonSchemaValue:
        """The union, or one of its kinds' names."""
        union = handler(core_schema)
        if handler.mode != "validation":
            return union
        # Not "oneOf": where a preset or a base gives the kind, keys that several kinds share are no contradiction.
        variants = union.pop("oneOf")
        return {"anyOf": [{"enum": list(union["discriminator"]["mapping"])}, *variants]}
