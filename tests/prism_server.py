"""Prism, Beam's portable runner, on this machine: built by Go once for a checkout, and a pool of workers for it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.go_program import ROOT, go_program

READY_S = 60


def prism_program() -> Path:
    """The program's file; skips the test where it cannot be built."""
    return go_program("github.com/apache/beam/sdks/v2/go/cmd/prism", "v2.74.0")


@contextlib.contextmanager
def prism_server(folder: Path) -> Iterator[str]:
    """Starts Prism on a free port; gives its ``HOST:PORT``. It listens on all interfaces: for tests alone."""
    port = _free_port()
    command = [str(prism_program()), f"--job_port={port}", "--serve_http=false"]
    with _running(command, folder, folder / "prism.log", port, {"GOGC": "25"}):
        yield f"127.0.0.1:{port}"


class WorkerPool(NamedTuple):
    """A running pool of workers.

    Attributes:
        address: ``HOST:PORT``.
        process: the pool's.
        log: what it and its workers say.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def started(self) -> int:
        """How many workers there were so far."""
        return self.log.read_text(errors="replace").count("Starting worker with command")

    @property
    def workers(self) -> list[int]:
        """Processes of the workers that there are."""
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for children in lists for pid in children.read_text().split()]


@contextlib.contextmanager
def worker_pool(folder: Path) -> Iterator[WorkerPool]:
    """Starts a pool of workers in `folder`.

    They know nothing of this process: not its folder, nor what its environment says to TensorFlow.
    """
    port = _free_port()
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # a pool starts a bare `python`
    with _running(command, folder, folder / "pool.log", port, {"PATH": path, "PYTHONPATH": str(ROOT)}) as process:
        yield WorkerPool(f"127.0.0.1:{port}", process, folder / "pool.log")


@contextlib.contextmanager
def _running(
    command: list[str], folder: Path, log: Path, port: int, settings: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env={**plain, **settings}
        )
    try:
        end = time.monotonic() + READY_S
        while not _answers(port):
            if time.monotonic() > end or process.poll() is not None:
                pytest.fail(f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
