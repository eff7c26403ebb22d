"""Side tables: read once, checked, and looked up by key a batch at a time."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import folders
from features.columns import arrow_type
from features.errors import ConfigError, DataError
from features.logs.casting import cast_column
from features.logs.counters import PREFIX, CounterTable, load_counters
from features.logs.files import name_of, resolve
from features.logs.functions import conform, derive, function_named
from features.logs.key_index import KeyIndex
from features.logs.personal import WITHHELD_ID, Pseudonyms, hashed, without_personal
from features.logs.pieces import Piece
from features.logs.quarantine import Faults, RawBatch, Reject, from_batch, joined, to_batch
from features.logs.sources import check_found, read_source
from features.spec import DAY, Columns, Dataset, DerivedTable, SideTable

_KEYS = b"feedrank_keys"


@dataclass(frozen=True)
class KeyedTable:
    """One side table in memory.

    Attributes:
        data: the key columns and all others, of the spec's plain types, one chunk a column.
        keys: names of the key columns; no two rows have the same key, no key is null.
        rows_read: rows found in its files.
        rejects: those of them that were refused.
    """

    data: pa.Table
    keys: tuple[str, ...]
    rows_read: int = 0
    rejects: Sequence[Reject] = ()

    @cached_property
    def index(self) -> KeyIndex:
        """From keys to rows; built at the first use, once."""
        return KeyIndex([self.data.column(key) for key in self.keys])


@dataclass(frozen=True)
class Tables:
    """All side tables of a dataset, by name, in the order in which they are joined, what hashes their and the log's personal columns, and the
    counters by name, which are looked up after the tables."""

    tables: Mapping[str, KeyedTable] = field(default_factory=dict)
    pseudonyms: Pseudonyms | None = None
    counters: Mapping[str, CounterTable] = field(default_factory=dict)

    @property
    def rejects(self) -> list[Reject]:
        """Rows of table files that were refused."""
        return [reject for table in self.tables.values() for reject in table.rejects]

    def join(
        self, dataset: Dataset, batch: pa.RecordBatch, faults: Faults, required: Collection[str]
    ) -> tuple[pa.RecordBatch, dict[str, int]]:
        """Adds the columns of tables to rows of the log.

        Args:
            dataset: says by which keys.
            batch: rows with at least the key columns.
            faults: gets ``no_match`` for rows that find nothing in a table of `required`.
            required: names of tables.

        Returns:
            the batch with all columns (null where no row of the table has the key), and the rows without a match by
            table.
        """
        unmatched: dict[str, int] = {}
        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name in dataset.tables:
            table = self.tables[name]
            for key in table.keys:
                if arrays[key].type != table.data.schema.field(key).type:
                    raise ConfigError(
                        f"table '{name}' joins on '{key}', {table.data.schema.field(key).type} there and "
                        f"{arrays[key].type} in the log; both must have the same type"
                    )
            places = table.index.find([arrays[key] for key in table.keys])
            missing = places < 0
            unmatched[name] = int(missing.sum())
            if name in required:
                faults.mark(missing, "no_match", table.keys[-1], arrays[table.keys[-1]])
            take = pa.array(places, mask=missing)
            for column in dataset.tables[name].given:
                if column not in table.keys:
                    arrays[column] = _take(table.data.column(column), take)
        return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays)), unmatched

    def count(self, dataset: Dataset, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """The columns of all counters of a dataset.

        Args:
            dataset: says by which keys.
            columns: of the rows, the keys and `DAY` among them.

        Raises:
            ConfigError: if a counter was not loaded: only a run's ingest counts.
        """
        found: dict[str, pa.Array] = {}
        for name, counter in dataset.counters.items():
            if name not in self.counters:
                raise ConfigError(
                    f"counter '{name}' of '{dataset.name}' is not counted; allowed: a run, whose ingest counts, or a model, which came with "
                    "its counters"
                )
            found |= self.counters[name].of([columns[key] for key in counter.keys], columns[DAY])
        return found


def _take(column: pa.ChunkedArray, places: pa.Array) -> pa.Array:
    if not column.num_chunks:
        return pa.nulls(len(places), column.type)
    return column.chunk(0).take(places)


# -- reading ----------------------------------------------------------------------------------------------------


def load_tables(dataset: Dataset, path: str, pseudonyms: Pseudonyms | None = None) -> Tables:
    """Reads the files of all side tables and computes the derived ones.

    Args:
        dataset: the spec.
        path: the data folder.
        pseudonyms: for columns that are hashed.

    Raises:
        DataError: if a file or column is missing, a key stands twice, or a derived table is not as declared.
        ConfigError: if a derived table's function cannot be found.
    """
    tables: dict[str, KeyedTable] = {}
    for name, spec in dataset.tables.items():
        if isinstance(spec, SideTable):
            tables[name] = _read(name, spec, path, pseudonyms)
        else:
            tables[name] = _derive(name, spec, {n: tables[n].data for n in spec.inputs})
    return Tables(tables, pseudonyms)


def _read(name: str, spec: SideTable, path: str, pseudonyms: Pseudonyms | None) -> KeyedTable:
    parts: list[pa.RecordBatch] = []
    rejects: list[Reject] = []
    rows = 0
    for file in resolve(spec.source, path):
        for raw in read_source(Piece(file), name_of(file, path), spec.source, spec.columns):
            part, refused = _typed(raw, spec, pseudonyms)
            parts.append(part)
            letters = joined([to_batch(raw.rejects), refused])
            rejects += from_batch(without_personal(letters, spec.columns))
            rows += raw.rows_read
    table = _table(parts, spec.given)
    without = _without(table, spec, rows) if table.num_rows else _without_key(spec, rejects)
    check_found(rows, without, spec.source, f"table '{name}'")
    return _checked(name, table, spec, rows, rejects)


def _without(table: pa.Table, spec: SideTable, rows: int) -> dict[str, int]:
    """Columns that no good row has."""
    found = [column for column in spec.columns if column in spec.given]
    return {column: rows for column in found if table[column].null_count == table.num_rows}


def _without_key(spec: SideTable, rejects: Sequence[Reject]) -> dict[str, int]:
    """Rows refused for each key that they lack."""
    lacking = Counter(reject.column for reject in rejects if reject.reason == "missing_value")
    return {key: lacking[key] for key in spec.keys}


def _typed(raw: RawBatch, spec: SideTable, pseudonyms: Pseudonyms | None) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    faults = Faults(raw)
    arrays = []
    for name, column in spec.columns.items():
        values = raw.columns.get(name, pa.nulls(len(raw.rows)))
        arrays.append(hashed(cast_column(name, column, values, spec.source, faults), column, pseudonyms))
        if name in spec.keys:
            faults.mark(np.asarray(pc.is_null(arrays[-1]).to_numpy(zero_copy_only=False)), "missing_value", name)
    batch = pa.RecordBatch.from_arrays(arrays, schema=_schema(spec.columns))
    full = derive([(d, function_named(d.function)) for d in spec.derived], batch, faults)
    given = [full.column(full.schema.get_field_index(name)) for name in spec.given]
    batch = pa.RecordBatch.from_arrays(given, schema=_schema(spec.given))
    return batch.filter(pa.array(~faults.bad)) if faults.bad.any() else batch, faults.letters


def _schema(columns: Columns) -> pa.Schema:
    return pa.schema([(name, arrow_type(column.type)) for name, column in columns.items()])


def _table(parts: Sequence[pa.RecordBatch], columns: Columns) -> pa.Table:
    return pa.Table.from_batches(parts, schema=_schema(columns)).combine_chunks()


def _checked(
    name: str, data: pa.Table, spec: SideTable | DerivedTable, rows: int, rejects: Sequence[Reject] = ()
) -> KeyedTable:
    keys = spec.keys
    table = KeyedTable(data, keys, rows, tuple(rejects))
    if not table.index.is_unique:
        twice = table.index.duplicates()
        personal = any(spec.given[k].personal is not None for k in keys)
        key = WITHHELD_ID if personal else {k: data.column(k)[int(twice[0])].as_py() for k in keys}
        raise DataError(
            f"table '{name}': key {key} stands in more than one row ({len(twice)} rows repeat a key); "
            f"each value of {', '.join(keys)} must stand in one row"
        )
    return table


def _derive(name: str, spec: DerivedTable, inputs: dict[str, pa.Table]) -> KeyedTable:
    made = function_named(spec.function)(inputs)
    if not isinstance(made, pa.Table):
        raise DataError(
            f"derived table '{name}': {spec.function} returned {type(made).__name__}; allowed: pyarrow.Table"
        )
    if missing := [column for column in spec.columns if column not in made.column_names]:
        raise DataError(
            f"derived table '{name}': {spec.function} returned no column {', '.join(missing)}; "
            f"it returned: {', '.join(made.column_names)}"
        )
    columns = [
        conform(f"{spec.function}, column '{c}'", made.column(c), arrow_type(k.type)) for c, k in spec.columns.items()
    ]
    data = pa.table(columns, schema=_schema(spec.columns)).combine_chunks()
    for key in spec.keys:
        if data.column(key).null_count:
            raise DataError(
                f"derived table '{name}': key column '{key}' has nulls; a key must have a value in every row"
            )
    return _checked(name, data, spec, data.num_rows)


# -- keeping ----------------------------------------------------------------------------------------------------


def save_tables(tables: Tables, folder: str) -> None:
    """Writes one ``<table>.parquet`` a table; a model carries them, so that `feedrank score` can join rows of a log.

    A request to the served model is not joined: it brings every feature column, joined and derived ones too.
    """
    folders.make(folder)
    for order, (name, table) in enumerate(tables.tables.items()):
        note = {_KEYS: json.dumps({"keys": table.keys, "order": order}).encode()}
        with folders.open_output(os.path.join(folder, f"{name}.parquet")) as stream:
            pq.write_table(table.data.replace_schema_metadata(note), stream, row_group_size=65_536)


def with_counters(tables: Tables, dataset: Dataset, folder: str) -> Tables:
    """The same tables, and the counters that lie in a folder of saved tables.

    Raises:
        DataError: see `features.logs.counters.load_counters`.
    """
    return replace(tables, counters=load_counters(dataset, folder))


def load_saved_tables(folder: str, pseudonyms: Pseudonyms | None = None) -> Tables:
    """Reads what :func:`save_tables` wrote; `pseudonyms` is for personal columns of the log.

    Raises:
        DataError: if the folder holds Parquet files that it did not write.
    """
    found: list[tuple[int, str, KeyedTable]] = []
    for file in folders.list_names(folder):
        if not file.endswith(".parquet") or file.startswith(PREFIX):
            continue
        with folders.open_input(os.path.join(folder, file)) as stream:
            data = pq.read_table(stream).combine_chunks()
        note = (data.schema.metadata or {}).get(_KEYS)
        if note is None:
            raise DataError(f"{os.path.join(folder, file)} is no side table that ingest saved")
        kept = json.loads(note)
        table = KeyedTable(data.replace_schema_metadata(), tuple(kept["keys"]))
        found.append((kept["order"], file.removesuffix(".parquet"), table))
    return Tables({name: table for _, name, table in sorted(found, key=lambda item: item[0])}, pseudonyms)
