"""Where rows come from: columns, files, side tables, derived columns, time."""

from __future__ import annotations

import datetime
import os
import re
import string
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from features.bigquery import BigQuerySource
from features.frozen import Frozen, SpecError
from features.kafka import KafkaSource
from features.paths import without_options

ROW_ID = "feedrank_row_id"
"""int64 column that ingest adds to every row: a hash of the file's name and the row's number."""
DAY = "feedrank_day"
"""int64 column that ingest adds where the dataset has a time: yyyymmdd."""
POSITION = "feedrank_position"
"""int64 column that Transform adds where the dataset has a position: 0 missing, else 1 + the position. Training reads it."""
REFUSED = "feedrank_refused"
"""Under this name a `Derived` function says, beside its outputs, why it refuses a row; null where it does not."""

ROW_WEIGHT = "feedrank_row_weight"
"""float32 column that ingest adds where `downsample` is corrected by weights: 1 / keep of a kept negative, else 1. Every task's loss
multiplies it; no metric reads it."""

ColumnType = Literal["int64", "float32", "string", "list<int64>", "list<float32>", "list<string>"]


class Column(Frozen):
    """One column of the log, of a side table, or of a derived output."""

    SHORTHAND: ClassVar[str | None] = "type"

    type: ColumnType
    """Of a value, or of a list of values."""
    required: bool = False
    """A row in which this column is missing is quarantined."""
    outcome: bool = False
    """Known only after the impression (watch time, ...): can never be a feature."""
    separator: str = ","
    """Between the elements of a list that is written as text."""
    minimum: float | None = None
    """A value below it quarantines its row; null: any may be."""
    maximum: float | None = None
    """A value outside [minimum, maximum] quarantines its row."""
    kept: bool = True
    """false: `derived` functions may read the column, and nothing keeps it (a text that they take apart, for instance)."""
    personal: Literal["hash", "drop"] | None = None
    """``hash``: a keyed hash of each value takes its place as it is read (``data.hash_key`` has the key). ``drop``: `derived` functions may
    read the column, and nothing keeps it. With either, the quarantine holds no text of a row."""

    @pydantic.model_validator(mode="after")
    def _check_range(self) -> Column:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise SpecError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}; no value is allowed")
        if self.personal == "hash" and self.element_type == "float32":
            raise SpecError(f"a column of {self.type} cannot be hashed; allowed: int64, string, and lists of them")
        return self

    @property
    def is_list(self) -> bool:
        """Whether a row holds any number of values."""
        return self.type.startswith("list<")

    @property
    def element_type(self) -> str:
        """``int64``, ``float32`` or ``string``."""
        return self.type.removeprefix("list<").removesuffix(">")


Columns = dict[str, Column]


def kept(columns: Columns) -> Columns:
    """Those that are more than what `derived` functions read."""
    return {name: column for name, column in columns.items() if column.kept}


Format = Literal["csv", "parquet", "orc", "avro", "jsonl", "tfrecord", "kafka", "bigquery"]
_ELSEWHERE = ("kafka", "bigquery")
"""Formats that are no files', named like the keys that say what is read."""
_SUFFIXES: Mapping[str, Mapping[str, str]] = {
    ".csv": {"format": "csv"},
    ".tsv": {"format": "csv", "delimiter": "\t"},
    ".parquet": {"format": "parquet"},
    ".orc": {"format": "orc"},
    ".avro": {"format": "avro"},
    ".jsonl": {"format": "jsonl"},
    ".ndjson": {"format": "jsonl"},
    ".tfrecord": {"format": "tfrecord"},
    ".tfrecords": {"format": "tfrecord"},
}
OF_CSV = ("header", "delimiter", "quote", "escape", "newlines_in_values")
"""Keys that no other format reads."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Endings of files that are decompressed while they are read."""


_SHARD = re.compile(r"(-[0-9?*]+(-of-[0-9?*]+)?|\*)$")
"""Behind a name: Beam's and TFX's number of a part, or a wildcard in its place."""
_TFX = re.compile(r"[._-]tfrecords?$")


def written_as(file: str) -> dict[str, str]:
    """What a file's name says of how it is written: ``format``, perhaps ``delimiter``; nothing for an unknown ending.

    >>> written_as("log/2026-11-29.tsv.gz")
    {'format': 'csv', 'delimiter': '\\t'}
    >>> written_as("Split-train/data_tfrecord-00000-of-00001.gz")
    {'format': 'tfrecord'}
    """
    stem, suffix = os.path.splitext(without_options(file))
    whole = stem if suffix in COMPRESSED else stem + suffix
    of_all = _SHARD.sub("", whole)
    said = _SUFFIXES.get(os.path.splitext(of_all)[1], {})
    if of_all != whole and _TFX.search(of_all):
        said = _SUFFIXES[".tfrecord"]
    inside = said.get("format") in ("parquet", "orc", "avro")  # they compress inside the file
    return {} if inside and suffix in COMPRESSED else dict(said)


_FORM = re.compile(r"([^%{}]|%[aAbBdHIjmMpSUwWyYGuV%])*")
"""How a day is written in a path: directives of strftime that every system has, and text."""


def by_day(pattern: str) -> bool:
    """Whether a path names a day."""
    return "{day" in pattern


def of_day(pattern: str, day: datetime.date) -> str:
    """A path with the day filled in.

    >>> of_day("log/dt={day}/{day:%H}-*.csv", datetime.date(2026, 11, 29))
    'log/dt=2026-11-29/00-*.csv'

    Raises:
        SpecError: if something else stands in braces.
    """
    try:
        for _, name, form, conversion in string.Formatter().parse(pattern):
            if name is not None and (name != "day" or conversion or not _FORM.fullmatch(form or "")):
                told = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
                raise ValueError(f"'{told}' in braces")
        return pattern.format(day=day)
    except ValueError as error:
        raise SpecError(
            f"'{pattern}' is no path of a day ({error}); allowed in braces: {{day}}, {{day:%Y%m%d}} and the like"
        ) from error


def of_any_day(pattern: str) -> str:
    """A path with ``*`` for the day."""
    return re.sub(r"\{day[^}]*\}", "*", pattern)


class Source(Frozen):
    """Files of one table, relative to the data path, and how they are written."""

    SHORTHAND: ClassVar[str | None] = "files"

    files: str | tuple[str, ...] = ()
    """A path or glob, or several (names that begin with ``_`` or ``.`` are passed over unless it begins them so), relative to ``data.path`` unless absolute or of a store (``s3://bucket/log/*.csv``). ``{day}`` stands for each day of a split by time,
    2026-11-29; ``{day:%Y%m%d}`` writes it as 20261129: other days' files are not read, and a day without a file stops the run."""
    kafka: KafkaSource | None = None
    """In the place of `files`: a slice of a Kafka topic. For the log alone."""
    bigquery: BigQuerySource | None = None
    """In the place of `files`: rows of a table of BigQuery, or of a query's result. For the log alone."""
    success: str | None = None
    """A file that says that a day is complete, such as ``log/dt={day}/_SUCCESS``: a day without it stops the run."""
    format: Format = "csv"
    """``csv``, ``parquet``, ``orc``, ``avro``, ``jsonl`` (a JSON object a line), ``tfrecord`` (of tf.Example), ``kafka`` or ``bigquery`` (where there is
    a `kafka` or `bigquery`). Taken from the names in
    `files` where it is not given and they all end alike (``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.tfrecord``, ..., with
    the number of a part behind or not: ``data_tfrecord-00000-of-00001.gz``)."""
    header: bool = True
    """CSV: the first line of each file names the columns. Without it, `columns` gives names and order."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    """CSV: how text is written. Of ``latin-1`` (ISO 8859-1) every byte is a character."""
    delimiter: str = ","
    """CSV: between the values of a row. One of several characters, such as ``::``, needs ``quote: ""``."""
    quote: str = '"'
    """CSV: around a value that holds a delimiter; empty: nothing is quoted."""
    escape: str = ""
    r"""CSV: a character behind which any other stands for itself, a delimiter, a quote or the character too: with ``escape: '\'``, ``"5\" tv"`` is
    ``5" tv``, and so is ``5\" tv``. Empty: there is none. With or without, a quote in quotes may be written twice."""
    null_values: tuple[str, ...] = ("",)
    r"""CSV: texts that mean a value is missing. With an escape, a whole field such as ``\N`` may be one; ``\\N`` then is, too."""
    strip_spaces: bool = False
    """CSV: blanks around a value do not belong to it."""
    newlines_in_values: bool = False
    """CSV: a quoted value may go over several lines, and an escaped line feed belongs to its value."""
    max_field_bytes: int = 1_000_000
    """CSV: a row with a longer field is quarantined."""
    from_name: dict[str, str] = {}
    """Columns that stand in the files' names and not in the files: regular expressions with one group each, the column's value in all rows
    of a file. ``{part: "_(train|test)"}`` is ``train`` in ``log_train.csv``; ``{country: "country=([^/]+)"}``. A file in whose
    name one is not found stops the run."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _format_from_names(cls, value: Any) -> Any:
        source = {"files": value} if isinstance(value, str | list | tuple) else value
        for elsewhere in _ELSEWHERE:
            if isinstance(source, dict) and source.get(elsewhere) is not None:
                return {"format": elsewhere, **source}
        if not isinstance(source, dict) or "format" in source or "files" not in source:
            return source
        files = source["files"]
        first, *others = [written_as(str(name)) for name in ([files] if isinstance(files, str) else files)] or [{}]
        return {**first, **source} if all(other == first for other in others) else source

    @pydantic.model_validator(mode="after")
    def _check_encoding(self) -> Source:
        if self.encoding != "utf-8" and self.format != "csv":
            raise SpecError(f"encoding {self.encoding} of {self.format}; allowed: utf-8, and latin-1 of csv")
        return self

    @pydantic.model_validator(mode="after")
    def _check_keys_of_csv(self) -> Source:
        fields = type(self).model_fields
        said = [key for key in OF_CSV if getattr(self, key) != fields[key].default]
        if said and self.format != "csv":
            raise SpecError(f"source.{', '.join(said)} of {self.format}, which has none; allowed: of csv alone")
        return self

    @pydantic.model_validator(mode="after")
    def _check_days(self) -> Source:
        given = [
            *(["files"] if self.patterns else []),
            *(name for name in _ELSEWHERE if getattr(self, name) is not None),
        ]
        if len(given) != 1 or (self.format if self.format in _ELSEWHERE else "files") != given[0]:
            raise SpecError(
                "a source has `files`, or `kafka` (whose format is `kafka`), or `bigquery` (likewise); allowed: one of them"
            )
        for pattern in (*self.patterns, *([] if self.success is None else [self.success])):
            if by_day(pattern):
                of_day(pattern, datetime.date(2026, 11, 29))
        if self.success is not None and not (by_day(self.success) and any(map(by_day, self.patterns))):
            raise SpecError(f"success '{self.success}' marks days: allowed with {{day}} in it and in `files`")
        return self

    @pydantic.model_validator(mode="after")
    def _check_from_name(self) -> Source:
        for column, pattern in self.from_name.items():
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise SpecError(f"from_name of '{column}': '{pattern}' is no regular expression: {error}") from error
            if groups != 1:
                raise SpecError(
                    f"from_name of '{column}': '{pattern}' has {groups} groups; allowed: one, which is the value"
                )
        return self

    @property
    def by_day(self) -> bool:
        """Whether `files`, or what is read of BigQuery, name days."""
        return any(map(by_day, self.patterns)) or (self.bigquery is not None and self.bigquery.by_day)

    @property
    def elsewhere(self) -> str | None:
        """What is read in the place of files, in words; None for files."""
        if self.kafka is not None:
            return f"a slice of Kafka's topic '{self.kafka.topic}'"
        if self.bigquery is not None:
            return f"rows of BigQuery's {self.bigquery.table or 'query'}"
        return None

    @property
    def patterns(self) -> tuple[str, ...]:
        """`files` as a tuple."""
        return (self.files,) if isinstance(self.files, str) else self.files


class JoinedTable(Frozen):
    """What is joined to the log by key."""

    on: tuple[str, ...] | str
    """Key columns: they have the same names in the log (or an earlier table) and in this table."""
    required: bool = False
    """A row of the log that finds no row of this table is quarantined (``no_match``), as an inner join would leave it out; where rows are scored,
    if the table gives what features are made from. Otherwise the table's columns are missing in it."""

    @property
    def keys(self) -> tuple[str, ...]:
        """`on` as a tuple."""
        return (self.on,) if isinstance(self.on, str) else self.on


class Derived(Frozen):
    """Columns computed row by row from others by a pure Arrow function, after the joins.

    The function, named ``package.module:function``, maps a ``pyarrow.RecordBatch`` of `inputs` to
    ``{output name: pyarrow.Array}`` of the same length. Beside the outputs it may give `REFUSED`, an array of texts: a row with one
    is quarantined (``refused``), and the text says why.
    """

    function: str
    """``package.module:function``, from a ``pyarrow.RecordBatch`` to ``{output name: pyarrow.Array}``."""
    inputs: tuple[str, ...]
    """The columns that it reads."""
    outputs: Columns
    """The columns that it gives."""


class SideTable(JoinedTable):
    """A table joined to the log by key: each row of the log finds at most one row of the table."""

    source: Source
    """The table's files."""
    columns: Columns
    """All columns that are read, the key among them."""
    derived: tuple[Derived, ...] = ()
    """Columns computed row by row as the table is read, in this order. With ``kept: false`` on what they are computed from, the table
    holds the results alone: memory for what is needed, and each row is computed once, not once for each row of the log that finds it."""

    @property
    def given(self) -> Columns:
        """All columns that the table has: keys, those that are kept, those that are derived."""
        keys = {name: column for name, column in self.columns.items() if name in self.keys}
        return keys | kept(self.columns) | {n: c for derived in self.derived for n, c in derived.outputs.items()}


class DerivedTable(JoinedTable):
    """A side table computed once from other side tables by a pure Arrow function.

    The function, named ``package.module:function``, maps ``{table name: pyarrow.Table}`` to a ``pyarrow.Table``
    with the key columns and `columns`.
    """

    function: str
    """``package.module:function``, from ``{table name: pyarrow.Table}`` to a ``pyarrow.Table``."""
    inputs: tuple[str, ...]
    """The side tables that it reads."""
    columns: Columns
    """All columns that it gives, the key among them."""

    @property
    def given(self) -> Columns:
        """All columns that the table has."""
        return self.columns


def _kind_of_table(table: Any) -> str:
    is_derived = "function" in table if isinstance(table, Mapping) else isinstance(table, DerivedTable)
    return "derived" if is_derived else "side"


AnyTable = Annotated[
    Annotated[SideTable, pydantic.Tag("side")] | Annotated[DerivedTable, pydantic.Tag("derived")],
    pydantic.Discriminator(_kind_of_table),
]
"""A table with a `function` is derived, any other is read from files."""


TICKS: Mapping[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000}
"""Of a second, by the units that count since 1970-01-01 UTC."""


class TimeColumn(Frozen):
    """When the impression happened."""

    SHORTHAND: ClassVar[str | None] = "column"

    column: str
    """The column that holds it."""
    unit: Literal["s", "ms", "us", "yyyymmdd", "iso8601"] = "ms"
    """``s``/``ms``/``us`` since 1970-01-01 UTC, an integer like 20220425, or ISO 8601 text. Parquet, ORC, Avro: a
    timestamp is read by ``s``, ``ms``, ``us`` and ``iso8601``, a date by ``yyyymmdd`` and ``iso8601``."""
    utc_offset_hours: float = pydantic.Field(default=0.0, ge=-14, le=14)
    """Added before the day is taken (8 for Beijing, 5.5 for Delhi)."""
