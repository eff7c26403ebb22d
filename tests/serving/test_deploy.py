from __future__ import annotations

import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

import serving

DEPLOY = Path(serving.__file__).parent / "deploy"
ENTRY = {8500: "gRPC", 8501: "REST"}
"""Ports on which the official image listens."""


@pytest.fixture(scope="module")
def ranker() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]["ranker"]


@pytest.fixture(scope="module")
def models() -> Any:
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse((DEPLOY / "models.config").read_text(), config).model_config_list.config


def test_the_image_is_of_the_tensorflow_that_exports(ranker: dict[str, Any]) -> None:
    name, tag = ranker["image"].split(":")
    assert name == "tensorflow/serving"
    assert tag.split(".")[:2] == tf.__version__.split(".")[:2]


def test_both_ports_are_published_to_this_machine_alone(ranker: dict[str, Any]) -> None:
    published = [_resolved(port).split(":") for port in ranker["ports"]]
    assert {int(inside): int(outside) for _, outside, inside in published} == {port: port for port in ENTRY}
    assert {address for address, *_ in published} == {"127.0.0.1"}


def test_another_address_is_published_to_where_it_is_asked_for(ranker: dict[str, Any]) -> None:
    published = [_resolved(port, FEEDRANK_ADDRESS="0.0.0.0") for port in ranker["ports"]]
    assert published == [f"0.0.0.0:{port}:{port}" for port in ENTRY]
    assert "FEEDRANK_ADDRESS=0.0.0.0" in (DEPLOY.parents[1] / "README.md").read_text()


def test_the_pushed_folder_is_mounted_where_the_model_config_looks(ranker: dict[str, Any], models: Any) -> None:
    (model,) = models
    targets = {volume["target"]: volume for volume in ranker["volumes"]}
    pushed = (DEPLOY / _resolved(targets[model.base_path]["source"])).resolve()
    assert pushed == DEPLOY.parents[1] / "runs" / "demo" / "serving"
    assert all(volume["read_only"] for volume in targets.values())
    (config,) = [arg.split("=")[1] for arg in ranker["command"] if arg.startswith("--model_config_file=")]
    assert (DEPLOY / targets[config]["source"]).resolve() == DEPLOY / "models.config"


def test_the_health_check_believes_an_available_model_only(ranker: dict[str, Any], models: Any) -> None:
    assert ranker["healthcheck"]["test"][0] == "CMD"
    assert f"/v1/models/{models[0].name} " in ranker["healthcheck"]["test"][-1]
    assert _health(ranker, '{"model_version_status": [{"state": "AVAILABLE"}]}') == 0
    assert _health(ranker, '{"model_version_status": [{"state": "LOADING"}]}') != 0
    assert _health(ranker, '{"error_code": "UNAVAILABLE"}') != 0
    assert _health(ranker, None) != 0


def _health(ranker: dict[str, Any], answer: str | None) -> int:
    """Exit status of the health check against a server that answers so, or against none."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        command = [part.replace("8501", str(port)) for part in ranker["healthcheck"]["test"][1:]]
        if answer is None:
            return subprocess.run(command, capture_output=True, check=False).returncode
        listening.listen()
        threading.Thread(target=_answer_once, args=(listening, answer), daemon=True).start()
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode


def _answer_once(listening: socket.socket, answer: str) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(f"HTTP/1.0 200 OK\r\n\r\n{answer}".encode())


def _resolved(text: str, **variables: str) -> str:
    """Compose's ``${NAME:-default}``, with the default where no variable is given."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), text)
