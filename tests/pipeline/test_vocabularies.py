"""Vocabularies, counted by Arrow, against plain Python and against `tft.vocabulary`."""

from __future__ import annotations

import itertools
import pickle
import random
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_transform.tf_metadata import dataset_metadata

from features.spec import Vocabulary
from pipeline.components.vocabularies import MergeCounts, WriteVocabularies, vocabulary

COUNTS = st.dictionaries(
    st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from([b"a\nb", b"\r"])), st.integers(1, 9)
)


@given(COUNTS, st.integers(1, 5), st.none() | st.integers(1, 4))
def test_most_frequent_first_then_by_falling_bytes(counts: dict[bytes, int], min_count: int, top_k: int | None) -> None:
    kept = [(n, token) for token, n in counts.items() if n >= min_count and b"\n" not in token and b"\r" not in token]
    expected = [token for _, token in sorted(kept, reverse=True)][:top_k]
    table = pa.table({"token": pa.array(list(counts), pa.binary()), "count": pa.array(counts.values(), pa.int64())})
    found = vocabulary(table, Vocabulary(min_count=min_count, top_k=top_k)).to_pylist()
    if expected:
        assert found == expected
    else:
        assert len(found) == 1
        assert found[0] not in counts


def test_numbers_are_ordered_as_text() -> None:
    table = pa.table({"token": [10, 9, -1], "count": [2, 2, 2]})
    assert vocabulary(table, Vocabulary()).to_pylist() == [b"9", b"10", b"-1"]


def test_the_stand_in_of_numbers_is_no_number_that_a_log_can_hold() -> None:
    assert vocabulary(pa.table({"token": [-1], "count": [1]}), Vocabulary(min_count=2)).to_pylist() == [
        b"%d" % -(2**63)
    ]


def test_a_column_without_values_takes_no_memory() -> None:
    merge = MergeCounts()
    nothing = pa.table({"token": pa.array([], pa.binary()), "count": pa.array([], pa.int64())})
    for count in range(1, 9):
        merged = merge.merge_accumulators([[nothing] * count, [nothing]])
        assert [table.num_rows for table in merged] == [0]
        assert len(pickle.dumps(merged)) < 2_000


@given(st.lists(st.lists(st.integers(0, 9), max_size=20), min_size=1, max_size=12), st.integers(1, 12))
def test_counts_add_up_however_they_are_merged(batches: list[list[int]], cut: int) -> None:
    merge = MergeCounts()

    def counted(tokens: list[int]) -> pa.Table:
        counts = Counter(tokens)
        return pa.table({"token": pa.array(counts, pa.int64()), "count": pa.array(counts.values(), pa.int64())})

    accumulators = []
    for part in (batches[:cut], batches[cut:]):
        accumulator = merge.create_accumulator()
        for batch in part:
            accumulator = merge.add_input(accumulator, counted(batch))
        accumulators.append(accumulator)
    total = merge.extract_output(merge.merge_accumulators(accumulators))
    assert dict(zip(total["token"].to_pylist(), total["count"].to_pylist(), strict=True)) == Counter(
        itertools.chain(*batches)
    )
    assert total.num_rows == len(set(total["token"].to_pylist()))


RULES = {
    "word": Vocabulary(),
    "frequent_word": Vocabulary(min_count=4),
    "number": Vocabulary(top_k=7),
    "rare_number": Vocabulary(min_count=1000),
}


def _rows() -> list[dict[str, Any]]:
    chance = random.Random(3)
    words = ["a", "b b", "ä", "Z", "z", "a\nb", "0", "00", "\u4e2d"]
    return [
        {"word": chance.choice(words[: 1 + i % len(words)]), "number": int(abs(chance.gauss(0, 8)) - 4)}
        for i in range(300)
    ]


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours and `tft.vocabulary`'s files of the same rows."""
    directory = tmp_path_factory.mktemp("vocabularies")
    columns = {name: name.split("_")[-1] for name in RULES}

    def both(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ours = tft.experimental.ptransform_analyzer(
            [inputs[column] for column in columns.values()],
            WriteVocabularies(RULES),
            [tf.string] * len(RULES),
            [[]] * len(RULES),
            [b"-1"] * len(RULES),
        )
        outputs = {}
        for (name, rule), file in zip(RULES.items(), ours, strict=True):
            tokens = inputs[columns[name]]
            stock = tft.vocabulary(
                tokens, top_k=rule.top_k, frequency_threshold=rule.min_count, vocab_filename=f"tft_{name}"
            )
            outputs[name] = tft.apply_vocabulary(tokens, file)
            outputs[f"tft_{name}"] = tft.apply_vocabulary(tokens, stock)
        return outputs

    spec = {"word": tf.io.FixedLenFeature([], tf.string), "number": tf.io.FixedLenFeature([], tf.int64)}
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
    with (
        tft_beam.Context(temp_dir=str(directory / "tmp"), use_deep_copy_optimization=False),
        beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline,
    ):
        rows = pipeline | beam.Create(_rows())
        _ = (rows, metadata) | tft_beam.AnalyzeDataset(both) | tft_beam.WriteTransformFn(str(directory / "out"))
    return directory / "out" / "transform_fn" / "assets"


@pytest.mark.parametrize("name", ["word", "frequent_word", "number"])
def test_a_file_is_that_of_tft(assets: Path, name: str) -> None:
    found = (assets / name).read_bytes()
    assert found == (assets / f"tft_{name}").read_bytes()


def test_what_a_line_cannot_hold_stays_out(assets: Path) -> None:
    words = {row["word"].encode() for row in _rows()}
    assert set((assets / "word").read_bytes().split(b"\n")[:-1]) == words - {b"a\nb"}


def test_a_column_without_frequent_tokens_has_the_stand_in_alone(assets: Path) -> None:
    assert (assets / "rare_number").read_text() == f"{np.iinfo(np.int64).min}\n"
