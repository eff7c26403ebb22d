"""The page of a run that stopped, from what stages left on disk and in MLMD; the error of the run always comes through."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import pytest
from tfx.proto.orchestration import pipeline_pb2

from features.errors import DataError
from pipeline.config import RunConfig
from pipeline.runners import local, stopped
from pipeline.runs import PipelinePaths, RunFolder, RunRecord, StageResult, stopped_folder
from tests.pipeline import recorded
from tests.pipeline.evaluation import toy
from tests.pipeline.recorded import Event, Run
from tests.pipeline.report import sample


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(name="demo", output=str(tmp_path), dataset=toy.dataset())


@pytest.fixture
def folder(config: RunConfig) -> RunFolder:
    made = RunFolder(PipelinePaths(root=Path(config.directory)), "r1")
    made.directory.mkdir(parents=True)
    return made


def graph() -> pipeline_pb2.Pipeline:
    """As compiled: a report stage that reads ingest's manifest and the verdict of validate."""
    pipeline = pipeline_pb2.Pipeline()
    report = pipeline.nodes.add().pipeline_node
    report.node_info.id = "report"
    for name, stage, kind in (("manifest", "ingest", "IngestManifest"), ("verdict", "validate", "DataVerdict")):
        channel = report.inputs.inputs[name].channels.add()
        channel.producer_node_query.id = stage
        channel.output_key = name
        channel.artifact_query.type.name = f"pipeline.{kind}"
    return pipeline


def write(folder: Path, name: str, content: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps(content))


def record(*stages: StageResult) -> RunRecord:
    now = datetime.datetime.now(datetime.timezone.utc)
    return RunRecord(run_id="r1", pipeline="demo", status="failed", started=now, seconds=3, stages=stages, error="no")


def failed(name: str) -> StageResult:
    return StageResult(name=name, state="failed", seconds=1.5, note="a long message")


def text(page: str, section: str) -> str:
    part = page[page.index(f'id="{section}"') :]
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", part[: part.index("</section>")]))


def test_validation_that_stopped_a_run_is_told_with_what_ingest_made(config: RunConfig) -> None:
    paths = PipelinePaths(root=Path(config.directory))
    artifacts = Path(config.artifacts_directory)
    write(artifacts / "ingest" / "manifest" / "1", "manifest.json", sample.manifest())
    store = recorded.on_disk(paths.metadata)
    manifest = store.artifact("pipeline.IngestManifest", str(artifacts / "ingest" / "manifest" / "1"))
    store.run("r1", "ingest", Run.COMPLETE, [(manifest, Event.OUTPUT, "manifest")])
    gate = store.run("r1", "validate", Run.FAILED, [(manifest, Event.INPUT, "manifest")])
    verdict = {"ok": False, "problems": ["column 'tab' drifts"], "warnings": ["column 'item' is new"]}
    write(artifacts / "validate" / "stopped" / str(gate), "verdict.json", verdict)
    done = StageResult(name="ingest", state="done", seconds=77.0)
    page = stopped.page(config, graph(), record(done, failed("validate")), "the data is <not> fit")
    assert "Stopped in validate" in page
    assert "the data is &lt;not&gt; fit" in page
    assert "1 min 17 s" in text(page, "flow")
    assert "1.5 s failed" in text(page, "flow")
    assert "problem column 'tab' drifts".replace("'", "&#x27;") in text(page, "data")
    assert "32 quarantined" in text(page, "data")
    assert "bad number" in text(page, "data")
    assert f"validate failed #{gate} run r1" in text(page, "lineage")
    assert "artifacts/ingest/manifest/1" in text(page, "lineage")
    assert "name: demo" in text(page, "provenance")
    assert 'id="quality"' not in page


def test_an_exceeded_budget_is_told_with_the_quarantine_that_ingest_kept(config: RunConfig) -> None:
    paths = PipelinePaths(root=Path(config.directory))
    paths.root.mkdir(parents=True)
    ingest = recorded.on_disk(paths.metadata).run("r1", "ingest", Run.FAILED, [])
    write(Path(config.artifacts_directory) / "ingest" / "stopped" / str(ingest), "manifest.json", sample.manifest())
    page = stopped.page(config, graph(), record(failed("ingest")), "32 of 94,784 rows are bad")
    assert "bad number" in text(page, "data")
    assert "Validation" not in text(page, "data")
    assert f"ingest failed #{ingest} run r1 log files" in text(page, "lineage")


def test_a_stage_keeps_what_explains_a_stop_where_the_page_looks_for_it() -> None:
    assert stopped_folder("runs/demo/artifacts/ingest/quarantine/7") == "runs/demo/artifacts/ingest/stopped/7"
    assert stopped_folder("gs://bucket/ingest/quarantine/7/") == "gs://bucket/ingest/stopped/7"


class Listener:
    def stage_started(self, name: str) -> None:
        pass

    def stage_finished(self, result: StageResult) -> None:
        pass


def test_a_run_that_fails_before_its_first_stage_leaves_a_page(
    config: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(config: RunConfig, run_id: str) -> pipeline_pb2.Pipeline:
        raise DataError("no file matches 'log.csv'")

    monkeypatch.setattr(local, "compile_local", no_data)
    with pytest.raises(DataError, match="no file matches"):
        local.run(config, folder, Listener())
    page = folder.report.read_text()
    assert "Stopped before its first stage" in page
    assert "no file matches &#x27;log.csv&#x27;" in page
    assert folder.read_record().status == "failed"


def test_an_interrupted_run_is_recorded_as_one(
    config: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: RunConfig, run_id: str) -> pipeline_pb2.Pipeline:
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "compile_local", interrupted)
    with pytest.raises(KeyboardInterrupt):
        local.run(config, folder, Listener())
    assert (folder.read_record().status, folder.read_record().error) == ("failed", "interrupted")
    page = folder.report.read_text()
    assert "interrupted" in page
    assert "KeyboardInterrupt" not in page


def test_a_page_that_cannot_be_made_never_hides_why_the_run_failed(
    config: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_data(config: RunConfig, run_id: str) -> pipeline_pb2.Pipeline:
        raise DataError("no file matches 'log.csv'")

    def no_page(*_: object) -> str:
        raise ValueError("ink is out")

    monkeypatch.setattr(local, "compile_local", no_data)
    monkeypatch.setattr(stopped, "page", no_page)
    with pytest.raises(DataError, match="no file matches"):
        local.run(config, folder, Listener())
    assert not folder.report.exists()
    assert "ink is out" in caplog.text
    assert folder.read_record().error == "DataError: no file matches 'log.csv'"
