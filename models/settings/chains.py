"""Chains of tasks, as `Task.parent` declares them: click before conversion."""

from __future__ import annotations

from collections.abc import Mapping

from features.spec import Task


def given(task: str, parent: str) -> str:
    """The output that estimates P(task | parent)."""
    return f"{task}_given_{parent}"


def children(tasks: Mapping[str, Task]) -> dict[str, str]:
    """{task: its parent}, of tasks that have one."""
    return {name: task.parent for name, task in tasks.items() if task.parent is not None}


def parents_first(tasks: Mapping[str, Task]) -> list[str]:
    """The tasks' names, each after its parent's."""

    def depth(name: str) -> int:
        parent = tasks[name].parent
        return 0 if parent is None else 1 + depth(parent)

    return sorted(tasks, key=depth)


def chain_problem(tasks: Mapping[str, Task]) -> str | None:
    """Why a head along a chain does not fit these tasks; None if it does."""
    if not children(tasks):
        return (
            f"needs a task with `parent`, the task that must be positive first; none has one; tasks: {', '.join(tasks)}"
        )
    for child, parent in children(tasks).items():
        if parent not in tasks:
            return f"needs '{parent}', the parent of task '{child}'; tasks: {', '.join(tasks)}"
        for name in (parent, child):
            if tasks[name].kind != "binary":
                return f"needs binary tasks along a chain; '{name}' of '{child}' with parent '{parent}' is a {tasks[name].kind}"
    if taken := sorted({given(child, parent) for child, parent in children(tasks).items()} & set(tasks)):
        return f"has outputs of its own named {', '.join(taken)}; rename the task"
    return None
