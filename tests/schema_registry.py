"""A Schema Registry on this machine: as much of Confluent's REST interface as readers ask for."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Registry(NamedTuple):
    """A running registry.

    Attributes:
        address: such as ``http://127.0.0.1:8081``.
        asked: paths, in order.
    """

    address: str
    asked: list[str]


@contextlib.contextmanager
def schema_registry(answers: Mapping[str, Any], user: str | None = None) -> Iterator[Registry]:
    """Serves on a free port of the loopback address.

    Args:
        answers: objects by path; a number is a status without more, a list its items one after the other, the last from then on. Other paths are answered as the registry answers unknown ids.
        user: ``NAME:PASSWORD`` that must be named.
    """
    asked: list[str] = []
    expected = None if user is None else "Basic " + base64.b64encode(user.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer = answers.get(self.path, {"error_code": 40403, "message": "Schema not found"})
            if isinstance(answer, list):
                answer = answer[min(asked.count(self.path), len(answer)) - 1]
            status = answer if isinstance(answer, int) else 200 if self.path in answers else 404
            if expected is not None and self.headers.get("Authorization") != expected:
                answer, status = {"error_code": 401, "message": "Unauthorized"}, 401
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.end_headers()
            self.wfile.write(b"oops" if isinstance(answer, int) else json.dumps(answer).encode())

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Registry(f"http://127.0.0.1:{server.server_port}", asked)
        finally:
            server.shutdown()
            thread.join()
