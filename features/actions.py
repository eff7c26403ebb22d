"""What users did after the impression, logged apart from it: how actions find their impression and which labels they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from features.frozen import Frozen, SpecError, unknown
from features.sources import Column, Columns, Source, TimeColumn
from features.spans import Span

MOST_SHARDS = 512
"""Parts that both logs are cut into by key, at most: each is read from all workers' files."""
RESERVED = "feedrank_"
"""How columns begin that feedrank adds."""

_DAY_SECONDS = 86_400
_EXACT = 2**53
"""Up to it a float is any integer."""
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127

Take = Literal["any", "count", "sum", "min", "max", "first", "last"]
_OF_NUMBERS = ("sum", "min", "max")

Value = int | str
Values = tuple[int, ...] | tuple[str, ...]


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, int | str) else value


AnyOf = Annotated[Values, pydantic.BeforeValidator(_several, json_schema_input_type=Value | Values)]
"""One value or several."""


class ActionLabel(Frozen):
    """A column that the actions of an impression give: an outcome, which tasks may name as label, mask or sample weight."""

    column: str | None = None
    """The column of the actions that is looked at; only ``any`` and ``count`` need none."""
    equals: AnyOf | None = None
    """Shorthand for `where` of this `column` alone: ``{column: action, equals: like}``."""
    where: dict[str, AnyOf] = {}
    """Only actions whose columns have these values (or one of several) are looked at; all by default."""
    take: Take | None = None
    """Of the actions looked at: whether there is one (``any``: 1 or 0; with `equals` the default), how many (``count``), or of their values in
    `column` the ``sum``, ``min``, ``max``, ``first`` or ``last`` (by time; of one time, as the files have them). Missing values do not count."""
    otherwise: Annotated[float, pydantic.Field(allow_inf_nan=True)] | None = None
    """Where no action was found. By default 0 for ``any``, ``count`` and ``sum``, and missing for the others: a task whose label is missing
    needs a mask."""

    @property
    def taken(self) -> Take:
        """`take`, or what stands for it."""
        return self.take or "any"

    @property
    def conditions(self) -> Mapping[str, Values]:
        """`where` and `equals` together."""
        return self.where if self.equals is None or self.column is None else {**self.where, self.column: self.equals}

    @property
    def values_of(self) -> str | None:
        """The column whose values are taken; None where actions are only counted."""
        return None if self.taken in ("any", "count") else self.column

    @property
    def missing(self) -> float | None:
        """What stands where no action was found; None: a missing value."""
        if self.otherwise is None and self.taken in ("any", "count", "sum"):
            return 0
        return self.otherwise

    @pydantic.model_validator(mode="after")
    def _check(self) -> ActionLabel:
        if self.equals is not None and self.column is None:
            raise SpecError("`equals` needs the `column` that it compares; got none")
        if self.equals is not None and self.column in self.where:
            raise SpecError(f"`equals` and `where` both ask for values of '{self.column}'; allowed: one of them")
        if self.take is None and self.equals is None and self.column is not None:
            raise SpecError(
                f"what is taken of column '{self.column}'? allowed: `equals`, or `take`: any, count, sum, min, max, first or last"
            )
        if self.taken not in ("any", "count") and self.column is None:
            raise SpecError(f"`take: {self.taken}` needs the `column` whose values it takes; got none")
        return self


class Actions(Frozen):
    """The log of actions. Each belongs to at most one impression: of those with its key, the latest that is not after it, if that was no
    longer than `window` ago (last touch). Of several impressions of one time it is the first in the log: files by name, then rows.

    An action that has the key, time and values of an earlier one is a duplicate and counts once.
    """

    SHORTHAND: ClassVar[str | None] = None

    source: Source
    """The actions' files. ``{day}`` stands for each day of the split, and for those behind them that `window` reaches into."""
    columns: Columns
    """All columns that are read: key, time, and those that labels look at."""
    on: tuple[str, ...] | str
    """Key columns, such as ``request_id`` or ``[user_id, item_id]``: they have the same names and types in the log."""
    time: TimeColumn
    """When the action happened. Times are compared as they are written: one in whole seconds may lie before its impression's in milliseconds."""
    window: Span = pydantic.Field(gt=0, allow_inf_nan=False)
    """The attribution window, like ``90s``, ``30m``, ``24h`` or ``7d``. An action counts where 0 <= its time - the impression's <= window."""
    days_after: Literal["required", "optional"] = "required"
    """Whether there must be files, and markers, of the days behind the split's that `window` reaches into; ``optional``: the manifest names those
    that have none. Labels of the last days lack the actions that are not there."""
    labels: dict[str, ActionLabel] = pydantic.Field(min_length=1)
    """The columns that impressions get, by name."""

    @property
    def keys(self) -> tuple[str, ...]:
        """`on` as a tuple."""
        return (self.on,) if isinstance(self.on, str) else self.on

    @property
    def days_reached(self) -> int:
        """Days behind an impression's own that `window` reaches into."""
        return math.ceil(self.window / _DAY_SECONDS)

    @property
    def outcomes(self) -> Columns:
        """The columns that impressions get, as outcome columns."""
        types = {
            n: self.columns[label.values_of].type if label.values_of else "int64" for n, label in self.labels.items()
        }
        return {name: Column(type=kind, outcome=True) for name, kind in types.items()}

    # -- checks ----------------------------------------------------------------------------------------------

    @pydantic.model_validator(mode="after")
    def _check(self) -> Actions:
        if not self.keys:
            raise SpecError("actions need a key, `on`: one or more columns; got none")
        for what, name in [*(("on", key) for key in self.keys), ("time", self.time.column)]:
            if name not in self.columns:
                raise SpecError(f"actions: {what}: {unknown('column', name, self.columns)}")
        for key in self.keys:
            if self.columns[key].type not in ("int64", "string"):
                raise SpecError(f"actions: key '{key}' is {self.columns[key].type}; allowed: int64, string")
        check_instants(self.time, self.columns, "actions")
        if self.columns[self.time.column].personal is not None:
            raise SpecError(f"actions: time '{self.time.column}' is hashed; allowed: a column whose values are kept")
        for what, names in (("column", self.columns), ("label", self.labels)):
            for name in names:
                if name.startswith(RESERVED):
                    raise SpecError(
                        f"actions: {what} '{name}' begins with '{RESERVED}', as feedrank's own do; allowed: any other name"
                    )
        for name, column in self.columns.items():
            _check_column(name, column)
        for name, label in self.labels.items():
            self._check_label(f"actions: label '{name}'", label)
        return self

    def _check_label(self, what: str, label: ActionLabel) -> None:
        for column in (label.column, *label.where):
            if column is not None and column not in self.columns:
                raise SpecError(f"{what}: {unknown('column', column, self.columns)}")
        for name, values in label.conditions.items():
            kind = self.columns[name].type
            if kind not in ("int64", "string"):
                raise SpecError(f"{what} compares column '{name}', which is {kind}; allowed: int64, string")
            if not all(isinstance(value, int if kind == "int64" else str) for value in values):
                raise SpecError(
                    f"{what} compares column '{name}' with {', '.join(map(repr, values))}, and it is {kind}; allowed: {kind} values "
                    "(in YAML 1 is a number, '1' a text)"
                )
            if self.columns[name].personal is not None:
                raise SpecError(
                    f"{what} compares column '{name}', which is hashed; allowed: a column whose values are kept"
                )
        if label.values_of is not None:
            self._check_taken(what, label, self.columns[label.values_of])
        kind = self.columns[label.values_of].type if label.values_of is not None else "int64"
        if label.otherwise is not None and not _holds(kind, label.otherwise):
            raise SpecError(f"{what}: `otherwise: {label.otherwise:g}` is no {kind}, as the label is")

    def _check_taken(self, what: str, label: ActionLabel, column: Column) -> None:
        allowed = ("int64", "float32") if label.taken in _OF_NUMBERS else ("int64", "float32", "string")
        if column.type not in allowed:
            raise SpecError(
                f"{what} takes the {label.taken} of column '{label.column}', which is {column.type}; allowed: {', '.join(allowed)}"
            )
        if column.personal is not None:
            raise SpecError(
                f"{what} takes values of '{label.column}', which is hashed; allowed: a column whose values are kept"
            )


def _holds(kind: str, value: float) -> bool:
    """Whether a column of the type can have the value."""
    if kind == "int64":
        return value.is_integer() and abs(value) <= _EXACT
    return kind == "float32" and abs(value) <= _FLOAT32_MAX


def _check_column(name: str, column: Column) -> None:
    """Whether actions can have it: those of no impression are written down with all their columns."""
    if column.is_list:
        raise SpecError(f"actions: column '{name}' is {column.type}; allowed: int64, float32, string")
    if column.personal == "drop":
        raise SpecError(f"actions read column '{name}' and drop it; allowed: actions without the column")
    if not column.kept:
        raise SpecError(f"actions read column '{name}' and do not keep it; allowed: actions without the column")


def check_instants(time: TimeColumn, columns: Columns, what: str) -> None:
    """Makes sure that times can be compared with a window, and that the column's type goes with the unit.

    Raises:
        SpecError: otherwise.
    """
    if time.unit == "yyyymmdd":
        raise SpecError(
            f"{what}: time '{time.column}' is a day, too coarse for a window; allowed units: s, ms, us, iso8601"
        )
    needed, found = "string" if time.unit == "iso8601" else "int64", columns[time.column].type
    if found != needed:
        raise SpecError(f"{what}: time '{time.column}' is {found}; unit {time.unit} needs {needed}")
