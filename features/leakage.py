"""Which columns are not known when an item is ranked, and what is made from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from features.frozen import SpecError
from features.references import listed
from features.sources import Columns, DerivedTable, SideTable

if TYPE_CHECKING:
    from features.spec import Dataset


def tainted_columns(dataset: Dataset, columns: Columns) -> dict[str, str]:
    """Columns that no feature may read, each with the reason; what is made from one is one."""
    tainted = {name: "an outcome column" for name, column in columns.items() if column.outcome}
    for name, task in dataset.tasks.items():
        tainted[task.label] = f"the label of task '{name}'"
        if task.mask is not None:
            tainted[task.mask] = f"the sample mask of task '{name}'"
        if task.sample_weight is not None:
            tainted[task.sample_weight] = f"the sample weight of task '{name}'"
    if dataset.position is not None:
        tainted[dataset.position] = "the position in the feed"
    made = []
    for table_name, table in dataset.tables.items():
        if isinstance(table, SideTable):
            of_files = {name: "an outcome column" for name, column in table.columns.items() if column.outcome}
            for derived in table.derived:
                if leak := next((c for c in derived.inputs if c in of_files), None):
                    why = f"made by '{derived.function}' from '{leak}', an outcome column"
                    of_files |= dict.fromkeys(derived.outputs, why)
            tainted |= {name: why for name, why in of_files.items() if name in table.given}
        inputs = list(table.keys)
        if isinstance(table, DerivedTable):
            # Its function sees whole tables: any of their columns may be in any of its own.
            inputs += [column for name in table.inputs for column in dataset.tables[name].given]
        made.append((f"table '{table_name}'", inputs, [c for c in table.given if c not in table.keys]))
    made += [(f"'{d.function}'", list(d.inputs), list(d.outputs)) for d in dataset.derived]
    for maker, inputs, outputs in made:
        if leak := next((c for c in inputs if c in tainted), None):
            for output in outputs:
                tainted.setdefault(output, f"made by {maker} from '{leak}', {tainted[leak]}")
    return tainted


def check_leakage(dataset: Dataset, columns: Columns, tainted: Mapping[str, str]) -> None:
    """No feature reads what is not known when an item is ranked.

    Args:
        dataset: the spec.
        columns: all that a row has.
        tainted: see :func:`tainted_columns`.

    Raises:
        SpecError: naming the columns that may be features.
    """
    allowed = [name for name in columns if name not in tainted]
    for name in dataset.reading():
        column = dataset.feature_column(name)
        if column in tainted:
            raise SpecError(
                f"feature '{name}' reads column '{column}', which is {tainted[column]}: it is not known when an item "
                f"is ranked; columns that may be features: {listed(allowed)}"
            )
