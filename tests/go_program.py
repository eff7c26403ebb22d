"""Programs that Go builds from a module of its proxy, once for a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD_S = 800


def go_program(module: str, version: str) -> Path:
    """The program's file, built if it is not there; skips the test where Go or the module's source is not.

    Args:
        module: path of the package, whose last part is the program's name.
        version: of its module.
    """
    name = module.rpartition("/")[2]
    program = ROOT / ".tools" / f"{name}-{version}" / name
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"no go, which builds {name}")
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        try:
            built = subprocess.run(
                [go, "install", f"{module}@{version}"],
                env={**os.environ, "GOBIN": folder, "GOFLAGS": "-mod=mod"},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=BUILD_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"Go built no {name} within {BUILD_S} s")
        if built.returncode:
            pytest.skip(f"Go built no {name}: {built.stderr[-500:]}")
        (Path(folder) / name).replace(program)  # whole or not at all: another test may be at it
    return program
