"""TFX's `fileio` in a store, beside TFX's own for a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.io import fileio
from tfx.dsl.io.plugins.local import LocalFilesystem

from pipeline.components.store_files import StoreFilesystem, use_for_stores

TREE = ("a.txt", "b/c.txt", "b/d/e.bin", "f/g.txt")
ASKED: tuple[Callable[[Any, str], Any], ...] = (
    lambda files, root: [files.exists(f"{root}/{name}") for name in ("a.txt", "b", "nothing", "")],
    lambda files, root: [files.isdir(f"{root}/{name}") for name in ("a.txt", "b", "nothing")],
    lambda files, root: [sorted(files.listdir(f"{root}/{name}")) for name in ("", "b")],
    lambda files, root: [name.removeprefix(root) for name in sorted(files.glob(f"{root}/*/*.txt"))],
    lambda files, root: [name.removeprefix(root) for name in files.glob(f"{root}/b/no*")],
    lambda files, root: sorted(
        (top.removeprefix(root).strip("/"), sorted(below), sorted(names)) for top, below, names in files.walk(root)
    ),
    lambda files, root: _read(files, f"{root}/b/d/e.bin", "rb"),
    lambda files, root: _read(files, f"{root}/a.txt"),
    lambda files, root: files.copy(f"{root}/a.txt", f"{root}/b/copy.txt"),
    lambda files, root: files.copy(f"{root}/f/g.txt", f"{root}/b/c.txt", overwrite=True),
    lambda files, root: files.rename(f"{root}/a.txt", f"{root}/f/g.txt", overwrite=True),
    lambda files, root: files.remove(f"{root}/b/copy.txt"),
    lambda files, root: files.rmtree(f"{root}/b/d"),
    lambda files, root: sorted(names for _, _, found in files.walk(root) for names in found),
    lambda files, root: [_read(files, f"{root}/{name}") for name in ("b/c.txt", "f/g.txt")],
)


def _read(files: Any, name: str, mode: str = "r") -> Any:
    with files.open(name, mode) as file:
        return file.read()


def _answers(files: Any, root: str) -> list[Any]:
    for name in TREE:
        files.makedirs(f"{root}/{name}".rpartition("/")[0])
        with files.open(f"{root}/{name}", "wb" if name.endswith("bin") else "w") as file:
            file.write(b"\0\xff" if name.endswith("bin") else f"line\n{name}\n")
    return [ask(files, root) for ask in ASKED]


def test_answers_are_those_of_a_disk(store: str, tmp_path: Path) -> None:
    assert _answers(StoreFilesystem, f"{store}/x") == _answers(LocalFilesystem, str(tmp_path / "x"))


def test_tfx_takes_it_for_stores_alone(store: str, tmp_path: Path) -> None:
    use_for_stores()
    assert _answers(fileio, f"{store}/x") == _answers(fileio, str(tmp_path / "x"))
    assert fileio._get_filesystem("gs://b/x") is fileio._get_filesystem("hdfs://h/x") is StoreFilesystem
    assert fileio._get_filesystem(str(tmp_path)) is not StoreFilesystem


def test_what_is_in_the_way_or_missing(store: str) -> None:
    with StoreFilesystem.open(f"{store}/a", "w") as file:
        file.write("a")
    for write in (StoreFilesystem.copy, StoreFilesystem.rename):
        with pytest.raises(FileExistsError):
            write(f"{store}/a", f"{store}/a")
    with pytest.raises(fileio.NotFoundError):
        StoreFilesystem.listdir(f"{store}/nothing")
    StoreFilesystem.rmtree(f"{store}/nothing")
    StoreFilesystem.remove(f"{store}/nothing")
    assert StoreFilesystem.stat(f"{store}/a").size == 1
