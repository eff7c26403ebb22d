"""How many days counters wait for labels that actions give: until no action can change the labels of a counted row any more.

An impression of day d is acted on before (d + 1) days + `window` are over. A row of day t, which knows what happened before t, may count the
labels of day d if d + 1 + ceil(window / 24 h) <= t.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from features.actions import Actions
from features.counters import Counter
from features.tasks import Task

if TYPE_CHECKING:
    from features.spec import Dataset


def waiting_counters(dataset: Dataset) -> dict[str, Counter]:
    """Those that count what actions say; all of them where what actions say may refuse rows, for nobody counts rows that are refused.

    Returns:
        by name, with the `delay_days` that their labels need, or more where the spec says more.
    """
    actions = dataset.actions
    if actions is None or not dataset.counters:
        return {}
    acted = _acted_columns(dataset, actions)
    is_each = _may_refuse(dataset, actions, acted)
    return {
        name: counter.model_copy(update={"delay_days": max(counter.delay_days, actions.days_reached)})
        for name, counter in dataset.counters.items()
        if is_each or not acted.isdisjoint(counter.reads)
    }


def _acted_columns(dataset: Dataset, actions: Actions) -> Set[str]:
    """What actions give, and what is made of it; tables are looked up by other columns alone."""
    acted = set(actions.outcomes)
    for derived in dataset.derived:
        if not acted.isdisjoint(derived.inputs):
            acted |= set(derived.outputs)
    return acted


def _may_refuse(dataset: Dataset, actions: Actions, acted: Set[str]) -> bool:
    """Whether a row may be good by one action and quarantined by another."""
    if not all(acted.isdisjoint(derived.inputs) for derived in dataset.derived):
        return True  # a function may refuse what it reads
    return any(_may_refuse_label(dataset, actions, task, acted) for task in dataset.tasks.values())


def _may_refuse_label(dataset: Dataset, actions: Actions, task: Task, acted: Set[str]) -> bool:
    if not acted.isdisjoint({task.mask, task.sample_weight}):
        return True
    if task.orphans == "quarantine" and task.parent is not None:
        above = dataset.tasks[task.parent]
        if not acted.isdisjoint({task.label, above.label, above.mask}):
            return True
    if task.label not in acted:
        return False
    label = actions.labels.get(task.label)
    if label is None or label.missing is None:
        return True
    is_any = label.taken == "any" and label.missing in (0, 1)
    return task.kind == "binary" and task.positive is None and not is_any
