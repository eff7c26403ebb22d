"""The examples in the docstrings of layers, trunks and heads run and say the truth."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import models.heads
import models.interactions
import models.layers
import models.trunks

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (models.interactions, models.layers, models.trunks, models.heads)
    for module in pkgutil.iter_modules(package.__path__)
]
WITHOUT_EXAMPLE = {
    "models.interactions.interactions",
    "models.interactions.pair_products",
    "models.trunks.gated",
    "models.trunks.trunk",
    "models.heads.head",
    "models.heads.scores",
    "models.layers.random_seed",
}


@pytest.mark.parametrize("name", ["models.settings.model", "models.optimizers", *MODULES])
def test_examples(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert (result.attempted > 0) == (name not in WITHOUT_EXAMPLE)
