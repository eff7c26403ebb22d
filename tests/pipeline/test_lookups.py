"""What a run finds among earlier runs, against a real MLMD store in memory."""

from __future__ import annotations

import sys

import pytest

from pipeline.artifacts import DataVerdict, IngestManifest
from pipeline.fingerprint import code_fingerprint
from pipeline.lookups import LastGoodStatistics, LastPushedBefore, LastPushedModel
from tests.pipeline.evaluation import toy

mlmd = pytest.importorskip("ml_metadata")
from ml_metadata.proto import metadata_store_pb2  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

Event = metadata_store_pb2.Event


class Store:
    """Runs stages: each reads artifacts and makes one."""

    def __init__(self) -> None:
        config = metadata_store_pb2.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = mlmd.MetadataStore(config)
        self.kind = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="stage"))

    def run(self, output, key, pushed=None, **inputs):
        """Makes `output` under `key` from the artifacts `inputs`, and returns it with its id."""
        type_id = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=output.TYPE_NAME))
        (artifact,) = self.store.put_artifacts([metadata_store_pb2.Artifact(type_id=type_id)])
        output.id = artifact
        if pushed is not None:
            output.set_int_custom_property("pushed", pushed)
        self.publish(artifact, key, {name: given.id for name, given in inputs.items()})
        return output

    def publish(self, artifact, key, inputs):
        (execution,) = self.store.put_executions([metadata_store_pb2.Execution(type_id=self.kind)])
        events = [self._event(artifact, execution, Event.OUTPUT, key)]
        events += [self._event(given, execution, Event.INPUT, name) for name, given in inputs.items()]
        self.store.put_events(events)

    @staticmethod
    def _event(artifact, execution, kind, key):
        event = Event(artifact_id=artifact, execution_id=execution, type=kind)
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        return event


@pytest.fixture
def store():
    return Store()


def _model(store):
    return store.run(standard_artifacts.Model(), "model")


def _push(store, model, pushed=1):
    return store.run(standard_artifacts.PushedModel(), "pushed_model", pushed, model=model)


def _baseline(store, current, models, pushes):
    found = LastPushedModel().resolve_artifacts(store.store, {"model": models, "pushed": pushes, "current": [current]})
    return [a.id for a in found["model"]], [a.id for a in found["pushed"]]


def test_a_first_run_has_no_baseline(store):
    first = _model(store)
    assert _baseline(store, first, [first], []) == ([], [])


def test_a_repeated_run_has_the_baseline_that_it_had(store):
    first, second = _model(store), _model(store)
    pushes = [_push(store, first), _push(store, second)]
    assert _baseline(store, second, [first, second], pushes[:1]) == ([first.id], [pushes[0].id])
    assert _baseline(store, second, [first, second], pushes) == ([first.id], [pushes[0].id])


def test_going_back_and_forth_between_two_models_is_seen(store):
    """Runs A, B, A, B: in the last one A is live again, by another push than when B was judged first."""
    a, b = _model(store), _model(store)
    pushes = [_push(store, a), _push(store, b)]
    assert _baseline(store, a, [a, b], pushes) == ([b.id], [pushes[1].id])
    pushes.append(_push(store, a))
    assert _baseline(store, b, [a, b], pushes) == ([a.id], [pushes[2].id])


def test_models_that_were_not_pushed_are_no_baseline(store):
    good, refused, current = _model(store), _model(store), _model(store)
    pushes = [_push(store, good), _push(store, refused, pushed=0)]
    assert _baseline(store, current, [good, refused, current], pushes) == ([good.id], [pushes[0].id])


def test_a_push_that_the_cache_answered_keeps_its_model(store):
    first, second = _model(store), _model(store)
    push = _push(store, first)
    store.publish(push.id, "pushed_model", {"model": second.id})
    assert _baseline(store, second, [first, second], [push]) == ([first.id], [push.id])


def test_a_training_begins_with_the_last_model_that_is_older_than_its_rows(store):
    """Two days; the second day's training is repeated, and once more with other settings."""

    def begins_with(rows):
        given = {"model": list(models), "pushed": list(pushes), "current": [rows]}
        found = LastPushedBefore().resolve_artifacts(store.store, given)
        return [a.id for a in found["model"]], [a.id for a in found["pushed"]]

    models, pushes = [], []
    first_rows = store.run(standard_artifacts.TransformGraph(), "transform_graph")
    assert begins_with(first_rows) == ([], [])
    models.append(_model(store))
    refused = _model(store)
    models.append(refused)
    pushes += [_push(store, models[0]), _push(store, refused, pushed=0)]
    second_rows = store.run(standard_artifacts.TransformGraph(), "transform_graph")
    first_day = ([models[0].id], [pushes[0].id])
    assert begins_with(second_rows) == first_day
    models.append(_model(store))
    pushes.append(_push(store, models[-1]))
    assert begins_with(second_rows) == first_day
    assert begins_with(first_rows) == ([], [])
    third_rows = store.run(standard_artifacts.TransformGraph(), "transform_graph")
    assert begins_with(third_rows) == ([models[-1].id], [pushes[-1].id])


def test_statistics_of_a_stopped_run_are_not_compared_with(store):
    good, stopped, current = (store.run(standard_artifacts.ExampleStatistics(), "statistics") for _ in range(3))
    manifest, other = (store.run(IngestManifest(), "manifest") for _ in range(2))
    verdict = store.run(DataVerdict(), "verdict", statistics=good, manifest=manifest)

    def previous(own):
        given = {
            "statistics": [good, stopped, current],
            "manifest": [manifest, other],
            "verdict": [verdict],
            "current": [own],
        }
        found = LastGoodStatistics().resolve_artifacts(store.store, given)
        return [a.id for a in found["statistics"]], [a.id for a in found["manifest"]]

    assert previous(current) == ([good.id], [manifest.id])
    assert previous(stopped) == ([good.id], [manifest.id])
    assert previous(good) == ([], [])


@pytest.mark.parametrize("of", ["dataset", "table"])
def test_an_edited_function_of_the_dataset_is_other_data(of, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_functions", raising=False)
    module = tmp_path / "my_functions.py"
    module.write_text("def double(batch):\n    return {}\n")
    derived = [{"function": "my_functions:double", "inputs": ["score"], "outputs": {"twice": "float32"}}]
    table = {"source": "users.csv", "on": "user", "columns": {"user": "int64", "score": "float32"}, "derived": derived}
    table["columns"]["score"] = {"type": "float32", "kept": False}
    changes = {"derived": derived} if of == "dataset" else {"tables": {"users": table}}
    dataset = type(toy.dataset()).model_validate({**toy.dataset().model_dump(), **changes})
    import inspect
    import linecache

    before = code_fingerprint(dataset)
    assert code_fingerprint(dataset) == before
    module.write_text("def double(batch):\n    return {1: 2}\n")
    linecache.clearcache()
    assert inspect.getsource(__import__("my_functions")) == module.read_text()
    assert code_fingerprint(dataset) != before
    assert code_fingerprint(toy.dataset()) != before
