"""Which keys a configuration may have, as its classes declare them."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from features.frozen import Frozen
from pipeline.config import RunConfig

Path = tuple[str, ...]
"""Keys from the outermost on."""
FEW = 2
"""So many places of a key that is unknown where it stands are worth naming."""


def at(path: Path) -> list[Any]:
    """What may stand at `path`: classes, and what their fields tell pydantic."""
    found: list[Any] = [RunConfig]
    for key in path:
        found = [part for above in found for part in _below(above, key)]
    return found


def of_class(path: Path) -> list[str]:
    """The keys of the one class that may stand at `path`; none where several may."""
    classes = [part for part in at(path) if isinstance(part, type) and issubclass(part, Frozen)]
    if len(classes) != 1:
        return []
    return [field.alias or name for name, field in classes[0].model_fields.items()]


def names_its_own(path: Path) -> bool:
    """Whether the keys at `path` are names that the user gives, as those of features."""
    return any(get_origin(part) is dict for part in at(path))


def elsewhere(key: str, path: Path) -> list[str]:
    """Where `key`, unknown at `path`, is known: beneath `path` if it is there, else anywhere; of these the outermost, if few.

    None where another kind has it at `path` itself: the place was right.
    """
    known = {found for found in _paths(RunConfig, ()) if found[-1] == key}
    if (*path, key) in known:
        return []
    near = {found for found in known if found[: len(path)] == path} or known
    outermost = sorted(".".join(found) for found in near if len(found) == min(map(len, near)))
    return outermost if len(outermost) <= FEW else []


def _paths(part: Any, path: Path) -> Iterator[Path]:
    if isinstance(part, type) and issubclass(part, Frozen):
        for name, field in part.model_fields.items():
            here = (*path, field.alias or name)
            yield here
            for below in _parts(field.annotation):
                yield from _paths(below, here)
    elif get_origin(part) is dict:
        for below in _parts(get_args(part)[1]):
            yield from _paths(below, (*path, "NAME"))


def _below(part: Any, key: str) -> Iterator[Any]:
    """What the class or mapping `part` allows at `key`."""
    if get_origin(part) is dict:
        yield from _parts(get_args(part)[1])
    elif isinstance(part, type) and issubclass(part, Frozen):
        for name, field in part.model_fields.items():
            if key == (field.alias or name):
                yield field
                yield from _parts(field.annotation)


def _parts(annotation: Any) -> Iterator[Any]:
    """The classes of an annotation, and what it tells pydantic."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation
