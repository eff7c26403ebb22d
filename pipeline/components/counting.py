"""Counts of a Beam pipeline: added up and written as one JSON file."""

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import apache_beam as beam


class Mergeable(Protocol):
    """Counts of a part of a run."""

    def merge(self, other: Any) -> Any:
        """Adds others and returns the sum."""

    def manifest(self) -> dict[str, Any]:
        """As JSON."""


class WriteCounts(beam.PTransform):
    """Adds up counts and writes the JSON of their :meth:`Mergeable.manifest`.

    Args:
        empty: makes counts of nothing.
        file: where to.
    """

    def __init__(self, empty: Callable[[], Mergeable], file: str) -> None:
        super().__init__()
        self._empty, self._file = empty, file

    def expand(self, counts: beam.PCollection[Any]) -> Any:
        """Composes."""
        return (
            counts
            | "AddUp" >> beam.CombineGlobally(AddUp(self._empty))
            | "AsJson" >> beam.Map(lambda total: json.dumps(total.manifest()))
            | "Write" >> beam.io.WriteToText(self._file, shard_name_template="")
        )


class AddUp(beam.CombineFn):
    """The sum of counts.

    Args:
        empty: makes counts of nothing.
    """

    def __init__(self, empty: Callable[[], Mergeable]) -> None:
        super().__init__()
        self._empty = empty

    def create_accumulator(self) -> Mergeable:
        """Nothing."""
        return self._empty()

    def add_input(self, accumulator: Mergeable, counts: Mergeable) -> Mergeable:
        """One more."""
        accumulator.merge(counts)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Mergeable]) -> Mergeable:
        """Those of several workers."""
        total = self._empty()
        for counts in accumulators:
            total.merge(counts)
        return total

    def extract_output(self, accumulator: Mergeable) -> Mergeable:
        """The sum."""
        return accumulator
