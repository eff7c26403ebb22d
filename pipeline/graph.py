"""The pipeline's graph. It names no platform: `pipeline.runners` run it here or compile it for elsewhere."""

from __future__ import annotations

from typing import Any

from tfx import v1 as tfx
from tfx.dsl.components.base import base_node
from tfx.types import BaseChannel

from features.folders import local_copy
from features.paths import remote
from features.spec import SPLITS
from pipeline.components import train
from pipeline.components.check_serving import CheckServing
from pipeline.components.engine import beam_args
from pipeline.components.evaluate import Evaluate
from pipeline.components.ingest import Ingest
from pipeline.components.push import StorePusher
from pipeline.components.report import Report
from pipeline.components.statistics import CountedStatisticsGen
from pipeline.components.stock import LocalExampleValidator, LocalTrainer
from pipeline.components.transform import SpecTransform
from pipeline.components.validate import DataGate, SpecSchema
from pipeline.config import RunConfig
from pipeline.data_checks import data_gate_config
from pipeline.evaluation.truth import find_truth, truth_fingerprint
from pipeline.lookups import Lookups
from pipeline.pushed import named_beginning
from serving.weights import weights_fingerprint

Nodes = dict[str, base_node.BaseNode]
"""Stages by name, in an order in which they can run."""


def build_pipeline(config: RunConfig, root: str, lookups: Lookups) -> tfx.dsl.Pipeline:
    """Composes the stages.

    Args:
        config: the run.
        root: TFX's pipeline root. Checkpoints and pushed models go where `config` says.
        lookups: how the platform finds the last blessed model, the last statistics and new data.

    Returns:
        The pipeline, without a metadata store: the runner chooses that.

    Raises:
        ConfigError: if Beam does not know an option of the engine's.
    """
    nodes: Nodes = {}
    _add_data(nodes, config, lookups)
    _add_validation(nodes, config, lookups)
    _add_training(nodes, config, lookups)
    _add_judges(nodes, config, lookups)
    _add_report(nodes, config)
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=root,
        components=[node.with_id(name) for name, node in nodes.items()],
        beam_pipeline_args=[*beam_args(config.engine), *_beam_plugins(root)],
        enable_cache=True,
    )


def _beam_plugins(root: str) -> list[str]:
    """What Beam's workers load before all else, for artifacts in S3; loaded here, too."""
    found = remote(root)
    if found is None or found.scheme != "s3":
        return []
    from pipeline.components import beam_store, tensorflow_s3

    tensorflow_s3.name_endpoint()
    return [f"--beam_plugins={module.__name__}" for module in (beam_store, tensorflow_s3)]


def _add_data(nodes: Nodes, config: RunConfig, lookups: Lookups) -> None:
    nodes["ingest"] = Ingest(
        dataset=config.dataset.model_dump_json(),
        data=config.data.model_dump_json(),
        fingerprint=lookups.fingerprint(config.dataset, config.data),
        artifacts=config.artifacts or "",
    )


def _add_validation(nodes: Nodes, config: RunConfig, lookups: Lookups) -> None:
    ingest = nodes["ingest"]
    nodes["schema"] = SpecSchema(dataset=config.dataset.model_dump_json())
    nodes["statistics"] = CountedStatisticsGen(
        examples=ingest.outputs["examples"], schema=nodes["schema"].outputs["schema"]
    )
    nodes["previous_statistics"] = lookups.previous(ingest, nodes["statistics"])
    nodes["anomalies"] = LocalExampleValidator(
        statistics=nodes["statistics"].outputs["statistics"], schema=nodes["schema"].outputs["schema"]
    )
    nodes["validate"] = DataGate(
        dataset=config.dataset.model_dump_json(),
        validate=data_gate_config(config.validate_, config.model.head).model_dump_json(),
        statistics=nodes["statistics"].outputs["statistics"],
        previous_statistics=nodes["previous_statistics"].outputs["statistics"],
        previous_manifest=nodes["previous_statistics"].outputs["manifest"],
        schema=nodes["schema"].outputs["schema"],
        anomalies=nodes["anomalies"].outputs["anomalies"],
        manifest=ingest.outputs["manifest"],
    )


def _add_training(nodes: Nodes, config: RunConfig, lookups: Lookups) -> None:
    nodes["transform"] = SpecTransform(
        dataset=config.dataset.model_dump_json(),
        examples=nodes["ingest"].outputs["examples"],
        schema=nodes["schema"].outputs["schema"],
        tables=nodes["ingest"].outputs["tables"],
    )
    # An edge of order, not of data: a verdict made anew must not make TFX's cache forget the transform.
    nodes["transform"].add_upstream_node(nodes["validate"])
    nodes["train"] = LocalTrainer(
        run_fn=f"{train.run_fn.__module__}.{train.run_fn.__qualname__}",
        examples=nodes["transform"].outputs["transformed_examples"],
        transform_graph=nodes["transform"].outputs["transform_graph"],
        schema=nodes["schema"].outputs["schema"],
        train_args=tfx.proto.TrainArgs(splits=[SPLITS[0]]),
        eval_args=tfx.proto.EvalArgs(splits=[SPLITS[1]]),
        base_model=_earlier_model(nodes, config, lookups),
        custom_config={
            "dataset": config.dataset.model_dump_json(),
            "model": config.model.model_dump_json(),
            "train": config.train.model_dump_json(),
            "checkpoints": config.checkpoints_directory,
            **_named_model(config),
        },
    )


def _earlier_model(nodes: Nodes, config: RunConfig, lookups: Lookups) -> BaseChannel | None:
    """What `train.warm_start: last_pushed` begins with."""
    if config.train.warm_start != "last_pushed":
        return None
    earlier = nodes["earlier_model"] = lookups.earlier(nodes["transform"])
    return earlier.outputs["model"]


def _named_model(config: RunConfig) -> dict[str, str]:
    """What `train.warm_start: PATH` begins with; of other weights TFX's cache sees another fingerprint."""
    path = named_beginning(config)
    if path is None:
        return {}
    with local_copy(path, ["fingerprint.pb"]) as here:
        return {"warm_start": path, "warm_start_fingerprint": weights_fingerprint(here)}


def _add_judges(nodes: Nodes, config: RunConfig, lookups: Lookups) -> None:
    model, examples = nodes["train"].outputs["model"], nodes["ingest"].outputs["examples"]
    truth = find_truth(config.data.path)
    baseline = nodes["baseline"] = lookups.baseline(nodes["train"])
    version = {"baseline_pushed": baseline.outputs["pushed"]} if "pushed" in baseline.outputs else {}
    nodes["evaluate"] = Evaluate(
        dataset=config.dataset.model_dump_json(),
        evaluate=config.evaluate.model_dump_json(),
        examples=examples,
        model=model,
        baseline_model=baseline.outputs["model"],
        truth=truth,
        truth_fingerprint=truth_fingerprint(truth),
        **version,
    )
    nodes["check_serving"] = CheckServing(
        dataset=config.dataset.model_dump_json(),
        check_serving=config.check_serving.model_dump_json(),
        examples=examples,
        model=model,
    )
    nodes["push"] = StorePusher(
        model=model,
        model_blessing=nodes["evaluate"].outputs["blessing"],
        infra_blessing=nodes["check_serving"].outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=config.push_directory)
        ),
    )


def _add_report(nodes: Nodes, config: RunConfig) -> None:
    inputs: dict[str, Any] = {
        "manifest": nodes["ingest"].outputs["manifest"],
        "statistics": nodes["statistics"].outputs["statistics"],
        "verdict": nodes["validate"].outputs["verdict"],
        "model": nodes["train"].outputs["model"],
        "model_run": nodes["train"].outputs["model_run"],
        "evaluation": nodes["evaluate"].outputs["evaluation"],
        "blessing": nodes["evaluate"].outputs["blessing"],
        "infra_blessing": nodes["check_serving"].outputs["blessing"],
        "pushed_model": nodes["push"].outputs["pushed_model"],
    }
    nodes["report"] = Report(config=config.model_dump_json(by_alias=True), **inputs)
