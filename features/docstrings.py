"""What classes say of their attributes, in the docstrings below them."""

from __future__ import annotations

import ast
import functools
import inspect
from itertools import pairwise


def attribute_docstrings(cls: type) -> dict[str, str]:
    """{attribute: docstring}, of a class and what it inherits. Reads sources: too slow for where nobody asks.

    Example:
        >>> attribute_docstrings(Budget)["max_share"]
        'Of all rows read.'
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):  # all but `object`, which has no source
        found |= _of_module(inspect.getsourcefile(base) or "").get(base.__name__, {})
    return found


@functools.cache
def _of_module(path: str) -> dict[str, dict[str, str]]:
    """By class, then attribute."""
    with open(path, encoding="utf-8") as source:
        body = ast.parse(source.read()).body
    return {node.name: _of_class(node) for node in body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for attribute, after in pairwise(node.body):
        if not isinstance(attribute, ast.AnnAssign) or not isinstance(attribute.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            found[attribute.target.id] = " ".join(after.value.value.split())
    return found
