"""Transform's outputs against naive references in numpy and plain Python. One analysis serves all tests."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tfx_bsl.tfxio import tensor_adapter

from features.columns import list_schema, to_lists
from features.layout import Layout
from features.preprocessing import make_preprocessing_fn, transformed_layout
from features.raw_inputs import arrow_to_dense, dense_to_raw
from features.schema import build_schema
from features.spec import Dataset
from pipeline.components.vocabularies import WriteVocabularies

SPEC: dict[str, Any] = {
    "name": "toy",
    "source": {"files": "log.csv"},
    "columns": {
        "user": "int64",
        "city": "string",
        "price": "float32",
        "when": "int64",
        "constant": "int64",
        "never": "string",
        "nothing": "float32",
        "tags": "list<string>",
        "seen": "list<int64>",
        "click": "int64",
    },
    "time": {"column": "when", "unit": "ms", "utc_offset_hours": 5.5},
    "features": {
        "user": {"kind": "id", "vocabulary": {"min_count": 3, "oov_buckets": 4}, "frequency_rank": True},
        "city": {"kind": "categorical", "vocabulary": {"top_k": 3, "counted_tokens": 50, "oov_buckets": 2}},
        "price": {"kind": "numeric", "missing_indicator": True},
        "price_log": {"kind": "numeric", "column": "price", "scaling": "log_zscore"},
        "price_rank": {"kind": "numeric", "column": "price", "scaling": "quantile"},
        "price_raw": {"kind": "numeric", "column": "price", "scaling": "none"},
        "price_bucket": {"kind": "bucketized", "column": "price", "buckets": 5},
        "when": "numeric",
        "when_bucket": {"kind": "bucketized", "column": "when", "boundaries": [1.65e12 + 4e8, 1.65e12 + 6e8]},
        "constant": "numeric",
        "never": "categorical",
        "nobody": {"kind": "id", "column": "never", "frequency_rank": True},
        "nothing": {"kind": "numeric", "scaling": "quantile"},
        "nothing_raw": {"kind": "numeric", "column": "nothing", "scaling": "none"},
        "nothing_bucket": {"kind": "bucketized", "column": "nothing", "buckets": 4},
        "tags": {"kind": "bag", "max_length": 2},
        "seen": {"kind": "sequence", "max_length": 3, "vocabulary_of": "user", "pooling": "din_attention"},
        "seen_first": {"kind": "sequence", "column": "seen", "max_length": 4, "keep": "first", "dim": 5},
        "user_hashed": {"kind": "id", "column": "user", "vocabulary": {"hash_buckets": 16}},
        "seen_hashed": {"kind": "sequence", "column": "seen", "max_length": 3, "vocabulary_of": "user_hashed"},
        "city_price": {"kind": "cross", "of": ["city", "price_bucket", "user"], "hash_buckets": 50, "dim": 2},
        "hour": "clock",
        "hour_of_week": {"kind": "clock", "part": "hour_of_week"},
        "weekday_city": {"kind": "cross", "of": ["weekday", "city"], "hash_buckets": 30},
        "weekday": {"kind": "clock", "part": "weekday", "dim": 2},
        "city_hashed": {"kind": "categorical", "column": "city", "vocabulary": {"hash_buckets": 3}},
    },
    "tasks": {"click": {"label": "click"}},
    "split": {"by": "random"},
}
DATASET = Dataset.model_validate(SPEC)
ROWS = 600


def _rows() -> dict[str, list[Any]]:
    random = np.random.default_rng(5)

    def some(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.1 else value for value in values]

    return {
        "user": some((random.zipf(1.5, ROWS) % 60 - 20).tolist()),
        "city": some([str(c) for c in random.choice(["Bonn", "Köln", "Ulm", "Trier", "a b"], ROWS)]),
        "price": some(np.round(random.lognormal(size=ROWS) - 1, 3).astype(np.float32).tolist()),
        "when": some((1_650_000_000_000 + random.integers(0, 10**9, ROWS)).tolist()),
        "constant": [1_650_000_000_000] * ROWS,
        "never": [None] * ROWS,
        "nothing": [None] * ROWS,
        "tags": some([[f"t{t}" for t in random.integers(0, 6, random.integers(0, 5))] for _ in range(ROWS)]),
        "seen": some([(random.integers(0, 40, random.integers(0, 7)) - 20).tolist() for _ in range(ROWS)]),
    }


DATA = _rows()
TYPES = {"int64": pa.int64(), "string": pa.string(), "float32": pa.float32()}


def _batch(data: dict[str, list[Any]]) -> pa.RecordBatch:
    columns = DATASET.all_columns()
    arrays = [
        pa.array(v, pa.list_(TYPES[columns[n].element_type]) if columns[n].is_list else TYPES[columns[n].element_type])
        for n, v in data.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, list(data))


class Toy:
    """The analysed toy log and its transformed rows."""

    def __init__(self, directory: str) -> None:
        self.output = tft.TFTransformOutput(directory)
        self.layer = self.output.transform_features_layer()
        self.layout: Layout = transformed_layout(DATASET, self.output)
        self.rows = self.apply(DATA)

    def apply(self, data: dict[str, list[Any]]) -> dict[str, npt.NDArray[Any]]:
        dense = arrow_to_dense(_batch(data), DATASET)
        raw = dense_to_raw(DATASET, {name: tf.constant(values) for name, values in dense.items()})
        return {name: tensor.numpy() for name, tensor in self.layer(raw).items()}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    directory = str(tmp_path_factory.mktemp("graph"))
    batches = [to_lists(_batch({n: v[a : a + 150] for n, v in DATA.items()})) for a in range(0, ROWS, 150)]
    names = DATASET.feature_columns()
    schema = pa.schema([list_schema(DATASET).field(name) for name in names])
    batches = [pa.RecordBatch.from_arrays([b.column(b.schema.names.index(n)) for n in names], names) for b in batches]
    group = build_schema(DATASET).tensor_representation_group[""].tensor_representation
    config = tensor_adapter.TensorAdapterConfig(schema, {name: group[name] for name in names})
    with (
        tft_beam.Context(temp_dir=f"{directory}/tmp", use_deep_copy_optimization=False),
        beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline,
    ):
        rows = pipeline | beam.Create(batches, reshuffle=False)
        transform_fn = (rows, config) | tft_beam.AnalyzeDataset(make_preprocessing_fn(DATASET, WriteVocabularies))
        _ = transform_fn | tft_beam.WriteTransformFn(f"{directory}/out")
    return Toy(f"{directory}/out")


def _naive_vocabulary(tokens: list[Any], min_count: int = 1, top_k: int | None = None) -> list[str]:
    """Most frequent first, ties in reverse alphabetical order of the token as text."""
    counts = Counter(str(token) for token in tokens)
    kept = [token for token, count in counts.items() if count >= min_count]
    return sorted(kept, key=lambda t: (counts[t], t.encode()), reverse=True)[:top_k]


VOCABULARIES = {
    "user": _naive_vocabulary([u for u in DATA["user"] if u is not None], min_count=3),
    "city": _naive_vocabulary([c for c in DATA["city"] if c is not None], top_k=3),
    "tags": _naive_vocabulary([t for row in DATA["tags"] for t in row or []]),
    "seen_first": _naive_vocabulary([t for row in DATA["seen"] for t in row or []]),
}
OOV = {"user": 4, "city": 2, "tags": 1, "seen_first": 1}


def _check_index(index: int, token: Any, table: str) -> None:
    vocabulary = VOCABULARIES[table]
    if token is None:
        assert index == 0
    elif str(token) in vocabulary:
        assert index == vocabulary.index(str(token)) + 1
    else:
        assert len(vocabulary) < index <= len(vocabulary) + OOV[table]


@pytest.mark.parametrize("table", VOCABULARIES)
def test_vocabulary_is_ordered_by_count_then_text(toy: Toy, table: str) -> None:
    found = [token.decode() for token in toy.output.vocabulary_by_name(table)]
    assert found == VOCABULARIES[table]


@pytest.mark.parametrize("feature", ["user", "city"])
def test_tokens_become_rows_of_their_table(toy: Toy, feature: str) -> None:
    assert toy.rows[feature].dtype == np.int64
    for index, token in zip(toy.rows[feature], DATA[feature], strict=True):
        _check_index(int(index), token, feature)


def test_unseen_tokens_share_the_buckets_evenly(toy: Toy) -> None:
    data = {name: [None] * 400 for name in DATA} | {"user": list(range(10**9, 10**9 + 400))}
    buckets = Counter(toy.apply(data)["user"].tolist())
    first = len(VOCABULARIES["user"]) + 1
    assert set(buckets) == set(range(first, first + 4))
    assert min(buckets.values()) > 60


@pytest.mark.parametrize(
    ("feature", "column", "table", "length", "keep"),
    [
        ("tags", "tags", "tags", 2, "first"),
        ("seen", "seen", "user", 3, "last"),
        ("seen_first", "seen", "seen_first", 4, "first"),
    ],
)
def test_lists_are_cut_and_padded(toy: Toy, feature: str, column: str, table: str, length: int, keep: str) -> None:
    assert toy.rows[feature].shape == (ROWS, length)
    for indices, tokens in zip(toy.rows[feature], DATA[column], strict=True):
        kept = (tokens or [])[-length:] if keep == "last" else (tokens or [])[:length]
        padded = kept + [None] * (length - len(kept))
        for index, token in zip(indices, padded, strict=True):
            _check_index(int(index), token, table)


def _present(column: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values as float64 where present, and where that is."""
    present = np.array([v is not None for v in DATA[column]])
    return np.array([v for v in DATA[column] if v is not None], np.float64), present


@pytest.mark.parametrize(("feature", "column"), [("price", "price"), ("when", "when")])
def test_zscore(toy: Toy, feature: str, column: str) -> None:
    values, present = _present(column)
    np.testing.assert_allclose(toy.rows[feature][present], (values - values.mean()) / values.std(), atol=2e-5)
    assert (toy.rows[feature][~present] == 0).all()
    assert toy.rows[feature].dtype == np.float32


def test_log_zscore(toy: Toy) -> None:
    values, present = _present("price")
    logs = np.sign(values) * np.log1p(np.abs(values))
    np.testing.assert_allclose(toy.rows["price_log"][present], (logs - logs.mean()) / logs.std(), atol=2e-5)
    assert (toy.rows["price_log"][~present] == 0).all()


def test_unscaled_takes_the_mean_for_missing(toy: Toy) -> None:
    values, present = _present("price")
    np.testing.assert_allclose(toy.rows["price_raw"][present], values, rtol=1e-6)
    np.testing.assert_allclose(toy.rows["price_raw"][~present], values.mean(), rtol=1e-5)


def test_quantile_is_the_position_among_training_values(toy: Toy) -> None:
    values, present = _present("price")
    position = np.array([(values < v).mean() / 2 + (values <= v).mean() / 2 for v in values])
    np.testing.assert_allclose(toy.rows["price_rank"][present], position, atol=0.01)
    assert (toy.rows["price_rank"][~present] == 0.5).all()


def test_missing_indicator(toy: Toy) -> None:
    _, present = _present("price")
    np.testing.assert_array_equal(toy.rows["price_missing"], (~present).astype(np.float32))


def _hashed(value: object, buckets: int) -> int:
    """TensorFlow's own hash of the value's text."""
    return 0 if value is None else 1 + int(tf.strings.to_hash_bucket_fast(str(value), buckets))


def test_hashed_tokens_need_no_vocabulary(toy: Toy) -> None:
    assert toy.rows["user_hashed"].tolist() == [_hashed(value, 16) for value in DATA["user"]]
    assert toy.rows["city_hashed"].tolist() == [_hashed(value, 3) for value in DATA["city"]]
    lists = [[_hashed(value, 16) for value in (row or [])[-3:]] for row in DATA["seen"]]
    assert toy.rows["seen_hashed"].tolist() == [row + [0] * (3 - len(row)) for row in lists]
    assert (toy.layout.table("user_hashed").rows, toy.layout.table("city_hashed").rows) == (17, 4)
    assert set(toy.rows["user_hashed"]) == set(range(17))  # of some 40 users and none
    new = toy.apply(DATA | {"user": [10**12 + row for row in range(ROWS)]})["user_hashed"]
    assert new.tolist() == [_hashed(10**12 + row, 16) for row in range(ROWS)]


def test_a_cross_is_the_hash_of_all_its_parts(toy: Toy) -> None:
    buckets = [None if bucket == 0 else bucket for bucket in toy.rows["price_bucket"].tolist()]
    parts = list(zip(DATA["city"], buckets, DATA["user"], strict=True))
    expected = [None if None in row else "\x1f".join(map(str, row)) for row in parts]
    assert toy.rows["city_price"].tolist() == [_hashed(text, 50) for text in expected]
    assert 0 in toy.rows["city_price"]
    assert (toy.layout.table("city_price").rows, toy.layout.table("city_price").dim) == (51, 2)


def test_clocks_read_as_pythons_own(toy: Toy) -> None:
    """A week around the epoch and now, in Delhi's time."""
    zone = datetime.timezone(datetime.timedelta(hours=5.5))
    whens = [-86_400_000 * day + 1_800_000 * step for day in (-3, 5) for step in range(ROWS // 4)]
    whens += [1_790_000_000_000 + 3_333_333 * step for step in range(ROWS - len(whens))]
    data = [None if step % 10 == 9 else when for step, when in enumerate(whens)]
    rows = toy.apply(DATA | {"when": data})
    times = [None if when is None else datetime.datetime.fromtimestamp(when / 1000, zone) for when in data]
    assert rows["hour"].tolist() == [0 if time is None else 1 + time.hour for time in times]
    assert rows["weekday"].tolist() == [0 if time is None else 1 + time.weekday() for time in times]
    both = [0 if time is None else 1 + 24 * time.weekday() + time.hour for time in times]
    assert rows["hour_of_week"].tolist() == both
    assert set(rows["weekday"]) == set(range(8))
    texts = [
        None if None in row else f"{row[0]}\x1f{row[1]}"
        for row in zip([time and 1 + time.weekday() for time in times], DATA["city"], strict=True)
    ]
    assert rows["weekday_city"].tolist() == [_hashed(text, 30) for text in texts]


def test_frequency_rank(toy: Toy) -> None:
    counts = Counter(user for user in DATA["user"] if user is not None)
    kept = {user: count for user, count in counts.items() if count >= 3}
    order = [int(token) for token in toy.output.vocabulary_by_name("user")]
    assert [kept[user] for user in order] == sorted(kept.values(), reverse=True)
    ranks = {user: 1 - math.log(rank) / math.log(1 + len(kept)) for rank, user in enumerate(order, 1)}
    expected = [ranks.get(user, 0.0) for user in DATA["user"]]
    np.testing.assert_allclose(toy.rows["user_frequency_rank"], expected, atol=1e-6)
    assert max(expected) == 1
    assert 0 < min(ranks.values()) < 0.02
    new = toy.apply({name: [values[0]] for name, values in DATA.items()} | {"user": [10**9]})
    assert new["user_frequency_rank"].tolist() == [0]


def test_frequency_rank_of_an_empty_vocabulary(toy: Toy) -> None:
    assert (toy.rows["nobody_frequency_rank"] == 0).all()
    new = toy.apply({name: [values[0]] for name, values in DATA.items()} | {"never": ["seen now"]})
    assert new["nobody_frequency_rank"].tolist() == [0]


def test_explicit_buckets(toy: Toy) -> None:
    values, present = _present("when")
    expected = 1 + (values >= 1.65e12 + 4e8).astype(int) + (values >= 1.65e12 + 6e8).astype(int)
    np.testing.assert_array_equal(toy.rows["when_bucket"][present], expected)
    assert (toy.rows["when_bucket"][~present] == 0).all()


def test_quantile_buckets_are_ordered_and_even(toy: Toy) -> None:
    values, present = _present("price")
    buckets = toy.rows["price_bucket"][present]
    assert (toy.rows["price_bucket"][~present] == 0).all()
    assert (np.diff(buckets[np.argsort(values, kind="stable")]) >= 0).all()
    shares = np.bincount(buckets, minlength=6)[1:] / len(values)
    np.testing.assert_allclose(shares, 0.2, atol=0.02)


def test_a_constant_column_is_zero(toy: Toy) -> None:
    assert (toy.rows["constant"] == 0).all()


def test_a_column_without_any_value(toy: Toy) -> None:
    assert (toy.rows["never"] == 0).all()
    assert (toy.rows["nothing"] == 0.5).all()
    assert (toy.rows["nothing_raw"] == 0).all()
    assert (toy.rows["nothing_bucket"] == 0).all()
    later = toy.apply({name: [None, None] for name in DATA} | {"never": ["x", None], "nothing": [3.0, None]})
    assert 0 < later["never"][0] < toy.layout.table("never").rows
    assert later["never"][1] == 0
    assert np.isfinite(later["nothing"]).all()


def test_infinite_numbers_count_as_missing(toy: Toy) -> None:
    data = {name: [None] * 3 for name in DATA} | {"price": [float("inf"), float("-inf"), None]}
    rows = toy.apply(data)
    for feature in ("price", "price_missing", "price_bucket", "price_rank"):
        assert (rows[feature] == rows[feature][2]).all()


def test_extreme_numbers_stay_finite(toy: Toy) -> None:
    data: dict[str, list[Any]] = {name: [None] * 4 for name in DATA}
    data |= {"price": [3.4e38, -3.4e38, 1e-38, 0.0], "when": [2**63 - 1, -(2**63) + 1, 0, -1]}
    rows = toy.apply(data)
    for name, values in rows.items():
        assert np.isfinite(values).all(), name


def test_layout_agrees_with_the_columns(toy: Toy) -> None:
    assert {i.name for i in toy.layout.inputs} == set(toy.rows)
    assert [i.name for i in toy.layout.inputs][:5] == ["user", "user_frequency_rank", "city", "price", "price_missing"]
    for feature in toy.layout.inputs:
        values = toy.rows[feature.name]
        if feature.kind == "number":
            assert values.dtype == np.float32
            assert values.shape == (ROWS,)
            continue
        assert values.shape == ((ROWS,) if feature.kind == "index" else (ROWS, feature.length))
        assert feature.table is not None
        assert 0 <= values.min() <= values.max() < toy.layout.table(feature.table).rows


def test_layout_knows_sequences_and_what_they_are_compared_with(toy: Toy) -> None:
    assert [i.name for i in toy.layout.sequences()] == ["seen", "seen_first", "seen_hashed"]
    lists = {i.name: (i.pooling, i.target, i.ordered, i.keep) for i in toy.layout.inputs if i.kind == "indices"}
    assert lists == {
        "tags": ("mean", None, False, "last"),
        "seen": ("din_attention", "user", True, "last"),
        "seen_first": ("mean", None, True, "first"),
        "seen_hashed": ("mean", None, True, "last"),
    }


def test_table_sizes(toy: Toy) -> None:
    rows = {table.name: table.rows for table in toy.layout.tables}
    sizes = {name: 1 + len(vocabulary) + OOV[name] for name, vocabulary in VOCABULARIES.items()}
    # An empty vocabulary holds one token of TFT's own, so that its file is not empty.
    sizes |= {"price_bucket": 6, "when_bucket": 4, "nothing_bucket": 5, "never": 3, "nobody": 10}
    assert rows == sizes | {"user_hashed": 17, "city_hashed": 4, "city_price": 51} | {
        "hour": 25,
        "weekday": 8,
        "hour_of_week": 169,
        "weekday_city": 31,
    }
    assert toy.layout.table("seen_first").dim == 5
    boundaries = {table.name: table.boundaries for table in toy.layout.tables if table.boundaries is not None}
    assert boundaries == {"when_bucket": (1.65e12 + 4e8, 1.65e12 + 6e8)}
    scales = {i.name: i.scale for i in toy.layout.inputs if i.name.startswith("price_") and i.kind == "number"}
    assert scales == {"price_missing": "flag", "price_log": "log_standard", "price_rank": "unit", "price_raw": "raw"}
    assert next(i for i in toy.layout.inputs if i.name == "seen").table == "user"
    assert Layout.model_validate_json(toy.layout.model_dump_json()) == toy.layout


def test_a_number_falls_into_the_bucket_of_its_boundaries() -> None:
    spec = {
        "name": "tiny",
        "source": {"files": "log.csv"},
        "columns": {"when": "int64", "click": "int64"},
        "features": {"when": {"kind": "bucketized", "boundaries": [1.0, 2.0]}},
        "tasks": {"click": {"label": "click"}},
        "split": {"by": "random"},
    }
    sparse = tf.SparseTensor([[0, 0], [2, 0]], tf.constant([1, 5], tf.int64), [3, 1])
    outputs = make_preprocessing_fn(Dataset.model_validate(spec), WriteVocabularies)({"when": sparse})
    assert outputs["when"].numpy().tolist() == [2, 0, 3]


def test_two_values_in_a_scalar_column_fail(toy: Toy) -> None:
    raw = dense_to_raw(
        DATASET,
        {n: tf.constant(v) for n, v in arrow_to_dense(_batch({n: v[:2] for n, v in DATA.items()}), DATASET).items()},
    )
    raw["user"] = tf.SparseTensor([[0, 0], [0, 1]], tf.constant([1, 2], tf.int64), [2, 2])
    with pytest.raises(tf.errors.InvalidArgumentError):
        toy.layer(raw)
