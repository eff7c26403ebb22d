"""All vocabularies of a dataset in one pass.

`tft.vocabulary` takes some ten Beam stages and a Python object a token; with thirty columns its stages alone take minutes.
Here a batch's tokens are counted by Arrow, all columns together.
"""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform.beam as tft_beam

from features.logs.token_counts import COUNT, TOKEN, CountBound, TokenCounts
from features.logs.vectors import read_ids, vectors_file
from features.preprocessing import bound_file, vocabulary_files
from features.raw_inputs import MISSING_INT
from features.spec import Vocabulary

_NO_LINE = "[\n\r]"
"""What a line of a text file cannot hold. Tokens with it stay out of vocabularies, as in `tft.vocabulary`."""
_NO_STRING = b"49d0cd50-04bb-48c0-bc6f-5b575dce351a"
"""TFT's own stand-in: TensorFlow cannot load an empty vocabulary."""
_LINES = 1_000_000

Batch = tuple["npt.NDArray[np.int64] | npt.NDArray[np.object_]", ...]


class WriteVocabularies(tft_beam.experimental.PTransformAnalyzer):
    """Counts the tokens of several columns and writes a vocabulary file for each: most frequent first, one token a line.

    Tokens that are equally frequent are in falling order of their bytes. Files are the same as `tft.vocabulary`'s.

    Args:
        rules: name of the file to what is kept; aligned with the arrays of a batch. None: the ids of pretrained vectors, in their order.
        vectors: folder of these (`features.logs.vectors`).

    Input: a tuple of arrays a batch, int64 or bytes ``(n,)``, of any n. Output: collections of one path each, those of
    `features.preprocessing.vocabulary_files`: behind the vocabularies, the bounds of those counted in bounded memory.
    """

    def __init__(self, rules: Mapping[str, Vocabulary | None], vectors: str = "") -> None:
        super().__init__()
        self._rules = dict(rules)
        self._vectors = vectors

    def expand(self, batches: beam.PCollection[Batch]) -> tuple[beam.PCollection[str], ...]:
        """One collection a file, with its path."""
        files = vocabulary_files(self._rules)
        counters = [rule.counted_tokens if rule is not None else None for rule in self._rules.values()]
        written = (
            batches
            | "Count" >> beam.ParDo(_Count(counters))
            | "Merge" >> beam.CombinePerKey(MergeCounts())
            | "Write" >> beam.ParDo(_Write(self._rules, self.base_temp_dir, self._vectors)).with_outputs(*files)
        )
        return tuple(written[file] for file in files)


class _Count(beam.DoFn):
    """Batches to counts, one a column."""

    def __init__(self, counters: Sequence[int | None]) -> None:
        self._counters = counters

    def process(self, batch: Batch) -> Iterator[tuple[int, TokenCounts]]:
        for number, (tokens, counters) in enumerate(zip(batch, self._counters, strict=True)):
            kind = pa.binary() if tokens.dtype == np.object_ else pa.int64()
            yield number, TokenCounts.of(pa.array(tokens, kind), counters)


class MergeCounts(beam.CombineFn):
    """Adds up the counts of a column."""

    def create_accumulator(self) -> TokenCounts | None:
        """None: nothing was counted yet, not even whether tokens are numbers."""
        return None

    def add_input(self, accumulator: TokenCounts | None, element: TokenCounts) -> TokenCounts:
        """Adds a batch's."""
        return self._sum(accumulator, element)

    def merge_accumulators(self, accumulators: Iterable[TokenCounts | None]) -> TokenCounts | None:
        """Adds up, one after the other: bounded counts stay bounded."""
        total: TokenCounts | None = None
        for counts in accumulators:
            total = total if counts is None else self._sum(total, counts)
        return total

    def compact(self, accumulator: TokenCounts | None) -> TokenCounts | None:
        """Before it is sent: a token is in one row."""
        if accumulator is not None:
            accumulator.table()
        return accumulator

    def extract_output(self, accumulator: TokenCounts | None) -> TokenCounts:
        """The sums; there is no key without counts."""
        assert accumulator is not None
        return accumulator

    @staticmethod
    def _sum(total: TokenCounts | None, more: TokenCounts) -> TokenCounts:
        if total is None:
            return dataclasses.replace(more, tables=list(more.tables))  # an element stays what it is
        total.add(more)
        return total


class _Write(beam.DoFn):
    def __init__(self, rules: Mapping[str, Vocabulary | None], directory: str, vectors: str) -> None:
        self._rules = list(rules.items())
        self._directory = directory
        self._vectors = vectors

    def process(self, counted: tuple[int, TokenCounts]) -> Iterator[beam.pvalue.TaggedOutput]:
        number, counts = counted
        name, rule = self._rules[number]
        # TFT keeps the file's own name; the folder is this attempt's alone.
        directory = os.path.join(self._directory, uuid.uuid4().hex)
        tf.io.gfile.makedirs(directory)
        path = os.path.join(directory, name)
        if rule is None:
            write_lines(path, read_ids(vectors_file(self._vectors, name)))
        else:
            kept = vocabulary(counts.table(), rule)
            write_lines(path, kept[TOKEN].combine_chunks())
            if rule.counted_tokens is not None:
                with tf.io.gfile.GFile(bound_file(path), "w") as file:
                    file.write(count_bound(counts, kept).model_dump_json())
                yield beam.pvalue.TaggedOutput(bound_file(name), bound_file(path))
        yield beam.pvalue.TaggedOutput(name, path)


def write_lines(path: str, tokens: pa.Array) -> None:
    """Writes a vocabulary file.

    Args:
        path: of the file.
        tokens: binary or string ``(n,)``, one a line.
    """
    with tf.io.gfile.GFile(path, "wb") as file:
        for start in range(0, len(tokens), _LINES):
            part = tokens.slice(start, _LINES)
            offsets = pa.array([0, len(part)], pa.int32())
            # One join by Arrow, and no Python object a token.
            lines = pc.binary_join(
                pa.ListArray.from_arrays(offsets, part.cast(pa.binary())), pa.scalar(b"\n", pa.binary())
            )
            file.write(lines[0].as_buffer().to_pybytes() + b"\n")


def vocabulary(counts: pa.Table, rule: Vocabulary) -> pa.Table:
    """The tokens that `rule` keeps, most frequent first; equally frequent ones in falling order of their bytes.

    Args:
        counts: ``token`` (int64 or binary) and ``count``.
        rule: smallest count and largest size.

    Returns:
        ``token`` (binary) and ``count``, at least one: where no token is kept a stand-in of count 0, which no row can hold.
    """
    kept = _lines_only(counts.filter(pc.greater_equal(counts[COUNT], rule.min_count)))
    # Of all that are as frequent as the last that may be kept: sorting takes longer than all else.
    kept = kept.filter(pc.greater_equal(kept[COUNT], _nth_largest(kept, rule.top_k) or 0))
    numbers = pa.types.is_integer(counts.schema.field(TOKEN).type)
    if not kept.num_rows:
        stand_in = str(MISSING_INT).encode() if numbers else _NO_STRING
        return pa.table({TOKEN: pa.array([stand_in], pa.binary()), COUNT: pa.array([0])})
    text = kept[TOKEN].cast(pa.string()).cast(pa.binary()) if numbers else kept[TOKEN]
    kept = pa.table({TOKEN: text, COUNT: kept[COUNT]})
    order: Sequence[tuple[str, str]] = [(COUNT, "descending"), (TOKEN, "descending")]
    return kept.take(pc.sort_indices(kept, sort_keys=order)[: rule.top_k])


def _lines_only(counts: pa.Table) -> pa.Table:
    """Without tokens that a line cannot hold."""
    if pa.types.is_integer(counts.schema.field(TOKEN).type):
        return counts
    return counts.filter(pc.invert(pc.match_substring_regex(counts[TOKEN], _NO_LINE)))


def _nth_largest(counts: pa.Table, place: int | None) -> int | None:
    """Count of the token at a place, from 1 on, in falling order of counts; None if there is none."""
    if place is None or place > counts.num_rows:
        return None
    numbers = counts[COUNT].to_numpy()
    return int(np.partition(numbers, len(numbers) - place)[len(numbers) - place])


def count_bound(counts: TokenCounts, kept: pa.Table) -> CountBound:
    """How far a vocabulary can be trusted.

    Args:
        counts: what it was made of.
        kept: of :func:`vocabulary`.
    """
    ranked = kept[COUNT].to_numpy()
    size = int((ranked > 0).sum())
    left_out = (_nth_largest(_lines_only(counts.table()), size + 1) or 0) + counts.error
    certain = int((ranked[:size] >= left_out).sum())
    return CountBound(tokens=counts.tokens, error=counts.error, kept=size, certain=certain)
