"""Side tables: keys, joins, derived tables, and what goes wrong with them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from features.errors import ConfigError, DataError
from features.logs import Tables, load_saved_tables, load_tables, read_log, save_tables
from features.spec import Column, Dataset, Derived, DerivedTable, Id, SideTable, Source, Task, TimeColumn, TimeSplit
from tests.features.logs.small_log import COLUMNS, GOOD, HEADER, dataset, read, write

USERS = SideTable(
    source=Source(files="users.csv"),
    on="user",
    columns={
        "user": Column(type="int64"),
        "age": Column(type="int64", maximum=150),
        "words": Column(type="list<string>", separator=" "),
    },
)
PAIRS = SideTable(
    source=Source(files="pairs.csv"),
    on=("user", "name"),
    columns={"user": Column(type="int64"), "name": Column(type="string"), "affinity": Column(type="float32")},
)


def ages(tables: dict[str, pa.Table]) -> pa.Table:
    users = tables["users"]
    return pa.table(
        {
            "age": users["age"].cast(pa.int32()),
            "user": users["user"],
            "older": [a and a + 1.5 for a in users["age"].to_pylist()],
        }
    )


def no_table(tables: dict[str, pa.Table]) -> int:
    return len(tables)


def two_rows_a_key(tables: dict[str, pa.Table]) -> pa.Table:
    return pa.table({"user": [1, 1], "older": [1.0, 2.0]})


def no_key(tables: dict[str, pa.Table]) -> pa.Table:
    return pa.table({"user": [1, None], "older": [1.0, 2.0]})


def texts(tables: dict[str, pa.Table]) -> pa.Table:
    return pa.table({"user": [1], "older": ["a"]})


def _derived(function: str) -> DerivedTable:
    columns = {"user": Column(type="int64"), "older": Column(type="float32")}
    return DerivedTable(function=f"{__name__}:{function}", inputs=("users",), on="user", columns=columns)


def _folder(path: Path) -> Path:
    write(path, "1,30,a b", "2,,", "7,40,", "x,1,", "9,151,", ",3,", name="users.csv", header="user,age,words")
    write(path, "7,ann,0.5", "7,bob,0.25", "1,ann,0.125", name="pairs.csv", header="user,name,affinity")
    others = [
        GOOD.replace("ann", name).replace("7", user, 1)
        for user, name in [("1", "ann"), ("2", "ann"), ("7", ""), ("5", "bob")]
    ]
    return write(path, GOOD, *others)


def _spec(**tables: SideTable | DerivedTable) -> Dataset:
    return dataset(source=Source(files="log.csv"), tables=tables)


def test_tables_are_joined_by_one_and_by_two_keys(tmp_path: Path) -> None:
    spec = _spec(users=USERS, pairs=PAIRS, older=_derived("ages"))
    tables = load_tables(spec, str(_folder(tmp_path)))
    (batch,) = read_log(spec, str(tmp_path), tables)
    found = batch.rows.to_pydict()
    assert found["user"] == [7, 1, 2, 7, 5]
    assert found["age"] == [40, 30, None, 40, None]
    assert found["words"] == [None, ["a", "b"], None, None, None]
    assert found["affinity"] == [0.5, 0.125, None, None, None]
    assert found["older"] == [41.5, 31.5, None, 41.5, None]
    assert batch.unmatched == {"users": 1, "pairs": 3, "older": 1}


def test_bad_rows_of_a_table_are_refused_with_their_file(tmp_path: Path) -> None:
    tables = load_tables(_spec(users=USERS), str(_folder(tmp_path)))
    assert [(r.file, r.row, r.reason, r.column) for r in tables.rejects] == [
        ("users.csv", 4, "bad_number", "user"),
        ("users.csv", 5, "out_of_bounds", "age"),
        ("users.csv", 6, "missing_value", "user"),
    ]
    assert tables.tables["users"].rows_read == 6
    assert tables.tables["users"].data.num_rows == 3


def test_saved_tables_come_back(tmp_path: Path) -> None:
    spec = _spec(pairs=PAIRS, users=USERS)
    tables = load_tables(spec, str(_folder(tmp_path)))
    save_tables(tables, str(tmp_path / "saved"))
    again = load_saved_tables(str(tmp_path / "saved"))
    assert list(again.tables) == ["pairs", "users"]
    for name, table in tables.tables.items():
        assert again.tables[name].data.equals(table.data)
        assert again.tables[name].keys == table.keys
    before, after = ([b.rows for b in read_log(spec, str(tmp_path), t)] for t in (tables, again))
    assert before == after


def test_a_table_without_rows(tmp_path: Path) -> None:
    write(_folder(tmp_path), name="users.csv", header="user,age,words")
    spec = _spec(users=USERS)
    (batch,) = read_log(spec, str(tmp_path), load_tables(spec, str(tmp_path)))
    assert batch.rows["age"].to_pylist() == [None] * 5
    assert batch.unmatched == {"users": 5}


@pytest.mark.parametrize(("table", "key"), [("users.csv", "'user': 7"), ("pairs.csv", "'user': 7, 'name': 'bob'")])
def test_a_key_that_stands_twice(tmp_path: Path, table: str, key: str) -> None:
    file = _folder(tmp_path) / table
    file.write_text(file.read_text() + ("7,1,\n" if table == "users.csv" else "7,bob,1\n"))
    with pytest.raises(DataError, match=f"table '{table[:-4]}': key .{key}.* stands in more than one row"):
        load_tables(_spec(users=USERS, pairs=PAIRS), str(tmp_path))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("absent", ConfigError, "function '.*:absent' cannot be found"),
        ("no_table", DataError, "returned int; allowed: pyarrow.Table"),
        ("two_rows_a_key", DataError, "key {'user': 1} stands in more than one row"),
        ("no_key", DataError, "key column 'user' has nulls"),
        ("texts", DataError, "column 'older' is string; the spec declares float"),
    ],
)
def test_derived_tables_are_checked(tmp_path: Path, function: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_tables(_spec(users=USERS, other=_derived(function)), str(_folder(tmp_path)))


def test_keys_of_different_types(tmp_path: Path) -> None:
    texts_for_keys = USERS.model_copy(update={"columns": {"user": Column(type="string"), "age": Column(type="string")}})
    spec = _spec(users=texts_for_keys)
    with pytest.raises(ConfigError, match="joins on 'user', string there and int64 in the log"):
        list(read_log(spec, str(_folder(tmp_path)), load_tables(spec, str(tmp_path))))


def test_an_empty_spec_of_tables(tmp_path: Path) -> None:
    spec = _spec()
    assert load_tables(spec, str(tmp_path)) == Tables()


def test_a_key_from_an_earlier_table(tmp_path: Path) -> None:
    write(tmp_path, "1,20240101,1", header="item,day,click")
    write(tmp_path, "1,50", name="items.csv", header="item,author")
    write(tmp_path, "50,9", name="authors.csv", header="author,fans")
    whole = {"item": Column(type="int64"), "day": Column(type="int64"), "click": Column(type="int64")}
    days = {part: (f"2024-01-0{i}", f"2024-01-0{i}") for i, part in enumerate(("train", "validation", "test"), start=1)}
    spec = Dataset(
        name="chain",
        source=Source(files="log.csv"),
        columns=whole,
        time=TimeColumn(column="day", unit="yyyymmdd"),
        tables={
            "items": SideTable(
                source=Source(files="items.csv"),
                on="item",
                columns={"item": Column(type="int64"), "author": Column(type="int64")},
            ),
            "authors": SideTable(
                source=Source(files="authors.csv"),
                on="author",
                columns={"author": Column(type="int64"), "fans": Column(type="int64")},
            ),
        },
        features={"item": Id(), "fans": Id()},
        tasks={"click": Task(label="click")},
        split=TimeSplit(**days),
    )
    (batch,) = read_log(spec, str(tmp_path), load_tables(spec, str(tmp_path)))
    assert batch.rows["fans"].to_pylist() == [9]


# -- required tables, columns derived as a table is read ------------------------------------------------------------


def lengths(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Refuses what begins with a blank."""
    texts = batch.column(0).to_pylist()
    return {
        "length": pa.array([len(text or "") for text in texts]),
        "feedrank_refused": pa.array(
            ["a blank" if (text or "").startswith(" ") else None for text in texts], pa.string()
        ),
    }


def doubled(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {"double": pa.array([2 * length for length in batch.column(0).to_pylist()])}


NAMES = SideTable(
    source=Source(files="names.csv"),
    on="user",
    columns={"user": Column(type="int64"), "text": Column(type="string", kept=False)},
    derived=(
        Derived(function=f"{__name__}:lengths", inputs=("text",), outputs={"length": Column(type="int64")}),
        Derived(function=f"{__name__}:doubled", inputs=("length",), outputs={"double": Column(type="int64")}),
    ),
)


def test_a_row_that_finds_nothing_in_a_required_table_is_quarantined(tmp_path: Path) -> None:
    spec = _spec(users=USERS.model_copy(update={"required": True}))
    tables = load_tables(spec, str(_folder(tmp_path)))
    rows, bad = read(spec, tmp_path, tables)
    assert rows["user"].to_pylist() == [7, 1, 2, 7]
    assert [(b["row"], b["reason"], b["column"], b["value"]) for b in bad] == [(5, "no_match", "user", "5")]


def test_a_required_table_of_answers_refuses_no_row_that_is_scored(tmp_path: Path) -> None:
    """Neither its labels nor what joins them are there when rows are to be scored."""
    orders = SideTable(
        source=Source(files="orders.csv"),
        on="order",
        required=True,
        columns={"order": Column(type="int64"), "bought": Column(type="int64"), "shop": Column(type="string")},
    )
    users = USERS.model_copy(update={"required": True})
    features = {"user": Id(), "age": Id()}
    spec = dataset(
        source=Source(files="log.csv"),
        columns=COLUMNS | {"order": Column(type="int64")},
        tables={"users": users, "orders": orders},
        features=features,
        tasks={"buy": Task(label="bought")},
    )
    write(tmp_path, "1,0,toys", name="orders.csv", header="order,bought,shop")
    write(_folder(tmp_path), f"{GOOD},1", f"{GOOD},2", f"5{GOOD[1:]},1", header=f"{HEADER},order")
    tables = load_tables(spec, str(tmp_path))
    for options in ({}, {"split": False}):
        rows, bad = read(spec, tmp_path, tables, **options)
        assert rows["shop"].to_pylist() == ["toys"]
        assert [(b["row"], b["reason"], b["column"]) for b in bad] == [
            (2, "no_match", "order"),
            (3, "no_match", "user"),
        ]
    rows, bad = read(spec, tmp_path, tables, labels=False, split=False)
    assert rows["shop"].to_pylist() == ["toys", None]
    assert [(b["row"], b["reason"], b["column"]) for b in bad] == [(3, "no_match", "user")]
    write(tmp_path, GOOD)
    rows, bad = read(spec, tmp_path, tables, labels=False, split=False)
    assert (rows["user"].to_pylist(), bad) == ([7], [])


def test_a_table_holds_what_is_derived_and_not_what_it_is_derived_from(tmp_path: Path) -> None:
    write(tmp_path, "7,four", "8, blank", "9,", name="names.csv", header="user,text")
    spec = _spec(names=NAMES)
    tables = load_tables(spec, str(write(tmp_path, GOOD)))
    assert tables.tables["names"].data.to_pydict() == {"user": [7, 9], "length": [4, 0], "double": [8, 0]}
    assert [(r.row, r.reason, r.column, r.value) for r in tables.rejects] == [(2, "refused", "text", "a blank")]
    save_tables(tables, str(tmp_path / "saved"))
    rows, _ = read(spec, tmp_path, load_saved_tables(str(tmp_path / "saved")))
    assert rows.to_pylist()[0]["double"] == 8
    assert "text" not in rows.column_names


def test_a_table_that_writes_its_key_otherwise_is_told_the_nearest_column(tmp_path: Path) -> None:
    write(_folder(tmp_path), "1,30,a b", name="users.csv", header="user_id,age,words")
    said = "users.csv: the header lacks user; columns present: user_id, age, words; did you mean 'user_id' for user\\?$"
    with pytest.raises(DataError, match=said):
        load_tables(_spec(users=USERS), str(tmp_path))


def test_a_quoted_header_with_another_delimiter_is_told_it(tmp_path: Path) -> None:
    write(_folder(tmp_path), '1;30;"a b"', name="users.csv", header='"user"; "age";"words"')
    with pytest.raises(DataError, match=r'; with `delimiter: ";"` of the source it has them$'):
        load_tables(_spec(users=USERS), str(tmp_path))
