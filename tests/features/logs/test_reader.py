"""What each kind of damage becomes, by hand."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from features.errors import ConfigError, DataError
from features.logs import Tables, read_log
from features.logs.decompress import chunks
from features.logs.lines import blocks
from features.logs.pieces import Piece
from features.spec import DAY, ROW_ID, Column, Derived, Id, RandomSplit, Source, Task, TimeColumn
from tests.features.logs.small_log import COLUMNS, GOOD, HEADER, dataset, read, write

MALFORMED = [
    (b"7,8,1.5,ann,3,20240101,1,0", "wrong_width", "", ""),
    (b"7,8,1.5,ann,3,20240101,1,0,1,9", "wrong_width", "", ""),
    (b"7\xff", "wrong_width", "", ""),
    (b'7,8,1.5,"ann,3,20240101,1,0,1', "unbalanced_quote", "", ""),
    (b'7,8,1.5",a,"nn,x,3,20240101,1,0,1', "unbalanced_quote", "", ""),
    (b"7,8,1.5,a\rnn,3,20240101,1,0,1", "stray_carriage_return", "", ""),
    (b"", "blank_line", "", ""),
    (b"7,8,1.5," + b"x" * 101 + b",3,20240101,1,0,1", "oversized_field", "name", ""),
    (b'7,8,1.5,"' + b"x," * 50 + b'",3,20240101,1,0,1', "oversized_field", "name", ""),
    (b"7,8,1.5,a\xffb,3,20240101,1,0,1", "bad_utf8", "name", "a\\xffb"),
    (b"7,8,1\xff,ann,3,20240101,1,0,1", "bad_utf8", "score", "1\\xff"),
    (b"x,8,1.5,ann,3,20240101,1,0,1", "bad_number", "user", "x"),
    (b"1.5,8,1.5,ann,3,20240101,1,0,1", "bad_number", "user", "1.5"),
    (b"0x10,8,1.5,ann,3,20240101,1,0,1", "bad_number", "user", "0x10"),
    (b"1e3,8,1.5,ann,3,20240101,1,0,1", "bad_number", "user", "1e3"),
    (b" 7,8,1.5,ann,3,20240101,1,0,1", "bad_number", "user", " 7"),
    (b"9223372036854775808,8,1.5,ann,3,20240101,1,0,1", "bad_number", "user", "9223372036854775808"),
    (b"-9223372036854775808,8,1.5,ann,3,20240101,1,0,1", "bad_number", "user", "-9223372036854775808"),
    (b"7,8,1.5.1,ann,3,20240101,1,0,1", "bad_number", "score", "1.5.1"),
    (b"7,8,nan,ann,3,20240101,1,0,1", "bad_number", "score", "nan"),
    (b"7,8,inf,ann,3,20240101,1,0,1", "bad_number", "score", "inf"),
    (b"7,8,-1e39,ann,3,20240101,1,0,1", "bad_number", "score", "-1e39"),
    (b"7,8,1.5\x00,ann,3,20240101,1,0,1", "bad_number", "score", "1.5\x00"),
    (b"7,8,1.5,ann,3|x,20240101,1,0,1", "bad_number", "tags", "3|x"),
    (b"7,-1,1.5,ann,3,20240101,1,0,1", "out_of_bounds", "item", "-1"),
    (b"7,1001,1.5,ann,3,20240101,1,0,1", "out_of_bounds", "item", "1001"),
    (b"7,8,10.5,ann,3,20240101,1,0,1", "out_of_bounds", "score", "10.5"),
    (b",8,1.5,ann,3,20240101,1,0,1", "missing_value", "user", ""),
    (b"7,8,1.5,ann,3,20240101,,0,1", "missing_label", "click", ""),
    (b"7,8,1.5,ann,3,20240101,1,,1", "missing_label", "like", ""),
    (b"7,8,1.5,ann,3,20240101,2,0,1", "bad_label", "click", "2"),
    (b"7,8,1.5,ann,3,20240101,1,0,", "bad_mask", "seen", ""),
    (b"7,8,1.5,ann,3,20240101,1,0,2", "bad_mask", "seen", "2"),
    (b"7,8,1.5,ann,3,,1,0,1", "bad_time", "day", ""),
    (b"7,8,1.5,ann,3,20240230,1,0,1", "bad_time", "day", "20240230"),
    (b"7,8,1.5,ann,3,20241301,1,0,1", "bad_time", "day", "20241301"),
    (b"7,8,1.5,ann,3,20240105,1,0,1", "time_out_of_range", "day", "20240105"),
]


@pytest.mark.parametrize(("line", "reason", "column", "value"), MALFORMED)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_malformed_row_goes_and_its_neighbours_stay(
    tmp_path: Path, line: bytes, reason: str, column: str, value: str, line_end: str
) -> None:
    lines = [HEADER.encode(), b"1" + GOOD[1:].encode(), line, b"3" + GOOD[1:].encode(), b"4" + GOOD[1:].encode()]
    (tmp_path / "log.csv").write_bytes(line_end.encode().join(lines) + line_end.encode())
    rows, bad = read(dataset(source=Source(files="*.csv", max_field_bytes=100)), tmp_path)
    assert rows["user"].to_pylist() == [1, 3, 4]
    assert rows["tags"].to_pylist() == [[3, 4]] * 3
    assert [(b["file"], b["row"], b["line"], b["reason"], b["column"], b["value"], b["rows"]) for b in bad] == [
        ("log.csv", 2, 3, reason, column, value, 1)
    ]
    assert bad[0]["raw"] == line.decode(errors="backslashreplace").removesuffix("\r")


def test_all_malformed_rows_at_once(tmp_path: Path) -> None:
    lines: list[str | bytes] = []
    for number, (line, *_) in enumerate(MALFORMED):
        lines += [str(number) + GOOD[1:], line]
    write(tmp_path, *lines, GOOD)
    rows, bad = read(dataset(source=Source(files="*.csv", max_field_bytes=100)), tmp_path)
    assert rows["user"].to_pylist() == [*range(len(MALFORMED)), 7]
    assert sorted((b["row"], b["reason"]) for b in bad) == [(2 * i + 2, m[1]) for i, m in enumerate(MALFORMED)]


def test_a_good_row(tmp_path: Path) -> None:
    rows, bad = read(dataset(), write(tmp_path, '7,8.0,+1.5,"a,""b",3||4,20240103,1,0,1', "+8,,,,,20240104.0,0,-1,0"))
    assert bad == []
    first, second = rows.to_pylist()
    assert first | {ROW_ID: 0} == {
        "user": 7, "item": 8, "score": 1.5, "name": 'a,"b', "tags": [3, 4], "day": 20240103,
        "label_click": 1.0, "label_like": 0.0, "mask_like": 1.0, ROW_ID: 0, DAY: 20240103,
    }  # fmt: skip
    assert second | {ROW_ID: 0} == {
        "user": 8, "item": None, "score": None, "name": None, "tags": None, "day": 20240104,
        "label_click": 0.0, "label_like": 0.0, "mask_like": 0.0, ROW_ID: 0, DAY: 20240104,
    }  # fmt: skip
    ids = rows[ROW_ID].to_pylist()
    assert min(ids) >= 0
    assert ids[0] != ids[1]


def test_largest_and_smallest_integers(tmp_path: Path) -> None:
    spec = dataset(columns=COLUMNS | {"item": Column(type="int64")})
    write(
        tmp_path,
        "9223372036854775807" + GOOD[1:],
        "-9223372036854775807.00" + GOOD[1:],
        "0009223372036854775807" + GOOD[1:],
    )
    rows, bad = read(spec, tmp_path)
    assert rows["user"].to_pylist() == [2**63 - 1, -(2**63) + 1, 2**63 - 1]
    assert bad == []


@pytest.mark.parametrize("newlines", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 50, 8 << 20])
def test_blocks_of_any_size_give_the_same_rows(
    tmp_path: Path, newlines: bool, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.logs.csv_reader.blocks", lambda f, s, w, _, part: blocks(f, s, w, limit, part))
    write(tmp_path, *[f"{i}{GOOD[1:]}" for i in range(20)], "x", "", "", GOOD, "", "")
    rows, bad = read(dataset(source=Source(files="*.csv", newlines_in_values=newlines)), tmp_path)
    assert rows["user"].to_pylist() == [*range(20), 7]
    assert [(b["row"], b["line"], b["reason"]) for b in bad] == [
        (21, 22, "wrong_width"),
        (22, 23, "blank_line"),
        (23, 24, "blank_line"),
    ]


def test_newlines_in_values(tmp_path: Path) -> None:
    spec = dataset(source=Source(files="*.csv", newlines_in_values=True))
    write(
        tmp_path,
        '1,8,1.5,"two\nlines",3,20240101,1,0,1',
        '2,8,1.5,stray"quote,3,20240101,1,0,1',
        '3,8,1.5,"a ""b""\n\nc",3,20240101,1,0,1',
        '4,8,1.5,"never closed,3,20240101,1,0,1',
        *[f"{i}{GOOD[1:]}" for i in range(5, 10)],
        '10,8,1.5,"x\ny",3,20240101,1,0,1',
    )
    rows, bad = read(spec, tmp_path)
    assert rows["user"].to_pylist() == [1, 3, *range(5, 11)]
    assert rows["name"].to_pylist() == ["two\nlines", 'a "b"\n\nc', *["ann"] * 5, "x\ny"]
    assert [(b["row"], b["line"], b["reason"]) for b in bad] == [(2, 4, "unbalanced_quote"), (4, 8, "unbalanced_quote")]


@pytest.mark.parametrize("newlines", [False, True])
def test_a_line_too_long_for_memory_is_skipped_as_it_streams(tmp_path: Path, newlines: bool) -> None:
    source = Source(files="*.csv", max_field_bytes=10_000, newlines_in_values=newlines)
    write(tmp_path, "1" + GOOD[1:], "y" * (20 << 20), "3" + GOOD[1:], "z" * (3 << 20))
    rows, bad = read(dataset(source=source), tmp_path)
    assert rows["user"].to_pylist() == [1, 3]
    assert [(b["row"], b["line"], b["reason"], b["raw"]) for b in bad] == [
        (2, 3, "oversized_field", "y" * 1000),
        (4, 5, "oversized_field", "z" * 1000),
    ]


def test_many_long_fields_make_no_oversized_field(tmp_path: Path) -> None:
    source = Source(files="*.csv", max_field_bytes=20)
    write(tmp_path, "1,8,1.5,aaaaaaaaaaaaaaaaaaaa,3|4|5|6|7|8|9|1|2|3,20240101,1,0,1")
    rows, bad = read(dataset(source=source), tmp_path)
    assert rows.num_rows == 1
    assert bad == []


# -- files --------------------------------------------------------------------------------------------------------


def test_byte_order_mark_and_last_line_without_line_feed(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n" + GOOD.encode())
    rows, bad = read(dataset(), tmp_path)
    assert rows["user"].to_pylist() == [7]
    assert bad == []


@pytest.mark.parametrize(
    "data", [b"", HEADER.encode(), HEADER.encode() + b"\n", HEADER.encode() + b"\n\n\r\n", b"\xef\xbb\xbf"]
)
def test_files_without_rows(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(data)
    rows, bad = read(dataset(), tmp_path)
    assert rows.num_rows == 0
    assert bad == []
    assert [batch.file for batch in read_log(dataset(), str(tmp_path), Tables())] == ["log.csv"]


def test_other_order_and_more_columns(tmp_path: Path) -> None:
    names = ["extra", *reversed(HEADER.split(",")), "extra"]
    values = ["?", *reversed(GOOD.split(",")), "!"]
    rows, bad = read(dataset(), write(tmp_path, ",".join(values), header=",".join(names)))
    assert rows["user"].to_pylist() == [7]
    assert rows["tags"].to_pylist() == [[3, 4]]
    assert bad == []


def test_missing_and_repeated_header_names(tmp_path: Path) -> None:
    write(tmp_path, "1,2", header="user,itm")
    with pytest.raises(DataError, match=r"log.csv: the header lacks item, score, .*present: user, itm"):
        read(dataset(), tmp_path)
    write(tmp_path, GOOD + ",1", header=HEADER + ",click")
    with pytest.raises(DataError, match=r"log.csv: the header names column 'click' 2 times"):
        read(dataset(), tmp_path)


def test_a_name_that_says_no_format(tmp_path: Path) -> None:
    for name, said in (("log.csv", False), ("part-00000", True)):
        write(tmp_path, "1,2", header="user,itm", name=name)
        with pytest.raises(DataError, match=f"{name}: the header lacks item") as error:
            read(dataset(source=Source(files=name)), tmp_path)
        assert ("it is read as csv, for its name says nothing: set `format`" in str(error.value)) == said


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(DataError, match=r"no file matches '\*\.csv' in .*the folder holds: other.txt"):
        read(dataset(), tmp_path)
    with pytest.raises(DataError, match=r"does not exist; set data\.path"):
        read(dataset(), tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"^source.files: 'abfs://bucket/a.csv' is of no file system that is read"):
        read(dataset(source=Source(files="abfs://bucket/a.csv")), tmp_path)


def test_headerless_tab_separated_without_quotes(tmp_path: Path) -> None:
    source = Source(files="*.tsv", header=False, delimiter="\t", quote="", strip_spaces=True, null_values=("?", "\\N"))
    write(
        tmp_path,
        *['7\t 8 \t?\t"ann\t 3 | 4\t20240101\t1\t0\t1', "9\t\\N\t\t?\t?\t20240101\t1\t0\t1"],
        name="a.tsv",
        header=None,
    )
    rows, bad = read(dataset(source=source), tmp_path)
    assert bad == []
    assert rows.select(["user", "item", "score", "name", "tags"]).to_pylist() == [
        {"user": 7, "item": 8, "score": None, "name": '"ann', "tags": [3, 4]},
        {"user": 9, "item": None, "score": None, "name": None, "tags": None},
    ]


def test_separators_that_no_reader_knows(tmp_path: Path) -> None:
    for source in (Source(files="*.csv", delimiter="::"), Source(files="*.csv", quote=",")):
        with pytest.raises(ConfigError, match="source delimiter"):
            read(dataset(source=source), write(tmp_path, GOOD))


def test_one_column(tmp_path: Path) -> None:
    from features.logs.csv_reader import read_csv

    (tmp_path / "one.csv").write_bytes(b"a\nx\n\ny\n\n")
    batches = list(
        read_csv(Piece(str(tmp_path / "one.csv")), "one.csv", Source(files=""), {"a": Column(type="string")})
    )
    assert [v for b in batches for v in b.columns["a"].to_pylist()] == [b"x", b"", b"y"]
    assert [reject for b in batches for reject in b.rejects] == []


# -- compressed files ---------------------------------------------------------------------------------------------


def _gzipped(rows: int) -> bytes:
    return gzip.compress("\n".join([HEADER, *[f"{i}{GOOD[1:]}" for i in range(rows)]]).encode() + b"\n", mtime=0)


def test_gzip_of_several_members_and_padding(tmp_path: Path) -> None:
    more = gzip.compress(f"100{GOOD[1:]}\n".encode())
    (tmp_path / "log.csv.gz").write_bytes(_gzipped(3) + more + more + b"\0" * 700)
    rows, bad = read(dataset(source=Source(files="*.gz")), tmp_path)
    assert rows["user"].to_pylist() == [0, 1, 2, 100, 100]
    assert bad == []


@pytest.mark.parametrize(("suffix", "module"), [("bz2", bz2), ("xz", lzma), ("gz", gzip), ("zst", None)])
def test_every_compression_whole_and_cut(tmp_path: Path, suffix: str, module: object) -> None:
    text = "\n".join([HEADER, *[f"{i}{GOOD[1:]}" for i in range(1000)]]).encode() + b"\n"
    data = module.compress(text) if module is not None else pa.compress(text, "zstd", asbytes=True)  # type: ignore[attr-defined]
    file = tmp_path / f"log.csv.{suffix}"
    file.write_bytes(data)
    spec = dataset(source=Source(files="log.csv.*"))
    rows, bad = read(spec, tmp_path)
    assert rows["user"].to_pylist() == list(range(1000))
    assert bad == []
    file.write_bytes(data[:-20])
    rows, bad = read(spec, tmp_path)
    assert rows["user"].to_pylist() == list(range(rows.num_rows))
    assert [b["reason"] for b in bad] == ["truncated_file"]
    assert bad[0]["row"] == rows.num_rows + 1


def test_everything_before_a_truncation_is_kept(tmp_path: Path) -> None:
    whole = _gzipped(5000)
    cut = whole[: len(whole) // 2]
    (tmp_path / "log.csv.gz").write_bytes(cut)
    import zlib

    text = zlib.decompressobj(wbits=31).decompress(cut)
    complete = text.count(b"\n") - 1
    rows, bad = read(dataset(source=Source(files="*.gz")), tmp_path)
    assert rows["user"].to_pylist() == list(range(complete))
    assert [(b["file"], b["row"], b["line"], b["reason"], b["rows"]) for b in bad] == [
        ("log.csv.gz", complete + 1, complete + 2, "truncated_file", 1)
    ]
    assert bad[0]["raw"] == text.rsplit(b"\n", 1)[1].decode()


@pytest.mark.parametrize("damaged", [b"", b"\x1f\x8b", b"no gzip at all", _gzipped(3)[:15]])
def test_gzip_without_even_a_header(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "log.csv.gz").write_bytes(damaged)
    rows, bad = read(dataset(source=Source(files="*.gz")), tmp_path)
    assert rows.num_rows == 0
    assert [(b["row"], b["rows"]) for b in bad] == [(1, 1)]


@pytest.mark.parametrize("end", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_file_of_no_bytes_is_a_failed_upload(end: str, tmp_path: Path) -> None:
    """And one of no rows is none: even that has a head."""
    file = tmp_path / f"log.csv.{end}"
    file.write_bytes(b"")
    rows, bad = read(dataset(source=Source(files="*.csv.*")), tmp_path)
    assert rows.num_rows == 0
    assert [(letter["file"], letter["reason"]) for letter in bad] == [(file.name, "truncated_file")]
    compressors = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    compress = compressors.get(end, lambda data: pa.compress(data, codec="zstd", asbytes=True))
    for text in (b"", HEADER.encode(), HEADER.encode() + b"\n"):
        file.write_bytes(compress(text))
        assert read(dataset(source=Source(files="*.csv.*")), tmp_path)[1] == []


def test_a_damaged_gzip_gives_what_came_before(tmp_path: Path) -> None:
    data = bytearray(_gzipped(5000))
    data[-3] ^= 0xFF  # the length at the very end: all rows are there, the file is not what was written
    (tmp_path / "log.csv.gz").write_bytes(bytes(data))
    rows, bad = read(dataset(source=Source(files="*.gz")), tmp_path)
    assert rows.num_rows == 5000
    assert [b["reason"] for b in bad] == ["corrupt_file"]


def test_a_gzip_bomb_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"0" * (64 << 20)))
    assert max(len(chunk) for chunk in chunks(str(tmp_path / "bomb.gz"), 1 << 20)) <= 2 << 20


# -- what is added to a row ---------------------------------------------------------------------------------------


def test_row_ids_differ_between_files_of_one_name_and_are_stable(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, GOOD, GOOD)
    spec = dataset(source=Source(files="*/log.csv"))
    rows, _ = read(spec, tmp_path)
    again, _ = read(spec, tmp_path)
    only_b, _ = read(spec, tmp_path, files=[str(tmp_path / "b" / "log.csv")])
    assert len(set(rows[ROW_ID].to_pylist())) == 4
    assert again[ROW_ID] == rows[ROW_ID]
    assert only_b[ROW_ID].to_pylist() == rows[ROW_ID].to_pylist()[2:]


def test_random_split_has_its_shares_and_follows_the_seed(tmp_path: Path) -> None:
    write(tmp_path, *[GOOD] * 20_000)

    def parts(seed: int) -> NDArray[np.int8]:
        spec = dataset(split=RandomSplit(train=0.7, validation=0.2, test=0.1, seed=seed))
        return np.concatenate([batch.part for batch in read_log(spec, str(tmp_path), Tables())])

    shares = np.bincount(parts(0), minlength=3) / 20_000
    # five standard deviations of a share of 20,000 draws are below 0.018
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.018)
    np.testing.assert_array_equal(parts(0), parts(0))
    # two independent draws agree in a share of .49 + .04 + .01
    assert abs((parts(0) == parts(1)).mean() - 0.54) < 0.018


def test_time_split(tmp_path: Path) -> None:
    write(tmp_path, *[GOOD.replace("20240101", f"2024010{day}") for day in (1, 2, 3, 4)])
    (batch,) = read_log(dataset(), str(tmp_path), Tables())
    assert batch.part.tolist() == [0, 0, 1, 2]
    assert batch.of("test")["day"].to_pylist() == [20240104]


@pytest.mark.parametrize(
    ("unit", "offset", "value", "day"),
    [
        ("ms", 8, "1650815999999", 20220424),
        ("ms", 8, "1650816000000", 20220425),
        ("s", 0, "0", 19700101),
        ("s", -1, "0", 19691231),
        ("us", 0, "-1", 19691231),
        ("us", 5.5, "1709231400000000", 20240301),
        ("iso8601", 0, "2024-02-29", 20240229),
        ("iso8601", 8, "2024-02-29T16:00:00Z", 20240301),
        ("iso8601", 0, "2024-02-29 23:30:00.123456-01:00", 20240301),
        ("ms", 0, "9223372036854775807", None),
        ("s", 0, "-9223372036854775807", None),
        ("iso8601", 0, "2024-02-30", None),
        ("iso8601", 0, "today", None),
        ("iso8601", 0, "12", None),
    ],
)
def test_days(tmp_path: Path, unit: str, offset: float, value: str, day: int | None) -> None:
    kind = "string" if unit == "iso8601" else "int64"
    spec = dataset(
        columns=COLUMNS | {"day": Column(type=kind)}, time=TimeColumn(column="day", unit=unit, utc_offset_hours=offset)
    )
    rows, bad = read(spec, write(tmp_path, GOOD.replace("20240101", value)), split=False)
    assert rows[DAY].to_pylist() == ([day] if day else [])
    assert [b["reason"] for b in bad] == ([] if day else ["bad_time"])


def test_a_time_column_of_the_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="time column 'score' is float32; unit ms needs int64"):
        read(dataset(time=TimeColumn(column="score")), write(tmp_path, GOOD))


def test_positive_values_and_regression(tmp_path: Path) -> None:
    tasks = {"named": Task(label="name", positive=("ann", "bob")), "rated": Task(label="like", kind="regression")}
    spec = dataset(tasks=tasks)
    write(tmp_path, GOOD, GOOD.replace("ann", "eve"), GOOD.replace("ann", ""), GOOD.replace(",0,1", ",-7,1"))
    rows, bad = read(spec, tmp_path)
    assert rows["label_named"].to_pylist() == [1.0, 0.0, 1.0]
    assert rows["label_rated"].to_pylist() == [0.0, 0.0, -7.0]
    assert [(b["row"], b["reason"], b["column"]) for b in bad] == [(3, "missing_label", "name")]


def test_sample_weights_are_read_where_the_mask_lets_them_and_for_training_only(tmp_path: Path) -> None:
    tasks = {
        "click": Task(label="click", sample_weight="score"),
        "like": Task(label="like", mask="seen", sample_weight="score"),
    }
    spec = dataset(tasks=tasks, features={"user": Id(), "item": Id()})
    write(tmp_path, GOOD, GOOD.replace("1.5", "0"), GOOD.replace("1.5", ""), GOOD.replace("1.5", "-0.5"))
    rows, bad = read(spec, tmp_path)
    assert rows["weight_click"].to_pylist() == [1.5, 0.0]
    assert [(b["row"], b["reason"], b["column"], b["value"]) for b in bad] == [
        (3, "bad_weight", "score", ""),
        (4, "bad_weight", "score", "-0.5"),
    ]
    assert "score" not in rows.column_names
    write(tmp_path, GOOD.replace(",1,0,1", ",1,0,0").replace("1.5", "-1"))
    hidden = dataset(tasks={"like": tasks["like"]}, features={"user": Id()})
    assert read(hidden, tmp_path)[0]["weight_like"].to_pylist() == [0.0]
    write(tmp_path, "7,8,3,1,0,1", header="user,item,tags,click,like,seen")
    rows, bad = read(spec, tmp_path, split=False)
    assert (rows.num_rows, bad) == (1, [])
    assert "weight_click" not in rows.column_names


def test_without_labels_only_features_are_needed(tmp_path: Path) -> None:
    write(tmp_path, "7,8,1.5,3", "x,8,1.5,3", header="user,item,score,tags")
    rows, bad = read(dataset(), tmp_path, labels=False, split=False)
    assert rows.column_names == ["user", "item", "score", "name", "tags", "day", ROW_ID, DAY]
    assert rows.drop([ROW_ID]).to_pylist() == [
        {"user": 7, "item": 8, "score": 1.5, "name": None, "tags": [3], "day": None, DAY: None}
    ]
    assert [b["reason"] for b in bad] == ["bad_number"]
    write(tmp_path, "7,8,1.5", header="user,item,score")
    with pytest.raises(DataError, match="lacks tags"):
        read(dataset(), tmp_path, labels=False, split=False)


def test_with_labels_of_any_day_features_answers_and_the_group_are_needed(tmp_path: Path) -> None:
    write(tmp_path, "7,8,1.5,3,1,0,1", header="user,item,score,tags,click,like,seen")
    rows, bad = read(dataset(), tmp_path, labels=True, split=False)
    assert bad == []
    assert rows["label_click"].to_pylist() == [1.0]
    assert rows[DAY].to_pylist() == [None]
    for lacking in ("user", "tags", "click", "seen"):
        header = [name for name in ("user", "item", "score", "tags", "click", "like", "seen") if name != lacking]
        write(tmp_path, ",".join("1" * len(header)), header=",".join(header))
        with pytest.raises(DataError, match=f"lacks {lacking}"):
            read(dataset(), tmp_path, labels=True, split=False)
    with pytest.raises(DataError, match="lacks"):
        read(dataset(), tmp_path)


def breaks(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    raise AssertionError("called")


def test_without_labels_nothing_is_derived_from_answers(tmp_path: Path) -> None:
    derived = Derived(function=f"{__name__}:breaks", inputs=("click",), outputs={"clicked": Column(type="int64")})
    rows, _ = read(dataset(derived=(derived,)), write(tmp_path, GOOD), labels=False, split=False)
    assert "clicked" not in rows.column_names


def test_without_labels_a_bad_answer_costs_no_row(tmp_path: Path) -> None:
    rows, bad = read(dataset(), write(tmp_path, GOOD.replace(",1,0,1", ",x,x,x")), labels=False, split=False)
    assert rows.num_rows == 1
    assert bad == []


def doubled(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {"twice": pa.array([2 * v for v in batch.column(0).to_pylist()])}


def too_short(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {"twice": pa.array([0] * (batch.num_rows - 1))}


def of_texts(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {"twice": pa.array(["a"] * batch.num_rows)}


def misnamed(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {"double": pa.nulls(batch.num_rows)}


def _derived(function: str) -> tuple[Derived, ...]:
    return (Derived(function=function, inputs=("user",), outputs={"twice": Column(type="int64")}),)


def test_derived_columns(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "x" + GOOD[1:], "9" + GOOD[1:])
    rows, _ = read(dataset(derived=_derived(f"{__name__}:doubled")), tmp_path)
    assert rows["twice"].to_pylist() == [14, 18]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("too_short", "'twice' has 0 rows; allowed: 1"),
        ("of_texts", "'twice' is string; the spec declares int64"),
        ("misnamed", "returned double; allowed: a dict of twice"),
    ],
)
def test_derived_columns_are_checked(tmp_path: Path, function: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(dataset(derived=_derived(f"{__name__}:{function}")), write(tmp_path, GOOD))


def refusing(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    users = batch.column(0).to_pylist()
    why = pa.array([None if user == 7 else f"{user} is not 7" for user in users], pa.string())
    return {"twice": batch.column(0), "feedrank_refused": why}


def test_a_derived_function_refuses_rows(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "9" + GOOD[1:], GOOD)
    rows, bad = read(dataset(derived=_derived(f"{__name__}:refusing")), tmp_path)
    assert rows["twice"].to_pylist() == [7, 7]
    assert "feedrank_refused" not in rows.column_names
    assert [(b["row"], b["reason"], b["column"], b["value"]) for b in bad] == [(2, "refused", "user", "9 is not 7")]


def test_a_column_that_is_not_kept_is_read_by_derived_functions_only(tmp_path: Path) -> None:
    columns = COLUMNS | {"name": Column(type="string", kept=False)}
    rows, _ = read(dataset(columns=columns), write(tmp_path, GOOD))
    assert "name" not in rows.column_names


@pytest.mark.parametrize("name", ["nowhere.to:be_found", f"{__name__}:absent", "no colon"])
def test_a_function_that_does_not_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be found.*allowed: 'package.module:function'"):
        read(dataset(derived=_derived(name)), write(tmp_path, GOOD))
