from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from features import progress
from features.errors import DataError
from models.config import PRESETS
from pipeline import cli, commands, failures, history
from pipeline.config import RunConfig
from pipeline.console import RunConsole, captured_output
from pipeline.loading import CONFIGS, load
from pipeline.runs import PipelinePaths, RunFolder, RunRecord, StageListener, StageResult

Feedrank = Callable[..., int]


@pytest.fixture
def feedrank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Feedrank:
    """Runs the program in an empty folder and returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def feedrank_(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["feedrank", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return feedrank_


@contextlib.contextmanager
def real_streams() -> Iterator[None]:
    """`sys.stdout` and `sys.stderr` write to file descriptors 1 and 2, as outside of pytest."""
    with contextlib.ExitStack() as stack:
        for number, redirect in ((1, contextlib.redirect_stdout), (2, contextlib.redirect_stderr)):
            stream = stack.enter_context(open(number, "w", buffering=1, closefd=False))
            stack.enter_context(redirect(stream))
        yield


def stage(name: str, **more: Any) -> StageResult:
    return StageResult(**({"name": name, "state": "done", "seconds": 2.0} | more))


def write_run(output: Path, pipeline: str, run_id: str, *stages: StageResult, **more: Any) -> RunFolder:
    folder = RunFolder(PipelinePaths(root=output / pipeline), run_id)
    folder.directory.mkdir(parents=True)
    started = datetime.datetime(2026, 1, 5, tzinfo=datetime.timezone.utc)
    record = {
        "run_id": run_id,
        "pipeline": pipeline,
        "status": "done",
        "started": started,
        "seconds": 5.0,
        "stages": stages,
    }
    folder.write_record(RunRecord(**(record | more)))
    folder.config.write_text(f"name: {pipeline}\noutput: {output}\ndataset: synthetic\n")
    return folder


def test_help_names_every_command(feedrank: Feedrank, capsys: pytest.CaptureFixture[str]) -> None:
    assert feedrank("--help") == 0
    said = capsys.readouterr().out
    wanted = ["run", "runs", "show", "report", "score", "evaluate", "compile"]
    wanted += ["data", "datasets", "models", "schema", "doctor"]
    assert [command for command in wanted if not re.search(rf"│ {command} ", said)] == []


def test_lists_what_there_is(feedrank: Feedrank, capsys: pytest.CaptureFixture[str]) -> None:
    assert feedrank("datasets") == 0
    assert feedrank("models") == 0
    said = capsys.readouterr().out
    assert [name for name in ("kuairand", "census_income", "synthetic", "mmoe_dlen, dlen") if name not in said] == []
    first_columns = {line.split()[0].rstrip(",") for line in said.splitlines() if line.strip()}
    assert set(PRESETS) <= first_columns
    words = set(said.split())
    assert [name for name, preset in PRESETS.items() if not set(preset.paper.split()[:3]) <= words] == []


def test_shows_a_model(feedrank: Feedrank, capsys: pytest.CaptureFixture[str]) -> None:
    assert feedrank("models", "dlen") == 0
    said = capsys.readouterr().out
    assert "Zhang et al." in said
    assert "P(k) = P(k|UP) P(UP) + P(k|not UP) P(not UP)" in said
    assert yaml.safe_load(said[said.index("model:") :])["model"]["trunk"]["experts"] == 5
    assert feedrank("models", "mmoo") == 1
    assert "unknown model 'mmoo'; did you mean 'mmoe'?" in capsys.readouterr().err


def test_writes_the_schema(feedrank: Feedrank, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert feedrank("schema") == 0
    printed = json.loads(capsys.readouterr().out)
    assert feedrank("schema", "--output", "schema.json") == 0
    assert json.loads((tmp_path / "schema.json").read_text()) == printed
    assert "dataset" in printed["properties"]


def test_makes_a_synthetic_log_once(feedrank: Feedrank, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("data", "synth", "log", "--set", "rows=700", "--set", "users=50", "--set", "items=40")
    assert feedrank(*arguments) == 0
    assert "700 rows in 7 files" in capsys.readouterr().out
    assert len(list((tmp_path / "log").rglob("dt=*/part-*.parquet"))) >= 7
    assert feedrank(*arguments) == 0
    assert "already there" in capsys.readouterr().out
    assert feedrank(*arguments, "--set", "seed=3") == 1
    said = capsys.readouterr().err
    command = "feedrank data synth log --overwrite --set rows=700 --set users=50 --set items=40 --set seed=3"
    assert command in said
    assert feedrank(*command.split()[1:]) == 0
    assert "700 rows in 7 files below log\n" in capsys.readouterr().out


def test_the_module_is_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "data", "synth", "log", "--set", "row=3"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "unknown key 'row'" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "none.yaml"), "cannot read configuration none.yaml"),
        (("run", str(CONFIGS / "demo.yaml"), "--set", "train.epoch=3"), "train: unknown key 'epoch'; did you mean"),
        (("data", "synth", "x", "--set", "row=3"), "unknown key 'row'; did you mean 'rows'?"),
        (("show", "demo"), "no runs in 'runs'; make one with: feedrank run CONFIG (or name the folder with --output)"),
        (("report", "demo"), "no runs in 'runs'"),
        (("score", "nothing", "--data", "x"), "'nothing' names no model"),
        (("score", "nothing", "--data", "x", "--runs", "elsewhere"), "no runs in 'elsewhere'"),
        (("score", "nothing", "--data", "x", "--top", "3", "--runs", "elsewhere"), "no runs in 'elsewhere'"),
        (("evaluate", "nothing", "--data", "x", "--json"), "'nothing' names no model"),
        (("evaluate", "nothing", "--data", "x", "--runs", "elsewhere"), "no runs in 'elsewhere'"),
        (("compile", str(CONFIGS / "demo.yaml"), "--target", "slurm"), "unknown target 'slurm'; targets: kubeflow"),
    ],
)
def test_mistakes_end_in_one_message(
    arguments: tuple[str, ...], said: str, feedrank: Feedrank, capsys: pytest.CaptureFixture[str]
) -> None:
    assert feedrank(*arguments) == 1
    heard = capsys.readouterr()
    assert said in heard.err
    assert "Traceback" not in heard.err
    assert heard.out == ""


def test_unforeseen_failures_name_their_traceback(
    feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "models", lambda name: {}["nothing"])
    assert feedrank("models") == 1
    said = capsys.readouterr().err
    assert "KeyError: 'nothing'" in said
    log = Path(re.search(r"traceback: (\S+)", said)[1])  # type: ignore[index]
    assert log.read_text().startswith("Traceback")
    log.unlink()


# -- a run -----------------------------------------------------------------------------------------------------------


def test_the_workers_image_can_be_named(feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("pipeline.runners.kubeflow")
    images: list[str | None] = []
    module.compile_pipeline = lambda config, output, image: images.append(image)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipeline.runners.kubeflow", module)
    monkeypatch.setattr("pipeline.runners.kubeflow", module, raising=False)
    assert feedrank("compile", str(CONFIGS / "demo.yaml")) == 0
    assert feedrank("compile", str(CONFIGS / "demo.yaml"), "--image", "registry/feedrank:1") == 0
    assert images == [None, "registry/feedrank:1"]


def use_runner(monkeypatch: pytest.MonkeyPatch, run: Callable[..., RunRecord]) -> None:
    """Puts `run` in the place of `pipeline.runners.local.run`, without loading TFX."""
    module = type(sys)("pipeline.runners.local")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipeline.runners.local", module)
    monkeypatch.setattr("pipeline.runners.local", module, raising=False)


def runs_two_stages(config: RunConfig, folder: RunFolder, listener: StageListener) -> RunRecord:
    print("a library talks")
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from below')"], check=True)
    logging.getLogger("absl").warning("a warning of absl")
    logging.getLogger("absl").error("an error of absl")
    logging.getLogger("features.logs.reader").warning("of a room")
    progress.LOGGER.info("told progress")
    stages = (stage("ingest", rows=1000), stage("train", state="cached"))
    for result in stages:
        listener.stage_started(result.name)
        listener.stage_finished(result)
    started = datetime.datetime.now(datetime.timezone.utc)
    record = RunRecord(
        run_id=folder.run_id, pipeline=config.name, status="done", started=started, seconds=3, stages=stages
    )
    folder.write_record(record)
    return record


def test_a_run_shows_its_stages_and_hides_what_libraries_say(
    capfd: pytest.CaptureFixture[str], feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_runner(monkeypatch, runs_two_stages)
    with real_streams():
        assert feedrank("run", str(CONFIGS / "demo.yaml"), "--set", "data.synthesize=null") == 0
    heard = capfd.readouterr()
    assert re.search(r"✓ ingest +2\.0 s +1,000 rows +500 rows/s", heard.out)
    assert re.search(r"↺ train +unchanged, reused", heard.out)
    assert "a library talks" not in heard.out + heard.err
    folder = history.find("runs", "demo")
    log, of_libraries = folder.log.read_text(), folder.library_log.read_text()
    assert f"what libraries log and print is in {folder.library_log}" in log
    both = ("an error of absl",)
    ours, theirs = ("of a room", "told progress"), ("a library talks", "a warning of absl", "from below")
    assert [text for text in (*ours, *both) if text not in log] == []
    assert [text for text in (*theirs, *both) if text not in of_libraries] == []
    assert [text for text in theirs if text in log] + [text for text in ours if text in of_libraries] == []


def fails_wrapped(config: RunConfig, folder: RunFolder, listener: StageListener) -> RunRecord:
    listener.stage_started("ingest")
    try:
        raise DataError("1,200 of 5,000 rows are bad")
    except DataError as error:
        raise RuntimeError("bundle 17 failed in executor") from error


def test_a_failed_run_says_why_and_names_its_log(
    capfd: pytest.CaptureFixture[str], feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_runner(monkeypatch, fails_wrapped)
    with real_streams():
        assert feedrank("run", str(CONFIGS / "demo.yaml"), "--set", "data.synthesize=null") == 1
    said = capfd.readouterr().err
    assert "1,200 of 5,000 rows are bad" in said
    assert "bundle 17" not in said
    assert "Traceback" not in said
    log = Path(re.search(r"log: (\S+)", said)[1])  # type: ignore[index]
    assert "RuntimeError: bundle 17 failed in executor" in log.read_text()


def test_a_failed_run_names_its_page(
    capfd: pytest.CaptureFixture[str], feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_with_a_page(config: RunConfig, folder: RunFolder, listener: StageListener) -> RunRecord:
        folder.report.write_text("why it stopped")
        raise DataError("1,200 of 5,000 rows are bad")

    use_runner(monkeypatch, fails_with_a_page)
    with real_streams():
        assert feedrank("run", str(CONFIGS / "demo.yaml"), "--set", "data.synthesize=null") == 1
    said = capfd.readouterr().err
    assert Path(re.search(r"report: (\S+)", said)[1]).read_text() == "why it stopped"  # type: ignore[index]


def test_an_interrupted_run_says_so_and_how_to_go_on(
    capfd: pytest.CaptureFixture[str], feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: RunConfig, folder: RunFolder, listener: StageListener) -> RunRecord:
        folder.config.write_text("name: demo")
        folder.report.write_text("interrupted")
        raise KeyboardInterrupt

    use_runner(monkeypatch, interrupted)
    with real_streams():
        assert feedrank("run", str(CONFIGS / "demo.yaml"), "--set", "data.synthesize=null") == 130
    said = capfd.readouterr().err
    found = re.fullmatch(
        r"✗ interrupted\n  log: (\S+)\n  report: (\S+)\n  to go on \(what was done is reused\): feedrank run (\S+)\n",
        said,
    )
    assert found is not None, said
    assert "KeyboardInterrupt" in Path(found[1]).read_text()
    assert Path(found[2]).read_text() == "interrupted"
    assert Path(found[3]).read_text() == "name: demo"


def test_sigterm_ends_a_run_as_ctrl_c_does(
    capfd: pytest.CaptureFixture[str], feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminated(config: RunConfig, folder: RunFolder, listener: StageListener) -> RunRecord:
        listener.stage_started("train")
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("nobody was told")

    before = signal.getsignal(signal.SIGTERM)
    use_runner(monkeypatch, terminated)
    with real_streams():
        assert feedrank("run", str(CONFIGS / "demo.yaml"), "--set", "data.synthesize=null") == 143
    assert re.fullmatch(r"✗ ended by SIGTERM\n  log: \S+\n  to go on: the same command\n", capfd.readouterr().err)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupted_question_says_so(
    feedrank: Feedrank, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(config: RunConfig, output: str, image: str | None) -> None:
        raise KeyboardInterrupt

    module = type(sys)("pipeline.runners.kubeflow")
    module.compile_pipeline = interrupted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipeline.runners.kubeflow", module)
    monkeypatch.setattr("pipeline.runners.kubeflow", module, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert feedrank("compile", str(CONFIGS / "demo.yaml")) == 130
    assert capsys.readouterr().err == "✗ interrupted\n"
    assert list(tmp_path.glob("feedrank-*.log")) == []


# -- messages --------------------------------------------------------------------------------------------------------


def caught(raise_: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as found:  # noqa: PT011
        raise_()
    return found.value


def test_our_own_message_is_found_behind_what_wraps_it() -> None:
    def by_context() -> None:
        try:
            raise DataError("no rows [while running 'ingest/Read']")
        except DataError:
            raise ValueError("wrapped")  # noqa: B904

    assert failures.message(caught(by_context)) == "no rows"
    sent_as_text = RuntimeError("Error in worker:\n  features.errors.DataError: no rows [while running 'x']\n\nmore")
    assert failures.message(sent_as_text) == "no rows"
    assert failures.message(KeyError("x")) == "KeyError: 'x'"


# -- earlier runs ----------------------------------------------------------------------------------------------------


def test_runs_are_found_by_id_beginning_pipeline_and_latest(tmp_path: Path) -> None:
    for pipeline, run_id in (("a", "20260101T1"), ("b", "20260102T1"), ("a", "20260103T1"), ("b", "20260103T2")):
        write_run(tmp_path, pipeline, run_id)
    found = {name: history.find(tmp_path, name).run_id for name in ("20260102", "a", "latest", "20260103T1")}
    assert found == {"20260102": "20260102T1", "a": "20260103T1", "latest": "20260103T2", "20260103T1": "20260103T1"}
    with pytest.raises(
        history.ConfigError, match=r"2 runs in .* match '20260103'.* a run's id \(20260103T2, 20260103T1, "
    ):
        history.find(tmp_path, "20260103")
    with pytest.raises(history.ConfigError, match=r"no run in .* matches 'c'; use 'latest'"):
        history.find(tmp_path, "c")
    write_run(tmp_path, "demo", "20260104T1")
    with pytest.raises(
        history.ConfigError, match=r"no run in .* matches 'dmo'; did you mean 'demo'\? use 'latest'"
    ) as told:
        history.find(tmp_path, "dmo")
    assert "a pipeline's name (demo, a, b), or a run's id (" in str(told.value)
    for day in range(10, 20):
        write_run(tmp_path, f"daily_{day}", f"202602{day}T1")
    with pytest.raises(
        history.ConfigError, match=r"did you mean 'daily_1\d'\? .*name \(daily_1\d,.*, \.\.\.\), or"
    ) as told:
        history.find(tmp_path, "daily_1x")
    assert "daily_19" in str(told.value)
    assert "demo" not in str(told.value)
    with pytest.raises(history.ConfigError, match=r"matches '20260103T3'.* a run's id \(20260103T2, 20260103T1, "):
        history.find(tmp_path, "20260103T3")


def judged(tmp_path: Path) -> tuple[RunFolder, Path]:
    """A run with an evaluation, a check and a pushed version beside an older one."""
    artifacts = {name: tmp_path / "artifacts" / name for name in ("evaluation", "check", "pushed")}
    serving = tmp_path / "runs" / "demo" / "serving"
    for folder in (artifacts["evaluation"], artifacts["check"]):
        folder.mkdir(parents=True)
    tasks = {"click": {"kind": "binary", "auc": 0.75}, "watch": {"kind": "regression", "mse": 2.0}}
    verdict = {"blessed": False, "reasons": ["click: AUC 0.75 is below 0.8"]}
    (artifacts["evaluation"] / "evaluation.json").write_text(json.dumps({"tasks": tasks, "verdict": verdict}))
    (artifacts["check"] / "check.json").write_text(json.dumps({"verdict": {"blessed": True, "reasons": []}}))
    for version in ("9", "10"):
        (serving / version).mkdir(parents=True)
    outputs = {
        "evaluate": {"evaluation": (str(artifacts["evaluation"]),)},
        "check_serving": {"blessing": (str(artifacts["check"]),)},
        "push": {"pushed_model": (str(artifacts["pushed"]),)},
    }
    (tmp_path / "manifest").mkdir()
    reasons = [("bad_number", "age", 1_200), ("bad_line", "", 7)]
    refused = [{"reason": reason, "column": column, "rows": rows} for reason, column, rows in reasons]
    (tmp_path / "manifest" / "manifest.json").write_text(
        json.dumps({"quarantined": {"rows": 1_207, "reasons": refused}})
    )
    outputs["ingest"] = {"manifest": (str(tmp_path / "manifest"),), "quarantine": ("runs/demo/quarantine/1",)}
    stages = [stage(name, outputs=outputs[name]) for name in ("ingest", "evaluate", "check_serving", "push")]
    stages[-1] = stages[-1].model_copy(update={"pushed_to": str(serving / "9")})
    return write_run(tmp_path / "runs", "demo", "20260101T1", *stages), serving


def test_the_outcome_is_read_from_what_stages_left(tmp_path: Path) -> None:
    folder, serving = judged(tmp_path)
    outcome = history.outcome(folder, folder.read_record(), load(folder.config))
    assert outcome == history.Outcome(
        aucs={"click": 0.75},
        errors={"watch": 2.0},
        blessed=False,
        serves=True,
        reasons=("click: AUC 0.75 is below 0.8",),
        pushed=str(serving / "9"),
        refused_rows=1_207,
        reasons_refused=("bad_number in age: 1,200", "bad_line in the row: 7"),
        quarantine="runs/demo/quarantine/1",
    )


def test_a_version_that_is_gone_is_told_so_and_one_in_a_store_is_not_asked_for(tmp_path: Path) -> None:
    folder, serving = judged(tmp_path)
    (serving / "9").rmdir()
    record = folder.read_record()
    assert history.outcome(folder, record, load(folder.config)).pushed == f"{serving / '9'} (no longer there)"
    to = "s3://nowhere/models/9?endpoint_override=127.0.0.1:1&scheme=http"
    stages = (*record.stages[:-1], record.stages[-1].model_copy(update={"pushed_to": to}))
    outcome = history.outcome(folder, record.model_copy(update={"stages": stages}), load(folder.config))
    assert outcome.pushed == "s3://nowhere/models/9"


def test_show_and_runs_tell_it(feedrank: Feedrank, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged(tmp_path)
    write_run(tmp_path / "runs", "other", "20260102T1", stage("ingest", state="failed"), status="failed", error="boom")
    assert feedrank("show", "demo") == 0
    said = capsys.readouterr().out
    told = r"left out +1,207 rows \(bad_number in age: 1,200; bad_line in the row: 7\): runs/demo/quarantine/1\n"
    assert re.search(told, said)
    assert re.search(r"evaluate +refused\n +click: AUC 0.75 is below 0.8\ncheck_serving +blessed", said)
    wanted = ("click 0.7500", "watch 2.0000", "refused", "is below 0.8", "blessed", "serving/9", "config.yaml")
    assert [text for text in wanted if text not in said] == []
    write_run(tmp_path / "runs", "refused", "20260103T1", stage("push"))
    assert feedrank("runs") == 0
    listed = capsys.readouterr().out
    assert re.search(r"20260101T1 +demo .* done, pushed +\n", listed)
    assert re.search(r"20260102T1 +other .* failed in ingest", listed)
    assert re.search(r"20260103T1 +refused .* done, nothing pushed", listed)
    assert feedrank("report", "demo") == 1
    assert "left no report" in capsys.readouterr().err


def test_a_killed_run_is_listed_and_names_its_log(
    feedrank: Feedrank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = RunFolder(PipelinePaths(root=tmp_path / "runs" / "demo"), "20260102T030405000006")
    killed.directory.mkdir(parents=True)
    write_run(tmp_path / "runs", "other", "20260103T1", stage("ingest"))
    assert feedrank("runs") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert re.search(r"^20260102T030405000006 +demo +2026-01-0\d \d\d:04 +killed or running", lines[0])
    assert re.search(r"^20260103T1 +other .* done", lines[1])
    assert feedrank("show", "demo") == feedrank("show", killed.run_id[:8]) == 1
    assert (
        f"was killed, or goes on: it wrote no record; its log: {killed.log.relative_to(tmp_path)}"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("warm_start", "taken", "said"),
    [
        ("none", None, None),
        ("last_pushed", None, "no pushed model from before these rows: begins at random"),
        ("m", {"model": "m/1", "copied": 3, "fresh": {"a": "new"}}, "begins with 3 of 4 variables of m/1"),
    ],
)
def test_show_tells_where_a_training_began(
    warm_start: str, taken: Any, said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "curves.json").write_text(json.dumps({"warm_start": taken}))
    folder = write_run(tmp_path, "demo", "1", stage("train", outputs={"model_run": (str(tmp_path),)}))
    folder.config.write_text(folder.config.read_text() + f"train: {{warm_start: {warm_start}}}\n")
    commands.show("demo", tmp_path)
    found = re.search(r"^warm start +(.*)$", capsys.readouterr().out, re.MULTILINE)
    assert (found and found[1]) == said


def test_show_names_the_days_that_counters_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path, "demo", "1")
    commands.show("demo", tmp_path)
    assert "\ncounters " not in capsys.readouterr().out
    counter = {"by": "item_id", "days": 7}
    counters = {
        "eve": counter | {"columns": {"item_shown": "count"}},
        "week": counter | {"columns": {"item_liked": {"of": "liked"}}, "delay_days": 1},
        "late": counter | {"columns": {"item_shared": {"of": "shared"}}, "delay_days": 3},
    }
    config = yaml.safe_load(folder.config.read_text()) | {"dataset": {"extends": "synthetic", "counters": counters}}
    folder.config.write_text(yaml.safe_dump(config, sort_keys=False))
    commands.show("demo", tmp_path)
    said = capsys.readouterr().out
    assert re.search(r"^counters +leave out before a row's own day: week 1 day, late 3 days$", said, re.MULTILINE)


# -- the console -----------------------------------------------------------------------------------------------------


def test_plain_lines_tell_each_epoch(tmp_path: Path) -> None:
    with (tmp_path / "screen").open("w") as screen, RunConsole(screen) as console:
        console.stage_started("train")
        progress.report("train", epoch=1, epochs=3, step=10, steps=20, loss=0.5)
        progress.report("train", epoch=1, epochs=3, step=20, steps=20, loss=0.25, auc_click=0.75)
        progress.report("train", epoch=2, epochs=3, step=1, steps=20, loss=0.125, auc_click=0.75)
        console.stage_finished(stage("train", seconds=61.0))
    lines = (tmp_path / "screen").read_text().splitlines()
    assert len(lines) == 2
    assert re.search(r"train .*epoch 1/3 +loss 0\.2500 +AUC +click 0\.7500", lines[0])
    assert re.search(r"✓ train +1 min 01 s +epoch 2/3 +loss 0\.1250 +AUC +click 0\.7500", lines[1])


def test_what_a_stage_says_keeps_a_line(tmp_path: Path) -> None:
    with (tmp_path / "screen").open("w") as screen, RunConsole(screen) as console:
        console.stage_started("train")
        progress.report("train", said="begins with [m]")
        progress.report("train", loss=0.5)
    assert (tmp_path / "screen").read_text().splitlines() == [f"  {'train':<20}begins with [m]"]


def test_output_is_captured_below_python_and_given_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    with real_streams():
        with captured_output(log) as screens:
            print("from Python")
            subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from below')"], check=True)
            screens.output.write("for the user\n")
        print("after")
    assert log.read_text() == "from Python\nfrom below"
    assert capfd.readouterr().out == "for the user\nafter\n"
