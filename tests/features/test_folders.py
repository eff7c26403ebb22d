"""Files and folders of a disk and of a store: the same calls, the same answers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import folders, stores
from features.errors import DataError
from features.paths import Remote, remote
from tests.gcs_server import GcsServer


@pytest.fixture(params=["disk", "store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "root") if request.param == "disk" else f"{request.getfixturevalue('store')}/root"


def _write(root: str, *names: str) -> None:
    for name in names:
        folders.make(f"{root}/{name}".rpartition("/")[0])
        folders.write_text(f"{root}/{name}", f"content of {name}: é")


def test_what_was_written_is_read(root: str) -> None:
    assert not folders.exists(root)
    assert not folders.is_folder(root)
    assert folders.list_files(root) == folders.list_names(root) == []
    _write(root, "b.gz", "a/1 %41#é.txt", "a/b/c")
    assert folders.read_text(f"{root}/a/1 %41#é.txt") == "content of a/1 %41#é.txt: é"
    assert folders.list_files(root) == ["a/1 %41#é.txt", "a/b/c", "b.gz"]
    assert folders.list_names(root) == ["a", "b.gz"]
    assert [folders.exists(f"{root}/{name}") for name in ("a", "a/b/c", "a/b/d", "aa")] == [True, True, False, False]
    assert [folders.is_folder(f"{root}/{name}") for name in ("a", "a/b/c", "nothing")] == [True, False, False]


def test_tables_of_pyarrow(root: str) -> None:
    table = pa.table({"x": list(range(100_000)), "text": [f"{i * i}" for i in range(100_000)]})
    folders.make(root)
    with folders.open_output(f"{root}/t.parquet") as stream:
        pq.write_table(table, stream, row_group_size=9_000)
    with folders.open_input(f"{root}/t.parquet") as stream:
        assert pq.read_table(stream).equals(table)
    with folders.open_output(f"{root}/t.arrow") as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=30_000)
    with folders.open_input(f"{root}/t.arrow") as stream:
        assert pa.ipc.open_file(stream).get_batch(2).column(0)[0].as_py() == 60_000


def test_files_are_renamed_and_removed(root: str) -> None:
    _write(root, "a", "b", "c/d", "c/e/f", "g")
    folders.replace(f"{root}/a", f"{root}/c/d")
    assert folders.read_text(f"{root}/c/d") == "content of a: é"
    for name in ("b", "c/e", "nothing", "no/thing"):
        folders.remove(f"{root}/{name}")
    assert folders.list_files(root) == ["c/d", "g"]
    folders.remove(root)
    assert not folders.exists(root)


def test_copies(root: str, store: str, tmp_path: Path) -> None:
    _write(root, "a", "b/c", "b/d/e", "f/g")
    for target in (str(tmp_path / "here"), f"{store}/there"):
        folders.copy(root, target)
        assert folders.list_files(target) == ["a", "b/c", "b/d/e", "f/g"]
        assert folders.read_text(f"{target}/b/d/e") == "content of b/d/e: é"
    with folders.local_copy(root) as here:
        assert folders.list_files(here) == ["a", "b/c", "b/d/e", "f/g"]
    assert Path(here).exists() == (remote(root) is None)


def test_parts_of_a_store_suffice(store: str) -> None:
    _write(store, "a", "b/c", "b/d/e", "f/g")
    with folders.local_copy(store, ["b/d", "a", "nothing"]) as here:
        assert folders.list_files(here) == ["a", "b/d/e"]
    with folders.local_copy(f"{store}/nothing") as here:
        assert list(Path(here).iterdir()) == []


def test_what_is_not_there_cannot_be_read(store: str) -> None:
    with pytest.raises(DataError, match=rf"^cannot read {store}/nothing: no such file$"):
        folders.read_text(f"{store}/nothing")
    with pytest.raises(DataError, match=r"^cannot write s3://not-there/x: .*there is no such bucket"):
        folders.write_text("s3://not-there/x", "x")


def test_of_googles_store_too(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.make("folders")

    def at(key: str) -> Remote:
        found = remote(gcs.uri(f"folders/{key}"))
        assert found is not None
        return found

    here = tmp_path / "here"
    _write(str(here), "a", "b/c", "b/d/e", "f/g")
    assert not stores.exists(at("x"))
    stores.upload(here, at("x"))
    assert gcs.keys("folders") == ["x/a", "x/b/c", "x/b/d/e", "x/f/g"]
    assert {name: of.size for name, of in stores.walk(at("x")).items()} == {
        name: len(f"content of {name}: é".encode()) for name in ("a", "b/c", "b/d/e", "f/g")
    }
    assert [stores.exists(at(key)) for key in ("x", "x/a", "x/b", "x/c")] == [True, True, True, False]
    stores.move(at("x/a"), at("x/b/c"))
    stores.copy(at("x/f/g"), at("x/h"))
    for key in ("x/b/d", "x/f/g", "x/nothing"):
        stores.remove(at(key))
    stores.download(at("x"), tmp_path / "there")
    assert folders.list_files(str(tmp_path / "there")) == ["b/c", "h"]
    assert folders.read_text(gcs.uri("folders/x/b/c")) == "content of a: é"
    elsewhere = remote(gcs.uri("not-there/x"))
    assert elsewhere is not None
    assert (stores.exists(elsewhere), stores.walk(elsewhere)) == (False, {})
