"""Stock TFX on the same CSV files: its own components, in one process, by its own launcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx.orchestration.portable import launcher

from benchmarks.stages.log import IDS, LABELS, NUMBERS, WORDS
from benchmarks.stages.usage import Usage, measured

COMPONENTS: Mapping[str, str] = {
    "CsvExampleGen": "ingest",
    "StatisticsGen": "statistics",
    "Transform": "transform",
    "Evaluator": "evaluate",
}
"""Of TFX, and the stage of ours that does its work."""


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Ten vocabularies, two z-scores, five labels: what feedrank makes of the log."""
    tokens = {
        name: tft.compute_and_apply_vocabulary(inputs[name], num_oov_buckets=1, vocab_filename=name)
        for name in (*IDS, *WORDS)
    }
    return {
        **tokens,
        **{name: tft.scale_to_z_score(inputs[name]) for name in NUMBERS},
        **{name: inputs[name] for name in LABELS},
    }


def run(data: Path, folder: Path, model: Path) -> dict[str, Usage]:
    """What each component took.

    Args:
        data: folder of the CSV files.
        folder: gets the artifacts.
        model: SavedModel to evaluate, of ours: both sides are asked for the same predictions.
    """
    used: dict[str, Usage] = {}
    launch = launcher.Launcher.launch

    def measured_launch(self: Any) -> Any:
        with measured() as usage:
            result = launch(self)
        used[self._pipeline_node.node_info.type.name.rsplit(".", 1)[-1]] = usage
        return result

    launcher.Launcher.launch = measured_launch
    tfx.orchestration.LocalDagRunner().run(_pipeline(data, folder, model))
    return {stage: used[component] for component, stage in COMPONENTS.items()}


def _pipeline(data: Path, folder: Path, model: Path) -> Any:
    examples = tfx.components.CsvExampleGen(input_base=str(data))
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{__name__}.{preprocessing_fn.__name__}",
    )
    exported = tfx.dsl.Importer(
        source_uri=str(model), artifact_type=tfx.types.standard_artifacts.Model, properties={}, reimport=False
    ).with_id("model")
    evaluator = tfx.components.Evaluator(
        examples=examples.outputs["examples"],
        model=exported.outputs["result"],
        schema=schema.outputs["schema"],
        eval_config=_eval_config(),
        example_splits=["eval"],
    )
    return tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(folder / "stock"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(folder / "stock" / "metadata.db")
        ),
        components=[examples, statistics, schema, transform, exported, evaluator],
        enable_cache=False,
        beam_pipeline_args=["--runner=FnApiRunner"],
    )


def _eval_config() -> Any:
    """AUC and calibration of each task, whole and by device."""
    metrics = [tfma.MetricConfig(class_name=name) for name in ("AUC", "Calibration", "ExampleCount")]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_keys={name: name for name in LABELS})],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics, output_names=list(LABELS))],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["device"])],
    )
