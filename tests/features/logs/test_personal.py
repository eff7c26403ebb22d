"""Personal columns: hashed with a key, dropped, and nowhere in dead letters."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.columns import kept_columns
from features.errors import ConfigError, DataError
from features.kinds import Pretrained
from features.logs import Pseudonyms, Tables, load_tables, pseudonyms_of
from features.logs.personal import WITHHELD
from features.logs.reader import check_log
from features.logs.vectors import read_vectors
from features.spec import Column, ColumnSplit, Dataset, Derived, Source
from tests.features.logs.small_log import COLUMNS, GOOD, HEADER, dataset, read, write

KEY = b"a key of 16 byte"
HASHED = {"personal": "hash"}


def personal(**columns: dict[str, Any]) -> Dataset:
    """The small log with some columns changed."""
    changed = {name: column.model_copy(update=columns.get(name, {})) for name, column in COLUMNS.items()}
    return dataset(columns=changed)


def users(path: Path, *rows: str) -> Path:
    return write(path, *rows, name="users.csv", header="user,city")


def test_hashes_are_blake2b_with_the_key() -> None:
    digest = hashlib.blake2b(b"ann", digest_size=16, key=KEY)
    assert Pseudonyms(KEY).text("ann") == digest.hexdigest()
    assert Pseudonyms(KEY).text("ann") != Pseudonyms(KEY[::-1]).text("ann")
    assert Pseudonyms(KEY).fingerprint() != Pseudonyms(KEY[::-1]).fingerprint()
    eight = hashlib.blake2b(b"-7", digest_size=8, key=KEY).digest()
    assert Pseudonyms(KEY).number(-7) == int.from_bytes(eight, "big") // 2


@given(
    st.lists(st.integers(-(2**62), 2**62) | st.none(), max_size=20),
    st.lists(st.lists(st.text() | st.none()) | st.none()),
)
def test_equal_values_stay_equal_and_missing_ones_missing(
    numbers: list[int | None], lists: list[list[str | None] | None]
) -> None:
    pseudonyms = Pseudonyms(KEY)
    found = pseudonyms.of(pa.array(numbers, pa.int64())).to_pylist()
    assert found == [None if value is None else pseudonyms.number(value) for value in numbers]
    assert all(value is None or 0 <= value < 2**63 for value in found)
    hashed = pseudonyms.of(pa.array(lists, pa.list_(pa.string()))).to_pylist()
    assert hashed == [
        None if row is None else [None if value is None else pseudonyms.text(value) for value in row] for row in lists
    ]


def test_a_slice_of_lists_is_hashed_as_it_is() -> None:
    lists = pa.array([["a"], ["b", "c"], None, ["d"]], pa.list_(pa.string()))[1:]
    assert [len(row or ()) for row in Pseudonyms(KEY).of(lists).to_pylist()] == [2, 0, 1]


def test_rows_hold_hashes_only(tmp_path: Path) -> None:
    spec, pseudonyms = personal(user=HASHED, name=HASHED, tags=HASHED), Pseudonyms(KEY)
    rows, _ = read(spec, write(tmp_path, GOOD, GOOD), Tables(pseudonyms=pseudonyms))
    assert rows["user"].to_pylist() == [pseudonyms.number(7)] * 2
    assert rows["name"].to_pylist() == [pseudonyms.text("ann")] * 2
    assert rows["tags"].to_pylist() == [[pseudonyms.number(3), pseudonyms.number(4)]] * 2
    assert rows["item"].to_pylist() == [8, 8]
    with pytest.raises(ConfigError, match="no key was given"):
        read(spec, tmp_path)


def test_hashed_keys_still_find_their_rows(tmp_path: Path) -> None:
    table = {"source": "users.csv", "on": "user", "columns": {"user": {"type": "int64", **HASHED}, "city": "string"}}
    spec = Dataset.model_validate(
        personal(user=HASHED).model_dump() | {"tables": {"users": table}, "source": "log.csv"}
    )
    write(tmp_path, GOOD, GOOD.replace("7", "9", 1))
    tables = load_tables(spec, str(users(tmp_path, "7,Bonn", "8,Linz")), Pseudonyms(KEY))
    rows, _ = read(spec, tmp_path, tables)
    assert rows["city"].to_pylist() == ["Bonn", None]


def test_a_dropped_column_can_be_read_and_is_not_kept(tmp_path: Path) -> None:
    derived = Derived(function=f"{__name__}:initial", inputs=("name",), outputs={"initial": Column(type="string")})
    spec = personal(name={"personal": "drop"}).model_copy(update={"derived": (derived,)})
    assert "name" not in kept_columns(spec)
    rows, _ = read(spec, write(tmp_path, GOOD))
    assert "name" not in rows.column_names
    assert rows["initial"].to_pylist() == ["a"]


def initial(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The first letter of each name."""
    return {"initial": pa.array([name[0] for name in batch.column(0).to_pylist()])}


@pytest.mark.parametrize("how", ["hash", "drop"])
def test_dead_letters_hold_nothing_personal(how: str, tmp_path: Path) -> None:
    bad = [
        "secret",
        GOOD.replace("1.5", "x"),
        GOOD.replace("ann", "\udcff"),
        GOOD.replace("ann", 'sec"ret'),
        GOOD + ",secret",
    ]
    text = "\n".join(["user,item,score,name,tags,day,click,like,seen", *bad, GOOD])
    (tmp_path / "log.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    _, letters = read(personal(name={"personal": how}), tmp_path, Tables(pseudonyms=Pseudonyms(KEY)))
    assert len(letters) == 5
    assert {letter["raw"] for letter in letters} == {WITHHELD}
    by_column = {letter["column"]: letter["value"] for letter in letters}
    assert by_column["score"] == "x"
    assert by_column["name"] == WITHHELD
    assert "secret" not in json.dumps(letters)
    _, open_letters = read(dataset(), tmp_path)
    assert "secret" in json.dumps(open_letters)


def test_dead_letters_of_json_hold_nothing_personal(tmp_path: Path) -> None:
    row = {"user": 1, "day": 20240101, "click": 1, "like": 0, "seen": 1}
    (tmp_path / "log.jsonl").write_text(f"{json.dumps(row | {'name': ['secret']})}\nsecret\n")
    spec = personal(name=HASHED).model_copy(update={"source": Source.model_validate("log.jsonl")})
    _, letters = read(spec, tmp_path, Tables(pseudonyms=Pseudonyms(KEY)))
    assert [letter["reason"] for letter in letters] == ["wrong_shape", "bad_json"]
    assert "secret" not in json.dumps(letters)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"short", "key: the key of hashes has 5 bytes; allowed: 16 to 64"),
        (b"x" * 65, "key: the key of hashes has 65 bytes; allowed: 16 to 64"),
        (None, "cannot read the key of hashes .*No such file"),
    ],
)
def test_keys_that_are_none(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        Pseudonyms.read(file)


def test_a_key_is_asked_for_where_one_is_needed(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    found = pseudonyms_of(personal(user=HASHED), str(tmp_path / "key"))
    assert found is not None
    assert found.number(7) == Pseudonyms(KEY).number(7)
    assert pseudonyms_of(dataset(), None) is None
    with pytest.raises(
        ConfigError, match=r"user of 'small' are hashed .* allowed: a file with 16 to 64 bytes \(data.hash_key"
    ):
        pseudonyms_of(personal(user=HASHED), None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": HASHED}, "a column of float32 cannot be hashed; allowed: int64, string"),
        ({"click": HASHED}, "task 'click' reads column 'click', which is personal"),
        ({"seen": HASHED}, "task 'like' reads column 'seen', which is personal"),
        ({"day": HASHED}, "time reads column 'day', which is personal"),
        ({"tags": {"personal": "drop"}}, "feature 'tags' reads column 'tags', which is dropped"),
        ({"tags": {"kept": False}}, "feature 'tags' reads column 'tags', which is not kept; allowed: `kept: true`"),
        ({"user": HASHED}, "joined by 'user', which is kept there and hash in the log"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    table = {"source": "users.csv", "on": "user", "columns": {"user": "int64", "city": "string"}}
    columns = {name: column.model_dump() | changes.get(name, {}) for name, column in COLUMNS.items()}
    with pytest.raises(pydantic.ValidationError) as caught:
        Dataset.model_validate(dataset().model_dump() | {"columns": columns, "tables": {"users": table}})
    assert said in str(caught.value)


def test_a_log_is_not_split_by_hashes() -> None:
    columns = COLUMNS | {"item": Column.model_validate(COLUMNS["item"].model_dump() | HASHED)}
    with pytest.raises(pydantic.ValidationError, match="the split reads column 'item', which is personal"):
        dataset(columns=columns, split=ColumnSplit(column="item", train=(1,), test=(2,)))


def test_another_delimiter_is_found_and_shows_no_row(tmp_path: Path) -> None:
    spec = personal(name=HASHED)
    write(tmp_path, GOOD.replace(",", ";"), header=HEADER.replace(",", ";"))
    with pytest.raises(DataError, match=r'1 others \(not shown.*\); with `delimiter: ";"` of the source it has them$'):
        read(spec, tmp_path, Tables(pseudonyms=Pseudonyms(KEY)))
    # A row of data in the header's place, near to a column's name.
    write(tmp_path, GOOD, header=HEADER.replace("name", "nameless").replace(",item", ",items"))
    with pytest.raises(DataError, match="the header lacks") as error:
        read(spec, tmp_path, Tables(pseudonyms=Pseudonyms(KEY)))
    assert "nameless" not in str(error.value)
    assert "items" not in str(error.value)


def test_a_file_without_its_header_line_shows_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its first row of data stands where the names would."""
    spec = personal(name=HASHED)
    log = str(write(tmp_path, GOOD, header=GOOD.replace("ann", "ann@example.org")) / "log.csv")
    for check in (
        lambda: read(spec, tmp_path, Tables(pseudonyms=Pseudonyms(KEY))),
        lambda: check_log(spec, str(tmp_path), [log], ["item"]),
    ):
        with pytest.raises(DataError, match=r"9 others \(not shown: the spec has personal columns\)") as error:
            check()
        assert "ann" not in str(error.value)
    write(tmp_path, GOOD, header="user,ann@example.org,item")
    with pytest.raises(DataError, match=r"present: user, item and 1 others \(not shown") as error:
        read(spec, tmp_path, Tables(pseudonyms=Pseudonyms(KEY)))
    write(tmp_path, GOOD, header='"ann@example.org",7"x"y')
    with pytest.raises(DataError):
        read(spec, tmp_path, Tables(pseudonyms=Pseudonyms(KEY)))
    assert "ann" not in caplog.text


@pytest.mark.parametrize(
    ("ids", "vectors", "said"),
    [
        (["ann", "bob"], [[1.0, 2.0], [3.0]], r"row 2 \(an id \(withheld: its column is personal\)\): a vector of 1"),
        (["ann", "bob"], [[1.0, 2.0], [3.0, float("nan")]], r"row 2 \(an id \(withheld"),
        (["ann", "bob", "bob"], [[1.0, 2.0]] * 3, r"an id \(withheld.*has 2 vectors, in rows 2, 3"),
        (["ann", "bo\nb"], [[1.0, 2.0]] * 2, r"row 2: an id \(withheld"),
    ],
)
def test_errors_of_vectors_show_no_id(ids: list[str], vectors: list[list[float]], said: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ids, "vector": vectors}), tmp_path / "v.parquet")
    picture = Pretrained(vectors="v.parquet", dimension=2)
    with pytest.raises(DataError, match=said) as error:
        read_vectors(str(tmp_path / "v.parquet"), "picture", picture, Column(type="string", personal="hash"))
    assert "bo" not in str(error.value)


def test_an_id_that_does_not_fit_is_not_shown(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([2**63], pa.uint64()), "vector": [[1.0, 2.0]]}), tmp_path / "v.parquet")
    picture = Pretrained(vectors="v.parquet", dimension=2)
    with pytest.raises(DataError, match="ids are no int64: one does not fit") as error:
        read_vectors(str(tmp_path / "v.parquet"), "picture", picture, Column(type="int64", personal="hash"))
    assert error.value.__cause__ is None


def test_a_key_that_stands_twice_is_not_shown(tmp_path: Path) -> None:
    table = {"source": "users.csv", "on": "user", "columns": {"user": {"type": "int64", **HASHED}, "city": "string"}}
    spec = Dataset.model_validate(
        personal(user=HASHED).model_dump() | {"tables": {"users": table}, "source": "log.csv"}
    )
    write(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"key an id \(withheld: its column is personal\) stands in more than one row"):
        load_tables(spec, str(users(tmp_path, "7,Bonn", "7,Linz")), Pseudonyms(KEY))
