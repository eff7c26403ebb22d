"""Scoring and evaluating logs with an exported model, as the commands do."""

from __future__ import annotations

import gzip
import io

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from features import folders
from features.errors import ConfigError, DataError, ModelError
from features.logs.files import name_of
from features.spec import Source
from pipeline import model_log, scoring, tables
from pipeline.model_log import LogOptions
from pipeline.pushed import find_model
from pipeline.runs import PipelinePaths, RunFolder, RunRecord, StageResult
from tests.pipeline.evaluation import toy

HEADER = "user,item,score,tab,clicked,liked,exposed,seconds\n"
GOOD = [
    "1,a,0.9,x,1,1,1,1",
    "1,b,0.8,x,0,0,1,0",
    "1,c,0.2,x,0,0,1,0",
    "2,d,0.6,y,0,1,0,1",
    "2,e,0.4,,1,0,1,0",
    ",f,0.1,x,1,0,1,0",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy.export(tmp_path_factory.mktemp("model") / "7")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "day.csv"
    path.write_text(HEADER + "\n".join([GOOD[0], "1,b,not a number,x,0,0,1,0", *GOOD[1:], "too,short"]) + "\n")
    return path


def test_new_rows_are_scored_and_bad_ones_kept_beside(model, log, tmp_path):
    found = scoring.score(model, str(log), str(tmp_path / "out" / "scores.parquet"))
    scores = pq.read_table(found.output).to_pydict()
    assert scores["file"] == ["day.csv"] * 6
    assert scores["row"] == [1, 3, 4, 5, 6, 7]
    assert scores["user"] == [1, 1, 1, 2, 2, None]
    assert scores["item"] == list("abcdef")
    assert scores["click"] == pytest.approx(toy.SCORES)
    assert scores["like"] == pytest.approx([score / 2 for score in toy.SCORES])
    assert (found.rows_read, found.rows, found.quarantined["rows"]) == (8, 6, 2)
    assert sorted(pq.read_table(found.quarantine)["row"].to_pylist()) == [2, 8]


def test_rows_without_labels_can_be_scored_and_written_as_csv(model, tmp_path):
    (tmp_path / "new.csv").write_text("user,item,score,tab\n1,a,0.25,x\n")
    found = scoring.score(model, str(tmp_path / "new.csv"), str(tmp_path / "scores.csv"))
    assert pacsv.read_csv(found.output).to_pylist()[0]["click"] == 0.25
    assert found.quarantine is None
    assert not list(tmp_path.glob("*.quarantine.*"))


def test_the_quarantine_of_an_earlier_run_does_not_stay(model, log, tmp_path):
    earlier = scoring.score(model, str(log), str(tmp_path / "scores.parquet")).quarantine
    log.write_text(HEADER + "\n".join(GOOD) + "\n")
    with pytest.raises(DataError):
        scoring.score(model, str(tmp_path / "nothing.csv"), str(tmp_path / "scores.parquet"))
    assert earlier.exists()
    assert scoring.score(model, str(log), str(tmp_path / "scores.parquet")).quarantine is None
    assert not earlier.exists()


def test_a_log_in_the_other_format_is_read_by_its_suffix(model, tmp_path):
    pq.write_table(pa.table({"user": [1], "item": ["a"], "score": [0.5]}), tmp_path / "new.parquet")
    found = scoring.score(model, str(tmp_path / "*.parquet"), str(tmp_path / "out" / "scores.parquet"))
    assert pq.read_table(found.output)["click"].to_pylist() == [0.5]


USERS = {"source": "users.csv*", "on": "user", "columns": {"user": "int64", "age": "float32"}}


@pytest.fixture(scope="module")
def joining(tmp_path_factory):
    """A model whose log has a side table."""
    return toy.export(tmp_path_factory.mktemp("joining") / "7", spec=toy.dataset(tables={"users": USERS}))


@pytest.fixture
def users(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "users.csv").write_text("user,age\n1,20\n2,abc\n")
    return folder


def said(show, *arguments):
    console = Console(record=True, width=160, file=io.StringIO())
    show(console, *arguments)
    return console.export_text()


def test_bad_rows_of_a_side_table_are_counted_and_kept(joining, log, users, tmp_path):
    found = scoring.score(joining, str(log), str(tmp_path / "scores.parquet"), LogOptions(tables=str(users)))
    assert (found.rows_read, found.rows, found.quarantined["rows"]) == (8, 6, 2)
    counts = found.tables["users"]
    assert (counts["rows_read"], counts["rows"], counts["quarantined"]["rows"]) == (2, 1, 1)
    # Users 2, 2 and nobody.
    assert found.unmatched == {"users": 3}
    dead = pq.read_table(found.quarantine)
    assert sorted(zip(dead["file"].to_pylist(), dead["row"].to_pylist(), strict=True)) == [
        ("day.csv", 2),
        ("day.csv", 8),
        ("users.csv", 2),
    ]
    text = said(tables.show_scored, found)
    assert "table users: 1 rows quarantined: bad_number in age: 1" in text
    assert "3 rows of the log find nothing in table users" in text


def test_an_evaluation_tells_bad_rows_of_a_side_table(joining, log, users):
    found = scoring.evaluate(joining, str(log), LogOptions(tables=str(users)))
    assert found["tables"]["users"]["quarantined"]["rows"] == 1
    text = said(tables.show_evaluation, found, scoring.evaluation_tables(found))
    assert "table users: 1 rows quarantined: bad_number in age: 1" in text
    assert "3 rows of the log find nothing in table users" in text


def test_a_damaged_side_table_is_refused(joining, log, users, tmp_path):
    whole = gzip.compress((users / "users.csv").read_bytes() + b"".join(b"%d,%d\n" % (n, n) for n in range(3, 999)))
    (users / "users.csv").unlink()
    (users / "users.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"table 'users': users\.csv\.gz: the file ends too early"):
        scoring.score(joining, str(log), str(tmp_path / "scores.parquet"), LogOptions(tables=str(users)))


def test_a_later_log_is_evaluated_whatever_its_split(model, log, tmp_path):
    dead = tmp_path / "dead.parquet"
    found = scoring.evaluate(model, str(log), LogOptions(quarantine=str(dead)), slices=["tab"])
    assert found["tasks"]["click"]["auc"] == pytest.approx(4 / 9)
    assert found["tasks"]["click"]["gauc"] == pytest.approx(3 / 5)
    assert (found["tasks"]["like"]["rows"], found["tasks"]["like"]["auc"]) == (5, 1.0)
    assert (found["rows_read"], found["rows"], found["quarantined"]["rows"]) == (8, 6, 2)
    assert pq.read_table(dead).num_rows == 2
    (titles, rows), (sliced, of_tab) = scoring.evaluation_tables(found)
    assert titles[:5] == ["task", "rows", "positives", "rate", "auc"]
    assert rows[0][:5] == ["click", "6", "3", "50.000%", "0.4444"]
    assert rows[2][2:5] == ["-", "-", "-"]
    assert sliced[:6] == ["tab", *titles[:5]]
    # Too few positives for an AUC of tab x.
    assert of_tab[0][:6] == ["x", "click", "4", "2", "50.000%", "-"]
    assert "AUC of up against any interaction" in said(tables.show_evaluation, found, scoring.evaluation_tables(found))


def test_a_later_log_may_lack_what_no_evaluation_needs(model, tmp_path):
    rows = [",".join(row.split(",")[i] for i in (0, 2, 4, 5, 6, 7)) for row in GOOD]
    (tmp_path / "day.csv").write_text("user,score,clicked,liked,exposed,seconds\n" + "\n".join(rows) + "\n")
    found = scoring.evaluate(model, str(tmp_path / "day.csv"))
    assert found["tasks"]["click"]["gauc"] == pytest.approx(3 / 5)
    with pytest.raises(DataError, match="lacks tab"):
        scoring.evaluate(model, str(tmp_path / "day.csv"), slices=["tab"])
    with pytest.raises(ConfigError, match=r"--slice tap: unknown column 'tap'; did you mean 'tab'\?"):
        scoring.evaluate(model, str(tmp_path / "day.csv"), slices=["tap"])
    (tmp_path / "day.csv").write_text("score,clicked,liked,exposed,seconds\n0.9,1,1,1,1\n")
    with pytest.raises(DataError, match="lacks user"):
        scoring.evaluate(model, str(tmp_path / "day.csv"))


@pytest.fixture(scope="module")
def acting(tmp_path_factory):
    """A model whose labels come from a log of actions."""
    actions = {
        "source": "actions*.csv",
        "columns": {"user": "int64", "item": "string", "at": "int64", "what": "string", "value": "float32"},
        "on": ["user", "item"],
        "time": "at",
        "window": "10s",
        "labels": {
            "clicked": {"column": "what", "equals": "click"},
            "liked": {"column": "what", "equals": "like"},
            "seconds": {"column": "value", "where": {"what": "play"}, "take": "sum"},
        },
    }
    columns = {"user": "int64", "item": "string", "score": "float32", "tab": "string", "ms": "int64", "n": "int64"}
    tasks = {"click": {"label": "clicked"}, "like": {"label": "liked"}}
    spec = toy.dataset(
        source={"files": "log*.csv"},
        columns=columns,
        time="ms",
        actions=actions,
        duplicates="drop",
        tasks=tasks | {"dwell": {"label": "seconds", "kind": "regression"}},
    )
    return toy.export(tmp_path_factory.mktemp("acting") / "7", spec=spec)


SHOWN = [
    "1,a,0.9,x,100000,1",
    "1,b,0.8,x,101000,2",
    "1,a,0.2,x,108000,3",  # item a once more: from here on actions are of this row
    "2,d,0.6,y,100000,4",
    "1,b,0.8,x,101000,2",  # the second row once more
    "2,e,0.4,,100000,5",
]
ACTED = [
    "1,a,107999,click,",  # of row 1
    "1,a,108000,like,",  # of row 3
    "1,b,111000,click,",  # of row 2: the window's last instant
    "1,b,111000,click,",  # a duplicate
    "2,d,110001,click,",  # later than the window
    "2,e,99999,click,",  # before
    "2,e,100000,play,1.5",
    "2,e,104000,play,2",
    "3,e,104000,play,2",  # nobody was shown it
    "2,d,oops,click,",
]


def test_actions_are_joined_and_duplicates_dropped(acting, tmp_path):
    folder = tmp_path / "day"
    folder.mkdir()
    # In two files each, so that numbers of files matter.
    for part, rows in enumerate((SHOWN[:2], SHOWN[2:])):
        (folder / f"log{part}.csv").write_text("\n".join(["user,item,score,tab,ms,n", *rows]) + "\n")
    strays = [f"9,z,{at},click," for at in range(100)]
    for part, rows in enumerate((ACTED[:6], [*ACTED[6:], *strays])):
        (folder / f"actions{part}.csv").write_text("\n".join(["user,item,at,what,value", *rows]) + "\n")
    dead = tmp_path / "dead.parquet"
    found = scoring.evaluate(acting, str(folder), LogOptions(quarantine=str(dead)))
    tasks = found["tasks"]
    # Clicks: rows 1 (.9) and 2 (.8) of five; likes: row 3 (.2); seconds: 3.5 of the last.
    assert (tasks["click"]["rows"], tasks["click"]["positives"], tasks["click"]["auc"]) == (5, 2, 1.0)
    assert (tasks["like"]["positives"], tasks["like"]["auc"]) == (1, 0.0)
    errors = [0.9**2, 0.8**2, 0.2**2, 0.6**2, (3.5 - 0.4) ** 2]
    assert tasks["dwell"]["mse"] == pytest.approx(sum(errors) / 5)
    assert (found["rows_read"], found["duplicates"]) == (6, 1)
    actions = found["actions"]
    assert (actions["rows_read"], actions["attributed"], actions["quarantined"]["rows"]) == (110, 5, 1)
    assert {name: rows for name, rows in actions["others"].items() if rows} == {
        "duplicate": 1,
        "without_impression": 101,
        "before_impression": 1,
        "after_window": 1,
    }
    letters = {(row["file"], row["row"], row["reason"]) for row in pq.read_table(dead).to_pylist()}
    assert letters == {("log1.csv", 3, "duplicate"), ("actions1.csv", 4, "bad_number")}
    text = said(tables.show_evaluation, found, scoring.evaluation_tables(found))
    assert "actions: 5 of 110 actions attributed (1 duplicate, 101 without_impression" in text
    assert "actions: 1 rows quarantined: bad_number in at: 1" in text
    # The same files by name, and the actions apart from the log.
    apart = LogOptions(actions=str(folder / "actions*.csv"))
    assert scoring.evaluate(acting, str(folder / "log*.csv"), apart)["tasks"] == tasks


def test_actions_must_be_somewhere(acting, model, log, tmp_path):
    (tmp_path / "log.csv").write_text("\n".join(["user,item,score,tab,ms,n", *SHOWN]) + "\n")
    with pytest.raises(ConfigError, match=r"come from a log of actions \(actions\*\.csv\); allowed: --actions with"):
        scoring.evaluate(acting, str(tmp_path / "log.csv"))
    with pytest.raises(DataError, match=r"no file matches 'actions\*\.csv' in"):
        scoring.evaluate(acting, str(tmp_path))
    with pytest.raises(DataError, match=r"--actions: no file matches '.*nowhere\.csv'; allowed: a file, a glob, or a"):
        scoring.evaluate(acting, str(tmp_path / "log.csv"), LogOptions(actions=str(tmp_path / "nowhere.csv")))
    with pytest.raises(ConfigError, match="labels of 'toy' are in its log, it has no log of actions; allowed: no"):
        scoring.evaluate(model, str(log), LogOptions(actions=str(log)))
    whole = gzip.compress(("user,item,at,what,value\n" + "\n".join(ACTED[:8] * 99)).encode())
    (tmp_path / "half.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"^the log of actions: 1 damaged files.*\n  half\.csv\.gz: the file ends too early"
    ):
        scoring.evaluate(acting, str(tmp_path / "log.csv"), LogOptions(actions=str(tmp_path / "half.csv.gz")))
    head = "user,item,at,what,value\n"
    (tmp_path / "none.csv").write_text(head)
    with pytest.raises(DataError, match="the log of actions has no row"):
        scoring.evaluate(acting, str(tmp_path / "log.csv"), LogOptions(actions=str(tmp_path / "none.csv")))
    (tmp_path / "bad.csv").write_text(head + "\n".join([*ACTED[:9], *["1,a,noon,like,"] * 4]) + "\n")
    with pytest.raises(DataError, match=r"^the log of actions: 4 of 13 rows \(30.77%\) are malformed; allowed: 0.01"):
        scoring.evaluate(acting, str(tmp_path / "log.csv"), LogOptions(actions=str(tmp_path / "bad.csv")))
    (tmp_path / "stray.csv").write_text(head + "\n".join(f"9,z,{at},click," for at in range(200)) + "\n")
    found = scoring.evaluate(acting, str(tmp_path / "log.csv"), LogOptions(actions=str(tmp_path / "stray.csv")))
    assert any(note.startswith("only 0 of 200 actions attributed") for note in found["notes"])
    # Scores need none.
    assert scoring.score(acting, str(tmp_path / "log.csv"), str(tmp_path / "scores.parquet")).rows == 6


def test_a_damaged_log_says_that_nobody_can_count_what_is_lost(model, tmp_path):
    rows = "\n".join(GOOD * 500)
    whole = gzip.compress(f"{HEADER}{rows}\n".encode())
    (tmp_path / "day.csv.gz").write_bytes(whole[: len(whole) // 2])
    found = scoring.score(model, str(tmp_path / "day.csv.gz"), str(tmp_path / "scores.parquet"))
    assert 0 < found.rows < 3000
    assert "day.csv.gz: the file ends too early: its remaining rows are lost" in said(tables.show_scored, found)


def test_one_users_best_items(model, log):
    found = scoring.top_items(model, str(log), items=2)
    assert (found.group, found.ordered_by) == (1, "up")
    assert [(row["rank"], row["item"]) for row in found.rows] == [(1, "a"), (2, "b")]
    assert found.rows[0]["click"] == pytest.approx(0.9)
    assert [row["item"] for row in scoring.top_items(model, str(log), group=2).rows] == ["d", "e"]
    with pytest.raises(DataError, match="user 3 has no usable row"):
        scoring.top_items(model, str(log), group=3)


def test_a_users_rows_are_found_wherever_in_the_file_they_are(model, tmp_path):
    rows = 70_000  # more than a Parquet batch
    users = [9, *[1] * (rows - 2), 9]
    items = ["first", *["x"] * (rows - 2), "last"]
    scores = [0.2, *[0.5] * (rows - 2), 0.8]
    pq.write_table(pa.table({"user": users, "item": items, "score": scores}), tmp_path / "long.parquet")
    found = scoring.top_items(model, str(tmp_path / "long.parquet"), group="9")
    assert [row["item"] for row in found.rows] == ["last", "first"]


def test_a_user_of_another_type_is_refused(model, log):
    with pytest.raises(ConfigError, match="user 'ann': column 'user' holds int64"):
        scoring.top_items(model, str(log), group="ann")


def test_users_without_items_are_refused(log, tmp_path):
    model = toy.export(tmp_path / "7", spec=toy.dataset(item=None))
    with pytest.raises(
        ConfigError, match=r"dataset 'toy' names no item: it has no users .*; columns: user, item, score,"
    ):
        scoring.top_items(model, str(log))


def test_files_of_several_folders_keep_their_names(model, log, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "day.csv").write_text(log.read_text())
    found = scoring.score(model, str(tmp_path / "*" / "day.csv"), str(tmp_path / "scores.parquet"))
    assert sorted(set(pq.read_table(found.output)["file"].to_pylist())) == ["a/day.csv", "b/day.csv"]


def test_an_unknown_suffix_says_nothing_about_the_format(model, log, tmp_path):
    (tmp_path / "day.log").write_text(log.read_text())
    source, found = model_log._located(toy.dataset().source, str(tmp_path / "day.log"), "--data")
    assert (source.format, found.root) == (toy.dataset().source.format, str(tmp_path))
    parquet = toy.dataset().source.model_copy(update={"format": "parquet"})
    assert model_log._located(parquet, str(tmp_path / "day.log"), "--data")[0].format == "parquet"
    (tmp_path / "day.parquet").touch()
    with pytest.raises(DataError, match="two formats at once"):
        scoring.score(model, str(tmp_path / "day.*"), str(tmp_path / "scores.parquet"))


def test_files_have_the_folders_in_their_names_that_columns_are_read_from(tmp_path):
    (tmp_path / "log" / "country=nl" / "day=1").mkdir(parents=True)
    (tmp_path / "log" / "country=nl" / "day=1" / "a.csv").write_text(HEADER)
    named = {"files": "*/*/*.csv", "from_name": {"tab": "country=([^/]+)/"}}
    for data in ("log/country=nl/day=1/*.csv", "log/*/*/a.csv"):
        _, ((file,), root) = model_log._located(Source.model_validate(named), str(tmp_path / data), "--data")
        assert name_of(file, root) == "country=nl/day=1/a.csv"
    nowhere = {"files": "*.csv", "from_name": {"tab": "shop=([^/]+)/"}}
    one = str(tmp_path / "log/country=nl/day=1/a.csv")
    _, ((file,), root) = model_log._located(Source.model_validate(nowhere), one, "--data")
    assert name_of(file, root) == "a.csv"


def test_a_log_of_nothing_but_bad_rows_is_an_error_that_says_why(model, tmp_path):
    (tmp_path / "bad.csv").write_text(HEADER + "1,b,not a number,x,0,0,1,0\n")
    with pytest.raises(DataError, match=r"no row of .* can be scored; 1 rows read, quarantined: "):
        scoring.score(model, str(tmp_path / "bad.csv"), str(tmp_path / "scores.parquet"))
    assert not (tmp_path / "scores.parquet").exists()
    assert (tmp_path / "scores.quarantine.parquet").exists()


def test_what_cannot_be_is_named(model, log, tmp_path):
    with pytest.raises(ConfigError, match=r"ends with '\.json'; allowed: \.parquet, \.csv"):
        scoring.score(model, str(log), str(tmp_path / "scores.json"))
    with pytest.raises(DataError, match="no file matches"):
        scoring.score(model, str(tmp_path / "nothing.csv"), str(tmp_path / "scores.csv"))
    with pytest.raises(ConfigError, match=r"^--data: 'abfs://bucket/day.csv' is of no file system that is read"):
        scoring.score(model, "abfs://bucket/day.csv", str(tmp_path / "scores.csv"))
    with pytest.raises(ModelError, match="no model exported by feedrank"):
        scoring.score(tmp_path, str(log), str(tmp_path / "scores.csv"))


def saved_model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    return folder


def test_a_model_is_found_by_its_folder_or_the_highest_version(tmp_path):
    saved_model(tmp_path / "serving" / "9")
    newest = saved_model(tmp_path / "serving" / "10")
    (tmp_path / "serving" / "11").mkdir()
    assert find_model(str(tmp_path / "serving" / "9")) == str(tmp_path / "serving" / "9")
    assert find_model(str(tmp_path / "serving")) == str(newest)
    assert find_model(str(tmp_path)) == str(newest)


def test_a_model_is_found_in_a_store(store, s3):
    for name in ("9/saved_model.pb", "10/saved_model.pb", "11/variables/index", "best/saved_model.pb"):
        folders.write_text(f"{store}/feed/{name}", "")
    assert find_model(f"{store}/feed") == f"{store}/feed/10"
    assert find_model(f"{store}/feed/9") == f"{store}/feed/9"
    with_options = f"{store}/feed/?{s3.options}"
    assert find_model(with_options) == with_options.replace("/feed/", "/feed/10")
    for wrong in (f"{store}/feed/11", f"{store}/nothing"):
        with pytest.raises(ModelError, match=f"'{wrong}' names no model; allowed: a folder with saved_model.pb"):
            find_model(wrong)
    with pytest.raises(ConfigError, match="model: 'abfs://b/c' is of no file system that is read"):
        find_model("abfs://b/c")


def test_a_model_is_found_by_its_pipeline_or_its_run(tmp_path):
    paths = PipelinePaths(root=tmp_path / "feed")
    for run_id, pushed in (("20220101T000000", True), ("20220102T000000", False)):
        folder = RunFolder(paths, run_id)
        folder.directory.mkdir(parents=True)
        target = tmp_path / "artifacts" / run_id
        if pushed:
            saved_model(target)
        stage = StageResult(name="push", state="done", seconds=1, outputs={"pushed_model": (str(target),)})
        started = "2022-01-01T00:00:00Z"
        record = {
            "run_id": run_id,
            "pipeline": "feed",
            "status": "done",
            "started": started,
            "seconds": 1,
            "stages": [stage],
        }
        folder.write_record(RunRecord.model_validate(record))
    first = str(tmp_path / "artifacts" / "20220101T000000")
    assert find_model("feed", tmp_path) == first
    assert find_model("20220101", tmp_path) == first
    # What lies beside its runs may be older: it may push elsewhere by now.
    saved_model(paths.root / "serving" / "100")
    assert find_model(str(paths.root)) == first
    with pytest.raises(ModelError, match="pushed no model"):
        find_model("20220102", tmp_path)
    with pytest.raises(ModelError, match="'nowhere' names no model"):
        find_model("nowhere", tmp_path)
    with pytest.raises(ModelError, match=r"no runs in '.*none'.*name the folder with --runs\)"):
        find_model("feed", tmp_path / "none")


def test_the_best_items_can_be_shown(model, log):
    console = Console(record=True, width=120, file=io.StringIO())
    tables.show_top_items(console, scoring.top_items(model, str(log), "1", 2))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert lines[1][:2] == ["rank", "item"]
    assert [line[:2] for line in lines if line[0].isdigit() and line[1] != "best"] == [["1", "a"], ["2", "b"]]
