"""A server of Cloud Storage on this machine: fake-gcs-server, in memory, built by Go once for a checkout."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.go_program import go_program

READY_S = 30
_PROJECT = "feed-project"


class GcsServer(NamedTuple):
    """A running server. It asks nobody who he is.

    Attributes:
        address: host and port.
        process: the server's.
    """

    address: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Of its JSON API."""
        return f"http://{self.address}"

    def uri(self, path: str) -> str:
        """A path of ours, ``bucket/key``, as data.path takes it."""
        return f"gs://anonymous@{path}?endpoint_override={self.address}&scheme=http&retry_limit_seconds=2"

    def make(self, bucket: str) -> None:
        """Makes a bucket."""
        answer = requests.post(
            f"{self.url}/storage/v1/b", params={"project": _PROJECT}, json={"name": bucket}, timeout=10
        )
        answer.raise_for_status()

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Writes an object, as Google's own clients do: its name has slashes, and no folder is made for it."""
        answer = requests.post(
            f"{self.url}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "media", "name": key},
            headers={"Content-Type": "application/octet-stream"},
            data=data,
            timeout=10,
        )
        answer.raise_for_status()

    def keys(self, bucket: str) -> list[str]:
        """Names of a bucket's objects, in order."""
        answer = requests.get(f"{self.url}/storage/v1/b/{bucket}/o", timeout=10)
        answer.raise_for_status()
        return sorted(of["name"] for of in answer.json().get("items", []))

    def upload(self, folder: Path, bucket: str) -> str:
        """Copies all files below `folder` into a new bucket's ``log/``; returns that as data.path takes it."""
        self.make(bucket)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(bucket, f"log/{file.relative_to(folder).as_posix()}", file.read_bytes())
        return self.uri(f"{bucket}/log")


@contextlib.contextmanager
def gcs_server(folder: Path) -> Iterator[GcsServer]:
    """Starts a server on a free port of the loopback address; its log goes to `folder`. Skips the test where Go cannot build it."""
    program = go_program("github.com/fsouza/fake-gcs-server", "v1.56.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = [str(program), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += [
        "-public-host",
        address,
        "-external-url",
        f"http://{address}",
    ]  # XML reads and uploads are answered there alone
    log = folder / "gcs_server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    server = GcsServer(address, process)
    try:
        _wait(server, log)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: GcsServer, log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and server.process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"{server.url}/storage/v1/b", params={"project": _PROJECT}, timeout=10)
            return
        time.sleep(0.05)
    pytest.fail(f"fake-gcs-server did not start: {log.read_text()[-2000:]}")
