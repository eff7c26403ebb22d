"""Beam's files in S3, beside Beam's own for a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.filesystems import FileSystems

from features import folders
from features.errors import DataError
from pipeline.components.beam_store import StoreFileSystem

TREE = ("data-0.parquet", "data-1.parquet", "date", "x/data-0.parquet", "y.txt", "y.txt.gz")
PATTERNS = ("data-*", "*", "*/data-?.parquet", "data-1.parquet", "nothing", "no*", "x/*")


def _answers(root: str) -> list[Any]:
    for name in TREE:
        folders.make(f"{root}/{name}".rpartition("/")[0])
        with FileSystems.create(f"{root}/{name}") as file:
            file.write(name.encode())
    answers: list[Any] = []
    for pattern in PATTERNS:
        (found,) = FileSystems.match([FileSystems.join(root, pattern)])
        answers.append(sorted((of.path.removeprefix(root), of.size_in_bytes) for of in found.metadata_list))
    for name in ("y.txt", "y.txt.gz"):
        with FileSystems.open(f"{root}/{name}") as file:
            answers.append(file.read())
    with FileSystems.open(f"{root}/date") as file:
        file.seek(2)
        answers.append(file.read(5))
    FileSystems.copy([f"{root}/date", f"{root}/y.txt"], [f"{root}/copy", f"{root}/copy2"])
    FileSystems.rename([f"{root}/date", f"{root}/data-0.parquet"], [f"{root}/x/moved", f"{root}/x/data-0.parquet"])
    FileSystems.delete([f"{root}/data-1.parquet"])
    answers.append(folders.list_files(root))
    answers.append([folders.read_text(f"{root}/{name}") for name in ("x/moved", "x/data-0.parquet", "copy2")])
    answers.append([FileSystems.exists(f"{root}/{name}") for name in ("copy", "date")])
    answers.append([part.removeprefix(root) for part in FileSystems.split(f"{root}/x/moved")])
    FileSystems.delete([f"{root}/x"])
    answers.append(folders.list_files(root))
    return answers


def test_answers_are_those_of_a_disk(store: str, tmp_path: Path) -> None:
    assert type(FileSystems.get_filesystem(store)) is StoreFileSystem
    assert _answers(f"{store}/root") == _answers(str(tmp_path / "root"))


def test_gzip_is_told_by_the_name_alone(store: str) -> None:
    with FileSystems.create(f"{store}/x.gz") as file:
        file.write(b"packed")
    with folders.open_input(f"{store}/x.gz") as stream:
        assert bytes(stream.read(2)) == b"\x1f\x8b"


def test_times_and_sizes(store: str) -> None:
    folders.write_text(f"{store}/x", "12345")
    (found,) = FileSystems.match([f"{store}/*"])
    (of,) = found.metadata_list
    files = StoreFileSystem(None)
    assert (of.size_in_bytes, of.last_updated_in_seconds) == (5, files.last_updated(f"{store}/x"))
    assert files.metadata(f"{store}/x") == of
    assert files.size(f"{store}/x") == 5
    assert not files.exists(store)  # a folder has no size
    with pytest.raises(DataError, match=rf"^cannot read {store}/y: no such file$"):
        FileSystems.open(f"{store}/y")
