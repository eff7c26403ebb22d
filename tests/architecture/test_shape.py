"""Sizes and habits that keep the code readable."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture import source

MOST_PARAMETERS = 6
LONGEST_FUNCTION = 70
LONGEST_FILE = 500
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[source.Module, Function]]:
    for module in source.modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                yield module, node


def place(module: source.Module, node: ast.stmt) -> str:
    return f"{module.path.relative_to(source.ROOT)}:{node.lineno}"


def test_at_most_six_parameters() -> None:
    wrong = []
    for module, function in functions():
        arguments = function.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        if len([name for name in names if name not in ("self", "cls")]) > MOST_PARAMETERS:
            decorators = " ".join(map(ast.unparse, function.decorator_list))
            # A TFX component's or a command's parameters are its inputs and options, named one by one.
            if "component(" not in decorators and ".command" not in decorators:
                wrong.append(f"{place(module, function)} {function.name} has {len(names)}")
    assert not wrong


def test_functions_fit_on_a_screen() -> None:
    wrong = []
    for module, function in functions():
        first = function.body[0]
        is_documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        begin = (first.end_lineno or first.lineno) if is_documented else function.lineno
        if (length := (function.end_lineno or begin) - begin) > LONGEST_FUNCTION:
            wrong.append(f"{place(module, function)} {function.name} has {length} lines")
    assert not wrong


def test_files_hold_one_idea() -> None:
    lengths = {m.path: len(m.path.read_text(encoding="utf-8").splitlines()) for m in source.modules().values()}
    assert not {str(path): lines for path, lines in lengths.items() if lines > LONGEST_FILE}


def test_no_file_for_leftovers() -> None:
    assert not [name for name in source.modules() if name.rpartition(".")[2] in ("utils", "util", "helpers", "misc")]


def test_the_environment_is_not_read_while_loading() -> None:
    wrong = []
    for module in source.modules().values():
        for node in module.tree.body:
            if not isinstance(node, Function | ast.ClassDef) and "os.environ" in ast.unparse(node):
                wrong.append(place(module, node))
    assert not wrong


def test_every_module_says_what_it_is() -> None:
    assert not [name for name, module in source.modules().items() if ast.get_docstring(module.tree) is None]


def test_nothing_is_silenced() -> None:
    """An exception is handled or passes; no handler ignores everything."""
    wrong = [
        place(module, node)
        for module in source.modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert not wrong


@pytest.mark.parametrize("room", source.ROOMS)
def test_a_name_is_one_class(room: str) -> None:
    """Who greps for a class of a room finds one."""
    places: dict[str, list[str]] = {}
    for module in source.modules().values():
        for node in ast.walk(module.tree) if module.room == room else ():
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(place(module, node))
    assert not {name: found for name, found in places.items() if len(found) > 1}
