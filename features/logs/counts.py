"""What was read, kept and refused: counts that add up over batches, files and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import DataError
from features.logs.quarantine import OUT_OF_DAYS, REASONS, SOUND, from_batch, may_damage, rows_of, to_batch
from features.logs.reader import GoodRows, LogBatch
from features.logs.sampling import SAMPLED_OUT
from features.logs.tables import Tables
from features.spec import DAY, SPLITS, Dataset, label_column, mask_column

K = TypeVar("K")
Example = tuple[str, int, str]
"""File, row and value of one refused row."""
_FILES_NAMED = 20
SAMPLED = "sampled_out"
"""Beside the parts of the split: rows that down-sampling left out of the training split."""


@dataclass
class Counts:
    """Counts of any part of a run; :meth:`merge` of the parts gives those of the whole, in any order.

    Attributes:
        rows_read: good and bad rows.
        rows_out: rows by part of the split (``all`` where there is no split).
        sampled_out: rows that down-sampling left out.
        quarantined: rows refused.
        reasons: rows and the first example by reason and column.
        damaged: files of which an unknown number of rows is lost, and why.
        files: rows by file.
        days: good rows by day, yyyymmdd, those left out by down-sampling too.
        tasks: by task and part (or `SAMPLED`): rows that count, those with a label above 0, and the sum of labels.
        orphans: by task with a parent and part: rows with a label above 0 whose parent's is not (rows of both masks).
        unmatched: rows that found nothing in a side table, by table.
        without: by column, the rows of batches in which no row has a value of it.
        actions: actions of the rows out, or of good rows that are read for counters alone, where the dataset has a log of them.
        duplicates: rows with the values of an earlier one, where they are looked for.
    """

    rows_read: int = 0
    rows_out: dict[str, int] = field(default_factory=dict)
    sampled_out: int = 0
    quarantined: int = 0
    reasons: dict[tuple[str, str], tuple[int, Example]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    days: dict[int, int] = field(default_factory=dict)
    tasks: dict[tuple[str, str], tuple[int, int, float]] = field(default_factory=dict)
    orphans: dict[tuple[str, str], int] = field(default_factory=dict)
    unmatched: dict[str, int] = field(default_factory=dict)
    without: dict[str, int] = field(default_factory=dict)
    actions: int = 0
    duplicates: int = 0

    @classmethod
    def of(cls, batch: LogBatch, dataset: Dataset) -> Counts:
        """Counts of one batch."""
        counts = cls(rows_read=batch.rows_read, files={batch.file: batch.rows_read}, unmatched=dict(batch.unmatched))
        counts.without = dict.fromkeys(batch.without, batch.rows_read)
        counts.actions, counts.duplicates = batch.actions, batch.duplicates
        counts._add_letters(batch.quarantined)
        counts._add_days(batch.rows)
        counts.sampled_out = int((batch.part == SAMPLED_OUT).sum())
        for position, split in [*enumerate(SPLITS), (-1, "all"), (SAMPLED_OUT, SAMPLED)]:
            chosen = batch.part == position
            if chosen.any():
                if position != SAMPLED_OUT:
                    counts.rows_out[split] = int(chosen.sum())
                counts._add_labels(batch, dataset, split, chosen)
        return counts

    @classmethod
    def of_letters(cls, letters: pa.RecordBatch, rows_read: int) -> Counts:
        """Counts of rows of which only those refused are told apart (`features.logs.quarantine.SCHEMA`)."""
        counts = cls(rows_read=rows_read)
        counts._add_letters(letters)
        return counts

    @classmethod
    def of_good(cls, found: GoodRows) -> Counts:
        """Counts of rows that are read for counters alone."""
        counts = cls.of_letters(found.quarantined, found.rows_read)
        counts.files = {found.file: found.rows_read}
        counts._add_days(found.rows)
        counts.actions = found.actions
        counts.rows_out = {"all": found.rows.num_rows}
        return counts

    def _add_days(self, rows: pa.RecordBatch) -> None:
        names = rows.schema.names
        if DAY in names and rows.num_rows:
            days = pc.drop_null(rows.column(names.index(DAY))).value_counts()
            _add(self.days, {day["values"]: day["counts"] for day in days.to_pylist()})

    def _add_letters(self, letters: pa.RecordBatch) -> None:
        if not letters.num_rows:  # pyarrow's group_by would make buffers of any size: gigabytes at times
            return
        self.quarantined += rows_of(letters)
        table = pa.Table.from_batches([letters])
        kinds = table.group_by(["reason", "column"]).aggregate([("rows", "sum")])
        for kind in kinds.to_pylist():
            reason, column = kind["reason"], kind["column"]
            of_kind = table.filter(pc.and_(pc.equal(table["reason"], reason), pc.equal(table["column"], column)))
            self._add_reason((reason, column), kind["rows_sum"], _first_example(of_kind))
            if may_damage(reason):
                self.damaged |= {r.file: reason for r in from_batch(of_kind) if r.damages_file}

    def _add_reason(self, key: tuple[str, str], rows: int, example: Example) -> None:
        known, first = self.reasons.get(key, (0, example))
        self.reasons[key] = (known + rows, min(first, example))

    def _add_labels(self, batch: LogBatch, dataset: Dataset, split: str, chosen: NDArray[Any]) -> None:
        columns = {name: batch.rows.column(i) for i, name in enumerate(batch.rows.schema.names)}
        labels = {t: columns[label_column(t)].to_numpy() for t in dataset.tasks if label_column(t) in columns}
        counted = dict.fromkeys(labels, chosen)
        for task, label in labels.items():
            if dataset.tasks[task].mask is not None:
                counted[task] = chosen & (columns[mask_column(task)].to_numpy() > 0)
            kept = label if counted[task].all() else label[counted[task]]
            self.tasks[task, split] = (len(kept), int((kept > 0).sum()), float(kept.sum(dtype=np.float64)))
        for task, spec in dataset.tasks.items():
            if (
                spec.parent is not None
                and {spec.kind, dataset.tasks[spec.parent].kind} == {"binary"}
                and task in labels
            ):
                both = counted[task] & counted[spec.parent]
                self.orphans[task, split] = int((both & (labels[task] > 0) & (labels[spec.parent] <= 0)).sum())

    def merge(self, other: Counts) -> Counts:
        """Adds `other` to these counts and returns them."""
        self.rows_read += other.rows_read
        self.sampled_out += other.sampled_out
        self.quarantined += other.quarantined
        self.actions += other.actions
        self.duplicates += other.duplicates
        self.damaged |= other.damaged
        _add(self.rows_out, other.rows_out)
        _add(self.files, other.files)
        _add(self.days, other.days)
        _add(self.orphans, other.orphans)
        _add(self.unmatched, other.unmatched)
        _add(self.without, other.without)
        for reason, (rows, example) in other.reasons.items():
            self._add_reason(reason, rows, example)
        for task, new in other.tasks.items():
            old = self.tasks.get(task, (0, 0, 0.0))
            self.tasks[task] = (old[0] + new[0], old[1] + new[1], old[2] + new[2])
        return self

    def check_sum(self) -> None:
        """Makes sure that no row was lost.

        Raises:
            AssertionError: unless rows read = rows out + rows quarantined + rows sampled out; that would be an error of feedrank.
        """
        out = sum(self.rows_out.values())
        if self.rows_read != out + self.quarantined + self.sampled_out:
            raise AssertionError(
                f"{self.rows_read} rows read, but {out} out, {self.quarantined} quarantined and {self.sampled_out} sampled out"
            )

    def quarantine_summary(self) -> dict[str, Any]:
        """Rows refused and why, most frequent reason first, and the damaged files."""
        ordered = sorted(self.reasons.items(), key=lambda item: (-item[1][0], item[0]))
        return {
            "rows": self.quarantined,
            "reasons": [
                {
                    "reason": reason,
                    "column": column,
                    "rows": rows,
                    "example": {"file": example[0], "row": example[1], "value": example[2]},
                }
                for (reason, column), (rows, example) in ordered
            ],
            "damaged_files": [{"path": file, "reason": reason} for file, reason in sorted(self.damaged.items())],
        }

    def manifest(self) -> dict[str, Any]:
        """What ingest writes down, as JSON."""
        self.check_sum()
        tasks: dict[str, dict[str, Any]] = {}
        for (task, split), (rows, positives, total) in sorted(self.tasks.items()):
            tasks.setdefault(task, {})[split] = {"rows": rows, "positives": positives, "sum": total}
        for (task, split), rows in sorted(self.orphans.items()):
            tasks[task][split]["orphans"] = rows
        return {
            "rows_read": self.rows_read,
            "rows_out": self.rows_out,
            "sampled_out": self.sampled_out,
            "quarantined": self.quarantine_summary(),
            "files": [{"path": file, "rows": rows} for file, rows in sorted(self.files.items())],
            "days": {str(day): rows for day, rows in sorted(self.days.items())},
            "tasks": tasks,
            "unmatched": self.unmatched,
            "without": self.without,
            "actions": self.actions,
            "duplicates": self.duplicates,
        }


def _first_example(letters: pa.Table) -> Example:
    """The smallest file, row and value; a sort of all would cost more than their three minima."""
    for name in ("file", "row", "value"):
        letters = letters.filter(pc.equal(letters[name], pc.min(letters[name])))
    return letters["file"][0].as_py(), letters["row"][0].as_py(), letters["value"][0].as_py()


def _add(mine: dict[K, int], theirs: Mapping[K, int]) -> None:
    for key, rows in theirs.items():
        mine[key] = mine.get(key, 0) + rows


def told_losses(manifest: Mapping[str, Any]) -> str:
    """What became of rows that are in no part of the split, in words."""
    sampled = manifest.get("sampled_out", 0)
    quarantined = (manifest.get("quarantined") or {}).get("rows", 0)
    return f"{quarantined:,} quarantined" + (f", {sampled:,} sampled out" if sampled else "")


def count_tables(tables: Tables) -> dict[str, dict[str, Any]]:
    """What became of the rows of each side table: ``{table: {"rows_read", "rows", "quarantined": summary}}``."""
    counts: dict[str, dict[str, Any]] = {}
    for name, table in tables.tables.items():
        of_table = Counts.of_letters(to_batch(table.rejects), table.rows_read or table.data.num_rows)
        counts[name] = {
            "rows_read": of_table.rows_read,
            "rows": table.data.num_rows,
            "quarantined": of_table.quarantine_summary(),
        }
    return counts


class Limits(Protocol):
    """What may be lost before a run stops: the configuration's ``data.budget``."""

    @property
    def max_share(self) -> float:
        """Rows refused, of the rows read."""

    @property
    def max_rows(self) -> int | None:
        """Rows refused; None: any number."""

    @property
    def max_damaged_files(self) -> int:
        """Files of which an unknown number of rows is lost."""


def check_budget(
    rows_read: int,
    quarantined: Mapping[str, Any],
    budget: Limits,
    what: str,
    kept_at: str | None = None,
    hint: str = "",
) -> None:
    """Stops when too many rows were refused, or too many files are damaged.

    Args:
        rows_read: good and bad.
        quarantined: :meth:`Counts.quarantine_summary`.
        budget: what is allowed.
        what: what was read, for the message.
        kept_at: folder that holds the dead letters, for the message.
        hint: a line of what may be wrong, if something is.

    Raises:
        DataError: with the damaged files, the top reasons, rows and an example each.
    """
    lines = [*_too_many_files(quarantined, budget, what), *_too_many_rows(rows_read, quarantined, budget, what)]
    if not lines:
        return
    if hint:
        lines.append(hint)
    if kept_at is not None:
        lines.append(f"All of them, with file, line, column and text (but of a log with personal columns): {kept_at}")
    raise DataError("\n".join(lines))


def _too_many_files(quarantined: Mapping[str, Any], budget: Limits, what: str) -> list[str]:
    damaged = quarantined["damaged_files"]
    if len(damaged) <= budget.max_damaged_files:
        return []
    named = [f"  {file['path']}: {REASONS[file['reason']]}" for file in damaged[:_FILES_NAMED]]
    if len(damaged) > _FILES_NAMED:
        named.append(f"  and {len(damaged) - _FILES_NAMED} more")
    head = (
        f"{what}: {len(damaged)} damaged files, nobody knows how many of their rows are lost; "
        f"allowed: {budget.max_damaged_files} (data.budget.max_damaged_files)"
    )
    return [head, *named]


def _too_many_rows(rows_read: int, quarantined: Mapping[str, Any], budget: Limits, what: str) -> list[str]:
    malformed = [reason for reason in quarantined["reasons"] if reason["reason"] not in SOUND]
    refused = quarantined["rows"] - sum(r["rows"] for r in quarantined["reasons"] if r["reason"] in SOUND)
    share = refused / rows_read if rows_read else 0.0
    over = [f"{budget.max_share:.4g} of the rows (data.budget.max_share)"] if share > budget.max_share else []
    if budget.max_rows is not None and refused > budget.max_rows:
        over.append(f"{budget.max_rows} rows (data.budget.max_rows)")
    if not over:
        return []
    lines = [
        f"{what}: {refused:,} of {rows_read:,} rows ({share:.2%}) are malformed; allowed: {' and '.join(over)}. Top reasons:"
    ]
    for reason in malformed[:5]:
        example = reason["example"]
        column = f" in column '{reason['column']}'" if reason["column"] else ""
        value = f", value {example['value'][:60]!r}" if example["value"] else ""
        lines.append(
            f"  {reason['reason']}{column}: {reason['rows']:,} rows ({REASONS[reason['reason']]}); "
            f"for example {example['file']}, row {example['row']}{value}"
        )
    if any(reason["reason"] == OUT_OF_DAYS for reason in malformed):
        lines.append(
            "  Does the log hold days beside the split's by wish? Allowed: files by {day} (source.files), which reads the split's days "
            "alone, a split of more days, or a larger budget"
        )
    return lines
