"""What was made from what in a run, as MLMD recorded it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.report.data import Artifact, Execution, State

_Event, _Execution = metadata_store_pb2.Event, metadata_store_pb2.Execution
_STATES: Mapping[int, State] = {_Execution.COMPLETE: "done", _Execution.CACHED: "cached"}
_RUN, _NODE = "pipeline_run", "node"
"""TFX's context types: one context a run, one a stage, named ``<pipeline>.<stage>``."""


def lineage(store: mlmd.MetadataStore, run_id: str, root: Path) -> tuple[Execution, ...]:
    """Every execution of a run with its artifacts, in the order in which they began.

    Args:
        store: where TFX recorded the run.
        run_id: names the run's context.
        root: the pipeline's folder; URIs below it are told relative to it.

    Returns:
        Nothing if the store knows no such run. An execution that ended neither complete nor cached is told as failed.
    """
    run = store.get_context_by_type_and_name(_RUN, run_id)
    if run is None:
        return ()
    executions = sorted(store.get_executions_by_context(run.id), key=lambda execution: execution.id)
    reader = _Reader(store, root)
    return tuple(reader.execution(execution) for execution in executions)


def maker(store: mlmd.MetadataStore, artifact: int) -> int | None:
    """Id of the execution that made an artifact, if MLMD knows; later ones that put it out found it in the cache."""
    events = store.get_events_by_artifact_ids([artifact])
    return min((event.execution_id for event in events if event.type == _Event.OUTPUT), default=None)


class _Reader:
    """Reads the executions of one run in their order, remembering what was made."""

    def __init__(self, store: mlmd.MetadataStore, root: Path) -> None:
        self._store, self._root = store, root
        self._makers: dict[int, str] = {}
        self._made: set[int] = set()

    def execution(self, execution: metadata_store_pb2.Execution) -> Execution:
        """One execution with what it read, made and found."""
        events = self._store.get_events_by_execution_ids([execution.id])
        read = self._artifacts(event for event in events if event.type == _Event.INPUT)
        made = self._artifacts(event for event in events if event.type == _Event.OUTPUT)
        self._made |= {artifact.id for artifact in made}
        # MLMD has all that a lookup returns as its outputs, also what this run made and the lookup was given.
        returned = self._artifacts(event for event in events if event.type == _Event.INTERNAL_OUTPUT)
        return Execution(
            stage=self._context(execution.id, _NODE).rpartition(".")[2],
            id=execution.id,
            state=_STATES.get(execution.last_known_state, "failed"),
            read=(*read, *(artifact for artifact in returned if artifact.id in self._made)),
            made=made,
            found=tuple(artifact for artifact in returned if artifact.id not in self._made),
        )

    def _artifacts(self, events: Iterable[metadata_store_pb2.Event]) -> tuple[Artifact, ...]:
        names = {event.artifact_id: event.path.steps[0].key for event in events}
        found = sorted(self._store.get_artifacts_by_id(list(names)), key=lambda artifact: artifact.id)
        return tuple(
            Artifact(
                name=names[artifact.id],
                type=artifact.type,
                id=artifact.id,
                uri=self._place(artifact.uri),
                run=self._made_by(artifact.id),
                note=self._note(artifact.custom_properties),
            )
            for artifact in found
        )

    def _made_by(self, artifact: int) -> str:
        """Id of the run that made an artifact."""
        if artifact not in self._makers:
            made_by = maker(self._store, artifact)
            self._makers[artifact] = "" if made_by is None else self._context(made_by, _RUN)
        return self._makers[artifact]

    def _context(self, execution: int, kind: str) -> str:
        contexts = self._store.get_contexts_by_execution(execution)
        return next((str(context.name) for context in contexts if context.type == kind), "")

    def _place(self, uri: str) -> str:
        path = Path(uri)
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else uri

    def _note(self, properties: Mapping[str, metadata_store_pb2.Value]) -> str:
        """What TFX's pusher and judges say on the artifact itself."""
        if "pushed" in properties:
            pushed = properties["pushed"].int_value == 1
            return f"pushed to {self._place(properties['pushed_destination'].string_value)}" if pushed else "not pushed"
        if properties.get("blessed") is not None and properties["blessed"].HasField("int_value"):
            return "blessed" if properties["blessed"].int_value == 1 else "refused"
        return ""
