"""What Beam's workers install: ``--setup_file ./setup.py`` builds a source distribution."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from email import message_from_string
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ROOMS = ("features", "models", "pipeline", "serving")


def tracked() -> list[str]:
    """The project's files that git knows and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"{ROOT} is no git checkout: {listed.stderr.strip()}")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    for name in tracked():
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "copy" / name)
    build = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(folder / "dist")]
    subprocess.run(build, cwd=folder / "copy", check=True, capture_output=True)
    (archive,) = (folder / "dist").iterdir()
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (inside,) = (folder / "unpacked").iterdir()
    return inside


def test_it_holds_the_four_rooms_with_all_their_files(unpacked: Path) -> None:
    wanted = {name for name in tracked() if name.split("/")[0] in ROOMS}
    assert {"pipeline/configs/base.yaml", "features/spec.py"} <= wanted
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert wanted - found == set()
    assert not {name for name in found if name.startswith(("tests/", "benchmarks/", ".venv/"))}


def test_a_worker_installs_the_pipeline_extra_too(unpacked: Path) -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["pipeline"]]
    shipped = tomli.loads((unpacked / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(shipped["dependencies"]) == sorted(wanted)
    assert {"apache-beam", "tensorflow", "tfx"} <= {Requirement(text).name for text in shipped["dependencies"]}
    about = message_from_string((unpacked / "PKG-INFO").read_text(encoding="utf-8"))
    assert (about["Name"], about["Version"]) == (project["name"], project["version"])
