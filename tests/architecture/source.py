"""The project's source as data: modules, what they import and when."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ROOMS = ("features", "models", "serving", "pipeline")


class Import(NamedTuple):
    """One imported name."""

    name: str
    """Full: ``features.spec`` or, for ``from features.spec import Task``, ``features.spec.Task``."""
    line: int
    at_load: bool
    """Whether it happens when the module is loaded: outside of functions and of ``if TYPE_CHECKING``."""


class Module(NamedTuple):
    """One source file."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


@lru_cache(maxsize=1)
def modules() -> dict[str, Module]:
    """All modules of the four rooms, by name."""
    return {module.name: module for room in ROOMS for module in map(read, sorted((ROOT / room).rglob("*.py")))}


def read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return Module(name, path, tree, tuple(imports(tree)))


def imports(tree: ast.AST, at_load: bool = True) -> Iterator[Import]:
    """Everything imported below a node."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (Import(f"{base}.{alias.name}", node.lineno, at_load) for alias in node.names)
        else:
            late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(node)
            yield from imports(node, at_load and not late)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def ours(name: str) -> str | None:
    """The module of ours that an imported name is or lies in."""
    known = modules()
    while name:
        if name in known:
            return name
        name = name.rpartition(".")[0]
    return None


def loads(module: str) -> set[str]:
    """Our modules that loading `module` loads directly: what it imports, and the packages it lies in."""
    found = {ours(imported.name) for imported in modules()[module].imports if imported.at_load}
    parents = [module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)]
    return {name for name in found if name is not None and name != module} | set(parents)


def loaded_with(module: str) -> set[str]:
    """`module` and all of our modules that loading it loads."""
    reached, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += loads(name)
    return reached
