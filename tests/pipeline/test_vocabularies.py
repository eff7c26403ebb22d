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

from features.errors import DataError
from features.logs.token_counts import CountBound, TokenCounts
from features.preprocessing import vocabulary_files
from features.spec import Vocabulary
from pipeline.components.vocabularies import MergeCounts, WriteVocabularies, count_bound, vocabulary

COUNTS = st.dictionaries(
    st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from([b"a\nb", b"\r"])), st.integers(1, 9)
)


@given(COUNTS, st.integers(1, 5), st.none() | st.integers(1, 4))
def test_most_frequent_first_then_by_falling_bytes(counts: dict[bytes, int], min_count: int, top_k: int | None) -> None:
    kept = [(n, token) for token, n in counts.items() if n >= min_count and b"\n" not in token and b"\r" not in token]
    expected = [token for _, token in sorted(kept, reverse=True)][:top_k]
    table = pa.table({"token": pa.array(list(counts), pa.binary()), "count": pa.array(counts.values(), pa.int64())})
    found = vocabulary(table, Vocabulary(min_count=min_count, top_k=top_k))["token"].to_pylist()
    if expected:
        assert found == expected
    else:
        assert len(found) == 1
        assert found[0] not in counts


def test_numbers_are_ordered_as_text() -> None:
    table = pa.table({"token": [10, 9, -1], "count": [2, 2, 2]})
    assert vocabulary(table, Vocabulary())["token"].to_pylist() == [b"9", b"10", b"-1"]


def test_the_stand_in_of_numbers_is_no_number_that_a_log_can_hold() -> None:
    kept = vocabulary(pa.table({"token": [-1], "count": [1]}), Vocabulary(min_count=2))
    assert kept.to_pydict() == {"token": [b"%d" % -(2**63)], "count": [0]}


def test_a_column_without_values_takes_no_memory() -> None:
    merge = MergeCounts()
    for count in range(1, 9):
        nothing = [TokenCounts.of(pa.array([], pa.binary()), None) for _ in range(count)]
        merged = merge.compact(merge.merge_accumulators([None, *nothing]))
        assert merged is not None
        assert [table.num_rows for table in merged.tables] == [0]
        assert len(pickle.dumps(merged)) < 2_000


def summarised(batches: list[list[Any]], cuts: list[int], counters: int | None) -> TokenCounts:
    """Batches are added up in as many workers as there are cuts, and these merged."""
    merge = MergeCounts()
    parts = []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(batches)]):
        part = merge.create_accumulator()
        for batch in batches[start:end]:
            kind = pa.int64() if isinstance(next(itertools.chain(*batches), 0), int) else pa.binary()
            part = merge.add_input(part, TokenCounts.of(pa.array(batch, kind), counters))
        parts.append(merge.compact(part))
    return merge.extract_output(merge.merge_accumulators(parts))


def as_dict(counts: TokenCounts) -> dict[Any, int]:
    table = counts.table()
    assert table.num_rows == len(set(table["token"].to_pylist()))
    return dict(zip(table["token"].to_pylist(), table["count"].to_pylist(), strict=True))


NUMBERS = st.lists(st.lists(st.integers(0, 9), max_size=20), min_size=1, max_size=12)
# A few tokens are frequent and most occur once, as in a log.
SKEWED = st.lists(
    st.lists(st.sampled_from([b"a", b"b", b"c"]) | st.binary(min_size=1, max_size=2), max_size=30),
    min_size=1,
    max_size=12,
)
CUTS = st.lists(st.integers(0, 12), max_size=4)


@given(batches=NUMBERS | SKEWED, cuts=CUTS)
def test_counts_add_up_however_they_are_merged(batches: list[list[Any]], cuts: list[int]) -> None:
    counts = summarised(batches, cuts, None)
    assert as_dict(counts) == Counter(itertools.chain(*batches))
    assert (counts.tokens, counts.error) == (sum(map(len, batches)), 0)


@given(batches=NUMBERS | SKEWED, cuts=CUTS, counters=st.integers(1, 12))
def test_bounded_counts_are_too_low_by_no_more_than_they_say(
    batches: list[list[Any]], cuts: list[int], counters: int
) -> None:
    exact = Counter(itertools.chain(*batches))
    counts = summarised(batches, cuts, counters)
    found = as_dict(counts)
    assert len(found) <= 2 * counters
    assert set(found) <= set(exact)
    for token, number in exact.items():
        assert number - counts.error <= found.get(token, 0) <= number
    assert counts.tokens == exact.total()
    assert counts.error * (counters + 1) <= exact.total() - sum(found.values())


@given(batches=NUMBERS | SKEWED, cuts=CUTS)
def test_bounded_counts_of_few_tokens_are_exact(batches: list[list[Any]], cuts: list[int]) -> None:
    exact = Counter(itertools.chain(*batches))
    counts = summarised(batches, cuts, max(1, len(exact)))
    assert as_dict(counts) == exact
    assert counts.error == 0


def test_what_is_added_stays_bounded_however_long_it_goes_on() -> None:
    merge, held = MergeCounts(), 0
    part = merge.create_accumulator()
    for number in range(200):
        once = range(10 * number, 10 * number + 10)
        part = merge.add_input(part, TokenCounts.of(pa.array([-1, *once]), 20))
        held = max(held, sum(table.num_rows for table in part.tables))
    assert held <= 3 * 20 + 11
    found = as_dict(merge.extract_output(part))
    assert max(found, key=found.__getitem__) == -1
    assert 200 - part.error <= found[-1] <= 200


def test_a_count_by_hand_of_more_tokens_than_counters() -> None:
    """Of 5, 3, 2, 1 and 1 two counters leave those above the third: 5 - 2 and 3 - 2."""
    counts = TokenCounts.of(pa.array(list("aaaaabbbccde")).cast(pa.binary()), 2)
    assert as_dict(counts) == {b"a": 3, b"b": 1}
    assert counts.error == 2


@given(batches=SKEWED, counters=st.integers(1, 12), top_k=st.integers(1, 4), min_count=st.integers(1, 3))
def test_certain_tokens_are_among_the_most_frequent(
    batches: list[list[bytes]], counters: int, top_k: int, min_count: int
) -> None:
    def one_line(token: bytes) -> bool:
        return not {10, 13} & set(token)

    exact = {token: n for token, n in Counter(itertools.chain(*batches)).items() if one_line(token)}
    rule = Vocabulary(top_k=min(top_k, counters), counted_tokens=counters, min_count=min_count)
    counts = summarised(batches, [], counters)
    kept = vocabulary(counts.table(), rule)
    bound = count_bound(counts, kept)
    tokens = kept["token"].to_pylist() if kept["count"][0].as_py() else []
    assert bound.kept == len(tokens)
    left_out = max((n for token, n in exact.items() if token not in tokens), default=0)
    assert all(exact[token] >= left_out for token in tokens[: bound.certain])
    if not counts.error:
        assert bound.certain == bound.kept


def test_texts_beyond_what_arrow_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.logs.token_counts._MOST_BYTES", 20)
    counts = TokenCounts.of(pa.array([b"a" * 8]), None)
    counts.add(TokenCounts.of(pa.array([b"b" * 8]), None))
    with pytest.raises(DataError, match=r"of a vocabulary take .* bytes .* counted_tokens"):
        counts.table()


RULES = {
    "word": Vocabulary(),
    "frequent_word": Vocabulary(min_count=4),
    "number": Vocabulary(top_k=7),
    "bounded_number": Vocabulary(top_k=7, counted_tokens=1000),
    "short_number": Vocabulary(top_k=3, counted_tokens=3),
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
            [tf.string] * len(vocabulary_files(RULES)),
            [[]] * len(vocabulary_files(RULES)),
            [b"-1"] * len(vocabulary_files(RULES)),
        )
        outputs = {}
        for (name, rule), file in zip(RULES.items(), ours[: len(RULES)], strict=True):
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


@pytest.mark.parametrize("name", ["word", "frequent_word", "number", "bounded_number"])
def test_a_file_is_that_of_tft(assets: Path, name: str) -> None:
    found = (assets / name).read_bytes()
    assert found == (assets / f"tft_{name}").read_bytes()


def test_what_a_line_cannot_hold_stays_out(assets: Path) -> None:
    words = {row["word"].encode() for row in _rows()}
    assert set((assets / "word").read_bytes().split(b"\n")[:-1]) == words - {b"a\nb"}


def test_a_column_without_frequent_tokens_has_the_stand_in_alone(assets: Path) -> None:
    assert (assets / "rare_number").read_text() == f"{np.iinfo(np.int64).min}\n"


def test_a_bound_stands_beside_a_vocabulary_of_bounded_memory_alone(assets: Path) -> None:
    bounds = {path.name: CountBound.model_validate_json(path.read_text()) for path in assets.glob("*.bound.json")}
    assert set(bounds) == {"bounded_number.bound.json", "short_number.bound.json"}
    assert bounds["bounded_number.bound.json"] == CountBound(tokens=300, error=0, kept=7, certain=7)
    short = bounds["short_number.bound.json"]
    assert short.tokens == 300
    assert 0 < short.error <= 300 // 4
    counts = Counter(row["number"] for row in _rows())
    for token in map(int, (assets / "short_number").read_text().split()):
        assert counts[token] > 0
