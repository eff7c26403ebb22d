"""What a run looks up among earlier runs: the model to be measured against, the statistics to compare with.

TFX's own strategies, `LatestBlessedModelStrategy` and `LatestArtifactStrategy`, would find this run's own model and
statistics when a run is repeated, or those of a run that was stopped: it would be measured against itself. The ones here
take what went through (a pushed model, statistics whose verdict was good) and is not the run's own, so that a
repeated run has the inputs it had and TFX's cache answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx import v1 as tfx
from tfx.dsl.components.base import base_node
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from features.spec import Dataset
from pipeline.artifacts import DataVerdict, IngestManifest
from pipeline.config import DataConfig
from pipeline.fingerprint import fingerprint
from pipeline.lineage import maker

_Event = metadata_store_pb2.Event
Artifacts = dict[str, list[types.Artifact]]


class LastPushedModel(resolver.ResolverStrategy):
    """Resolves ``model`` and ``pushed`` to what was live before ``current``, this run's model, went live.

    Pushed means blessed twice. If the current model is the live one, that is the one pushed before it; if another was
    pushed since, that other: then ``pushed`` is a new artifact, the evaluation is done again and the model pushed again.
    """

    def resolve_artifacts(self, store: Any, input_dict: Artifacts) -> Artifacts:
        """Picks the artifacts.

        Args:
            store: the MLMD store, which knows the model of each push.
            input_dict: all artifacts under ``model`` and ``pushed``, this run's model under ``current``.

        Returns:
            The same keys; ``model`` and ``pushed`` hold one artifact each, or none in a first run.
        """
        return _latest_live(store, input_dict, input_dict["model"])


class LastPushedBefore(resolver.ResolverStrategy):
    """Resolves ``model`` and ``pushed`` to what was pushed last of the models that are older than ``current``, the transformed rows.

    So a training never begins with a model that learned from these very rows: a repeated run, also with another
    configuration of its training, begins where the first one began.
    """

    def resolve_artifacts(self, store: Any, input_dict: Artifacts) -> Artifacts:
        """Picks the artifacts.

        Args:
            store: the MLMD store, which knows the model of each push, and numbers artifacts in the order in which they
                were made.
            input_dict: all artifacts under ``model`` and ``pushed``, this run's transform graph under ``current``.

        Returns:
            The same keys; ``model`` and ``pushed`` hold one artifact each, or none in a first run.
        """
        rows = min(artifact.id for artifact in input_dict["current"])
        return _latest_live(store, input_dict, [model for model in input_dict["model"] if model.id < rows])


class LastGoodStatistics(resolver.ResolverStrategy):
    """Resolves ``statistics`` to the latest other than ``current`` that validation let through, ``manifest`` to the one it saw with them."""

    def resolve_artifacts(self, store: Any, input_dict: Artifacts) -> Artifacts:
        """Picks the artifacts.

        Args:
            store: the MLMD store, which knows the statistics of each verdict. A run that was stopped has no verdict.
            input_dict: all artifacts under ``statistics``, ``manifest`` and ``verdict``, this run's statistics under ``current``.

        Returns:
            The same keys; ``statistics``, ``manifest`` and ``verdict`` hold one artifact each, or none in a first run.
        """
        found = _latest_other(store, input_dict, "statistics", "verdict")
        seen = [producer_input(store, verdict.id, "manifest") for verdict in found["verdict"]]
        return found | {"manifest": [artifact for artifact in input_dict["manifest"] if artifact.id in seen]}


def _latest_live(store: Any, artifacts: Artifacts, models: list[types.Artifact]) -> Artifacts:
    """The newest push that went live of one of `models` that is not ``current``, and that model."""
    live = [push for push in artifacts["pushed"] if push.get_int_custom_property("pushed") == 1]
    return _latest_other(store, {**artifacts, "model": models, "pushed": live}, "model", "pushed")


def _latest_other(store: Any, artifacts: Artifacts, key: str, judgement: str) -> Artifacts:
    """The newest artifact under `judgement` that was made from one under `key` that is not ``current``, and that one."""
    current = {artifact.id for artifact in artifacts["current"]}
    known = {artifact.id: artifact for artifact in artifacts[key]}
    for judged in sorted(artifacts[judgement], key=lambda artifact: artifact.id, reverse=True):
        made_from = producer_input(store, judged.id, key)
        if made_from in known and made_from not in current:
            return {key: [known[made_from]], judgement: [judged], "current": artifacts["current"]}
    return {key: [], judgement: [], "current": artifacts["current"]}


def producer_input(store: Any, artifact: int, key: str) -> int | None:
    """Id of what the execution that made an artifact read under `key`, if MLMD knows."""
    made_by = maker(store, artifact)
    if made_by is None:
        return None
    for event in store.get_events_by_execution_ids([made_by]):
        if event.type == _Event.INPUT and event.path.steps[0].key == key:
            return int(event.artifact_id)
    return None


def last_pushed_model(trainer: base_node.BaseNode) -> resolver.Resolver:
    """The node that finds the model to be measured against."""
    return _among_pushed(LastPushedModel, trainer.outputs["model"])


def last_pushed_before(transform: base_node.BaseNode) -> resolver.Resolver:
    """The node that finds the model to begin with."""
    return _among_pushed(LastPushedBefore, transform.outputs["transform_graph"])


def _among_pushed(strategy: type[resolver.ResolverStrategy], current: types.Channel) -> resolver.Resolver:
    return tfx.dsl.Resolver(
        strategy_class=strategy,
        model=types.Channel(type=standard_artifacts.Model),
        pushed=types.Channel(type=standard_artifacts.PushedModel),
        current=current,
    )


def last_good_statistics(ingest: base_node.BaseNode, statistics: base_node.BaseNode) -> resolver.Resolver:
    """The node that finds the statistics and the manifest to compare with."""
    del ingest
    return tfx.dsl.Resolver(
        strategy_class=LastGoodStatistics,
        statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
        manifest=types.Channel(type=IngestManifest),
        verdict=types.Channel(type=DataVerdict),
        current=statistics.outputs["statistics"],
    )


class Lookups(NamedTuple):
    """How a platform looks things up."""

    baseline: Callable[[base_node.BaseNode], resolver.Resolver] = last_pushed_model
    """From the trainer: a node with output ``model``, and ``pushed`` where it knows which version that is."""
    earlier: Callable[[base_node.BaseNode], resolver.Resolver] = last_pushed_before
    """From the transform's node: a node with output ``model``, for `train.warm_start: last_pushed`."""
    previous: Callable[[base_node.BaseNode, base_node.BaseNode], resolver.Resolver] = last_good_statistics
    """From the nodes of ingest and statistics: a node with outputs ``statistics`` and ``manifest``."""
    fingerprint: Callable[[Dataset, DataConfig], Any] = fingerprint
    """Of a dataset's files in a folder and of our code: what differs makes the cache not answer. Text, or a
    `RuntimeParameter` where the data is not at hand as the graph is composed."""
