"""Which files a dataset reads: the only place of ingest that knows file systems, this machine's and others' (`features.stores`)."""

from __future__ import annotations

import datetime
import fnmatch
import glob
import hashlib
import io
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from features import stores
from features.counter_delays import waiting_counters
from features.counters import Counter
from features.errors import DataError
from features.folders import exists, is_folder
from features.paths import check_readable, remote, without_options
from features.sources import by_day, of_any_day, of_day
from features.spec import Dataset, SideTable, Source, TimeSplit

_NAMED = 5
_READ_AHEAD = 1 << 20
"""Bytes that a small read asks of a store: each costs a request."""


def resolve_log(dataset: Dataset, path: str) -> list[str]:
    """The log's files: of a source by day those of the split's days; of a Kafka topic the names of its partitions. Not of BigQuery: there
    a run opens what it reads (`features.logs.bigquery_reader.open_table`).

    Args:
        dataset: the spec.
        path: the data folder, which may be remote (``s3://bucket/folder``), as any pattern may.

    Raises:
        DataError: if a pattern finds no file on one of the days, or a day is not complete; names the days. If a store does not
            answer or refuses.
        ConfigError: if a path is of a file system that is not read.
    """
    if dataset.source.kafka is not None:
        return dataset.source.kafka.names
    _check_files(dataset.source)
    source, days = dataset.source, dataset.split.days() if isinstance(dataset.split, TimeSplit) else []
    return _of_source(source, days, path, "source.success")


class ActionFiles(NamedTuple):
    """What is read to join actions, besides the log's files.

    Attributes:
        actions: the files of the log of actions.
        later: files of the log itself, of days behind the split's, or what lies behind the window of a topic: an impression there takes
            the actions that are its own.
        absent: days behind the split's that have no files, where the spec says that they are optional.
        before: days before the split's whose actions counters need, in order.
        absent_before: days before the split's that have no files, where the counters say that they are optional.
        labelled: days whose rows have all of their actions, those of the days that the window reaches into too; counters of actions count
            no others. None: any, for all files are read.
    """

    actions: list[str]
    later: list[str]
    absent: list[datetime.date]
    before: Sequence[datetime.date] = ()
    absent_before: Sequence[datetime.date] = ()
    labelled: Sequence[datetime.date] | None = None


def resolve_actions(dataset: Dataset, path: str, earlier: EarlierFiles) -> ActionFiles:
    """Of sources by day, the files of the split's days, of the days behind them that the window reaches into, and of those before them
    that counters of actions look at.

    Args:
        dataset: the spec.
        path: the data folder.
        earlier: of the log itself, see :func:`resolve_earlier`.

    Raises:
        DataError: if a pattern finds no file on a day that must have one, or such a day is not complete. If a store does not answer.
        ConfigError: if a path is of a file system that is not read.
    """
    assert dataset.actions is not None
    theirs, ours = dataset.actions.source, dataset.source
    split = _split_days(dataset)
    reach = range(1, 1 + dataset.actions.days_reached)
    after = sorted({day + datetime.timedelta(days=days) for day in split for days in reach} - set(split))
    patterns = [*filter(by_day, (*theirs.patterns, *ours.patterns, theirs.success or "", ours.success or ""))]
    absent = _absent(after, patterns, path)
    if absent and dataset.actions.days_after == "required":
        raise DataError(
            f"the window of actions reaches into {len(after)} day{'s' if len(after) > 1 else ''} behind the split's, and {_named([str(day) for day in absent])} "
            f"lack files or markers in {_absolute(path)}: actions of the last days would be missing; allowed: both logs "
            "complete for these days, a split that ends earlier, or `actions.days_after: optional`"
        )
    later = sorted({*after} - {*absent})
    before, absent_before = _acted_before(dataset, path, patterns)
    read = {*split, *later, *before}
    actions = _of_source(theirs, sorted(read), path, "actions.source.success")
    # Files that are not by day are read as a whole anyway; what a topic's window lacks, the run has asked for as it began.
    more = [] if ours.kafka is None else ours.kafka.later_names
    if ours.by_day:
        known = {*resolve_log(dataset, path), *earlier.files}
        more = [file for file in _of_source(ours, later, path, "source.success") if file not in known]
    days = range(dataset.actions.days_reached + 1)
    labelled = [day for day in sorted(read) if read.issuperset(day + datetime.timedelta(days=n) for n in days)]
    if patterns and not labelled and waiting_counters(dataset):
        raise DataError(
            f"counters of actions have no day to count: of none of the {len(read)} days that are read are the {len(days) - 1} days behind it, which "
            f"`actions.window` reaches into, there too in {_absolute(path)}; allowed: logs of more days, or a shorter window"
        )
    return ActionFiles(actions, more, absent, before, absent_before, labelled if patterns else None)


def _acted_before(
    dataset: Dataset, path: str, patterns: Sequence[str]
) -> tuple[list[datetime.date], list[datetime.date]]:
    """Days before the split's that counters of actions look at: those that both logs have, and those that may be absent and are."""
    counters = waiting_counters(dataset).values()
    asked = _days_before(dataset, counters) if patterns else []
    absent = _absent(asked, patterns, path)
    if lacking := _lacking(dataset, counters, absent):
        raise DataError(
            f"counters of actions look at {len(asked)} days before the split's, and {_named(lacking)} lack files or markers of the log or "
            f"its actions in {_absolute(path)}: rows of the first days would be told too little; allowed: both logs complete for these "
            "days, a split that begins later, or `days_before: optional` of the counters"
        )
    return sorted({*asked} - {*absent}), absent


def _split_days(dataset: Dataset) -> list[datetime.date]:
    return dataset.split.days() if isinstance(dataset.split, TimeSplit) else []


def _days_before(dataset: Dataset, counters: Iterable[Counter]) -> list[datetime.date]:
    """Days that are not the split's and that counters of its rows reach."""
    split = _split_days(dataset)
    reach = range(1, 1 + max((counter.reach for counter in counters), default=0))
    return sorted({day - datetime.timedelta(days=back) for day in split for back in reach} - {*split})


def _lacking(dataset: Dataset, counters: Iterable[Counter], absent: Sequence[datetime.date]) -> list[str]:
    """Those absent days that a counter says must be there."""
    required = _days_before(dataset, [counter for counter in counters if counter.days_before == "required"])
    return [str(day) for day in required if day in absent]


def _absent(days: Iterable[datetime.date], patterns: Sequence[str], path: str) -> list[datetime.date]:
    """Those days of which a file or marker is not there."""
    return [day for day in days if not all(_find(of_day(pattern, day), path) for pattern in patterns)]


class EarlierFiles(NamedTuple):
    """What is read for counters, besides the log's files.

    Attributes:
        files: of the log itself, of days before the split's.
        absent: days before the split's that counters look at and that have no files, where the spec says that they are optional.
        days: the others of these days, in order.
    """

    files: list[str]
    absent: list[datetime.date]
    days: Sequence[datetime.date] = ()


def resolve_earlier(dataset: Dataset, path: str) -> EarlierFiles:
    """Of a log by day, the files of the days before the split's that counters look at; of any other none, for it is read as a whole.

    Raises:
        DataError: if a day that must be there has no file or is not complete. If a store does not answer.
        ConfigError: if a path is of a file system that is not read.
    """
    is_by_day = dataset.source.elsewhere is None and dataset.source.by_day
    if not dataset.counters or not is_by_day or not isinstance(dataset.split, TimeSplit):
        return EarlierFiles([], [])
    counters = dataset.delayed_counters().values()
    asked = _days_before(dataset, counters)
    patterns = [*filter(by_day, (*dataset.source.patterns, dataset.source.success or ""))]
    absent = _absent(asked, patterns, path)
    if lacking := _lacking(dataset, counters, absent):
        raise DataError(
            f"counters look at {len(asked)} days before the split's, and {_named(lacking)} lack files or markers in {_absolute(path)}: "
            "rows of the first days would be told too little; allowed: a log that begins earlier, a split that begins later, or "
            "`days_before: optional` of the counters"
        )
    known = set(resolve_log(dataset, path))
    there = [day for day in asked if day not in absent]
    found = _of_source(dataset.source, there, path, "source.success")
    return EarlierFiles([file for file in found if file not in known], absent, there)


def resolve(source: Source, path: str) -> list[str]:
    """Expands a source's paths and globs, sorted, each file once; of a source by day the files of all days.

    Args:
        source: the files of one table, relative to `path` unless absolute.
        path: the data folder; both may be remote.

    Raises:
        DataError: if a pattern finds no file; names the pattern, the folder and what is there. If a store does not answer.
        ConfigError: if a path is of a file system that is not read.
    """
    _check_files(source)
    return _resolved([of_any_day(pattern) for pattern in source.patterns], path)


def _check_files(source: Source) -> None:
    if source.elsewhere is not None:
        raise DataError(f"the log is {source.elsewhere}; allowed here: files, named one by one or by a glob")


def _of_source(source: Source, days: Sequence[datetime.date], path: str, what: str) -> list[str]:
    """Files of these days; `what` names the marker in a message."""
    markers = [] if source.success is None else [of_day(source.success, day) for day in days]
    if absent := [marker for marker in markers if not _find(marker, path)]:
        raise DataError(
            f"{len(absent)} of the {len(days)} days are not complete: {_absolute(path)} lacks {_named(absent)} ({what}); allowed: days "
            "that have them, such as those of a window that ends earlier (`--set dataset.split.until=YYYY-MM-DD`)"
        )
    return _resolved([filled for pattern in source.patterns for filled in _of_days(pattern, days)], path)


def _of_days(pattern: str, days: Iterable[datetime.date]) -> list[str]:
    return [of_day(pattern, day) for day in days] if by_day(pattern) else [pattern]


def _resolved(patterns: Sequence[str], path: str) -> list[str]:
    check_readable("data folder", path)
    for pattern in patterns:
        check_readable("source.files", pattern)
    found = {pattern: _find(pattern, path) for pattern in patterns}
    if absent := [f"'{without_options(pattern)}'" for pattern, files in found.items() if not files]:
        raise DataError(f"no file matches {_named(absent)} in {_absolute(path)}; {_what_is_there(path)}")
    return list(dict.fromkeys(file for files in found.values() for file in files))


def _named(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")


def _find(pattern: str, path: str) -> list[str]:
    return find_files(under(pattern, path))


def under(pattern: str, path: str) -> str:
    """A pattern below the data folder: as it is if it is remote or begins with a slash, which is this machine's root."""
    folder = remote(path)
    if remote(pattern) is not None or os.path.isabs(pattern):
        return pattern
    if folder is None:
        return os.path.join(path, pattern)
    return str(folder.below(pattern))


def _absolute(path: str) -> str:
    return os.path.abspath(path) if remote(path) is None else without_options(path)


def _what_is_there(path: str) -> str:
    folder = remote(path)
    if folder is None:
        listed = sorted(os.listdir(path)) if os.path.isdir(path) else None
    else:
        listed = stores.list_names(folder)
    if listed is None and folder is not None and not stores.has_bucket(folder):
        return f"there is no bucket '{folder.authority}'"
    if listed is None:
        return "that folder does not exist; set data.path to the folder that holds the files"
    shown = ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")
    return f"the folder holds: {shown or '(nothing)'}"


def find_files(pattern: str) -> list[str]:
    """The files that a path or glob matches, local or remote, sorted; without those that writers of logs keep for themselves:
    names that begin with ``_`` or ``.`` (``_SUCCESS``, ``_temporary/``), unless the pattern begins them so. ``_day=1`` is none.

    Raises:
        DataError: if a store does not answer or refuses.
    """
    if (found := remote(pattern)) is not None:
        files = stores.find(found)
    else:
        files = sorted(file for file in glob.glob(pattern, recursive=True) if os.path.isfile(file))
    named = list(filter(_is_hidden, without_options(pattern).split("/")))
    return [file for file in files if not _hidden_parts(file, named)]


def _hidden_parts(file: str, named: Sequence[str]) -> list[str]:
    """Hidden folders and files in a path that are not among the named ones."""
    hidden = filter(_is_hidden, without_options(file).split("/"))
    return [part for part in hidden if not any(fnmatch.fnmatchcase(part, name) for name in named)]


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or (part.startswith("_") and "=" not in part)


def common_folder(files: Sequence[str]) -> str:
    """The folder of files of one file system; the lowest that holds all of them.

    Args:
        files: local or remote, as :func:`find_files` gives them for one pattern.
    """
    places = [place for place in map(remote, files) if place is not None]
    if not places:
        return os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    folder = posixpath.commonpath([posixpath.dirname("/" + place.key) for place in places])
    return str(places[0]._replace(key=folder.lstrip("/")))


def folder_above(path: str) -> str:
    """The folder that a folder, local or remote, lies in; of a root itself that root."""
    found = remote(path)
    return os.path.dirname(path) if found is None else str(found._replace(key=posixpath.dirname(found.key)))


def name_of(file: str, path: str) -> str:
    """The name by which a file is known in row ids, manifests and dead letters: relative to `path` where it lies under it.

    Two files of the same basename in different folders have different names. A folder that is copied to a store, or
    reached with other options, leaves the names as they are.
    """
    if remote(file) is not None:
        known = without_options(file)
        folder = without_options(path).rstrip("/") + "/"
        return known.removeprefix(folder)
    if remote(path) is not None:
        return os.path.abspath(file)
    relative = os.path.relpath(os.path.abspath(file), os.path.abspath(path))
    return os.path.abspath(file) if relative.startswith("..") else relative.replace(os.sep, "/")


def open_bytes(file: str) -> BinaryIO:
    """Opens a file for reading bytes.

    Raises:
        DataError: if it does not exist or may not be read; of a remote file also while it is read.
    """
    if (found := remote(file)) is not None:
        return io.BufferedReader(stores.StoredFile(found), _READ_AHEAD)
    try:
        return open(file, "rb")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error


def open_arrow(file: str) -> Any:
    """What pyarrow's readers of whole formats take: a local path as it is, a remote file opened.

    Raises:
        DataError: of a remote file, if it does not exist or may not be read; also while it is read.
    """
    found = remote(file)
    return file if found is None else pa.PythonFile(stores.StoredFile(found), mode="r")


def size_of(file: str) -> int:
    """Bytes of a file."""
    found = remote(file)
    return os.path.getsize(file) if found is None else stores.status(found).size


def all_files(dataset: Dataset, path: str) -> Iterator[str]:
    """The log's files, unless it is a topic or a table of BigQuery, those of earlier days for counters, those of its actions, of every side
    table that is read from files, and of vectors.
    """
    if dataset.source.elsewhere is None:
        yield from resolve_log(dataset, path)
    earlier = resolve_earlier(dataset, path)
    yield from earlier.files
    if dataset.actions is not None:
        joined = resolve_actions(dataset, path, earlier)
        yield from (*joined.actions, *joined.later)
    for table in dataset.tables.values():
        if isinstance(table, SideTable):
            yield from resolve(table.source, path)
    for name, feature in dataset.pretrained().items():
        file = under(feature.vectors, path)
        if not exists(file) or is_folder(file):
            raise DataError(
                f"feature '{name}': vectors '{feature.vectors}' is no file in {_absolute(path)}; {_what_is_there(path)}"
            )
        yield file


def fingerprint(dataset: Dataset, path: str) -> str:
    """A hash of names, sizes and modification times of all input files: it changes when the data changes. What a slice of a topic
    holds never does (`features.logs.kafka_slice.check_slice`), and the spec has its offsets; so has it the moment as of which a table is read.

    Raises:
        DataError: if a pattern finds no file.
    """
    return fingerprint_files(all_files(dataset, path), path)


def fingerprint_files(files: Iterable[str], path: str) -> str:
    """A hash of names (relative to `path`), sizes and modification times of `files`, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        size, changed_ns = _status(file)
        digest.update(f"{name_of(file, path)}\0{size}\0{changed_ns}\n".encode())
    return digest.hexdigest()


def _status(file: str) -> tuple[int, int]:
    """Bytes, and time of the last change in nanoseconds."""
    if (found := remote(file)) is not None:
        return stores.status(found)
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns
