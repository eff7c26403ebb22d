"""A peer's own virtual environment: made by uv from pinned requirements when it is first asked for, kept in ``.peers/``."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
REQUIREMENTS = pathlib.Path(__file__).parent / "requirements"
ENVIRONMENTS = ROOT / ".peers"


class PeerError(RuntimeError):
    """A peer's process failed; the message holds the end of what it said."""


def python_of(peer: str) -> pathlib.Path:
    """The Python of the environment that ``requirements/{peer}.txt`` describes, made anew whenever that file has changed.

    It is of the same version as the Python that asks.

    Raises:
        ValueError: if there is no such peer.
        subprocess.CalledProcessError: if it cannot be installed.
    """
    known = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
    if peer not in known:
        raise ValueError(f"no peer is called '{peer}'; known: {', '.join(known)}")
    wanted, folder = REQUIREMENTS / f"{peer}.txt", ENVIRONMENTS / peer
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted.read_text():
        print(f"installing {peer} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        uv = _uv()
        own = pathlib.Path(sys.executable).resolve()  # no link of this environment, which may go before the peer's
        subprocess.run([uv, "venv", "--quiet", "--python", own, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "--requirement", wanted], check=True)
        shutil.copy(wanted, installed)
    return python


def run_module(
    python: pathlib.Path | str, module: str, *arguments: str, cores: set[int] | None = None
) -> dict[str, Any]:
    """Runs ``python -m module`` from the project's root; the JSON of its last line.

    Args:
        python: whose.
        module: of this project.
        arguments: of the command line.
        cores: of the processor, which alone it may use; None: all.

    Raises:
        PeerError: if it fails or says no JSON.
    """
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    bound = ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))] if cores else []
    command = [*bound, str(python), "-W", "ignore", "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise PeerError(f"{module} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _uv() -> str:
    """A uv that runs: the one on the PATH, else the one that the Makefile installs."""
    if shutil.which("uv") and not subprocess.run(["uv", "--version"], capture_output=True, check=False).returncode:
        return "uv"
    own = ".tools/bin/uv"
    if not (ROOT / own).exists():
        subprocess.run(["make", own], cwd=ROOT, check=True, stdout=sys.stderr)
    return str(ROOT / own)
