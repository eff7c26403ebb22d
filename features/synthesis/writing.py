"""Writes a synthetic log, block by block."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from features.errors import DataError
from features.progress import report
from features.synthesis.config import LABELS, TASKS, SynthesisConfig, SynthesisSummary
from features.synthesis.impressions import Feed

MANIFEST = "synthesis.json"
SEPARATOR = "|"
"""Between the elements of a list in CSV."""
VERSION = 1
"""Counts up whenever the same config would give other rows: an older log is then not taken for the same one."""


def synthesize(config: SynthesisConfig, directory: str | Path, overwrite: bool = False) -> SynthesisSummary:
    """Writes the log of this config, its side tables and, beside it, the truth; keeps what is already there.

    Memory is one block of rows and the state of the users and items, whatever the number of rows.

    Args:
        config: what to make.
        directory: where; made if absent. See `features.synthesis` for what lies in it afterwards.
        overwrite: whether another log in this directory may be replaced.

    Returns:
        Counts, and each task's rate. ``reused`` is true where the same log was there already.

    Raises:
        DataError: if the directory holds another log, or files of somebody else's, and `overwrite` is false. A log that
            was interrupted while it was written is started over.
    """
    root = Path(directory)
    if (found := _found(root, config, overwrite)) is not None:
        return found
    root.mkdir(parents=True, exist_ok=True)
    # First, so that whatever an interruption leaves behind is known as ours and as unfinished.
    _write_manifest(root, config, None)
    _clear(root)
    summary = _write(config, root)
    _write_manifest(root, config, summary)
    return summary


def _write_manifest(root: Path, config: SynthesisConfig, summary: SynthesisSummary | None) -> None:
    """Without a summary the log is unfinished."""
    written = None if summary is None else summary.model_dump()
    manifest = {"version": VERSION, "config": config.model_dump(mode="json"), "summary": written}
    new = root / f".{MANIFEST}.new"
    new.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(new, root / MANIFEST)


def _contents(root: Path) -> list[Path]:
    names = ("log", "truth", "users.parquet", "items.parquet", "users.csv", "items.csv")
    return [root / name for name in names if (root / name).exists()]


def _clear(root: Path) -> None:
    for path in _contents(root):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _found(root: Path, config: SynthesisConfig, overwrite: bool) -> SynthesisSummary | None:
    """The summary of the same log, None where there is room for a new one."""
    manifest = root / MANIFEST
    if manifest.exists():
        written = json.loads(manifest.read_text(encoding="utf-8"))
        wanted = config.model_dump(mode="json")
        if written["summary"] is None:
            return None
        if written["version"] == VERSION and written["config"] == wanted:
            summary = SynthesisSummary.model_validate(written["summary"])
            return summary.model_copy(update={"directory": str(root), "reused": True})
        # An unknown key on one side (another version) differs, too.
        keys = sorted(wanted.keys() | written["config"].keys())
        changes = [f"{k}={written['config'].get(k)}" for k in keys if written["config"].get(k) != wanted.get(k)]
        what = f"another synthetic log (it has {', '.join(changes) or 'another version'})"
    elif there := _contents(root):
        what = "files that are no synthetic log of feedrank: " + ", ".join(path.name for path in there)
    else:
        return None
    if not overwrite:
        raise DataError(f"{root} holds {what}; choose another directory, or replace it: {_command(root, config)}")
    return None


def _command(root: Path, config: SynthesisConfig) -> str:
    """What a user types to write this log over whatever is there."""
    settings = config.model_dump(mode="json", exclude_defaults=True)
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return shlex.join(["feedrank", "data", "synth", str(root), "--overwrite", *sets])


def _write(config: SynthesisConfig, root: Path) -> SynthesisSummary:
    feed = Feed.of(config)
    for name, table in (("users", feed.users.table), ("items", feed.items.table)):
        with _Writer(root / f"{name}.{config.format}", table.schema) as writer:
            for batch in table.to_batches():
                writer.write(batch)
    positives = dict.fromkeys(TASKS, 0)
    rows = 0
    with _Parts(root / "log", config, config.format) as log, _Parts(root / "truth", config, "parquet") as truth:
        for day, block in feed.blocks():
            log.write(day, block.log)
            truth.write(day, block.truth)
            rows += block.log.num_rows
            for task in TASKS:
                positives[task] += pc.sum(block.log.column(block.log.schema.get_field_index(LABELS[task]))).as_py()
            report("data synth", rows=rows, day=config.dates[day].isoformat())
    rates = {task: count / rows for task, count in positives.items()}
    return SynthesisSummary(directory=str(root), rows=rows, files=log.files, rates=rates)


class _Parts:
    """Day-partitioned files of at most `rows_per_file` rows."""

    def __init__(self, root: Path, config: SynthesisConfig, suffix: str) -> None:
        self._root, self._config, self._suffix = root, config, suffix
        self._writer: _Writer | None = None
        self._day, self._part, self._room = -1, 0, 0
        self.files = 0

    def write(self, day: int, batch: pa.RecordBatch) -> None:
        """Appends rows of a day; days come in order."""
        while batch.num_rows:
            if day != self._day or self._room == 0:
                self._next(day, batch.schema)
            assert self._writer is not None
            taken = batch.slice(0, self._room)
            self._writer.write(taken)
            self._room -= taken.num_rows
            batch = batch.slice(taken.num_rows)

    def _next(self, day: int, schema: pa.Schema) -> None:
        self._close()
        self._part = self._part + 1 if day == self._day else 0
        self._day, self._room = day, self._config.rows_per_file
        folder = self._root / f"dt={self._config.dates[day].isoformat()}"
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = _Writer(folder / f"part-{self._part:05d}.{self._suffix}", schema)
        self.files += 1

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> _Parts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


class _Writer:
    """One Parquet or CSV file; CSV writes a list as its elements between `SEPARATOR`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._csv = path.suffix == ".csv"
        written = pa.schema([_as_text(field) for field in schema]) if self._csv else schema
        # Dictionaries of nearly unique values cost seven times the writing and save nothing.
        self._file = (
            pa.csv.CSVWriter(path, written) if self._csv else pq.ParquetWriter(path, schema, use_dictionary=False)
        )
        self._schema = written

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows, in Parquet as one row group."""
        if self._csv:
            arrays = [_joined(array) if pa.types.is_list(array.type) else array for array in batch.columns]
            batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._file.write_table(pa.Table.from_batches([batch]))

    def close(self) -> None:
        """Completes the file."""
        self._file.close()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_text(field: pa.Field) -> pa.Field:
    return field.with_type(pa.string()) if pa.types.is_list(field.type) else field


def _joined(lists: pa.Array) -> pa.Array:
    # Slices of a list array keep the whole values, which the cast below must not visit.
    lists = pa.concat_arrays([lists])
    texts = pc.cast(lists.values, pa.string())
    offsets = pc.fill_null(lists.offsets, 0)
    as_text = pa.ListArray.from_arrays(offsets, texts)
    joined = pc.binary_join(as_text, SEPARATOR)
    return pc.if_else(pc.is_null(lists), pa.scalar(None, pa.string()), joined)
