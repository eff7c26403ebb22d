"""What a column, a feature and a task mean: the one declaration that every stage derives from.

A :class:`Dataset` is frozen, checks itself when it is made, and travels as JSON (``dataset.model_dump_json()``).
This module loads neither TensorFlow nor Beam.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import pydantic

ColumnType = Literal[
    "int64", "float32", "string", "list<int64>", "list<float32>", "list<string>"
]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class SpecError(ValueError):
    """A spec that contradicts itself. The message says what it got and what is allowed."""


class Frozen(pydantic.BaseModel):
    """Base of every part of a spec: immutable, and an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """One column of the log, of a side table, or of a derived output.

    In YAML a bare type is enough: ``user_id: int64`` stands for ``user_id: {type: int64}``.
    """

    type: ColumnType
    required: bool = False
    """A row in which this column is missing is quarantined."""
    outcome: bool = False
    """Known only after the impression (watch time, ...): can never be a feature."""
    separator: str = ","
    """Between the elements of a list that is written as text."""
    minimum: float | None = None
    maximum: float | None = None
    """A value outside [minimum, maximum] quarantines its row."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_type_name(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @property
    def is_list(self) -> bool:
        """Whether a row holds any number of values."""
        return self.type.startswith("list<")

    @property
    def element_type(self) -> str:
        """``int64``, ``float32`` or ``string``."""
        return self.type.removeprefix("list<").removesuffix(">")


Columns = dict[str, Column]


class Source(Frozen):
    """Files of one table, relative to the data path, and how they are written."""

    files: str | tuple[str, ...]
    """A path or glob, or several, relative to ``data.path`` unless absolute."""
    format: Literal["csv", "parquet"] = "csv"
    header: bool = True
    """CSV: the first line of each file names the columns. Without it, `columns` gives names and order."""
    delimiter: str = ","
    quote: str = '"'
    null_values: tuple[str, ...] = ("",)
    strip_spaces: bool = False
    """CSV: blanks around a value do not belong to it."""
    newlines_in_values: bool = False
    max_field_bytes: int = 1_000_000
    """CSV: a row with a longer field is quarantined."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """`files` as a tuple."""
        return (self.files,) if isinstance(self.files, str) else self.files


class SideTable(Frozen):
    """A table joined to the log by key: each row of the log finds at most one row of the table."""

    source: Source
    on: tuple[str, ...] | str
    """Key columns: they have the same names in the log (or an earlier table) and in this table."""
    columns: Columns
    """All columns that are read, the key among them."""

    @property
    def keys(self) -> tuple[str, ...]:
        """`on` as a tuple."""
        return (self.on,) if isinstance(self.on, str) else self.on


class DerivedTable(Frozen):
    """A side table computed once from other side tables by a pure Arrow function.

    The function, named ``package.module:function``, maps ``{table name: pyarrow.Table}`` to a ``pyarrow.Table``
    with the key columns and `columns`.
    """

    function: str
    inputs: tuple[str, ...]
    on: tuple[str, ...] | str
    columns: Columns

    @property
    def keys(self) -> tuple[str, ...]:
        """`on` as a tuple."""
        return (self.on,) if isinstance(self.on, str) else self.on


class Derived(Frozen):
    """Columns computed row by row from others by a pure Arrow function, after the joins.

    The function, named ``package.module:function``, maps a ``pyarrow.RecordBatch`` of `inputs` to
    ``{output name: pyarrow.Array}`` of the same length.
    """

    function: str
    inputs: tuple[str, ...]
    outputs: Columns


class TimeColumn(Frozen):
    """When the impression happened."""

    column: str
    unit: Literal["s", "ms", "us", "yyyymmdd", "iso8601"] = "ms"
    """``s``/``ms``/``us`` since 1970-01-01 UTC, an integer like 20220425, or ISO 8601 text."""
    utc_offset_hours: float = 0.0
    """Added before the day is taken (8 for Beijing)."""


class Vocabulary(Frozen):
    """How tokens become rows of an embedding table.

    Row 0 is *missing or padding*, rows 1..V the V kept tokens (most frequent first), the last `oov_buckets`
    rows hashed out-of-vocabulary tokens. The table has ``1 + V + oov_buckets`` rows.
    """

    min_count: int = pydantic.Field(default=1, ge=1)
    top_k: int | None = pydantic.Field(default=None, ge=1)
    oov_buckets: int = pydantic.Field(default=1, ge=1)


class _Feature(Frozen):
    column: str | None = None
    """The column read; by default the one with the feature's own name."""


class _Embedded(_Feature):
    dim: int | None = pydantic.Field(default=None, ge=1)
    """Embedding width; by default the model's ``embedding_dim``."""


class _Tokens(_Embedded):
    vocabulary: Vocabulary = Vocabulary()
    vocabulary_of: str | None = None
    """Another feature whose vocabulary and embedding table this one shares."""


class Id(_Tokens):
    """A high-cardinality identifier (user, item, author): int64 or string."""

    kind: Literal["id"] = "id"
    vocabulary: Vocabulary = Vocabulary(min_count=2, oov_buckets=8)


class Categorical(_Tokens):
    """A low-cardinality category: int64 or string. `values` closes the domain: another value is an anomaly."""

    kind: Literal["categorical"] = "categorical"
    values: tuple[str, ...] | tuple[int, ...] | None = None


class Bag(_Tokens):
    """A list without order (tags): at most `max_length` tokens, pooled."""

    kind: Literal["bag"] = "bag"
    max_length: int = pydantic.Field(default=8, ge=1)
    pooling: Literal["mean", "sum", "sqrtn"] = "mean"


class Sequence(_Tokens):
    """An ordered list (watch history): the last or first `max_length` tokens, padded with row 0, pooled."""

    kind: Literal["sequence"] = "sequence"
    max_length: int = pydantic.Field(default=50, ge=1)
    keep: Literal["first", "last"] = "last"
    pooling: Literal["mean", "sum", "sqrtn"] = "mean"


class Numeric(_Feature):
    """A number, scaled with moments of the training split; missing becomes the mean (0 after scaling)."""

    kind: Literal["numeric"] = "numeric"
    scaling: Literal["none", "zscore", "log_zscore", "quantile"] = "zscore"
    """``log_zscore``: z-score of sign(x) log(1 + |x|). ``quantile``: position among the training quantiles, in [0, 1]."""
    missing_indicator: bool = False
    """Adds a second input that is 1 where the value is missing."""


class Bucketized(_Embedded):
    """A number cut into buckets, each an embedding row; row 0 is missing."""

    kind: Literal["bucketized"] = "bucketized"
    buckets: int = pydantic.Field(default=16, ge=2)
    """Quantile buckets of the training split, unless `boundaries` are given."""
    boundaries: tuple[float, ...] | None = None


Feature = Annotated[
    Id | Categorical | Bag | Sequence | Numeric | Bucketized, pydantic.Field(discriminator="kind")
]


class Task(Frozen):
    """One thing to predict."""

    label: str
    """The column that holds the answer: 0/1 for binary (unless `positive` is given), a number for regression."""
    kind: Literal["binary", "regression"] = "binary"
    positive: tuple[str, ...] | tuple[int, ...] | None = None
    """Values of the label column that count as 1; all others count as 0."""
    mask: str | None = None
    """A 0/1 column: rows where it is 0 count neither in the loss nor in the metrics."""
    parent: str | None = None
    """The task that must be positive first (click before conversion)."""
    weight: float = pydantic.Field(default=1.0, gt=0)
    """Of this task's loss in the sum."""
    metrics: tuple[str, ...] | None = None
    """Metrics reported; all of the task's kind by default."""


class TimeSplit(Frozen):
    """Parts of the log by day, both ends included."""

    by: Literal["time"] = "time"
    train: tuple[datetime.date, datetime.date]
    validation: tuple[datetime.date, datetime.date]
    test: tuple[datetime.date, datetime.date]


class RandomSplit(Frozen):
    """Parts of the log by a hash of each row's file and number: for data without time."""

    by: Literal["random"] = "random"
    train: float = pydantic.Field(default=0.8, gt=0, lt=1)
    validation: float = pydantic.Field(default=0.1, gt=0, lt=1)
    test: float = pydantic.Field(default=0.1, gt=0, lt=1)
    seed: int = 0


AnySplit = Annotated[TimeSplit | RandomSplit, pydantic.Field(discriminator="by")]

METRICS: Mapping[str, tuple[str, ...]] = {
    "binary": ("auc", "gauc", "log_loss", "normalized_entropy", "calibration"),
    "regression": ("mse", "mae"),
}

ROW_ID = "feedrank_row_id"
"""int64 column that ingest adds to every row: a hash of the file's name and the row's number."""
DAY = "feedrank_day"
"""int64 column that ingest adds where the dataset has a time: yyyymmdd."""


def label_column(task: str) -> str:
    """Name of the float32 column in which ingest puts a task's label."""
    return f"label_{task}"


def mask_column(task: str) -> str:
    """Name of the float32 column in which ingest puts a task's sample mask (only for tasks that have one)."""
    return f"mask_{task}"


class Dataset(Frozen):
    """Everything feedrank knows about one log.

    Raises:
        pydantic.ValidationError: with a message that names what was received and what is allowed, if a name is
            unknown or used twice, a label or an outcome is used as a feature, or a part of the split is empty.
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    description: str = ""
    source: Source
    columns: Columns
    """The log's own columns. Those not named here are not read (CSV without header: all, in order)."""
    time: TimeColumn | None = None
    group: str | None = None
    """The user: GAUC averages over its values."""
    item: str | None = None
    position: str | None = None
    """Where in the feed the item was shown; known after ranking, so never an ordinary feature."""
    tables: dict[str, SideTable | DerivedTable] = {}
    """Joined in this order."""
    derived: tuple[Derived, ...] = ()
    """Computed in this order, after all joins."""
    features: dict[str, Feature]
    tasks: dict[str, Task]
    split: AnySplit

    # -- what the rest of the house asks ---------------------------------------------------------------------

    def all_columns(self) -> Columns:
        """Every column a row has after joins and derivations, by name."""
        columns = dict(self.columns)
        for table in self.tables.values():
            columns.update({n: c for n, c in table.columns.items() if n not in table.keys})
        for derived in self.derived:
            columns.update(derived.outputs)
        return columns

    def feature_column(self, feature: str) -> str:
        """The column that a feature reads."""
        return self.features[feature].column or feature

    def feature_columns(self) -> tuple[str, ...]:
        """Columns the model needs, in the features' order, each once: the inputs of the served model."""
        return tuple(dict.fromkeys(self.feature_column(name) for name in self.features))

    def vocabulary_owner(self, feature: str) -> str:
        """The feature whose vocabulary and embedding table `feature` uses (itself unless it shares)."""
        return getattr(self.features[feature], "vocabulary_of", None) or feature

    # -- checks ----------------------------------------------------------------------------------------------

    @pydantic.model_validator(mode="after")
    def _check(self) -> Dataset:
        _check_names_are_unique(self)
        columns = self.all_columns()
        _check_references(self, columns)
        _check_leakage(self, columns)
        _check_feature_types(self, columns)
        _check_tasks(self, columns)
        _check_split(self)
        return self


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "(none)"


def _check_names_are_unique(dataset: Dataset) -> None:
    seen = {name: "the log" for name in dataset.columns}
    parts = [
        (f"table '{name}'", [c for c in table.columns if c not in table.keys])
        for name, table in dataset.tables.items()
    ] + [(f"derived '{d.function}'", list(d.outputs)) for d in dataset.derived]
    for part, names in parts:
        for name in names:
            if name in seen:
                raise SpecError(f"column '{name}' of {part} has the name of a column of {seen[name]}; rename one")
            seen[name] = part
    reserved = {ROW_ID, DAY, *map(label_column, dataset.tasks), *map(mask_column, dataset.tasks)}
    if taken := reserved & set(seen):
        raise SpecError(f"column names reserved by feedrank: {_names(taken)}; rename the column or the task")


def _require(what: str, name: str, known: Iterable[str], kind: str = "column") -> None:
    known = list(known)
    if name not in known:
        raise SpecError(f"{what} names {kind} '{name}', which does not exist; {kind}s: {_names(known)}")


def _check_references(dataset: Dataset, columns: Columns) -> None:
    for what in ("group", "item", "position"):
        if (name := getattr(dataset, what)) is not None:
            _require(what, name, columns)
    if dataset.time is not None:
        _require("time", dataset.time.column, dataset.columns)
    known = dict(dataset.columns)
    earlier: list[str] = []
    for name, table in dataset.tables.items():
        for key in table.keys:
            _require(f"table '{name}' joins on a key that", key, known)
            _require(f"table '{name}' joins on a key that", key, table.columns)
        if isinstance(table, DerivedTable):
            for table_input in table.inputs:
                _require(f"derived table '{name}'", table_input, earlier, "earlier table")
        known.update(table.columns)
        earlier.append(name)
    for derived in dataset.derived:
        for column in derived.inputs:
            _require(f"derived '{derived.function}'", column, known)
        known.update(derived.outputs)
    for name, feature in dataset.features.items():
        _require(f"feature '{name}'", feature.column or name, columns)
        if (owner := getattr(feature, "vocabulary_of", None)) is not None:
            _require(f"feature '{name}': vocabulary_of", owner, dataset.features, "feature")


def _check_leakage(dataset: Dataset, columns: Columns) -> None:
    tainted = {name: "an outcome column" for name, column in columns.items() if column.outcome}
    for name, task in dataset.tasks.items():
        tainted[task.label] = f"the label of task '{name}'"
        if task.mask is not None:
            tainted[task.mask] = f"the sample mask of task '{name}'"
    for derived in dataset.derived:
        if leaks := [c for c in derived.inputs if c in tainted]:
            for output, column in derived.outputs.items():
                tainted.setdefault(output, f"derived from '{leaks[0]}', {tainted[leaks[0]]}")
                del column
    if dataset.position is not None:
        tainted[dataset.position] = "the position, known only after ranking"
    allowed = [name for name in columns if name not in tainted]
    for name in dataset.features:
        column_name = dataset.feature_column(name)
        if column_name in tainted:
            raise SpecError(
                f"feature '{name}' reads column '{column_name}', which is {tainted[column_name]}: a model that sees it "
                f"knows the answer; columns that may be features: {_names(allowed)}"
            )


def _check_feature_types(dataset: Dataset, columns: Columns) -> None:
    for name, feature in dataset.features.items():
        column = columns[dataset.feature_column(name)]
        allowed = {
            "bag": ("list<int64>", "list<string>"),
            "sequence": ("list<int64>", "list<string>"),
            "numeric": ("int64", "float32"),
            "bucketized": ("int64", "float32"),
        }.get(feature.kind, ("int64", "string"))
        if column.type not in allowed:
            raise SpecError(
                f"feature '{name}' of kind {feature.kind} reads column '{dataset.feature_column(name)}' of type "
                f"{column.type}; allowed types: {', '.join(allowed)}"
            )
        owner = dataset.vocabulary_owner(name)
        if owner != name:
            owned = dataset.features[owner]
            owned_type = columns[dataset.feature_column(owner)].element_type
            if not isinstance(owned, _Tokens) or owned_type != column.element_type or owned.vocabulary_of:
                raise SpecError(
                    f"feature '{name}' shares the vocabulary of '{owner}', which must be an id, categorical, bag or "
                    f"sequence of {column.element_type} with a vocabulary of its own; it is {owned.kind} of {owned_type}"
                )
    if not dataset.features:
        raise SpecError("a dataset needs at least one feature; got none")


def _check_tasks(dataset: Dataset, columns: Columns) -> None:
    if not dataset.tasks:
        raise SpecError("a dataset needs at least one task; got none")
    for name, task in dataset.tasks.items():
        if task.label not in columns:
            raise SpecError(
                f"task '{name}' names label '{task.label}', which is no column of {dataset.name}; "
                f"columns: {_names(columns)}"
            )
        column = columns[task.label]
        if task.mask is not None:
            _require(f"task '{name}': mask", task.mask, columns)
        if task.parent is not None:
            _require(f"task '{name}': parent", task.parent, set(dataset.tasks) - {name}, "other task")
        if task.positive is None and column.type not in ("int64", "float32"):
            raise SpecError(
                f"task '{name}': label '{task.label}' is {column.type}; allowed: int64 or float32, or give `positive`, "
                f"the values that count as 1"
            )
        if task.kind == "regression" and task.positive is not None:
            raise SpecError(f"task '{name}' is a regression; `positive` is for binary tasks only")
        for metric in task.metrics or ():
            _require(f"task '{name}' ({task.kind})", metric, METRICS[task.kind], "metric")
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


def _check_split(dataset: Dataset) -> None:
    split = dataset.split
    if isinstance(split, RandomSplit):
        total = split.train + split.validation + split.test
        if abs(total - 1) > 1e-6:
            raise SpecError(f"the split's shares must sum to 1; train + validation + test is {total:g}")
        return
    if dataset.time is None:
        raise SpecError("a split by time needs `time`, the column that says when; or use `split: {by: random}`")
    parts = {part: getattr(split, part) for part in SPLITS}
    for part, (first, last) in parts.items():
        if first > last:
            raise SpecError(f"the split leaves '{part}' empty: it goes from {first} to {last}; allowed: first <= last")
    for earlier, later in (("train", "validation"), ("validation", "test")):
        if parts[earlier][1] >= parts[later][0]:
            raise SpecError(
                f"'{later}' must begin after '{earlier}' ends; '{earlier}' ends on {parts[earlier][1]}, "
                f"'{later}' begins on {parts[later][0]}"
            )
