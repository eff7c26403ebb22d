"""All vocabularies of a dataset in one pass.

`tft.vocabulary` takes some ten Beam stages and a Python object a token; with thirty columns its stages alone take minutes.
Here a batch's tokens are counted by Arrow, all columns together.
"""

from __future__ import annotations

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

from features.logs.vectors import read_ids, vectors_file
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

    Input: a tuple of arrays a batch, int64 or bytes ``(n,)``, of any n. Output: for each column a collection of one path.
    """

    def __init__(self, rules: Mapping[str, Vocabulary | None], vectors: str = "") -> None:
        super().__init__()
        self._rules = dict(rules)
        self._vectors = vectors

    def expand(self, batches: beam.PCollection[Batch]) -> tuple[beam.PCollection[str], ...]:
        """One collection a file, with its path."""
        written = (
            batches
            | "Count" >> beam.FlatMap(_count)
            | "Merge" >> beam.CombinePerKey(MergeCounts())
            | "Write" >> beam.ParDo(_Write(self._rules, self.base_temp_dir, self._vectors)).with_outputs(*self._rules)
        )
        return tuple(written[name] for name in self._rules)


def _count(batch: Batch) -> Iterator[tuple[int, pa.Table]]:
    for number, tokens in enumerate(batch):
        kind = pa.binary() if tokens.dtype == np.object_ else pa.int64()
        counted = pa.array(tokens, kind).value_counts()
        yield number, pa.table({"token": counted.field("values"), "count": counted.field("counts")})


class MergeCounts(beam.CombineFn):
    """Adds tables of ``token`` and ``count``."""

    def create_accumulator(self) -> list[pa.Table]:
        """Tables, of which none but the first is long."""
        return []

    def add_input(self, accumulator: list[pa.Table], element: pa.Table) -> list[pa.Table]:
        """Adds, and merges where what was added has grown as long as what was merged before."""
        accumulator.append(element)
        added = sum(table.num_rows for table in accumulator[1:])
        return self.compact(accumulator) if added > accumulator[0].num_rows else accumulator

    def merge_accumulators(self, accumulators: Iterable[list[pa.Table]]) -> list[pa.Table]:
        """All tables together."""
        return self.compact([table for accumulator in accumulators for table in accumulator])

    def compact(self, accumulator: list[pa.Table]) -> list[pa.Table]:
        """One table; a token is in one row of it."""
        # Of no rows pyarrow's group_by makes buffers of any size: gigabytes at times.
        accumulator = [table for table in accumulator if table.num_rows] or accumulator[:1]
        if len(accumulator) < 2:
            return accumulator
        summed = pa.concat_tables(accumulator).group_by("token").aggregate([("count", "sum")])
        return [pa.table({"token": summed["token"], "count": summed["count_sum"]}).combine_chunks()]

    def extract_output(self, accumulator: list[pa.Table]) -> pa.Table:
        """The sums."""
        return self.compact(accumulator)[0]


class _Write(beam.DoFn):
    def __init__(self, rules: Mapping[str, Vocabulary | None], directory: str, vectors: str) -> None:
        self._rules = list(rules.items())
        self._directory = directory
        self._vectors = vectors

    def process(self, counted: tuple[int, pa.Table]) -> Iterator[beam.pvalue.TaggedOutput]:
        number, counts = counted
        name, rule = self._rules[number]
        # TFT keeps the file's own name; the folder is this attempt's alone.
        directory = os.path.join(self._directory, uuid.uuid4().hex)
        tf.io.gfile.makedirs(directory)
        path = os.path.join(directory, name)
        tokens = vocabulary(counts, rule) if rule is not None else read_ids(vectors_file(self._vectors, name))
        with tf.io.gfile.GFile(path, "wb") as file:
            for start in range(0, len(tokens), _LINES):
                file.write(b"".join(token + b"\n" for token in tokens.slice(start, _LINES).to_pylist()))
        yield beam.pvalue.TaggedOutput(name, path)


def vocabulary(counts: pa.Table, rule: Vocabulary) -> pa.Array:
    """The tokens that `rule` keeps, in order.

    Args:
        counts: ``token`` (int64 or binary) and ``count``.
        rule: smallest count and largest size.

    Returns:
        Binary, at least one: a stand-in where no token is kept, which no row can hold.
    """
    kept = counts.filter(pc.greater_equal(counts["count"], rule.min_count))
    numbers = pa.types.is_integer(counts.schema.field("token").type)
    text = kept["token"].cast(pa.string()).cast(pa.binary()) if numbers else kept["token"]
    kept = kept.set_column(0, "token", text)
    if not numbers:
        kept = kept.filter(pc.invert(pc.match_substring_regex(kept["token"], _NO_LINE)))
    order: Sequence[tuple[str, str]] = [("count", "descending"), ("token", "descending")]
    tokens = kept.take(pc.sort_indices(kept, sort_keys=order)[: rule.top_k])["token"].combine_chunks()
    if len(tokens):
        return tokens
    return pa.array([str(MISSING_INT).encode() if numbers else _NO_STRING], pa.binary())
