"""README's request to the served model is one that the demo's model takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from features.raw_inputs import raw_input_specs
from features.spec import Dataset
from pipeline.loading import CONFIGS, load
from serving.signatures import RAW
from tests.serving.rest_server import tensor_of

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def request_body() -> dict[str, Any]:
    found = re.search(r"^curl (\S+) -d '(.*?)'$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    assert found[1] == "http://localhost:8501/v1/models/ranker:predict"
    body: dict[str, Any] = json.loads(found[2])
    return body


@pytest.fixture(scope="module")
def demo() -> Dataset:
    return load(CONFIGS / "demo.yaml").dataset


def test_the_request_has_the_demos_columns(request_body: dict[str, Any], demo: Dataset) -> None:
    specs = raw_input_specs(demo)
    assert request_body["signature_name"] == RAW
    assert set(request_body["inputs"]) == set(specs)
    for name, values in request_body["inputs"].items():
        tensor: tf.Tensor = tensor_of(values, specs[name].dtype.as_datatype_enum)
        assert specs[name].is_compatible_with(tensor), name
        assert len(values) == 2
