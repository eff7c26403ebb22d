"""The transform stage: TFT analyses the training split, then every split is transformed, one file to one file.

Stock Transform is not used: it forces an optimisation that breaks on the pinned Beam, its one read for analysis and
transformation holds all rows in memory, and its output is a copy of the rows in TFRecords.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils
from tfx_bsl.tfxio import tensor_adapter

from features import folders
from features.columns import list_schema
from features.errors import DataError
from features.logs.token_counts import CountBound
from features.preprocessing import bound_file, make_preprocessing_fn, transformed_layout
from features.progress import report
from features.schema import answer_columns, build_schema
from features.spec import POSITION, ROW_ID, SPLITS, Dataset
from pipeline.artifacts import SideTables
from pipeline.components.annotations import BeamPipeline, InputArtifact, OutputArtifact, Parameter, component
from pipeline.components.vocabularies import WriteVocabularies

STAGE = "transform"
LAYOUT_FILE = os.path.join("feedrank", "layout.json")
TABLES_DIRECTORY = os.path.join("feedrank", "tables")
VECTORS_DIRECTORY = os.path.join("feedrank", "vectors")
"""Pretrained vectors, for Transform and the training."""
COVERAGE_FILE = os.path.join("feedrank", "coverage.json")
"""How many rows of each split have an id without a pretrained vector."""
_GRAPH = (tft.TFTransformOutput.TRANSFORM_FN_DIR, tft.TFTransformOutput.TRANSFORMED_METADATA_DIR)
"""What `tft.TFTransformOutput` reads."""
_ROWS_A_GROUP = 65_536
"""Of the transformed files."""
_BATCH_BYTES = 64 * 2**20
"""Of columns as lists; the graph's tensors take some ten times as much."""
Coverage = dict[str, dict[str, dict[str, int]]]
"""Feature -> split -> ``rows``, ``missing`` (no id) and ``unknown`` (an id without a vector)."""


@component(use_beam=True)
def SpecTransform(  # noqa: PLR0913, PLR0917 - a component's arguments are its arrows
    dataset: Parameter[str],
    examples: InputArtifact[standard_artifacts.Examples],
    schema: InputArtifact[standard_artifacts.Schema],
    tables: InputArtifact[SideTables],
    transform_graph: OutputArtifact[standard_artifacts.TransformGraph],
    transformed_examples: OutputArtifact[standard_artifacts.Examples],
    beam_pipeline: BeamPipeline = None,
) -> None:
    """Learns vocabularies, moments and quantiles of the training split and applies them to all splits.

    Args:
        dataset: the `Dataset` as JSON.
        examples: ingest's examples: Parquet files whose columns are all lists.
        schema: the curated schema; kept with the transform graph.
        tables: side tables, copied into the transform graph so that the exported model can carry them.
        transform_graph: a ``tft.TFTransformOutput`` with ``feedrank/layout.json`` and ``feedrank/tables/``.
        transformed_examples: the same splits and file names with plain columns.
        beam_pipeline: made by TFX from the pipeline's Beam arguments.

    Raises:
        DataError: if a split has no files or a file lacks a column.
    """
    spec = Dataset.model_validate_json(dataset)
    splits = artifact_utils.decode_split_names(examples.split_names)
    files = {
        split: _glob(os.path.join(artifact_utils.get_split_uri([examples], split), "*.parquet")) for split in splits
    }
    outputs = {split: os.path.join(transformed_examples.uri, f"Split-{split}") for split in splits}
    vectors = os.path.join(tables.uri, os.path.basename(VECTORS_DIRECTORY))
    _copy_files(os.path.join(vectors, "*.parquet"), os.path.join(transform_graph.uri, VECTORS_DIRECTORY))
    transform(spec, files, outputs, transform_graph.uri, beam_pipeline)
    _copy_files(os.path.join(tables.uri, "*.parquet"), os.path.join(transform_graph.uri, TABLES_DIRECTORY))
    _copy_files(os.path.join(schema.uri, "*.pbtxt"), os.path.join(transform_graph.uri, "feedrank"))
    transformed_examples.split_names = examples.split_names
    examples_utils.set_payload_format(transformed_examples, examples_utils.get_payload_format(examples))


def transform(
    dataset: Dataset,
    files: Mapping[str, list[str]],
    outputs: Mapping[str, str],
    graph_directory: str,
    pipeline: beam.Pipeline,
) -> None:
    """Analyses ``files["train"]`` and writes every file of every split, transformed, under the same name.

    Args:
        dataset: the spec.
        files: split to its Parquet files (list-typed columns).
        outputs: split to the folder that gets its transformed files.
        graph_directory: gets the ``tft.TFTransformOutput`` and the layout.
        pipeline: empty; it is run here.

    Raises:
        DataError: if a split has no files or a file lacks a column.
    """
    if empty := [split for split, paths in files.items() if not paths] or [s for s in SPLITS[:1] if s not in files]:
        raise DataError(
            f"nothing to transform: no Parquet file in split {', '.join(empty)}; splits: {', '.join(files)}"
        )
    pairs = [
        (path, os.path.join(outputs[split], os.path.basename(path))) for split, paths in files.items() for path in paths
    ]
    for directory in outputs.values():
        fileio.makedirs(directory)
    report(STAGE, note="analyse")
    try:
        _run(dataset, files[SPLITS[0]], pairs, graph_directory, pipeline)
        report(STAGE, note="")  # workers that are other processes have told nothing here
    finally:
        # Of attempts that failed, or that another attempt overtook.
        if fileio.exists(temporary := _temporary(graph_directory)):
            fileio.rmtree(temporary)
    _write_description(dataset, graph_directory)
    bounds = [bound.told(name) for name, bound in read_bounds(graph_directory).items()]
    for told in (told_coverage(read_coverage(graph_directory)), *bounds):
        if told:
            report(STAGE, said=told)


def read_bounds(graph_directory: str) -> dict[str, CountBound]:
    """By feature, how far its vocabulary can be trusted; of those counted in bounded memory alone."""
    files = _glob(os.path.join(graph_directory, tft.TFTransformOutput.TRANSFORM_FN_DIR, "assets", bound_file("*")))
    return {
        os.path.basename(file).removesuffix(bound_file("")): CountBound.model_validate_json(
            io_utils.read_string_file(file)
        )
        for file in files
    }


def read_coverage(graph_directory: str) -> Coverage:
    """Rows with, and without, a pretrained vector; empty where no feature has such."""
    path = os.path.join(graph_directory, COVERAGE_FILE)
    found: Coverage = json.loads(io_utils.read_string_file(path)) if fileio.exists(path) else {}
    return found


def add_coverage(parts: Iterable[Coverage]) -> Coverage:
    """The sum, of which the parts may be sums, too."""
    total: Coverage = {}
    for part in parts:
        for feature, splits in part.items():
            for split, counts in splits.items():
                known = total.setdefault(feature, {}).setdefault(split, dict.fromkeys(counts, 0))
                for what, rows in counts.items():
                    known[what] += rows
    return total


def told_coverage(coverage: Coverage) -> str:
    """What the log lacks, in words; empty where no feature has pretrained vectors."""
    texts = []
    for feature, splits in coverage.items():
        rows, unknown = (sum(counts[what] for counts in splits.values()) for what in ("rows", "unknown"))
        texts.append(f"{feature}: {unknown:,} of {rows:,} rows have an id without a vector")
    return "; ".join(texts)


def _run(
    dataset: Dataset,
    train: list[str],
    pairs: list[tuple[str, str]],
    graph_directory: str,
    pipeline: beam.Pipeline,
) -> None:
    vectors = os.path.join(graph_directory, VECTORS_DIRECTORY)
    # Analysis and transformation each read for themselves: a shared read would keep all rows between the two.
    with pipeline, tft_beam.Context(temp_dir=_temporary(graph_directory), use_deep_copy_optimization=False):
        config = tensor_adapter.TensorAdapterConfig(raw_arrow_schema(dataset), _representations(dataset))
        rows = (
            pipeline
            | "TrainFiles" >> beam.Create(train, reshuffle=len(train) > 1)
            | "ReadTrain" >> beam.ParDo(_ReadRaw(dataset)).with_output_types(pa.RecordBatch)
        )
        transform_fn = (rows, config) | "Analyze" >> tft_beam.AnalyzeDataset(
            make_preprocessing_fn(dataset, lambda rules: WriteVocabularies(rules, vectors))
        )
        published = transform_fn | "WriteGraph" >> tft_beam.WriteTransformFn(graph_directory)
        transformed = (
            pipeline
            | "AllFiles" >> beam.Create(pairs, reshuffle=len(pairs) > 1)
            | "Transform" >> beam.ParDo(TransformFile(dataset, graph_directory), beam.pvalue.AsSingleton(published))
        )
        if dataset.pretrained():
            _ = (
                transformed
                | "AddCoverage" >> beam.CombineGlobally(add_coverage)
                | "CoverageAsJson" >> beam.Map(json.dumps)
                | "WriteCoverage"
                >> beam.io.WriteToText(os.path.join(graph_directory, COVERAGE_FILE), shard_name_template="")
            )


def _temporary(graph_directory: str) -> str:
    """Where unfinished files lie: not in a split's folder, of which the Trainer reads every file."""
    return os.path.join(graph_directory, "temporary")


def raw_arrow_schema(dataset: Dataset) -> pa.Schema:
    """The columns that Transform reads, each a list: what `preprocessing_fn` gets as sparse tensors."""
    everything = list_schema(dataset)
    return pa.schema([everything.field(name) for name in dataset.transform_columns()])


def _representations(dataset: Dataset) -> tensor_adapter.TensorRepresentations:
    group = build_schema(dataset).tensor_representation_group[""].tensor_representation
    return {name: group[name] for name in dataset.transform_columns()}


def _write_description(dataset: Dataset, graph_directory: str) -> None:
    with folders.local_copy(graph_directory, _GRAPH) as here:
        layout = transformed_layout(dataset, tft.TFTransformOutput(here))
    io_utils.write_string_file(os.path.join(graph_directory, LAYOUT_FILE), layout.model_dump_json(indent=2))
    raw = os.path.join(graph_directory, tft.TFTransformOutput.RAW_METADATA_DIR)
    fileio.makedirs(raw)
    io_utils.write_pbtxt_file(os.path.join(raw, "schema.pbtxt"), build_schema(dataset))


def _glob(pattern: str) -> list[str]:
    return sorted(str(path) for path in fileio.glob(pattern))


def _copy_files(pattern: str, directory: str) -> None:
    fileio.makedirs(directory)
    for path in _glob(pattern):
        fileio.copy(path, os.path.join(directory, os.path.basename(path)), overwrite=True)


# -- in the workers -------------------------------------------------------------------------------------------


def read_batches(path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Record batches with the columns of `schema`, none of two row groups, unsliced as TFX's tensor adapter needs them.

    A batch has at most `_BATCH_BYTES`: of a thousand columns or long lists, tensors of a whole row group would take gigabytes.

    Raises:
        DataError: if the file lacks a column.
    """
    with folders.open_input(path) as stream:
        reader = pq.ParquetFile(stream)
        if absent := [name for name in schema.names if name not in reader.schema_arrow.names]:
            raise DataError(f"{path} lacks column {', '.join(absent)}; it has: {', '.join(reader.schema_arrow.names)}")
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group, columns=schema.names).select(schema.names).cast(schema)
            for whole in table.combine_chunks().to_batches():
                yield from _of_at_most(_BATCH_BYTES, whole)


def _of_at_most(size: int, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = max(1, batch.num_rows * size // max(1, batch.nbytes))
    if rows >= batch.num_rows:
        yield batch
        return
    for start in range(0, batch.num_rows, rows):
        # Copied: a slice has an offset.
        yield batch.take(pa.array(np.arange(start, min(start + rows, batch.num_rows))))


class _ReadRaw(beam.DoFn):
    """A file name to the record batches that TFT analyses."""

    def __init__(self, dataset: Dataset) -> None:
        self._schema = raw_arrow_schema(dataset)

    def process(self, path: str) -> Iterator[pa.RecordBatch]:
        yield from read_batches(path, self._schema)


class TransformFile(beam.DoFn):
    """A pair of file names, in and out: streams row groups through the transform graph. The graph is loaded once."""

    def __init__(self, dataset: Dataset, graph_directory: str) -> None:
        self._dataset = dataset
        self._graph_directory = graph_directory
        self._transformer: Transformer | None = None
        self._rows = 0

    def process(self, pair: tuple[str, str], published: object) -> list[Coverage]:
        """Writes the second file of `pair` from the first; replaces it if another attempt wrote it. Returns what lacks a vector."""
        del published  # only says that the graph is there
        if self._transformer is None:
            # The graph's files are read again later: the copy stays as long as the worker does.
            self._copy = contextlib.ExitStack()
            here = self._copy.enter_context(folders.local_copy(self._graph_directory, _GRAPH))
            self._transformer = Transformer(self._dataset, here)
        source, target = pair
        # Each attempt has its own file, for a runner may start a second one while the first still writes.
        temporary = os.path.join(_temporary(self._graph_directory), f"{uuid.uuid4().hex}.parquet")
        folders.make(os.path.dirname(temporary))
        schema = self._transformer.output_schema
        split = os.path.basename(os.path.dirname(target)).removeprefix("Split-")
        coverage: Coverage = {}
        with folders.open_output(temporary) as stream, pq.ParquetWriter(stream, schema) as writer:
            waiting: list[pa.RecordBatch] = []
            for batch in read_batches(source, self._transformer.input_schema):
                made = self._transformer(batch)
                waiting.append(made)
                if sum(part.num_rows for part in waiting) >= _ROWS_A_GROUP:
                    writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=_ROWS_A_GROUP)
                    waiting = []
                coverage = add_coverage([coverage, self._transformer.coverage(made, split)])
                self._rows += batch.num_rows
                report(STAGE, rows=self._rows)
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=_ROWS_A_GROUP)
        folders.replace(temporary, target)
        return [coverage]

    def teardown(self) -> None:
        """Lets the copy go."""
        if self._transformer is not None:
            self._copy.close()


class Transformer:
    """Applies a transform graph to list-typed record batches.

    Args:
        dataset: the spec.
        graph_directory: a ``tft.TFTransformOutput`` of this dataset.
    """

    def __init__(self, dataset: Dataset, graph_directory: str) -> None:
        self._raw_schema = raw_arrow_schema(dataset)
        self._adapter = tensor_adapter.TensorAdapter(
            tensor_adapter.TensorAdapterConfig(self._raw_schema, _representations(dataset))
        )
        output = tft.TFTransformOutput(graph_directory)
        # Kept: the layer holds the vocabulary tables.
        self._layer = output.transform_features_layer()
        self._function = tf.function(self._layer.call, input_signature=[self._adapter.TypeSpecs()], autograph=False)
        layout = transformed_layout(dataset, output)
        self._vectors = {name: layout.table(name).rows for name in dataset.pretrained()}
        self._answers = pa.schema([(name, pa.list_(pa.float32())) for name in answer_columns(dataset)])
        self._answers = self._answers.append(pa.field(ROW_ID, pa.list_(pa.int64())))
        kinds = {"index": pa.int64(), "indices": pa.list_(pa.int64()), "number": pa.float32()}
        self.output_schema = pa.schema(
            [(i.name, kinds[i.kind]) for i in layout.inputs]
            + ([(POSITION, pa.int64())] if layout.position else [])
            + [(f.name, f.type.value_type) for f in self._answers]
        )

    @property
    def input_schema(self) -> pa.Schema:
        """Columns that a batch must have: the raw features, labels, masks and the row's id, all lists."""
        return pa.schema([*self._raw_schema, *self._answers])

    def coverage(self, made: pa.RecordBatch, split: str) -> Coverage:
        """Of rows that were transformed: how many have no id, or one without a vector."""
        counts: Coverage = {}
        for name, rows in self._vectors.items():
            index = made.column(made.schema.names.index(name)).to_numpy()
            found = {"rows": len(index), "missing": int((index == 0).sum()), "unknown": int((index == rows - 1).sum())}
            counts[name] = {split: found}
        return counts

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Transforms a batch of `input_schema` to one of `output_schema`, row by row in the same order."""
        names = batch.schema.names
        raw = pa.RecordBatch.from_arrays(
            [batch.column(names.index(name)) for name in self._raw_schema.names], schema=self._raw_schema
        )
        tensors = self._function(self._adapter.ToBatchTensors(raw, produce_eager_tensors=True))
        arrays = [
            _plain(batch.column(names.index(field.name)), field)
            if field.name in self._answers.names
            else _from_tensor(tensors[field.name], field)
            for field in self.output_schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.output_schema)


def _from_tensor(tensor: tf.Tensor, field: pa.Field) -> pa.Array:
    values = tensor.numpy()
    if not pa.types.is_list(field.type):
        return pa.array(values, field.type)
    rows, length = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(length))
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


def _plain(array: pa.ListArray, field: pa.Field) -> pa.Array:
    """The one value of each row.

    Raises:
        DataError: if a row has none or several.
    """
    values = array.flatten()
    if len(values) != len(array) or array.null_count or values.null_count:
        raise DataError(
            f"column '{field.name}' needs one value in every row; got {len(values) - values.null_count} values "
            f"in {len(array)} rows"
        )
    return values
