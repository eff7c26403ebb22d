"""A stand-in for TF Serving, which is not installed here: its REST predict API in front of a SavedModel, in this process.

Written after TF Serving's documentation ("RESTful API": columnar format, JSON mapping, JSON conformance). It is strict where
the real server is: unknown signatures and inputs, ragged lists and wrong types are errors.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

VERSION = 7


class ModelServer(http.server.ThreadingHTTPServer):
    """Serves one model under one name.

    Attributes:
        failures: statuses that the next requests get instead of an answer.
        bodies: the predict requests so far.
    """

    def __init__(self, name: str, model: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path = f"/v1/models/{name}"
        self.name = name
        self.failures: list[int] = []
        self.bodies: list[str] = []
        self.loaded = tf.saved_model.load(str(model))
        saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
        self.signatures = dict(saved.meta_graphs[0].signature_def)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def metadata(self) -> dict[str, Any]:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = self.name, VERSION
        definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=self.signatures)
        response.metadata["signature_def"].Pack(definitions)
        return json_format.MessageToDict(
            response, including_default_value_fields=True, preserving_proto_field_name=True
        )

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("signature_name", "serving_default")
        if name not in self.signatures:
            raise ValueError(f"Serving signature name: {name!r} not found in signature def")
        definition = self.signatures[name].inputs
        if set(body["inputs"]) != set(definition):
            raise ValueError(f"inputs {sorted(body['inputs'])} do not match {sorted(definition)}")
        inputs = {key: tensor_of(values, definition[key].dtype) for key, values in body["inputs"].items()}
        outputs = {key: value.numpy().tolist() for key, value in self.loaded.signatures[name](**inputs).items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


def tensor_of(values: list[Any], dtype: int) -> tf.Tensor:
    kinds = {"int64": int, "float32": int | float, "string": str}
    kind = tf.as_dtype(dtype)
    for value in np.array(values, dtype=object).reshape(-1):
        if not isinstance(value, kinds[kind.name]):
            raise ValueError(f"JSON Value: {value!r} is not formatted as {kind.name}")
    return tf.constant(values, kind)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        states = {"model_version_status": [{"version": str(VERSION), "state": "AVAILABLE", "status": {}}]}
        known = {"": states, f"/versions/{VERSION}": states, "/metadata": self.server.metadata()}
        suffix = self.path.removeprefix(self.server.path)
        if not self.path.startswith(self.server.path) or suffix not in known:
            self._answer(404, {"error": f"Could not find any versions of model {self.path}"})
        elif not self._fails():
            self._answer(200, known[suffix])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.bodies.append(body)
        if self._fails():
            return
        try:
            self._answer(200, self.server.predict(json.loads(body)))
        except (ValueError, KeyError) as error:
            self._answer(400, {"error": str(error)})

    def _fails(self) -> bool:
        if self.server.failures:
            self._answer(self.server.failures.pop(0), {"error": "for a test"})
            return True
        return False

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@contextlib.contextmanager
def serve(name: str, model: Path) -> Iterator[ModelServer]:
    server = ModelServer(name, model)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
