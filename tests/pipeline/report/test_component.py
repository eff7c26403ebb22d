"""The report stage on artifacts as the other stages leave them."""

from __future__ import annotations

import json
from pathlib import Path

from tfx.types import artifact_utils, standard_artifacts

from pipeline.artifacts import DataVerdict, HtmlReport, IngestManifest
from pipeline.components.report import Report, refresh
from pipeline.config import RunConfig
from pipeline.runs import StageResult
from tests.pipeline.evaluation import toy
from tests.pipeline.report import sample
from tests.pipeline.report.test_parts import statistics


def artifact(kind, path: Path, content: dict | None = None, name: str = ""):
    made = kind()
    made.uri = str(path)
    path.mkdir(parents=True, exist_ok=True)
    if content is not None:
        (path / name).write_text(json.dumps(content))
    return made


def call(folder: Path, blessed: bool = True) -> HtmlReport:
    toy.export(folder / "model" / "Format-Serving")
    stats = artifact(standard_artifacts.ExampleStatistics, folder / "statistics")
    stats.split_names = artifact_utils.encode_split_names(["train"])
    (folder / "statistics" / "Split-train").mkdir()
    read = statistics([(0, 8, 50), (8, 16, 25), (16, 32, 25)], {"x": 30, "y": 10})
    (folder / "statistics" / "Split-train" / "FeatureStats.pb").write_bytes(read.SerializeToString())
    check = {"rows": 8, "max_difference": 1e-7, "signatures": {"raw": {}}, "seconds": 2.0}
    blessing = artifact(standard_artifacts.ModelBlessing, folder / "blessing")
    blessing.set_int_custom_property("blessed", int(blessed))
    infra = artifact(standard_artifacts.InfraBlessing, folder / "infra", check, "check.json")
    infra.set_int_custom_property("blessed", 1)
    pushed = artifact(standard_artifacts.PushedModel, folder / "pushed")
    pushed.set_int_custom_property("pushed", int(blessed))
    if blessed:
        pushed.set_string_custom_property("pushed_version", "1700000000")
    report = artifact(HtmlReport, folder / "report")
    config = RunConfig(name="toyrun", dataset=toy.dataset())
    Report.test_call(
        config=config.model_dump_json(by_alias=True),
        manifest=artifact(IngestManifest, folder / "manifest", sample.manifest(), "manifest.json"),
        statistics=stats,
        verdict=artifact(DataVerdict, folder / "verdict", {"ok": True, "problems": [], "warnings": []}, "verdict.json"),
        model=artifact(standard_artifacts.Model, folder / "model"),
        model_run=artifact(standard_artifacts.ModelRun, folder / "run", sample.training(), "curves.json"),
        evaluation=artifact(
            standard_artifacts.ModelEvaluation, folder / "eval", sample.evaluation(blessed), "evaluation.json"
        ),
        blessing=blessing,
        infra_blessing=infra,
        pushed_model=pushed,
        report=report,
    )
    return report


def test_the_page_gathers_what_the_stages_wrote(tmp_path):
    page = Path(call(tmp_path).uri, "report.html").read_text()
    assert "Blessed twice and pushed as version 1700000000" in page
    assert "toyrun" in page
    assert str(tmp_path / "manifest" / "manifest.json") in page
    assert 'id="gates"' not in page  # the toy has none
    assert "Distribution of score" in page
    assert "label_click" not in page
    known = page[page.index('id="lineage"') : page.index('id="provenance"')]
    assert str(tmp_path / "model") in known  # its own inputs are what the stage itself knows


def test_a_pusher_that_pushed_nothing_gives_no_version(tmp_path):
    page = Path(call(tmp_path, blessed=False).uri, "report.html").read_text()
    assert "Not pushed" in page
    assert "nothing pushed" in page


def test_a_runner_can_set_the_measured_times_and_the_lineage(tmp_path):
    report = call(tmp_path)
    page = refresh(report.uri, [StageResult(name="ingest", state="done", seconds=77.0)], "r2", sample.lineage())
    assert "1 min 17 s" in page
    assert "artifacts/train/model/3" in page
    assert "check serving" not in page[page.index('id="flow"') : page.index('id="quality"')]
