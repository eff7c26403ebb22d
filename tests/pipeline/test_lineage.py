"""Lineage of two runs recorded by hand in an MLMD store in memory, as TFX records them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lineage import lineage
from pipeline.report.data import Artifact
from tests.pipeline import recorded
from tests.pipeline.recorded import Event, Run, Store


@pytest.fixture
def store() -> Store:
    return recorded.in_memory()


def two_runs(store: Store) -> dict[str, int]:
    """Run r1 makes examples and a model that goes live; r2 takes the examples from the cache and is refused."""
    ids = {
        "examples": store.artifact("Examples", "/runs/demo/artifacts/ingest/examples/1"),
        "old": store.artifact("Model", "/runs/demo/artifacts/train/model/2"),
        "live": store.artifact("PushedModel", "/elsewhere/3", pushed=1, pushed_destination="/runs/demo/serving/17"),
        "new": store.artifact("Model", "/runs/demo/artifacts/train/model/5"),
        "judged": store.artifact("ModelBlessing", "/runs/demo/artifacts/evaluate/blessing/7", blessed=0),
    }
    store.run("r1", "ingest", Run.COMPLETE, [(ids["examples"], Event.OUTPUT, "examples")])
    store.run(
        "r1", "train", Run.COMPLETE, [(ids["examples"], Event.INPUT, "examples"), (ids["old"], Event.OUTPUT, "model")]
    )
    store.run(
        "r1", "push", Run.COMPLETE, [(ids["old"], Event.INPUT, "model"), (ids["live"], Event.OUTPUT, "pushed_model")]
    )
    store.run("r2", "ingest", Run.CACHED, [(ids["examples"], Event.OUTPUT, "examples")])
    store.run(
        "r2", "train", Run.COMPLETE, [(ids["examples"], Event.INPUT, "examples"), (ids["new"], Event.OUTPUT, "model")]
    )
    store.run(
        "r2",
        "baseline",
        Run.COMPLETE,
        [
            (ids["new"], Event.INTERNAL_OUTPUT, "current"),
            (ids["old"], Event.INTERNAL_OUTPUT, "model"),
            (ids["live"], Event.INTERNAL_OUTPUT, "pushed"),
        ],
    )
    store.run(
        "r2", "evaluate", Run.COMPLETE, [(ids["new"], Event.INPUT, "model"), (ids["judged"], Event.OUTPUT, "blessing")]
    )
    return ids


def test_a_run_is_told_with_who_made_what(store: Store) -> None:
    ids = two_runs(store)
    ingest, train, baseline, evaluate = lineage(store.store, "r2", Path("/runs/demo"))
    assert [(e.stage, e.state) for e in (ingest, train, baseline, evaluate)] == [
        ("ingest", "cached"),
        ("train", "done"),
        ("baseline", "done"),
        ("evaluate", "done"),
    ]
    examples = Artifact(
        name="examples", type="Examples", id=ids["examples"], uri="artifacts/ingest/examples/1", run="r1"
    )
    assert (ingest.read, ingest.made) == ((), (examples,))
    assert train.read == (examples,)
    assert [(a.id, a.run) for a in train.made] == [(ids["new"], "r2")]
    assert [(a.name, a.id) for a in baseline.read] == [("current", ids["new"])]
    assert [(a.name, a.id, a.run, a.note) for a in baseline.found] == [
        ("model", ids["old"], "r1", ""),
        ("pushed", ids["live"], "r1", "pushed to serving/17"),
    ]
    assert [(a.note, a.uri) for a in evaluate.made] == [("refused", "artifacts/evaluate/blessing/7")]


def test_a_uri_outside_the_pipelines_folder_stays_whole(store: Store) -> None:
    two_runs(store)
    *_, push = lineage(store.store, "r1", Path("/runs/demo"))
    assert push.made[0].uri == "/elsewhere/3"


def test_what_failed_or_was_killed_is_told_as_failed(store: Store) -> None:
    store.run("r1", "ingest", Run.FAILED, [])
    store.run("r1", "train", Run.RUNNING, [])
    assert [e.state for e in lineage(store.store, "r1", Path("/runs/demo"))] == ["failed", "failed"]


def test_an_unknown_run_has_no_lineage(store: Store) -> None:
    assert lineage(store.store, "r1", Path("/runs/demo")) == ()
