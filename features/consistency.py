"""Whether a dataset's names, types, tasks and split fit together; each error says what it got and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from features.actions import check_instants
from features.counter_checks import check_counters
from features.frozen import SpecError, did_you_mean
from features.kinds import (
    Bucketized,
    Categorical,
    Clock,
    Cross,
    Id,
    Numeric,
    Sequence,
    Tokens,
    frequency_input,
    missing_input,
)
from features.leakage import check_leakage, tainted_columns
from features.outputs import other_outputs
from features.references import NUMBERS, SCALARS, listed, require, require_type
from features.sampling import check_downsample
from features.sources import (
    DAY,
    POSITION,
    REFUSED,
    ROW_ID,
    ROW_WEIGHT,
    TICKS,
    Column,
    Columns,
    DerivedTable,
    SideTable,
    Source,
)
from features.split_checks import check_split
from features.splits import TimeSplit
from features.tasks import METRICS, Task, label_column, mask_column, weight_column

if TYPE_CHECKING:
    from features.spec import Dataset

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""Of a feature or a task."""
INPUT_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./-]*[A-Za-z0-9_.-])?")
"""Of a column that a feature reads: TensorFlow takes it for an input of the exported model."""

_RENAME = "rename the column in the files, or copy it to one of another name by a `derived` function"


def check(dataset: Dataset) -> None:
    """Raises the first contradiction found.

    Raises:
        SpecError: what was received and what is allowed.
    """
    columns = dataset.all_columns()
    _check_patterns(dataset)
    _check_references(dataset, columns)
    _check_actions(dataset)
    _check_input_names(dataset)
    _check_names_are_unique(dataset)
    tainted = tainted_columns(dataset, columns)
    check_counters(dataset, columns, tainted)
    check_leakage(dataset, columns, tainted)
    _check_feature_types(dataset, columns)
    _check_targets(dataset)
    _check_tasks(dataset, columns)
    if dataset.downsample is not None:
        check_downsample(dataset.downsample, dataset.tasks)
    _check_kept(dataset, columns)
    _check_personal(dataset, columns)
    _check_exported(dataset)
    _check_names_of_files("source", dataset.source, dataset.columns)
    if dataset.actions is not None:
        _check_names_of_files("actions", dataset.actions.source, dataset.actions.columns)
    for name, table in dataset.tables.items():
        if isinstance(table, SideTable):
            _check_names_of_files(f"table '{name}'", table.source, table.columns)
    _check_transformed_names(dataset)
    _check_output_names(dataset)
    check_split(dataset)


def _check_patterns(dataset: Dataset) -> None:
    """Features, tasks and counters name layers, tensors and files."""
    for what, names in (("feature", dataset.features), ("task", dataset.tasks), ("counter", dataset.counters)):
        for name in names:
            if not NAME.fullmatch(name):
                column = " (the column's own name goes under `column:`)" if what == "feature" else ""
                raise SpecError(
                    f"{what} '{name}' has no valid name; allowed: a letter, then letters, digits and underscores, of "
                    f"a-z, A-Z, 0-9 and _{column}"
                )


def _check_names_are_unique(dataset: Dataset) -> None:
    seen = dict.fromkeys(dataset.columns, "the log")
    parts = [("the actions' labels", list(dataset.actions.labels))] if dataset.actions is not None else []
    parts += [
        (f"table '{name}'", [c for c in table.given if c not in table.keys]) for name, table in dataset.tables.items()
    ] + [(f"derived '{d.function}'", list(d.outputs)) for d in dataset.derived]
    parts += [(f"counter '{name}'", list(counter.columns)) for name, counter in dataset.counters.items()]
    for part, names in parts:
        for name in names:
            if name in seen:
                raise SpecError(f"column '{name}' of {part} has the name of a column of {seen[name]}; rename one")
            seen[name] = part
    of_tasks = (column(task) for task in dataset.tasks for column in (label_column, mask_column, weight_column))
    reserved = {ROW_ID, DAY, POSITION, REFUSED, ROW_WEIGHT, *of_tasks}
    if taken := reserved & set(seen):
        raise SpecError(f"column names reserved by feedrank: {listed(taken)}; rename the column or the task")


def _check_transformed_names(dataset: Dataset) -> None:
    """Transform writes features, their missing indicators and frequency ranks, labels, masks and weights side by side."""
    taken = {ROW_ID: "the row's id", DAY: "the row's day", POSITION: "the position in the feed"}
    taken[ROW_WEIGHT] = "the row's weight"
    for task in dataset.tasks:
        taken |= {label_column(task): f"the label of task '{task}'", mask_column(task): f"the mask of task '{task}'"}
        taken |= {weight_column(task): f"the sample weight of task '{task}'"}
    written = [(name, f"feature '{name}'") for name in dataset.features]
    written += [
        (missing_input(name), f"the missing_indicator of feature '{name}'")
        for name, feature in dataset.features.items()
        if isinstance(feature, Numeric) and feature.missing_indicator
    ]
    written += [
        (frequency_input(name), f"the frequency_rank of feature '{name}'")
        for name, feature in dataset.features.items()
        if isinstance(feature, Id) and feature.frequency_rank
    ]
    for name, what in written:
        if name in taken:
            raise SpecError(
                f"{what} is written as '{name}', as is {taken[name]}; allowed: any other name, as in "
                f"`my_{name}: {{column: {name}, ...}}`"
            )
        taken[name] = what


def _check_output_names(dataset: Dataset) -> None:
    """Scores are written beside the row's group and item, the total loss beside the tasks'; heads add outputs of their own."""
    reserved = other_outputs(dataset.tasks) | {name for name in (dataset.group, dataset.item) if name is not None}
    if taken := reserved & set(dataset.tasks):
        raise SpecError(
            f"tasks have names of other outputs: {listed(taken)}; allowed: any name but {listed(reserved)}; a task may be "
            f"named otherwise than its label, as in `my_task: {{label: ...}}`"
        )


def _check_references(dataset: Dataset, columns: Columns) -> None:
    for what in ("group", "item", "position"):
        if (name := getattr(dataset, what)) is not None:
            require(what, name, columns)
            require_type(what, name, columns[name], NUMBERS if what == "position" else SCALARS)
    if dataset.time is not None:
        require("time", dataset.time.column, dataset.columns)
    known = _check_tables(dataset)
    known.update({} if dataset.actions is None else dataset.actions.outcomes)
    for derived in dataset.derived:
        for column in derived.inputs:
            require(f"derived '{derived.function}'", column, known)
        known.update(derived.outputs)
    for name, feature in dataset.reading().items():
        if isinstance(feature, Clock):
            _check_clock(dataset, name, feature)
        require(f"feature '{name}'", dataset.feature_column(name), columns)
        if (owner := getattr(feature, "vocabulary_of", None)) is not None:
            require(f"feature '{name}': vocabulary_of", owner, dataset.features, "feature")


def _check_tables(dataset: Dataset) -> Columns:
    """Keys and inputs of tables; returns the columns after all joins."""
    known = dict(dataset.columns)
    earlier: list[str] = []
    for name, table in dataset.tables.items():
        for key in table.keys:
            require(f"table '{name}' joins on a key that", key, known)
            require(f"table '{name}' joins on a key that", key, table.columns)
        if isinstance(table, SideTable):
            _check_derived_of_table(name, table)
        if isinstance(table, DerivedTable):
            for table_input in table.inputs:
                require(f"derived table '{name}'", table_input, earlier, "earlier table")
        known.update(table.given)
        earlier.append(name)
    return known


def _check_derived_of_table(name: str, table: SideTable) -> None:
    known = set(table.columns)
    for derived in table.derived:
        for column in derived.inputs:
            require(f"table '{name}': derived '{derived.function}'", column, known)
        if taken := known & set(derived.outputs):
            raise SpecError(
                f"table '{name}': derived '{derived.function}' gives {listed(taken)}, which it has; rename one"
            )
        known.update(derived.outputs)


def _check_names_of_files(what: str, source: Source, columns: Columns) -> None:
    for column in source.from_name:
        require(f"{what}: from_name", column, columns)
        require_type(f"{what}: from_name", column, columns[column], SCALARS)
        if columns[column].personal is not None:
            raise SpecError(
                f"{what}: from_name: column '{column}' is personal, and names of files stand in manifests and dead letters as they are; "
                "allowed: a column whose values are kept"
            )


def _check_actions(dataset: Dataset) -> None:
    """Keys and times of both logs fit, and no row is known by what was done later."""
    actions = dataset.actions
    if actions is None:
        return
    if dataset.time is None:
        raise SpecError("actions need the log's `time`: the window begins with the impression; got none")
    check_instants(dataset.time, dataset.columns, "actions join a log whose")
    for key in actions.keys:
        require("actions: on", key, dataset.columns)
        theirs, ours = actions.columns[key], dataset.columns[key]
        if theirs.type != ours.type:
            raise SpecError(
                f"actions are joined by '{key}', which is {theirs.type} there and {ours.type} in the log; allowed: one type"
            )
        if theirs.personal != ours.personal:
            raise SpecError(
                f"actions are joined by '{key}', which is {theirs.personal or 'kept'} there and {ours.personal or 'kept'} in the "
                "log; allowed: the same `personal` in both"
            )
    for what in ("group", "item", "position"):
        if (name := getattr(dataset, what)) in actions.labels:
            raise SpecError(
                f"{what} names '{name}', which actions give; allowed: what is known of an impression without them"
            )
    if not isinstance(dataset.split, TimeSplit) and actions.source.by_day:
        raise SpecError(
            f"the actions' files are named by day, and a {dataset.split.by} split has no days; allowed: a split by time"
        )


def _check_input_names(dataset: Dataset) -> None:
    """Each column that features read becomes an input of the exported model, which would fail after the training."""
    inputs: dict[str, str] = {}
    for name in dataset.reading():
        column = dataset.feature_column(name)
        if not INPUT_NAME.fullmatch(column):
            raise SpecError(
                f"feature '{name}' reads column '{column}', which cannot name an input of the exported model; allowed: a "
                f"letter or digit, then letters, digits and _ . - / (not at the end), of a-z, A-Z and 0-9; {_RENAME}"
            )
        # TensorFlow's names of inputs: only these signs, and upper and lower case are one.
        other = inputs.setdefault(re.sub(r"[^a-z0-9]", "_", column.lower()), column)
        if other != column:
            raise SpecError(
                f"columns '{other}' and '{column}' of features would be one input of the exported model; allowed: names "
                f"that differ in more than case and the signs _ . - /; {_RENAME}"
            )


def _check_kept(dataset: Dataset, columns: Columns) -> None:
    """What examples hold is not declared as what nothing keeps."""
    kept = {f"feature '{name}'": dataset.feature_column(name) for name in dataset.reading()}
    kept |= {what: name for what in ("group", "item") if (name := getattr(dataset, what)) is not None}
    for what, name in kept.items():
        if columns[name].personal == "drop":
            raise SpecError(f"{what} reads column '{name}', which is dropped; allowed: `personal: hash`, or none")
        if not columns[name].kept:
            raise SpecError(f"{what} reads column '{name}', which is not kept; allowed: `kept: true`")


def _check_exported(dataset: Dataset) -> None:
    """What BigQuery exports is written before a personal column is hashed or dropped."""
    export = dataset.source.bigquery.export if dataset.source.bigquery is not None else None
    personal = [name for name, column in dataset.columns.items() if column.personal is not None]
    if export is not None and export.keep is None and personal:
        raise SpecError(
            f"bigquery.export writes the personal column{'s' * (len(personal) > 1)} {', '.join(personal)} as the table has them; allowed: "
            "`export: {folder: ..., keep: false}`, which removes the files once they are read, `keep: true`, or read sessions, which write nothing"
        )


def _check_personal(dataset: Dataset, columns: Columns) -> None:
    """What is hashed has no value any more, and tables and what is derived from them have nothing to drop."""
    values: dict[str, tuple[str | None, ...]] = {
        f"task '{name}'": (task.label, task.mask, task.sample_weight) for name, task in dataset.tasks.items()
    }
    values |= {"time": (dataset.time.column if dataset.time else None,), "position": (dataset.position,)}
    for what, names in values.items():
        for name in names:
            if name is not None and columns[name].personal is not None:
                raise SpecError(
                    f"{what} reads column '{name}', which is personal; allowed: a column whose values are kept"
                )
    for what, table in dataset.tables.items():
        for name, column in table.columns.items():
            if column.personal == "drop":
                raise SpecError(
                    f"table '{what}' reads column '{name}' and drops it; allowed: a table without the column"
                )
            if name in table.keys and column.personal != columns[name].personal:
                raise SpecError(
                    f"table '{what}' is joined by '{name}', which is {column.personal or 'kept'} there and "
                    f"{columns[name].personal or 'kept'} in the log; allowed: the same `personal` in both"
                )
    of_tables = [d for table in dataset.tables.values() if isinstance(table, SideTable) for d in table.derived]
    for derived in (*of_tables, *dataset.derived):
        for name, column in derived.outputs.items():
            if column.personal is not None:
                raise SpecError(
                    f"derived column '{name}' is personal; allowed for columns that are read: hash its inputs"
                )


def _check_feature_types(dataset: Dataset, columns: Columns) -> None:
    for name, feature in dataset.features.items():
        if isinstance(feature, Cross):
            _check_cross(dataset, name, feature)
            continue
        column = columns[dataset.feature_column(name)]
        allowed = {
            "bag": ("list<int64>", "list<string>"),
            "sequence": ("list<int64>", "list<string>"),
            "numeric": NUMBERS,
            "bucketized": NUMBERS,
            "clock": ("int64",),
        }.get(feature.kind, ("int64", "string"))
        if column.type not in allowed:
            raise SpecError(
                f"feature '{name}' of kind {feature.kind} reads column '{dataset.feature_column(name)}' of type "
                f"{column.type}; allowed types: {', '.join(allowed)}"
            )
        if isinstance(feature, Categorical):
            _check_values(name, feature, dataset.feature_column(name), column)
        owner = dataset.vocabulary_owner(name)
        if owner != name:
            owned = dataset.features[owner]
            owned_type = columns[dataset.feature_column(owner)].element_type
            if not isinstance(owned, Tokens) or owned_type != column.element_type or owned.vocabulary_of:
                raise SpecError(
                    f"feature '{name}' shares the vocabulary of '{owner}', which must be an id, categorical, bag or "
                    f"sequence of {column.element_type} with a vocabulary of its own; it is {owned.kind} of {owned_type}"
                )
    if not dataset.features:
        raise SpecError("a dataset needs at least one feature; got none")


def _check_clock(dataset: Dataset, name: str, clock: Clock) -> None:
    if dataset.time is None:
        raise SpecError(
            f"feature '{name}' is a clock, and the dataset has no `time`; allowed: with the column that says when"
        )
    if clock.column not in (None, dataset.time.column):
        raise SpecError(
            f"feature '{name}' reads '{clock.column}'; allowed for a clock: the time, '{dataset.time.column}', or no `column`"
        )
    if dataset.time.unit not in TICKS:
        raise SpecError(
            f"feature '{name}' needs a time of unit {', '.join(TICKS)}; got {dataset.time.unit}, which a served model does not read"
        )


def _check_cross(dataset: Dataset, name: str, cross: Cross) -> None:
    fit = [
        other
        for other, feature in dataset.features.items()
        if isinstance(feature, Id | Categorical | Bucketized | Clock)
    ]
    for part in cross.of:
        require(f"feature '{name}': of", part, dataset.features, "feature")
        if part not in fit:
            raise SpecError(
                f"feature '{name}' crosses '{part}', which is of kind {dataset.features[part].kind}; allowed: id, categorical, "
                f"bucketized and clock features: {listed(fit)}"
            )


def _check_targets(dataset: Dataset) -> None:
    """A sequence's attention compares its tokens' vectors with the target's, number by number."""
    for name, feature in dataset.features.items():
        target = feature.attends_to() if isinstance(feature, Sequence) else None
        if target is None:
            continue
        require(f"feature '{name}': target", target, dataset.features, "feature")
        if not isinstance(dataset.features[target], Id | Categorical):
            fit = [other for other, f in dataset.features.items() if isinstance(f, Id | Categorical)]
            raise SpecError(
                f"feature '{name}': target '{target}' is of kind {dataset.features[target].kind}; allowed: an id or "
                f"categorical feature: {listed(fit)}"
            )
        dims = [_dim(dataset, part) for part in (name, target)]
        if dims[0] != dims[1]:
            told = [
                f"the model's embedding_dim for '{part}'" if d is None else f"{d} for '{part}'"
                for part, d in zip((name, target), dims, strict=True)
            ]
            raise SpecError(
                f"feature '{name}' is compared with its target '{target}', so their vectors must have one `dim`; got "
                f"{' and '.join(told)}; allowed: the same `dim` for both, or none"
            )


def _dim(dataset: Dataset, feature: str) -> int | None:
    """Declared width of the vectors of a feature's table."""
    dim: int | None = getattr(dataset.features[dataset.vocabulary_owner(feature)], "dim", None)
    return dim


def _check_values(name: str, feature: Categorical, column_name: str, column: Column) -> None:
    """A domain of another type would hold for no value, or be checked for none."""
    expected = int if column.type == "int64" else str
    if not all(isinstance(value, expected) for value in feature.values or ()):
        raise SpecError(
            f"feature '{name}' has values {', '.join(map(repr, feature.values or ()))}, but its column '{column_name}' is "
            f"{column.type}; allowed: {column.type} values (in YAML 1 is a number, '1' a text)"
        )


def _check_tasks(dataset: Dataset, columns: Columns) -> None:
    if not dataset.tasks:
        raise SpecError("a dataset needs at least one task; got none")
    for name, task in dataset.tasks.items():
        if task.label not in columns:
            raise SpecError(
                f"task '{name}' names label '{task.label}', which is no column of {dataset.name}"
                f"{did_you_mean(task.label, columns)} columns: {listed(columns)}"
            )
        column = columns[task.label]
        require_type(f"task '{name}': label", task.label, column, SCALARS)
        for what, named in (("mask", task.mask), ("sample_weight", task.sample_weight)):
            if named is not None:
                require(f"task '{name}': {what}", named, columns)
                require_type(f"task '{name}': {what}", named, columns[named], NUMBERS)
        if task.parent == name:
            raise SpecError(
                f"task '{name}' is its own parent; allowed: no parent, or another task: {listed(set(dataset.tasks) - {name})}"
            )
        if task.parent is not None:
            require(f"task '{name}': parent", task.parent, set(dataset.tasks) - {name}, "other task")
        if task.positive is None and column.type not in NUMBERS:
            raise SpecError(
                f"task '{name}': label '{task.label}' is {column.type}; allowed: int64 or float32, or give `positive`, "
                f"the values that count as 1"
            )
        if task.kind == "regression" and task.positive is not None:
            raise SpecError(f"task '{name}' is a regression; `positive` is for binary tasks only")
        for metric in task.metrics or ():
            require(f"task '{name}' ({task.kind})", metric, METRICS[task.kind], "metric")
    _check_parents_end(dataset.tasks)


def _check_parents_end(tasks: Mapping[str, Task]) -> None:
    for name in tasks:
        path = [name]
        while (parent := tasks[path[-1]].parent) is not None:
            path.append(parent)
            if parent == name:
                raise SpecError(f"tasks are their own parents: {' -> '.join(path)}; a chain must end at the impression")
            if len(path) > len(tasks) + 1:
                break
