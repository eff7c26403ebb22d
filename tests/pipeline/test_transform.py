"""The transform stage as TFX runs it: files, order, layout, and what the Trainer opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_transform as tft
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from features.errors import DataError
from features.layout import Layout
from features.logs.token_counts import CountBound
from features.spec import SPLITS
from pipeline.components.transform import (
    SpecTransform,
    Transformer,
    TransformFile,
    read_batches,
    read_bounds,
    transform,
)
from pipeline.components.validate import SpecSchema
from tests.pipeline.examples import DATASET, ROWS, make, make_examples, make_tables, plain_rows

DATA: dict[str, dict[str, list[Any]]] = {split: plain_rows(split) for split in SPLITS}


class Run:
    """One run of the component."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.examples = make_examples(directory / "examples", DATA)
        self.graph = make(standard_artifacts.TransformGraph, directory / "graph")
        self.transformed = make(standard_artifacts.Examples, directory / "transformed")
        schema = make(standard_artifacts.Schema, directory / "schema")
        SpecSchema.test_call(dataset=DATASET.model_dump_json(), schema=schema)
        SpecTransform.test_call(
            dataset=DATASET.model_dump_json(),
            examples=self.examples,
            schema=schema,
            tables=make_tables(directory / "tables"),
            transform_graph=self.graph,
            transformed_examples=self.transformed,
            beam_pipeline=beam.Pipeline(argv=["--runner=FnApiRunner"]),
        )

    def table(self, split: str) -> pa.Table:
        folder = self.directory / "transformed" / f"Split-{split}"
        return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*"))])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("transform"))


def test_one_file_becomes_one_file_of_that_name(run: Run) -> None:
    before = sorted(p.relative_to(run.directory / "examples") for p in (run.directory / "examples").rglob("*.parquet"))
    after = sorted(p.relative_to(run.directory / "transformed") for p in (run.directory / "transformed").rglob("*.*"))
    assert before == after
    assert run.transformed.split_names == run.examples.split_names
    assert artifact_utils.get_split_uri([run.transformed], "test").endswith("Split-test")
    assert examples_utils.get_payload_format(run.transformed) == example_gen_pb2.PayloadFormat.FORMAT_PARQUET


@pytest.mark.parametrize("split", SPLITS)
def test_rows_keep_their_order_with_labels_masks_and_ids(run: Run, split: str) -> None:
    table = run.table(split)
    for name in ("label_click", "mask_click", "feedrank_row_id"):
        assert table[name].to_pylist() == DATA[split][name]


def test_columns_are_plain(run: Run) -> None:
    assert dict(zip(run.table("test").schema.names, run.table("test").schema.types, strict=True)) == {
        "user": pa.int64(),
        "tab": pa.int64(),
        "city": pa.int64(),
        "price": pa.float32(),
        "price_missing": pa.float32(),
        "seen": pa.list_(pa.int64()),
        "label_click": pa.float32(),
        "mask_click": pa.float32(),
        "feedrank_row_id": pa.int64(),
    }


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_scaled_with_the_moments_of_train(run: Run, split: str) -> None:
    train = np.array([price for price in DATA["train"]["price"] if price is not None])
    expected = [0.0 if p is None else (p - train.mean()) / train.std() for p in DATA[split]["price"]]
    np.testing.assert_allclose(run.table(split)["price"].to_numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("split", SPLITS)
def test_sequences_use_the_training_vocabulary_of_their_owner(run: Run, split: str) -> None:
    counts = Counter(DATA["train"]["user"])
    kept = sorted((u for u, n in counts.items() if n >= 2), key=lambda u: (counts[u], str(u)), reverse=True)
    for found, seen in zip(run.table(split)["seen"].to_pylist(), DATA[split]["seen"], strict=True):
        last = seen[-3:]
        assert len(found) == 3
        assert found[len(last) :] == [0] * (3 - len(last))
        for index, user in zip(found, last, strict=False):
            assert index == kept.index(user) + 1 if user in kept else len(kept) < index <= len(kept) + 8


def test_the_graph_is_a_transform_output_with_a_layout_and_tables(run: Run) -> None:
    output = tft.TFTransformOutput(run.graph.uri)
    assert set(output.raw_feature_spec()) >= set(DATASET.feature_columns())
    assert set(output.transformed_feature_spec()) == {"user", "tab", "city", "price", "price_missing", "seen"}
    layout = Layout.model_validate_json((run.directory / "graph" / "feedrank" / "layout.json").read_text())
    assert [i.name for i in layout.inputs] == ["user", "tab", "city", "price", "price_missing", "seen"]
    assert layout.table("user").rows == 1 + output.vocabulary_size_by_name("user") + 8
    assert pq.read_table(run.directory / "graph" / "feedrank" / "tables" / "users.parquet").num_rows == 2
    names = {path.name for path in (run.directory / "graph").iterdir()}
    assert names == {"feedrank", "metadata", "transform_fn", "transformed_metadata"}


def test_a_transformer_applies_the_graph_to_any_batch(run: Run) -> None:
    transformer = Transformer(DATASET, run.graph.uri)
    path = sorted((run.directory / "examples" / "Split-test").glob("*"))[0]
    batches = [transformer(batch) for batch in read_batches(str(path), transformer.input_schema)]
    assert [batch.num_rows for batch in batches] == [90, 90, 20]
    assert pa.Table.from_batches(batches).equals(run.table("test").slice(0, ROWS // 2).combine_chunks())


def test_large_row_groups_are_cut_into_batches_of_the_same_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = Transformer(DATASET, run.graph.uri)
    path = str(sorted((run.directory / "examples" / "Split-test").glob("*"))[0])
    whole = list(read_batches(path, transformer.input_schema))
    monkeypatch.setattr("pipeline.components.transform._BATCH_BYTES", whole[0].nbytes // 3)
    parts = list(read_batches(path, transformer.input_schema))
    assert len(parts) > 3 * len(whole) - 3
    assert max(part.num_rows for part in parts) <= 30
    assert all(column.offset == 0 for part in parts for column in part.columns)
    assert pa.Table.from_batches(parts).equals(pa.Table.from_batches(whole))
    made = pa.Table.from_batches([transformer(part) for part in parts])
    assert made.equals(run.table("test").slice(0, ROWS // 2).combine_chunks())


def test_attempts_at_one_file_do_not_meet(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(next((run.directory / "examples" / "Split-test").glob("*.parquet")))
    target = tmp_path / "Split-test" / "data.parquet"
    target.parent.mkdir()
    graph = str(run.directory / "graph")
    real = read_batches

    def overtaken(path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        monkeypatch.setattr("pipeline.components.transform.read_batches", real)
        yield from real(path, schema)
        TransformFile(DATASET, graph).process((source, str(target)), None)
        assert list(target.parent.iterdir()) == [target]

    monkeypatch.setattr("pipeline.components.transform.read_batches", overtaken)
    TransformFile(DATASET, graph).process((source, str(target)), None)
    assert list(target.parent.iterdir()) == [target]
    assert pq.read_table(target) == pq.read_table(run.directory / "transformed" / "Split-test" / Path(source).name)
    assert not list((run.directory / "graph" / "temporary").iterdir())


def test_a_missing_label_value_names_its_column(run: Run) -> None:
    transformer = Transformer(DATASET, run.graph.uri)
    path = sorted((run.directory / "examples" / "Split-test").glob("*"))[0]
    batch = next(read_batches(str(path), transformer.input_schema))
    arrays = batch.columns
    arrays[batch.schema.names.index("label_click")] = pa.array([None] * 90, pa.list_(pa.float32()))
    with pytest.raises(DataError, match="'label_click' needs one value in every row"):
        transformer(pa.RecordBatch.from_arrays(arrays, schema=batch.schema))


def test_a_file_without_a_column_is_named(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "odd.parquet")
    pq.write_table(pa.table({"user": pa.array([[1]])}), path)
    with pytest.raises(DataError, match=r"odd.parquet lacks column .*city.*; it has: user"):
        next(read_batches(path, Transformer(DATASET, run.graph.uri).input_schema))


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Parquet file in split validation"):
        transform(
            DATASET,
            {"train": ["a.parquet"], "validation": []},
            {"train": str(tmp_path), "validation": str(tmp_path)},
            str(tmp_path),
            beam.Pipeline(argv=["--runner=FnApiRunner"]),
        )


def test_bounds_are_told_by_feature(run: Run, tmp_path: Path) -> None:
    assert read_bounds(run.graph.uri) == {}
    assets = tmp_path / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    for name, error in (("user", 0), ("item", 2)):
        bound = CountBound(tokens=5000, error=error, kept=40, certain=30)
        (assets / name).write_text("1\n")
        (assets / f"{name}.bound.json").write_text(bound.model_dump_json())
    assert {name: bound.told(name) for name, bound in read_bounds(str(tmp_path)).items()} == {
        "user": "user: 5,000 values counted exactly, 40 tokens kept",
        "item": "item: counts of 5,000 values are at most 2 too low; 30 of 40 kept tokens are certainly among the most frequent",
    }
