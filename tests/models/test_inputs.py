from __future__ import annotations

import json

import pytest

from models.config import IdentityNumbers, PeriodicNumbers, PiecewiseLinearNumbers
from models.inputs import Inputs
from tests.models.layer_contract import check_layer
from tests.models.rankers import LAYOUT, batch_of

ROWS = {i.name: batch_of(8)[i.name] for i in LAYOUT.inputs}


@pytest.mark.parametrize(
    ("numbers", "width"),
    [(IdentityNumbers(), 1), (PiecewiseLinearNumbers(bins=3), 3), (PeriodicNumbers(frequencies=2), 5)],
)
def test_contract(numbers, width, tmp_path):
    arguments = {"layout": LAYOUT, "embedding_dim": 4, "numbers": numbers}
    # user 4, item 6, history 6; two numbers, each of `width`; one flag
    check_layer(Inputs, arguments, ROWS, (8, 4 + 6 + 6 + 2 * width + 1), tmp_path)


def test_the_configuration_is_json():
    config = Inputs(LAYOUT, 4, PeriodicNumbers()).get_config()
    assert json.loads(json.dumps(config)) == config
