"""The page from a run made by hand: complete, escaped, self-contained, well-formed."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from pipeline.report.data import ReportData, Stage, with_stages
from pipeline.report.page import render
from pipeline.report.slices import slices
from pipeline.runs import StageResult
from tests.pipeline.report.sample import AUCS, EVIL, RATES, sample

VOID = {"meta", "br", "col", "input"}


class Reader(HTMLParser):
    """Follows the open elements and keeps the text by section id."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.section = ""
        self.text: dict[str, str] = {}
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"]
        self.links += [value for key, value in attrs if key in ("href", "src", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text[self.section] = self.text.get(self.section, "") + data + " "


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page():
    return render(sample())


def test_every_section_is_there_and_linked(page):
    reader = read(page)
    sections = ["flow", "quality", "calibration", "training", "gates", "data", "serving", "lineage", "provenance"]
    assert [name for name in reader.text if name] == sections
    assert reader.links == [f"#{name}" for name in sections]


def test_nothing_comes_from_the_network_and_the_page_is_small(page):
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import|https?://", page)
    assert len(page) < 300_000


def test_what_the_log_holds_is_text_never_markup(page):
    assert EVIL not in page
    assert page.count("<script>") == 1
    assert html.escape(EVIL) in page
    assert EVIL in read(page).text["data"]


def test_the_numbers_are_those_of_the_run(page):
    text = read(page).text
    for task, area in AUCS.items():
        assert f"{area:.4f}" in text["quality"], task
    assert "94,784 read = 61,840 train + 16,021 validation + 16,891 test + 32 quarantined" in re.sub(
        r"\s+", " ", text["data"]
    )
    assert "bad number" in text["data"]
    assert "32 quarantined" in text["flow"]
    assert "0.8420" in text["quality"]
    assert "kept the weights of epoch 4" in text["training"]
    assert "41 variables from artifacts/train/model/7" in text["training"]
    assert re.search(r"user_id\s*23,410\s*1,318\s*27", text["training"])
    assert "was (16, 1)" in text["training"]


def test_each_task_has_a_calibration_plot_and_each_gate_a_row(page):
    assert page.count("<title>Calibration of ") == len(RATES)
    assert len(re.findall(r'class="heat"', page[page.index('id="gates"') : page.index('id="data"')])) == 2 * 7 * 5


def test_the_lineage_draws_each_artifact_from_its_maker_to_its_last_reader(page):
    drawing = page[
        page.index("<title>Lineage: artifacts") : page.index("</svg>", page.index("<title>Lineage: artifacts"))
    ]
    names = re.findall(r'class="name">([^<]+)<tspan class="soft">\s*([^<]*)</tspan>', drawing)
    assert names == [
        ("log files", ""),
        ("examples", "Examples #1"),
        ("manifest", "IngestManifest #2"),
        ("model", "Model #4"),
        ("baseline: model", "Model #3"),
        ("blessing", "ModelBlessing #5"),
    ]
    step = (1028 - 262 - 22) / 5  # the column before the run and four stages
    before, ingest, train, _, evaluate = (262 + step * (place + 0.5) for place in range(5))
    threads = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="[\d.]+" y2="[\d.]+" class="thread">', drawing)
    assert [(float(a), float(b)) for a, b in threads] == [
        pytest.approx(ends, abs=0.01)
        for ends in (
            (before, ingest),
            (ingest, evaluate),
            (ingest, ingest),
            (train, evaluate),
            (before, evaluate),
            (evaluate, evaluate),
        )
    ]
    assert re.findall(r'class="maker (\w+)"', drawing) == ["before", "cached", "cached", "done", "before", "done"]


def test_the_lineage_lists_every_execution_with_what_it_read_and_made(page):
    table = page[page.index("Every execution") :]
    rows = [re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", row)).strip() for row in table.split("<tr>")[2:6]]
    assert rows[0].startswith("ingest cached #11 run r1 log files")
    assert rows[0].endswith(
        "examples Examples #1 artifacts/ingest/examples/1 manifest IngestManifest #2 artifacts/ingest/manifest/2"
    )
    assert rows[1] == (
        "train done #12 run r2 examples Examples #1 artifacts/ingest/examples/1 model Model #4 artifacts/train/model/4"
    )
    assert "looked up: model Model #3 artifacts/train/model/3" in rows[2]
    assert "blessing ModelBlessing #5 refused artifacts/evaluate/blessing/5" in rows[3]


def panels(page: str) -> dict[str, list[list[str]]]:
    """Rows of cells below each button of the slices' picker."""
    card = page[page.index("The same per slice") :]
    card = card[: card.index("</section>")]
    buttons = re.findall(r"<label[^>]*>([^<]*)</label>", card)
    tables = card.split('class="panel"')[1:]
    assert len(buttons) == len(tables)
    read_row = lambda row: [re.sub("<[^>]*>", "", cell) for cell in re.split("</t[hd]>", row)[:-1]]  # noqa: E731
    return {
        button: [read_row(row) for row in table.split("<tr>")[1:]]
        for button, table in zip(buttons, tables, strict=True)
    }


def test_every_metric_of_every_task_is_told_per_slice():
    """A task without a metric has no column there; what a slice of one row cannot define is a dash."""
    whole = {
        "click": {"kind": "binary", "rows": 5, "positives": 3, "rate": 0.6, "auc": 0.75, "gauc": 0.7, "log_loss": 0.6, "normalized_entropy": 0.9, "calibration": 0.8},
        "dwell": {"kind": "regression", "rows": 5, "mse": 4.0, "mae": 1.5},
    }  # fmt: skip
    first = {
        "click": {"kind": "binary", "rows": 4, "positives": 2, "rate": 0.5, "auc": 0.8, "gauc": None, "log_loss": 0.069312, "normalized_entropy": 1.0, "calibration": 1.0},
        "dwell": {"kind": "regression", "rows": 4, "mse": 2.0, "mae": 1.25},
    }  # fmt: skip
    second = {"click": {"kind": "binary", "rows": 1, "positives": 1, "rate": 1.0, "auc": None}, "dwell": {"rows": 1}}
    evaluation = {
        "rows": 5,
        "tasks": whole,
        "slices": {"tab": {"1": {"rows": 4, "tasks": first}, "2": {"rows": 1, "tasks": second}}},
    }
    found = panels(render(sample().model_copy(update={"evaluation": evaluation, "truth": None})))
    assert found == {
        "AUC": [["tab", "Rows", "click"], ["whole test split", "5", "0.7500"], ["1", "4", "0.8000"], ["2", "1", "–"]],
        "GAUC": [["tab", "Rows", "click"], ["whole test split", "5", "0.7000"], ["1", "4", "–"], ["2", "1", "–"]],
        "Log loss": [["tab", "Rows", "click"], ["whole test split", "5", "0.6000"], ["1", "4", "0.06931"], ["2", "1", "–"]],
        "Norm. entropy": [["tab", "Rows", "click"], ["whole test split", "5", "0.9000"], ["1", "4", "1.0000"], ["2", "1", "–"]],
        "Σp / Σy": [["tab", "Rows", "click"], ["whole test split", "5", "0.8000"], ["1", "4", "1.0000"], ["2", "1", "–"]],
        "MSE": [["tab", "Rows", "dwell"], ["whole test split", "5", "4.0000"], ["1", "4", "2.0000"], ["2", "1", "–"]],
        "MAE": [["tab", "Rows", "dwell"], ["whole test split", "5", "1.5000"], ["1", "4", "1.2500"], ["2", "1", "–"]],
        "Positives": [["tab", "Rows", "click"], ["whole test split", "5", "3"], ["1", "4", "2"], ["2", "1", "1"]],
        "Rate": [["tab", "Rows", "click"], ["whole test split", "5", "60.0 %"], ["1", "4", "50.0 %"], ["2", "1", "100.0 %"]],
        "Rows": [["tab", "Rows", "click", "dwell"], ["whole test split", "5", "5", "5"], ["1", "4", "4", "4"], ["2", "1", "1", "1"]],
    }  # fmt: skip


def test_auc_is_the_slices_metric_that_is_shown_first(page):
    card = page[page.index("The same per slice") :]
    assert re.findall(r'<input[^>]*id="([^"]*)" checked="">', card) == ["slices-auc"]
    assert next(iter(panels(page))) == "AUC"
    assert ".picker input:nth-of-type(8):checked ~ .panel:nth-of-type(8)" in page  # each of the 8 buttons has its rule


@pytest.mark.parametrize(
    ("metric", "value", "whole", "tint", "heat"),
    [
        ("auc", 0.8, 0.75, "good", 0.5),  # half of .1 above
        ("auc", 0.6, 0.75, "bad", 1.0),
        ("normalized_entropy", 0.9, 1.0, "good", 0.5),  # a tenth lower, of a fifth
        ("mse", 2.2, 2.0, "bad", 0.5),
        ("calibration", 1.5, 1.0, "bad", 1.0),
        ("calibration", 1 / 1.5, 1.0, "bad", 1.0),
        ("calibration", 1.0, 3.0, "good", 0.0),
    ],
)
def test_a_slices_cell_is_tinted_by_what_is_better(metric, value, whole, tint, heat):
    numbers = {"rows": 2, "tasks": {"click": {metric: value}}}
    evaluation = {"rows": 4, "tasks": {"click": {metric: whole}}, "slices": {"tab": {"1": numbers}}}
    shown = slices(ReportData(name="", dataset={}, config={}, created="", evaluation=evaluation))
    assert f'style="--tint:var(--{tint});--heat:{heat * 0.45:.3f}"' in shown


@pytest.mark.parametrize(("positives", "rows", "coloured"), [(9, 100, False), (10, 20, True), (91, 100, False)])
def test_a_slices_cell_of_few_rows_of_a_class_has_no_colour(positives, rows, coloured):
    numbers = {"rows": rows, "tasks": {"click": {"auc": 0.6, "positives": positives, "rows": rows}}}
    evaluation = {"rows": 400, "tasks": {"click": {"auc": 0.75}}, "slices": {"tab": {"1": numbers}}}
    shown = slices(ReportData(name="", dataset={}, config={}, created="", evaluation=evaluation))
    assert ("--heat:" in shown) == coloured


@pytest.mark.parametrize(("warm_start", "told"), [("none", False), ("last_pushed", True)])
def test_a_warm_start_that_found_no_model_is_told(warm_start, told):
    data = sample()
    config, training = {**data.config, "train": {"warm_start": warm_start}}, {**data.training, "warm_start": None}
    page = render(data.model_copy(update={"config": config, "training": training}))
    assert ("no pushed model from before these rows: begins at random" in page) == told


def test_a_refused_model_says_why_at_the_top():
    text = read(render(sample(blessed=False))).text[""]
    assert "Not pushed" in text
    assert "auc 0.7361 is 0.0123 below the last blessed model's 0.7484" in text


def test_a_model_that_nobody_judged_is_told_so():
    data = sample()
    verdict = data.evaluation["verdict"]
    defined = [check for check in verdict["checks"] if check["limit"] == "defined"]
    assert len(defined) < len(verdict["checks"])
    assert "Every check passed." in read(render(data)).text[""]
    unjudged = {**data.evaluation, "verdict": {**verdict, "checks": defined}}
    text = read(render(data.model_copy(update={"evaluation": unjudged}))).text[""]
    assert "Every check passed." not in text
    assert "How good it is nobody judged" in text


def test_a_blessed_model_that_was_not_pushed_is_no_success():
    text = read(render(sample().model_copy(update={"version": None}))).text[""]
    assert "Blessed twice, not pushed" in text


def test_a_run_that_stopped_says_where_and_why_and_what_is_known():
    """Validation refused the data: nothing was transformed, trained or judged."""
    stages = (
        Stage(name="ingest", seconds=3.2, rows=94_784),
        Stage(name="statistics", state="cached", seconds=0.1),
        Stage(name="validate", state="failed", seconds=0.4),
    )
    verdict = {"ok": False, "problems": [f"column '{EVIL}' drifts"], "warnings": ["column 'tab' is new"]}
    unknown = {"training": {}, "gates": {}, "evaluation": {}, "check": {}, "blessed": False, "infra_blessed": False}
    update = {
        "error": "2 problems:\n- one\n- two",
        "stages": stages,
        "verdict": verdict,
        "version": None,
        "truth": None,
    }
    text = read(render(sample().model_copy(update={**update, **unknown}))).text
    assert [name for name in text if name] == ["flow", "data", "lineage", "provenance"]
    assert "Stopped in validate" in text[""]
    assert "2 problems:\n- one\n- two" in text[""]
    assert "Nothing was pushed." in text[""]
    assert "Mean test AUC" not in text[""]
    assert "Rows read" in text[""]
    assert (
        re.sub(r"\s+", " ", text["flow"])
        .strip()
        .startswith(
            "Flow Each stage with its time and the rows it handled. The stages after the one that failed did not run. "
            "ingest 3.2 s 94.8k rows, 29.6k/s statistics cached validate 0.4 s failed"
        )
    )
    assert f"column '{EVIL}' drifts" in text["data"]
    assert "column 'tab' is new" in text["data"]
    assert "bad number" in text["data"]
    assert "No anomaly stopped the run" not in text["data"]
    assert "user_active_degree" in text["data"]


def test_a_run_that_stopped_before_validation_says_nothing_of_it():
    stages = (Stage(name="ingest", state="failed", seconds=3.2),)
    known = {"error": "32 rows are bad", "stages": stages, "verdict": {}, "statistics": {}, "evaluation": {}}
    text = read(render(sample().model_copy(update=known))).text
    assert "bad number" in text["data"]
    assert "Validation" not in text["data"].split()
    assert "passed" not in text["data"]


def test_a_run_that_stopped_before_its_first_stage_has_a_page():
    text = read(render(sample().model_copy(update={"error": "no file", "stages": (), "manifest": {}}))).text
    assert "Stopped before its first stage" in text[""]
    assert "flow" not in text


def test_rows_of_side_tables_in_quarantine_are_told():
    bad = {"rows": 2, "reasons": [{"reason": "duplicate key", "column": "user_id", "rows": 2, "example": None}]}
    good = {"rows": 0, "reasons": []}
    parts = {
        "users": {"rows_read": 10, "rows": 8, "quarantined": bad},
        "videos": {"rows_read": 5, "rows": 5, "quarantined": good},
    }
    data = sample()
    text = read(render(data.model_copy(update={"manifest": data.manifest | {"tables": parts}}))).text["data"]
    assert "2 of 10 rows of table users" in text
    assert "duplicate key" in text
    assert "rows of table videos" not in text


def test_rows_of_earlier_days_in_quarantine_are_told():
    bad = {"rows": 2, "reasons": [{"reason": "bad_label", "column": "click", "rows": 2, "example": None}]}
    data = sample()
    manifest = data.manifest | {"counters": {"rows_read": 10, "quarantined": bad}}
    text = read(render(data.model_copy(update={"manifest": manifest}))).text["data"]
    assert "2 of 10 rows of days before the split's, which counters alone look at" in text
    assert "bad_label" in text


def test_a_run_of_which_little_is_known_has_a_page_too():
    reader = read(render(ReportData(name="bare", dataset={}, config={}, created="2022-04-25")))
    assert "provenance" in reader.text


def test_a_regression_and_undefined_metrics_have_a_page():
    data = sample()
    tasks = {
        "click": {
            "kind": "binary",
            "rows": 10,
            "positives": 0,
            "rate": 0.0,
            "auc": None,
            "gauc": None,
            "calibration_bins": [],
        },
        "dwell": {"kind": "regression", "rows": 10, "mse": 2.5, "mae": None},
    }
    evaluation = {"rows": 10, "tasks": tasks, "slices": {"tab": {}}, "notes": [], "up": None, "baseline": None}
    text = read(render(data.model_copy(update={"evaluation": evaluation, "truth": None}))).text
    assert "2.5000" in text["quality"]
    assert "calibration" not in text


def test_the_page_can_be_made_again_from_its_own_json():
    data = sample()
    assert render(ReportData.model_validate_json(data.model_dump_json())) == render(data)


def test_of_a_failed_stage_only_what_was_measured_is_told():
    [ingest] = with_stages(sample(), [StageResult(name="ingest", state="failed", seconds=2.0, note="boom")]).stages
    assert ingest == Stage(name="ingest", state="failed", seconds=2.0)


def test_measured_times_replace_known_ones_and_keep_rows_and_notes():
    finished = [
        StageResult(name="schema", state="done", seconds=0.5),
        StageResult(name="ingest", state="cached", seconds=0.1),
        StageResult(name="evaluate", state="done", seconds=5.0, rows=7),
    ]
    found = with_stages(sample(), finished).stages
    assert found == (
        Stage(name="schema", seconds=0.5),
        Stage(name="ingest", state="cached", seconds=0.1, rows=94_784, note="32 quarantined"),
        Stage(name="evaluate", seconds=5.0, rows=7),
    )


def test_rows_that_down_sampling_left_out_are_in_the_sum():
    data = sample()
    assert "sampled out" not in read(render(data)).text["data"]
    task = next(iter(data.manifest["tasks"]))
    tasks = {task: {**data.manifest["tasks"][task], "sampled_out": {"rows": 400, "positives": 3, "sum": 3.0}}}
    left_out = {"sampled_out": 400, "tasks": {**data.manifest["tasks"], **tasks}}
    text = read(render(data.model_copy(update={"manifest": {**data.manifest, **left_out}}))).text["data"]
    assert re.search(r"\+ +400 +sampled out of train", text)
    assert "0.75" in text  # 3 of 400


def test_rows_without_a_pretrained_vector_are_told_by_split():
    data = sample()
    assert "Pretrained vectors" not in read(render(data)).text["training"]
    coverage = {"coverage": {"picture": {"test": {"rows": 400, "missing": 5, "unknown": 30}}}}
    text = read(render(data.model_copy(update={"training": {**data.training, **coverage}}))).text["training"]
    assert re.search(r"picture +test +400 +5 +30 +7\.5", text)


def test_the_counters_are_listed_with_their_settings_and_what_they_became():
    data = sample()
    assert "Counters" not in read(render(data)).text["data"]
    columns = {
        "shown": {},
        "ctr": {"take": "rate", "of": "action", "equals": ["open", "like"], "prior": 0.05, "strength": 20},
    }
    counters = {
        "week": {"by": "item_id", "days": 7, "columns": columns},
        "pair": {
            "by": ["user_id", "author_id"],
            "days": 30,
            "days_before": "optional",
            "max_entries": 5_000,
            "columns": {"since": {"take": "days_since", "of": "liked"}},
        },
    }
    made = {"entries": {"week": 1_398, "pair": 42}, "delay_days": {"week": 0, "pair": 2}, "absent_days": ["2022-04-01"]}
    given = {"dataset": {**data.dataset, "counters": counters}, "manifest": {**data.manifest, "counters": made}}
    text = re.sub(r"\s+", " ", read(render(data.model_copy(update=given))).text["data"])
    assert "shown number of rows week item_id 7 0 1,398 20,000,000" in text
    assert (
        "ctr share of rows with action = open or like, smoothed: 0.05 weighs 20 rows week item_id 7 0 1,398 20,000,000"
    ) in text
    assert (
        "since days since the last of the rows with liked > 0 pair user_id, author_id 30, if there 2 42 5,000" in text
    )
    assert "No files of 2022-04-01" in text


def test_a_regression_has_a_curve_of_its_own_error():
    data = sample()
    assert "MSE" not in read(render(data)).text["training"]
    epochs = [
        {**epoch, "validation": {**epoch["validation"], "mse": {"dwell": error}}}
        for epoch, error in zip(data.training["epochs"], (812.5, 640.0, 611.25, 608.0, 609.5, 613.0), strict=True)
    ]
    tasks = {**data.dataset["tasks"], "dwell": {"label": "dwell_s", "kind": "regression"}}
    given = {"dataset": {**data.dataset, "tasks": tasks}, "training": {**data.training, "epochs": epochs}}
    page = render(data.model_copy(update=given))
    drawing = page[page.index("<title>Validation MSE of dwell by epoch") :]
    drawing = drawing[: drawing.index("</svg>")]
    assert re.findall(r"<title>dwell: ([\d.]+) at epoch", drawing)[:3] == ["812.5000", "640.0000", "611.2500"]
    areas = page[page.index("<title>Validation AUC by epoch") :]
    assert "dwell" not in areas[: areas.index("</svg>")]
    table = page[page.index("Every epoch") :]
    assert "dwell (MSE)" in table[: table.index("</table>")]
    assert "608.0000" in table[: table.index("</table>")]


def test_a_training_of_regressions_alone_has_no_empty_chart_of_auc():
    data = sample()
    dataset = {**data.dataset, "tasks": {"dwell": {"label": "dwell_s", "kind": "regression"}}}
    assert "Validation AUC" not in read(render(data.model_copy(update={"dataset": dataset}))).text["training"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            {"keep": 0.1},
            "of rows that are not positive for any binary task, 10.0 % were kept; each of these weighs 10 rows in every loss",
        ),
        (
            {"keep": 0.25, "unless": ["click", "like"], "correct": "none"},
            "not positive for one of click, like, 25.0 % were kept; nothing makes up for it",
        ),
        (
            {"keep": 0.2, "unless": ["click"], "correct": "probability"},
            "predictions of the served model are brought back to all rows",
        ),
    ],
)
def test_rates_after_down_sampling_are_explained(rule, told):
    data = sample()
    assert "down-sampling" not in read(render(data)).text["data"]
    given = data.model_copy(update={"dataset": {**data.dataset, "downsample": rule}})
    text = read(render(given)).text["data"]
    assert "Rates in train are after down-sampling" in text
    assert told in text


def test_columns_whose_distinct_values_nobody_counted_say_so(page):
    note = "of text and of categorical integers alone"
    assert note in read(page).text["data"]
    data = sample()
    counted = tuple(column for column in data.statistics["train"] if column.distinct is not None)
    assert note not in read(render(data.model_copy(update={"statistics": {"train": counted}}))).text["data"]
