from __future__ import annotations

import datetime
import json
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.spec import Bag, Categorical, Dataset, Id, Numeric, RandomSplit, Sequence, SideTable, Source, TimeSplit

DIN = {"kind": "sequence", "pooling": "din_attention"}


def own_log(**changes: Any) -> dict[str, Any]:
    """A dataset as short as YAML allows, with some keys changed; None takes a key out."""
    dataset = {
        "name": "feed",
        "source": "log/*.parquet",
        "columns": {"user": "int64", "item": "int64", "tags": "list<string>", "age": "float32", "ts": "int64"}
        | {"viewed": "list<int64>"}
        | {"seconds": {"type": "float32", "outcome": True}, "clicked": "int64", "liked": "int64", "rank": "int64"},
        "time": "ts",
        "group": "user",
        "item": "item",
        "position": "rank",
        "features": {"user": "id", "item": "id", "tags": "bag", "age": "numeric"},
        "tasks": {"click": "clicked", "like": "liked"},
        "split": {"train": ["2026-01-05", "2026-01-09"], "validation": "2026-01-10", "test": "2026-01-11"},
    } | changes
    return {key: value for key, value in dataset.items() if value is not None}


def problem(**changes: Any) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        Dataset.model_validate(own_log(**changes))
    return str(caught.value)


def test_shorthands_stand_for_whole_mappings() -> None:
    dataset = Dataset.model_validate(own_log())
    assert dataset.source == Source(files="log/*.parquet", format="parquet")
    assert dataset.columns["tags"].type == "list<string>"
    assert dataset.time is not None
    assert (dataset.time.column, dataset.time.unit) == ("ts", "ms")
    assert dataset.features == {"user": Id(), "item": Id(), "tags": Bag(), "age": Numeric()}
    assert dataset.tasks["like"].label == "liked"
    assert isinstance(dataset.split, TimeSplit)
    assert dataset.split.test == (datetime.date(2026, 1, 11), datetime.date(2026, 1, 11))


@pytest.mark.parametrize(
    ("files", "format_"),
    [
        ("a.csv", "csv"),
        ("*.csv.gz", "csv"),
        ("log.d/*", "csv"),
        ("a.parquet.gz", "csv"),
        (["a.parquet", "b.parquet"], "parquet"),
        (["a.parquet", "b.csv"], "csv"),
        ("*.orc", "orc"),
        ("a.avro", "avro"),
        (["a.jsonl", "b.ndjson.zst"], "jsonl"),
        ("part-*.tfrecord.gz", "tfrecord"),
        ("a.tfrecords", "tfrecord"),
        ("Split-train/data_tfrecord-00000-of-00001.gz", "tfrecord"),
        ("data_tfrecord-*", "tfrecord"),
        ("data_tfrecord-?????-of-?????.gz", "tfrecord"),
        ("*.tfrecord*", "tfrecord"),
        ("a.tfrecord-00000-of-00010", "tfrecord"),
        ("log.parquet-00000-of-00010", "parquet"),
        ("part-00000-of-00010", "csv"),
        ("about_tfrecord", "csv"),
    ],
)
def test_format_follows_the_names(files: Any, format_: str) -> None:
    assert Source.model_validate({"files": files}).format == format_
    assert Source.model_validate(files).format == format_
    assert Source.model_validate({"files": files, "format": "parquet"}).format == "parquet"


@pytest.mark.parametrize(
    ("files", "delimiter"),
    [("a.tsv", "\t"), (["a.tsv.gz", "b.tsv"], "\t"), ("a.csv", ","), (["a.tsv", "b.csv"], ",")],
)
def test_tabs_separate_what_ends_in_tsv(files: Any, delimiter: str) -> None:
    assert Source.model_validate(files).delimiter == delimiter
    assert Source.model_validate({"files": files, "delimiter": ";"}).delimiter == ";"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"files": "x.parquet", "delimiter": ";"},
            "source.delimiter of parquet, which has none; allowed: of csv alone",
        ),
        ({"files": "x.jsonl", "header": False, "quote": ""}, "source.header, quote of jsonl"),
        ({"files": "x.orc", "newlines_in_values": True}, "source.newlines_in_values of orc"),
    ],
)
def test_keys_of_csv_are_refused_elsewhere(keys: Any, said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        Source.model_validate(keys)
    assert Source.model_validate({"files": "x.parquet", "delimiter": ",", "null_values": ["-"]}).format == "parquet"


def test_a_bare_random_is_a_split() -> None:
    assert Dataset.model_validate(own_log(split="random", time=None)).split == RandomSplit()


def test_a_table_with_a_function_is_derived() -> None:
    users = {"source": "users.csv", "on": "user", "columns": {"user": "int64", "city": "string"}}
    rates = {"function": "m:f", "inputs": ["users"], "on": "city", "columns": {"city": "string", "rate": "float32"}}
    dataset = Dataset.model_validate(own_log(tables={"users": users, "rates": rates}))
    assert [table.keys for table in dataset.tables.values()] == [("user",), ("city",)]
    assert isinstance(dataset.tables["users"], SideTable)
    assert set(dataset.all_columns()) - set(dataset.columns) == {"city", "rate"}


def test_what_the_house_asks() -> None:
    features = {"u": {"kind": "id", "column": "user"}, "item": "id", "seen": {"kind": "id", "column": "user"}}
    dataset = Dataset.model_validate(own_log(features=features))
    assert dataset.feature_columns() == ("user", "item")
    shared = Dataset.model_validate(own_log(features={"user": "id", "item": {"kind": "id", "vocabulary_of": "user"}}))
    assert [shared.vocabulary_owner(name) for name in shared.features] == ["user", "user"]


def test_travels_as_json() -> None:
    shared = {"user": "id", "item": {"kind": "id", "vocabulary_of": "user"}}
    for dataset in (Dataset.model_validate(own_log()), Dataset.model_validate(own_log(features=shared))):
        assert Dataset.model_validate_json(dataset.model_dump_json()) == dataset


def test_is_frozen() -> None:
    dataset = Dataset.model_validate(own_log())
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        dataset.name = "other"


BY_COLUMN = {"by": "column", "column": "user", "train": [1], "test": [2]}
NAMED = {"function": "a:b", "inputs": ["town"], "outputs": {"letters": "int64"}}
USERS = {"source": "users.csv", "on": "user", "columns": {"user": "int64", "city": "string"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": {"like": "is_liked"}}, ["task 'like' names label 'is_liked'", "no column of feed", "clicked, item"]),
        ({"tasks": {}}, ["at least one task"]),
        ({"features": {}}, ["at least one feature"]),
        (
            {"features": {"clicked": "numeric"}},
            ["'clicked'", "the label of task 'click'", "may be features: age, item"],
        ),
        ({"features": {"x": {"kind": "numeric", "column": "seconds"}}}, ["feature 'x'", "an outcome column"]),
        ({"features": {"rank": "numeric"}}, ["the position in the feed"]),
        ({"features": {"age": "id"}}, ["of kind id", "of type float32", "allowed types: int64, string"]),
        ({"features": {"nope": "id"}}, ["feature 'nope' names column 'nope', which does not exist"]),
        ({"features": {"user": {"kind": "id", "dimm": 3}}}, ["unknown key 'dimm'; did you mean 'dim'?"]),
        ({"features": {"user": "idd"}}, ["'idd'", "'id', 'categorical', 'bag'"]),
        (
            {"features": {"item": "id", "tags": {"kind": "bag", "vocabulary_of": "item"}}},
            ["must be", "string", "int64"],
        ),
        (
            {"features": {"user": "id", "item": {"kind": "id", "vocabulary_of": "user", "dim": 4}}},
            ["`dim` beside `vocabulary_of: user` would go unused", "give them to 'user'"],
        ),
        (
            {"features": {"user": "id", "item": {"kind": "id", "vocabulary_of": "user", "vocabulary": {"top_k": 9}}}},
            ["`vocabulary` beside `vocabulary_of: user`"],
        ),
        (
            {"features": {"user": {"kind": "id", "vocabulary": {"hash_buckets": 9, "top_k": 9, "oov_buckets": 3}}}},
            ["`top_k` and `oov_buckets` beside `hash_buckets: 9` would go unused", "allowed: either"],
        ),
        (
            {"features": {"user": {"kind": "id", "vocabulary": {"counted_tokens": 9}}}},
            ["`counted_tokens: 9` finds the most frequent tokens", "got top_k None", "allowed: a `top_k` of at most 9"],
        ),
        (
            {"features": {"user": {"kind": "id", "vocabulary": {"counted_tokens": 9, "top_k": 10}}}},
            ["got top_k 10", "allowed: a `top_k` of at most 9"],
        ),
        (
            {"features": {"user": {"kind": "id", "vocabulary": {"counted_tokens": 9, "hash_buckets": 9}}}},
            ["`counted_tokens` beside `hash_buckets: 9` would go unused"],
        ),
        (
            {"features": {"user": {"kind": "id", "vocabulary": {"hash_buckets": 9}, "frequency_rank": True}}},
            ["`frequency_rank` needs counted tokens"],
        ),
        (
            {"features": {"user": "id", "x": {"kind": "cross", "of": ["user", "tag"]}}},
            ["feature 'x': of names feature 'tag', which does not exist"],
        ),
        (
            {"features": {"user": "id", "age": "numeric", "x": {"kind": "cross", "of": ["user", "age"]}}},
            ["feature 'x' crosses 'age', which is of kind numeric", "bucketized and clock features: user"],
        ),
        ({"features": {"user": "id", "x": {"kind": "cross", "of": ["user", "user"]}}}, ["features that differ"]),
        ({"features": {"user": "id", "x": {"kind": "cross", "of": ["user"]}}}, ["at least 2 items"]),
        ({"features": {"hour": "clock"}, "time": None, "split": "random"}, ["'hour' is a clock", "no `time`"]),
        ({"features": {"hour": {"kind": "clock", "column": "user"}}}, ["allowed for a clock: the time, 'ts'"]),
        ({"features": {"viewed": DIN}}, ["name its feature by `target`", "got neither"]),
        (
            {"features": {"user": "id", "viewed": {"kind": "sequence", "target": "user"}}},
            ["`target: user` would go unused with `pooling: mean`"],
        ),
        (
            {"features": {"viewed": DIN | {"target": "usr"}, "user": "id"}},
            ["target names feature 'usr'", "user, viewed"],
        ),
        (
            {"features": {"viewed": DIN | {"target": "tags"}, "tags": "bag", "item": "id"}},
            ["target 'tags' is of kind bag", "an id or categorical feature: item"],
        ),
        (
            {"features": {"viewed": DIN | {"target": "user", "dim": 4}, "user": "id"}},
            ["got 4 for 'viewed' and the model's embedding_dim for 'user'", "the same `dim` for both"],
        ),
        ({"features": {"age": {"kind": "bucketized", "boundaries": [1, 1]}}}, ["boundaries must increase"]),
        ({"group": "nobody"}, ["group names column 'nobody'"]),
        ({"tables": {"users": USERS | {"on": "userid"}}}, ["key that names column 'userid'"]),
        ({"tables": {"users": USERS | {"columns": {"user": "int64", "age": "int64"}}}}, ["'age' of table 'users'"]),
        ({"tasks": {"click": {"label": "clicked", "parent": "buy"}}}, ["parent names other task 'buy'"]),
        (
            {"tasks": {"a": {"label": "clicked", "parent": "b"}, "b": {"label": "liked", "parent": "a"}}},
            ["their own parents: a -> b -> a"],
        ),
        ({"tasks": {"click": {"label": "clicked", "metrics": ["mse"]}}}, ["metric 'mse'", "auc, calibration"]),
        (
            {"tasks": {"t": {"label": "city"}}, "tables": {"users": USERS}},
            ["allowed: int64 or float32, or give `positive`"],
        ),
        (
            {"tasks": {"t": {"label": "seconds", "kind": "regression", "positive": [1]}}},
            ["task 't' is a regression; `positive` is for binary tasks only"],
        ),
        ({"tasks": {"click": {"label": "clicked", "mask": "seen"}}}, ["mask names column 'seen'"]),
        (
            {"tasks": {"t": {"label": "tags", "positive": ["a"]}}, "features": {"user": "id"}},
            ["task 't': label 'tags' is list<string>; allowed: int64, float32, string"],
        ),
        (
            {"tasks": {"click": {"label": "clicked", "mask": "city"}}, "tables": {"users": USERS}},
            ["task 'click': mask 'city' is string; allowed: int64, float32"],
        ),
        (
            {"tasks": {"click": {"label": "clicked", "sample_weight": "city"}}, "tables": {"users": USERS}},
            ["task 'click': sample_weight 'city' is string; allowed: int64, float32"],
        ),
        (
            {"tasks": {"click": {"label": "clicked", "sample_weight": "age"}}},
            ["feature 'age' reads column 'age', which is the sample weight of task 'click'"],
        ),
        (
            {"tasks": {"click": {"label": "clicked", "loss": "huber"}}},
            ["tasks.click", "loss huber is not for a binary task", "allowed: log_loss, focal"],
        ),
        ({"columns": {"weight_click": "int64"} | own_log()["columns"]}, ["reserved by feedrank: weight_click"]),
        ({"group": "tags"}, ["group 'tags' is list<string>; allowed: int64, float32, string"]),
        ({"item": "tags"}, ["item 'tags' is list<string>; allowed: int64, float32, string"]),
        (
            {"position": "tags", "features": {"user": "id"}},
            ["position 'tags' is list<string>; allowed: int64, float32"],
        ),
        (
            {"position": "city", "tables": {"users": USERS}},
            ["position 'city' is string; allowed: int64, float32"],
        ),
        (
            {"columns": {"feedrank_position": "int64"} | own_log()["columns"]},
            ["reserved by feedrank: feedrank_position"],
        ),
        (
            {"split": {"train": ["2026-01-09", "2026-01-05"], "validation": "2026-01-10", "test": "2026-01-11"}},
            ["empty"],
        ),
        ({"split": {"train": "2026-01-05", "validation": "2026-01-05", "test": "2026-01-06"}}, ["must begin after"]),
        (
            {"split": {"by": "random", "train": 0.5, "validation": 0.4, "test": 0.4}},
            ["train + validation + test is 1.3"],
        ),
        ({"time": None}, ["needs `time`", "split: {by: random}"]),
        ({"split": BY_COLUMN | {"column": "usr"}}, ["the split names column 'usr'", "did you mean 'user'"]),
        ({"split": BY_COLUMN | {"train": [1, 2]}}, ["puts 2 of 'user' into train and test"]),
        ({"split": BY_COLUMN | {"validation": [1, 3]}}, ["puts 1 of 'user' into train and validation"]),
        ({"split": BY_COLUMN | {"validation": [3, 2]}}, ["puts 2 of 'user' into test and validation"]),
        ({"split": BY_COLUMN | {"validation": []}}, ["the split's validation has values (none) of 'user'"]),
        (
            {"split": BY_COLUMN | {"validation": [3], "validation_of": "test"}},
            ["values of its own", "is a share of test"],
        ),
        ({"split": BY_COLUMN | {"validation": 1.5}}, ["less than 1"]),
        ({"split": BY_COLUMN | {"train": ["a"]}}, ["train has values 'a' of 'user'", "allowed: int64 values"]),
        ({"split": BY_COLUMN | {"test": []}}, ["test has values (none)"]),
        ({"split": BY_COLUMN | {"column": "age"}}, ["the split's column 'age' is float32; allowed: int64, string"]),
        ({"source": {"files": "*.csv", "from_name": {"usr": "_(.)"}}}, ["source: from_name names column 'usr'"]),
        (
            {"split": BY_COLUMN, "columns": own_log()["columns"] | {"user": {"type": "int64", "personal": "hash"}}},
            ["the split reads column 'user', which is personal", "allowed: a column whose values are kept"],
        ),
        (
            {
                "source": {"files": "*.csv", "from_name": {"user": "_(.)"}},
                "columns": own_log()["columns"] | {"user": {"type": "int64", "personal": "hash"}},
            },
            ["source: from_name: column 'user' is personal", "names of files"],
        ),
        ({"source": {"files": "*.csv", "from_name": {"user": "_."}}}, ["from_name of 'user': '_.' has 0 groups"]),
        ({"source": {"files": "*.csv", "from_name": {"user": "_(."}}}, ["'_(.' is no regular expression"]),
        ({"tables": {"users": USERS | {"derived": [NAMED]}}}, ["table 'users': derived 'a:b' names column 'town'"]),
        (
            {"tables": {"users": USERS | {"derived": [NAMED | {"inputs": ["city"], "outputs": {"city": "string"}}]}}},
            ["table 'users': derived 'a:b' gives city, which it has"],
        ),
        (
            {
                "tables": {
                    "users": USERS
                    | {
                        "columns": USERS["columns"] | {"town": {"type": "string", "outcome": True, "kept": False}},
                        "derived": [NAMED],
                    }
                },
                "features": {"letters": "numeric"},
            },
            ["feature 'letters'", "made by 'a:b' from 'town', an outcome column"],
        ),
        ({"columns": {"label_click": "int64"} | own_log()["columns"]}, ["reserved by feedrank: label_click"]),
        ({"columns": {"ts": {"type": "int64", "minimum": 2, "maximum": 1}}}, ["minimum 2 is above maximum 1"]),
        ({"name": "1 feed"}, ["name"]),
        ({"features": {"Größe": {"kind": "numeric", "column": "age"}}}, ["feature 'Größe'", "a letter", "`column:`"]),
        ({"features": {"a/b": {"kind": "numeric", "column": "age"}}}, ["feature 'a/b' has no valid name"]),
        ({"tasks": {"a-b": "clicked"}}, ["task 'a-b' has no valid name"]),
    ],
)
def test_contradictions_say_what_and_what_is_allowed(changes: dict[str, Any], said: list[str]) -> None:
    message = problem(**changes)
    assert [part for part in said if part not in message] == []


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("int64", ["1", "2"], "feature 'x' has values '1', '2', but its column 'tab' is int64; allowed: int64 values"),
        ("string", [1, 2], "feature 'x' has values 1, 2, but its column 'tab' is string; allowed: string values"),
        ("int64", [1, 2], None),
        ("string", ["1", "2"], None),
    ],
)
def test_values_are_of_their_columns_type(column: str, values: list[Any], said: str | None) -> None:
    changes = {
        "columns": own_log()["columns"] | {"tab": column},
        "features": {"x": {"kind": "categorical", "column": "tab", "values": values}},
    }
    if said is None:
        assert Dataset.model_validate(own_log(**changes))
    else:
        assert said in problem(**changes)


def _reading(*names: str) -> dict[str, Any]:
    """A log with these columns, and a feature of each."""
    features = {f"f_{place}": {"kind": "id", "column": name} for place, name in enumerate(names)}
    return {"columns": own_log()["columns"] | dict.fromkeys(names, "int64"), "features": features}


@pytest.mark.parametrize("name", ["user id", "_x", "user:id", "preço", "/a", "a/", "a@b"])
def test_a_column_that_cannot_be_an_input_of_the_export_is_refused(name: str) -> None:
    message = problem(**_reading(name))
    assert f"feature 'f_0' reads column '{name}', which cannot name an input of the exported model; allowed:" in message
    assert "`derived` function" in message
    unread = {"columns": own_log()["columns"] | {name: "int64"}}
    assert Dataset.model_validate(own_log(**unread))


@pytest.mark.parametrize("names", [("Age", "age"), ("user-id", "user_id"), ("a/b", "A.b")])
def test_columns_that_are_one_input_of_the_export_are_refused(names: tuple[str, str]) -> None:
    assert f"columns '{names[0]}' and '{names[1]}' of features would be one input" in problem(**_reading(*names))


@pytest.mark.parametrize("names", [("user-id", "user.id2", "a/b", "2x", "x-", "y."), ("a", "a_1", "x/a")])
def test_columns_may_have_other_signs(names: tuple[str, ...]) -> None:
    assert Dataset.model_validate(own_log(**_reading(*names))).feature_columns() == names


def test_what_is_made_from_an_answer_is_one() -> None:
    derived = [
        {"function": "m:a", "inputs": ["seconds"], "outputs": {"long": "int64"}},
        {"function": "m:b", "inputs": ["long", "age"], "outputs": {"longer": "int64"}},
    ]
    message = problem(derived=derived, features={"longer": "numeric"})
    assert "made by 'm:b' from 'long', made by 'm:a' from 'seconds', an outcome column" in message
    table = {"source": "t.csv", "on": "clicked", "columns": {"clicked": "int64", "bonus": "float32"}}
    assert "made by table 't' from 'clicked'" in problem(tables={"t": table}, features={"bonus": "numeric"})


def test_a_table_made_from_one_with_answers_is_tainted_as_a_whole() -> None:
    side = {
        "source": "s.csv",
        "on": "item",
        "columns": {"item": "int64", "watched": {"type": "int64", "outcome": True}},
    }
    mean = {"function": "m:mean", "inputs": ["shown"], "on": "user", "columns": {"user": "int64", "mean": "float32"}}
    further = {"function": "m:f", "inputs": ["means"], "on": "user", "columns": {"user": "int64", "more": "float32"}}
    tables = {"shown": side, "means": mean, "others": further}
    said = "made by table 'means' from 'watched', an outcome column"
    assert said in problem(tables=tables, features={"mean": "numeric"})
    assert f"made by table 'others' from 'mean', {said}" in problem(tables=tables, features={"more": "numeric"})
    assert Dataset.model_validate(own_log(tables=tables, features={"user": "id"}))
    side["columns"] = {"item": "int64", "watched": "int64"}
    assert Dataset.model_validate(own_log(tables=tables, features={"mean": "numeric", "more": "numeric"}))


AGE = {"kind": "numeric", "missing_indicator": True}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"features": {"age": AGE, "age_missing": {"kind": "id", "column": "item"}}},
            ["the missing_indicator of feature 'age' is written as 'age_missing', as is feature 'age_missing'"],
        ),
        (
            {
                "features": {
                    "item": {"kind": "id", "frequency_rank": True},
                    "item_frequency_rank": {"kind": "id", "column": "item"},
                }
            },
            [
                "the frequency_rank of feature 'item' is written as 'item_frequency_rank', as is feature 'item_frequency_rank'"
            ],
        ),
        (
            {"features": {"label_click": {"kind": "id", "column": "item"}}},
            ["as is the label of task 'click'", "allowed"],
        ),
        ({"features": {"mask_like": {"kind": "id", "column": "item"}}}, ["as is the mask of task 'like'", "allowed"]),
        ({"features": {"feedrank_row_id": {"kind": "id", "column": "item"}}}, ["as is the row's id", "allowed"]),
        (
            {"features": {"label_x": AGE | {"column": "age"}}, "tasks": {"x_missing": "clicked"}},
            ["written as 'label_x_missing', as is the label of task 'x_missing'"],
        ),
        ({"tasks": {"up": "clicked"}}, ["names of other outputs: up; allowed: any name but", "feedrank_row_id"]),
        ({"tasks": {"like": "liked", "like_and_up": "clicked"}}, ["names of other outputs: like_and_up"]),
        (
            {
                "tasks": {
                    "click": "clicked",
                    "like": {"label": "liked", "parent": "click"},
                    "like_given_click": "clicked",
                }
            },
            ["names of other outputs: like_given_click"],
        ),
        ({"tasks": {"item": "clicked"}}, ["names of other outputs: item"]),
        ({"tasks": {"all": "clicked"}}, ["names of other outputs: all"]),  # the total loss, beside the tasks'
        ({"tasks": {"mean": "clicked"}}, ["names of other outputs: mean"]),  # the AUCs' mean in TensorBoard
    ],
)
def test_names_that_meet_later_are_refused_now(changes: dict[str, Any], said: list[str]) -> None:
    message = problem(**changes)
    assert [part for part in said if part not in message] == []


def test_a_missing_indicator_goes_without_its_neighbour() -> None:
    features = {"age": AGE, "missing": {"kind": "id", "column": "item"}}
    assert set(Dataset.model_validate(own_log(features=features)).features) == {"age", "missing"}


@pytest.mark.parametrize("named", [{"target": "item"}, {"vocabulary_of": "item"}])
def test_attention_is_to_the_target_or_the_vocabularys_owner(named: dict[str, str]) -> None:
    features = {"item": {"kind": "id"}, "viewed": DIN | named}
    viewed = Dataset.model_validate(own_log(features=features)).features["viewed"]
    assert isinstance(viewed, Sequence)
    assert viewed.attends_to() == "item"


def test_an_outcome_may_be_a_label() -> None:
    tasks = {"watch": {"label": "seconds", "kind": "regression"}}
    assert Dataset.model_validate(own_log(tasks=tasks)).tasks["watch"].kind == "regression"


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(
    st.dictionaries(
        NAMES, st.sampled_from(["id", "categorical", "bag", "sequence", "numeric", "bucketized"]), min_size=1
    )
)
def test_any_features_survive_json(kinds: dict[str, str]) -> None:
    types = {"bag": "list<string>", "sequence": "list<int64>", "numeric": "float32", "bucketized": "float32"}
    columns = {f"c_{name}": types.get(kind, "int64") for name, kind in kinds.items()} | {"y": "int64"}
    features = {name: {"kind": kind, "column": f"c_{name}"} for name, kind in kinds.items()}
    dataset = Dataset.model_validate(
        {
            "name": "d",
            "source": "d.csv",
            "columns": columns,
            "features": features,
            "tasks": {"t": "y"},
            "split": "random",
        }
    )
    assert Dataset.model_validate_json(dataset.model_dump_json()) == dataset
    assert dataset.feature_columns() == tuple(f"c_{name}" for name in kinds)


@given(
    st.sampled_from(sorted(Dataset.model_fields)),
    st.sampled_from([None, 3, "x", [], {}, ["x"], {"x": "y"}, {"x": None}]),
)
def test_nonsense_is_refused_in_words(key: str, value: Any) -> None:
    """Whatever a key holds, the spec answers with a dataset or with a ValidationError, never with another exception."""
    try:
        Dataset.model_validate(own_log() | {key: value})
    except pydantic.ValidationError as error:
        assert error.error_count() >= 1  # noqa: PT017


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({}, (2, None, 8)),
        ({"min_count": 5, "top_k": 100_000}, (5, 100_000, 8)),
        ({"oov_buckets": 16}, (2, None, 16)),
    ],
)
def test_a_key_of_an_ids_vocabulary_leaves_the_others(
    given: dict[str, int], meant: tuple[int, int | None, int]
) -> None:
    dataset = Dataset.model_validate(own_log(features={"user": {"kind": "id", "vocabulary": given}}))
    user = Dataset.model_validate_json(dataset.model_dump_json()).features["user"]
    assert isinstance(user, Id)
    assert (user.vocabulary.min_count, user.vocabulary.top_k, user.vocabulary.oov_buckets) == meant


def test_closed_domains_are_of_one_type() -> None:
    assert Categorical(values=("a", "b")).values == ("a", "b")
    assert Categorical(values=(1, 2)).values == (1, 2)


ACTIONS = {
    "source": "actions.csv",
    "columns": {"user": "int64", "item": "int64", "at": "int64", "action": "string", "value": "float32"},
    "on": ["user", "item"],
    "time": "at",
    "window": "24h",
    "labels": {"shared": {"column": "action", "equals": "share"}, "watched": {"column": "value", "take": "max"}},
}


def test_actions_give_outcomes() -> None:
    dataset = Dataset.model_validate(own_log(actions=ACTIONS, tasks={"share": "shared"}))
    assert dataset.actions is not None
    assert dataset.actions.window == 86_400
    columns = dataset.all_columns()
    assert {name: (columns[name].type, columns[name].outcome) for name in ("shared", "watched")} == {
        "shared": ("int64", True),
        "watched": ("float32", True),
    }
    assert Dataset.model_validate_json(dataset.model_dump_json()) == dataset
    assert "'watched', which is an outcome column" in problem(
        actions=ACTIONS, features={"x": {"kind": "numeric", "column": "watched"}}
    )
    derived = [{"function": "m:f", "inputs": ["watched", "age"], "outputs": {"part": "float32"}}]
    assert "made by 'm:f' from 'watched'" in problem(actions=ACTIONS, derived=derived, features={"part": "numeric"})


@pytest.mark.parametrize(
    ("span", "seconds"), [("90s", 90), ("1.5 m", 90), ("2h", 7_200), ("7d", 604_800), ("0.5s", 0.5), ("0.00001s", 1e-5)]
)
def test_spans_of_time(span: Any, seconds: float) -> None:
    dataset = Dataset.model_validate(own_log(actions=ACTIONS | {"window": span}))
    assert dataset.actions is not None
    assert dataset.actions.window == seconds
    # A saved spec is read again, by its own rules.
    assert Dataset.model_validate(dataset.model_dump()) == dataset
    assert Dataset.model_validate_json(dataset.model_dump_json()) == dataset
    # Models pushed before numbers needed a unit have seconds there.
    saved = json.loads(dataset.model_dump_json())
    saved["actions"]["window"] = seconds
    assert Dataset.model_validate_json(json.dumps(saved)) == dataset


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window": "a day"}, "'a day' is no span of time; allowed: a number and s, m, h or d, as in 24h"),
        ({"window": "24 hours"}, "'24 hours' is no span of time; allowed: a number and s, m, h or d, as in 24h"),
        ({"window": 24}, "24 is a number without a unit; allowed: a number and s, m, h or d, as in 24h, 30m or 90s"),
        ({"window": 0.5}, "0.5 is a number without a unit"),
        ({"window": float("inf")}, "inf is a number without a unit"),
        ({"window": 0}, "greater than 0"),
        ({"on": []}, "need a key, `on`"),
        ({"on": "usr"}, "on: unknown column 'usr'; did you mean 'user'?"),
        ({"on": "value"}, "key 'value' is float32; allowed: int64, string"),
        ({"on": "at"}, "actions: on names column 'at', which does not exist"),
        ({"on": "action", "columns": ACTIONS["columns"] | {"action": "string"}}, "names column 'action'"),
        ({"columns": ACTIONS["columns"] | {"user": "string"}}, "'user', which is string there and int64 in the log"),
        (
            {"columns": ACTIONS["columns"] | {"user": {"type": "int64", "personal": "hash"}}},
            "is hash there and kept in",
        ),
        ({"columns": ACTIONS["columns"] | {"value": {"type": "int64", "personal": "drop"}}}, "and drop it"),
        ({"columns": ACTIONS["columns"] | {"value": {"type": "int64", "kept": False}}}, "'value' and do not keep it"),
        ({"source": {"files": "*.csv", "from_name": {"usr": "_(.)"}}}, "actions: from_name names column 'usr'"),
        ({"labels": {"feedrank_actions": {"take": "count"}}}, "label 'feedrank_actions' begins with 'feedrank_'"),
        ({"columns": ACTIONS["columns"] | {"value": "list<int64>"}}, "column 'value' is list<int64>; allowed: int64"),
        ({"columns": ACTIONS["columns"] | {"feedrank_x": "int64"}}, "begins with 'feedrank_'"),
        ({"time": "action"}, "time 'action' is string; unit ms needs int64"),
        ({"time": {"column": "at", "unit": "yyyymmdd"}}, "too coarse for a window; allowed units: s, ms, us, iso8601"),
        ({"labels": {}}, "at least 1"),
        ({"labels": {"x": {"column": "acton", "equals": "like"}}}, "label 'x': unknown column 'acton'"),
        ({"labels": {"x": {"column": "action"}}}, "what is taken of column 'action'? allowed: `equals`, or `take`"),
        ({"labels": {"x": {"equals": "like"}}}, "`equals` needs the `column`"),
        ({"labels": {"x": {"take": "sum"}}}, "`take: sum` needs the `column`"),
        ({"labels": {"x": {"column": "action", "take": "sum"}}}, "is string; allowed: int64, float32"),
        ({"labels": {"x": {"column": "action", "equals": 1}}}, "with 1, and it is string; allowed: string values"),
        ({"labels": {"x": {"column": "value", "equals": 1}}}, "which is float32; allowed: int64, string"),
        (
            {"labels": {"x": {"column": "action", "equals": "a", "where": {"action": "b"}}}},
            "both ask for values of 'action'",
        ),
        ({"labels": {"x": {"column": "at", "take": "max", "otherwise": 0.5}}}, "`otherwise: 0.5` is no int64"),
        (
            {"labels": {"x": {"column": "action", "equals": "like", "otherwise": 0.5}}},
            "label 'x': `otherwise: 0.5` is no int64, as the label is",
        ),
        ({"labels": {"x": {"take": "count", "otherwise": 1e300}}}, "`otherwise: 1e+300` is no int64"),
        ({"labels": {"x": {"take": "count", "otherwise": float("nan")}}}, "`otherwise: nan` is no int64"),
        ({"labels": {"x": {"column": "value", "take": "max", "otherwise": 1e39}}}, "`otherwise: 1e+39` is no float32"),
        ({"labels": {"x": {"column": "action", "take": "last", "otherwise": 0}}}, "`otherwise: 0` is no string"),
        (
            {"labels": {"age": {"column": "action", "equals": "like"}}},
            "column 'age' of the actions' labels has the name",
        ),
        ({"labels": {"rank": {"take": "count"}}}, "names 'rank', which actions give"),
        ({"labels": {"x": {"column": "action", "takes": "sum"}}}, "unknown key 'takes'; did you mean 'take'?"),
    ],
)
def test_actions_that_cannot_be_joined(changes: dict[str, Any], said: str) -> None:
    assert said in problem(actions=ACTIONS | changes)


def test_actions_need_the_time_of_the_impression() -> None:
    assert "actions need the log's `time`" in problem(actions=ACTIONS, time=None, split="random")
    by_day = ACTIONS | {"source": "actions/{day}.csv"}
    of_table = ACTIONS | {"source": {"bigquery": "p.d.actions"}}
    assert "actions are rows of BigQuery's p.d.actions; allowed for the log alone" in problem(actions=of_table)
    assert "actions reach into days behind the split's" in problem(
        actions=ACTIONS, source={"bigquery": "p.d.log_{day:%Y%m%d}"}
    )
    assert "the actions' files are named by day, and a random split has no days" in problem(
        actions=by_day, split="random"
    )


def test_a_misspelt_label_is_told_with_the_nearest_column() -> None:
    assert "names label 'cliked', which is no column of" in (told := problem(tasks={"click": "cliked"}))
    assert "did you mean 'clicked'? columns:" in told
