"""Runs recorded by hand in an MLMD store, as TFX records them."""

from __future__ import annotations

from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

Event, Run = metadata_store_pb2.Event, metadata_store_pb2.Execution


class Store:
    """Records executions of the pipeline ``demo`` under contexts of the kinds that TFX uses."""

    def __init__(self, config: metadata_store_pb2.ConnectionConfig) -> None:
        self.store = mlmd.MetadataStore(config)
        self.kind = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="component"))
        self.kinds = {
            name: self.store.put_context_type(metadata_store_pb2.ContextType(name=name))
            for name in ("pipeline_run", "node")
        }

    def context(self, kind: str, name: str) -> int:
        known = self.store.get_context_by_type_and_name(kind, name)
        if known is not None:
            return known.id
        (made,) = self.store.put_contexts([metadata_store_pb2.Context(type_id=self.kinds[kind], name=name)])
        return made

    def artifact(self, kind: str, uri: str, **properties: int | str) -> int:
        made = metadata_store_pb2.Artifact(uri=uri)
        made.type_id = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=kind))
        for name, value in properties.items():
            if isinstance(value, int):
                made.custom_properties[name].int_value = value
            else:
                made.custom_properties[name].string_value = value
        return self.store.put_artifacts([made])[0]

    def run(self, run: str, stage: str, state: int, events: list[tuple[int, int, str]]) -> int:
        """Records an execution with its events (artifact, event type, name)."""
        (execution,) = self.store.put_executions([Run(type_id=self.kind, last_known_state=state)])
        recorded = []
        for artifact, kind, name in events:
            event = Event(artifact_id=artifact, execution_id=execution, type=kind)
            event.path.steps.add().key = name
            event.path.steps.add().index = 0
            recorded.append(event)
        if recorded:
            self.store.put_events(recorded)
        contexts = (self.context("pipeline_run", run), self.context("node", f"demo.{stage}"))
        self.store.put_attributions_and_associations(
            [], [metadata_store_pb2.Association(execution_id=execution, context_id=context) for context in contexts]
        )
        return execution


def in_memory() -> Store:
    """A store that ends with the test."""
    config = metadata_store_pb2.ConnectionConfig()
    config.fake_database.SetInParent()
    return Store(config)


def on_disk(path: Path) -> Store:
    """A store that others can open."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return Store(config)
