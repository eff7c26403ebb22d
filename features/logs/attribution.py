"""Which impression an action belongs to, and what the actions of an impression say: the join of one shard, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.actions import ActionLabel, Actions
from features.columns import arrow_type, one_chunk
from features.errors import DataError
from features.logs.instants import MICROSECONDS
from features.logs.places import ACTIONS, BEGIN, FILE, ROW, TIME

ATTRIBUTED = "attributed"
REASON = "feedrank_reason"
"""Column beside an action that belongs to no impression."""
OUTCOMES: Mapping[str, str] = {
    ATTRIBUTED: "belongs to an impression",
    "duplicate": "has key, time and values of another action, which counts",
    "without_key": "has no value in a key column",
    "without_impression": "no impression has its key",
    "before_impression": "every impression of its key is later",
    "after_window": "the latest impression of its key that is not later was longer ago than the window",
}
"""What becomes of actions, in words; the order is that of the checks."""
_MOST = float(2**62)


@dataclass(frozen=True)
class Attribution:
    """What became of a shard.

    Attributes:
        notes: a row for each impression that has actions: `FILE`, `BEGIN`, `ROW`, `ACTIONS` (how many) and the labels, null where no
            action says something; sorted by the first three.
        others: the actions that belong to no impression, with all their columns and `REASON`.
        outcomes: actions by what became of them, a key of `OUTCOMES`.
    """

    notes: pa.Table
    others: pa.Table
    outcomes: dict[str, int]


def attribute(impressions: pa.Table, actions: pa.Table, spec: Actions) -> Attribution:
    """Joins the actions of some keys to all impressions of these keys.

    Args:
        impressions: key columns, none of them null, `TIME`, `FILE`, `BEGIN` and `ROW`.
        actions: the columns of `spec`, and `TIME`, `FILE` and `ROW`.
        spec: key, window and labels.

    Raises:
        DataError: if a sum of integers leaves their range.
    """
    result = np.zeros(actions.num_rows, dtype=np.int8)  # position in OUTCOMES; attributed unless it is set below
    repeated = _repeated(actions, spec)
    has_key = np.ones(actions.num_rows, dtype=bool)
    for key in spec.keys:
        has_key &= np.asarray(pc.is_valid(actions[key]))
    shown, acted = _key_codes(impressions, actions, spec.keys)
    touched, impression = _last_touch(impressions, actions, shown, acted)
    late = _numpy(actions[TIME]) - _numpy(impressions[TIME])[impression] if impressions.num_rows else np.zeros(0)
    faults = (repeated, ~has_key, ~np.isin(acted, shown), ~touched, late > round(spec.window * MICROSECONDS))
    for position, fault in enumerate(faults, start=1):
        if len(fault):
            result[(result == 0) & fault] = position
    reasons = list(OUTCOMES)
    counts = np.bincount(result, minlength=len(reasons)).tolist()
    left = np.flatnonzero(result)
    others = actions.take(pa.array(left)).append_column(REASON, pa.array(reasons).take(pa.array(result[left])))
    notes = _notes(impressions, actions.take(pa.array(np.flatnonzero(result == 0))), impression[result == 0], spec)
    return Attribution(notes, others, dict(zip(reasons, counts, strict=True)))


def note_schema(spec: Actions) -> pa.Schema:
    """Of :attr:`Attribution.notes`."""
    labels = [(name, arrow_type(column.type)) for name, column in spec.outcomes.items()]
    return pa.schema([(FILE, pa.int32()), (BEGIN, pa.int64()), (ROW, pa.int64()), (ACTIONS, pa.int64()), *labels])


def _numpy(values: pa.ChunkedArray) -> NDArray[Any]:
    """Without nulls in it."""
    return np.asarray(values.to_numpy())


def _codes(columns: Sequence[pa.ChunkedArray]) -> NDArray[Any]:
    """Numbers of rows that are equal where the rows are; a missing value equals another. int64 (n,), all below n."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        encoded = one_chunk(column).dictionary_encode()  # each chunk would have a dictionary of its own
        more = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy().astype(np.int64)
        codes = codes * (len(encoded.dictionary) + 1) + more
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return codes


def _repeated(actions: pa.Table, spec: Actions) -> NDArray[Any]:
    """Which actions equal an earlier one (files by name, then rows) in all columns; bool (n,)."""
    codes = _codes([actions[TIME], *(actions[name] for name in spec.columns)])
    order = np.lexsort((_numpy(actions[ROW]), _numpy(actions[FILE]), codes))
    repeated = np.zeros(len(codes), dtype=bool)
    repeated[order[1:]] = codes[order[1:]] == codes[order[:-1]]
    return repeated


def _key_codes(impressions: pa.Table, actions: pa.Table, keys: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    both = [pa.chunked_array([*impressions[key].chunks, *actions[key].chunks], actions[key].type) for key in keys]
    codes = _codes(both)
    return codes[: impressions.num_rows], codes[impressions.num_rows :]


def _last_touch(
    impressions: pa.Table, actions: pa.Table, shown: NDArray[Any], acted: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each action whether an impression of its key is not after it, and the row of the latest such one; bool and int64 (actions,).

    Of several of one time it is the first by file and row. `shown` and `acted` number the keys of both. Times become ranks, so that key and
    time are one number to look up.
    """
    if not impressions.num_rows:
        return np.zeros(actions.num_rows, dtype=bool), np.zeros(actions.num_rows, dtype=np.int64)
    times = np.concatenate([_numpy(impressions[TIME]), _numpy(actions[TIME])])
    ranks = np.unique(times, return_inverse=True)[1].astype(np.int64)
    numbers = np.concatenate([shown, acted]) * (ranks.max() + 1) + ranks
    shown_at, acted_at = numbers[: len(shown)], numbers[len(shown) :]
    order = np.lexsort((_numpy(impressions[ROW]), _numpy(impressions[FILE]), shown_at))
    sorted_at = shown_at[order]
    latest = np.searchsorted(sorted_at, acted_at, side="right") - 1
    touched = (latest >= 0) & (shown[order[latest]] == acted)
    first = np.searchsorted(sorted_at, sorted_at[latest], side="left")
    return touched, np.asarray(order[first], dtype=np.int64)


# -- labels ------------------------------------------------------------------------------------------------------------


def _notes(impressions: pa.Table, actions: pa.Table, impression: NDArray[Any], spec: Actions) -> pa.Table:
    """Labels of each impression that has actions; `impression` is the row of each action's. Shape (actions,)."""
    order = np.lexsort((_numpy(actions[ROW]), _numpy(actions[FILE]), _numpy(actions[TIME]), impression))
    actions, impression = actions.take(pa.array(order)), impression[order]
    found, groups = np.unique(impression, return_inverse=True)
    places = impressions.select([FILE, BEGIN, ROW]).take(pa.array(found))
    columns = [
        *places.columns,
        pa.chunked_array([pa.array(np.bincount(groups, minlength=len(found)).astype(np.int64))]),
    ]
    for name, label in spec.labels.items():
        columns.append(pa.chunked_array([_label(name, label, actions, groups, len(found))]))
    notes = pa.table(columns, schema=note_schema(spec))
    return notes.take(pa.array(np.lexsort([_numpy(notes[name]) for name in (ROW, BEGIN, FILE)])))


def _label(name: str, label: ActionLabel, actions: pa.Table, groups: NDArray[Any], size: int) -> pa.Array:
    """One label of each group of actions, null where none fits; the groups' actions stand together, by time."""
    fits = np.ones(actions.num_rows, dtype=bool)
    for column, values in label.conditions.items():
        kind = actions.schema.field(column).type
        fits &= np.asarray(pc.is_in(actions[column], value_set=pa.array(values, kind)))
    if label.column is not None:
        fits &= np.asarray(pc.is_valid(actions[label.column]))
    at = np.flatnonzero(fits)
    begins = np.flatnonzero(np.diff(groups[at], prepend=-1))
    with_some = groups[at][begins]
    counts = np.diff(begins, append=len(at))
    if label.taken == "any":
        taken = pa.array(np.ones(len(begins), dtype=np.int64))
    elif label.taken == "count":
        taken = pa.array(counts.astype(np.int64))
    elif label.taken in ("first", "last"):
        places = begins if label.taken == "first" else begins + counts - 1
        taken = one_chunk(actions[label.column]).take(pa.array(at[places]))
    else:
        taken = _reduced(name, label.taken, actions[label.column].take(pa.array(at)), begins)
    where = np.full(size, -1)
    where[with_some] = np.arange(len(with_some))
    return taken.take(pa.array(where, mask=where < 0))


def _reduced(name: str, take: str, values: pa.ChunkedArray, begins: NDArray[Any]) -> pa.Array:
    """Sum, least or greatest of the values from each begin to the next."""
    numbers = _numpy(values)
    if not len(begins):
        return pa.array([], values.type)
    if take != "sum":
        reduce = np.minimum if take == "min" else np.maximum
        return pa.array(reduce.reduceat(numbers, begins), values.type)
    exact = np.add.reduceat(numbers.astype(np.float64), begins)
    most = _MOST if pa.types.is_integer(values.type) else float(np.finfo(np.float32).max)
    if (np.abs(exact) > most).any():
        raise DataError(
            f"actions: the sum '{name}' of an impression is {np.abs(exact).max():g}; allowed: up to {most:g}"
        )
    sums = np.add.reduceat(numbers, begins) if pa.types.is_integer(values.type) else exact.astype(np.float32)
    return pa.array(sums, values.type)
