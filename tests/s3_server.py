"""A server of S3 on this machine: moto's, in a process of its own."""

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
import requests
from pyarrow import fs

READY_S = 60
ACCOUNT = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester", "AWS_EC2_METADATA_DISABLED": "true"}


class S3Server(NamedTuple):
    """A running server.

    Attributes:
        address: host and port.
        process: the server's.
    """

    address: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Of all its buckets."""
        return f"http://{self.address}"

    @property
    def options(self) -> str:
        """By which pyarrow finds it."""
        return f"endpoint_override={self.address}&scheme=http&region=us-east-1"

    def uri(self, path: str) -> str:
        """A path of ours, ``bucket/key``, as data.path takes it."""
        return f"s3://{path}?{self.options}"

    @property
    def files(self) -> fs.S3FileSystem:
        """Its file system."""
        return fs.S3FileSystem(
            endpoint_override=self.address, scheme="http", region="us-east-1", allow_bucket_creation=True
        )

    def upload(self, folder: Path, bucket: str) -> str:
        """Copies all files below `folder` into a new bucket's folder ``log``; returns that as data.path takes it."""
        system = self.files
        system.create_dir(bucket)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{bucket}/log/{file.relative_to(folder).as_posix()}"
            with system.open_output_stream(name, compression=None) as stream:  # else .gz would be compressed again
                stream.write(file.read_bytes())
        return self.uri(f"{bucket}/log")

    def ask_for_credentials(self) -> None:
        """From now on requests by unknown users are refused."""
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()

    def stop(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Starts a server on a free port of the loopback address; its log goes to `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    log = folder / "s3_server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **ACCOUNT})
    server = S3Server(f"127.0.0.1:{port}", process)
    try:
        _wait(server, log)
        yield server
    finally:
        server.stop()


def _wait(server: S3Server, log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and server.process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"{server.url}/moto-api/", timeout=10)
            return
        time.sleep(0.1)
    pytest.fail(f"moto's server did not start: {log.read_text()[-2000:]}")
