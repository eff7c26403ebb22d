from __future__ import annotations

from typing import get_args

import pytest

from models.config import PRESETS, EmbeddingsConfig, HeadConfig, ModelConfig, TrunkConfig
from models.settings import pictures


def kinds(union: object) -> set[str]:
    return {variant.model_fields["kind"].default for variant in get_args(get_args(union)[0])}


def test_every_part_has_a_picture():
    assert kinds(TrunkConfig) <= set(pictures.TRUNKS)
    assert kinds(HeadConfig) <= set(pictures.HEADS)
    assert kinds(EmbeddingsConfig) <= set(pictures.EMBEDDINGS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_picture_fits_a_terminal_and_shows_trunk_and_head(preset: str):
    model = ModelConfig.model_validate(preset)
    shown = pictures.picture(model)
    assert max(map(len, shown.splitlines())) <= 100
    assert pictures.TRUNKS[model.trunk.kind].strip("\n") in shown
    assert shown.startswith(pictures.HEADS[model.head.kind].strip("\n"))
