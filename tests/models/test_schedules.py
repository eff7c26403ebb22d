from __future__ import annotations

import math
from typing import Any

import numpy as np
import pydantic
import pytest
import tensorflow as tf

from models.config import TrainConfig
from models.optimizers import build_optimizer
from models.ranker import build_ranker
from models.schedules import ScheduledRate
from tests.models.rankers import LAYOUT, RATES, TASKS, model_config


def rates(schedule: dict[str, Any], steps: int = 8, epochs: int = 2) -> list[float]:
    """Of each step, at a rate of 2, with 4 steps an epoch."""
    scheduled = ScheduledRate(2.0, schedule, steps_per_epoch=4, epochs=epochs)
    return [float(scheduled(step)) for step in range(steps)]


def wave(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ({"kind": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"kind": "constant", "warmup": {"epochs": 0.5}}, [1 / 2, 1, 1, 1, 1, 1, 1, 1]),
        ({"kind": "cosine"}, [wave(done / 8) for done in range(8)]),
        (
            {"kind": "cosine", "warmup": {"steps": 4}, "floor": 0.1},
            [1 / 4, 2 / 4, 3 / 4, 1, *(0.1 + 0.9 * wave(done / 4) for done in range(4))],
        ),
        ({"kind": "cosine", "over": {"steps": 2}, "floor": 0.25}, [1, 0.625, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25]),
        (
            {"kind": "exponential", "factor": 0.25, "every": {"epochs": 0.5}, "floor": 0.1},
            [1, 0.5, 0.25, 0.125, 0.1, 0.1, 0.1, 0.1],
        ),
        (
            {"kind": "exponential", "factor": 0.5, "every": {"steps": 1}, "warmup": {"steps": 2}},
            [1 / 2, 1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32],
        ),
        ({"kind": "inverse_sqrt"}, [1 / math.sqrt(t) for t in range(1, 9)]),
        (
            {"kind": "inverse_sqrt", "warmup": {"steps": 4}, "floor": 0.8},
            [1 / 4, 2 / 4, 3 / 4, 1, math.sqrt(4 / 5), math.sqrt(4 / 6), 0.8, 0.8],
        ),
    ],
)
def test_rates_by_hand(schedule: dict[str, Any], shares: list[float]) -> None:
    assert rates(schedule) == pytest.approx([2 * share for share in shares], rel=1e-5)


def test_cosine_is_that_of_keras() -> None:
    keras = tf.keras.optimizers.schedules.CosineDecay(2.0, decay_steps=8, alpha=0.3)
    assert rates({"kind": "cosine", "floor": 0.3}) == pytest.approx([float(keras(step)) for step in range(8)], rel=1e-5)


def test_a_schedule_is_rebuilt_from_its_configuration() -> None:
    scheduled = ScheduledRate(2.0, {"kind": "cosine", "warmup": {"steps": 3}}, steps_per_epoch=4, epochs=2)
    again = ScheduledRate.from_config(scheduled.get_config())
    assert [float(again(step)) for step in range(8)] == [float(scheduled(step)) for step in range(8)]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("cosin", "cosine"),
        ({"kind": "cosine", "warmup": {}}, "either `steps` or `epochs`"),
        ({"kind": "cosine", "warmup": {"steps": 1, "epochs": 1}}, "either `steps` or `epochs`"),
        ({"kind": "exponential", "every": {"steps": 0}}, "a length of 0; allowed: more than 0 steps or epochs"),
        ({"kind": "cosine", "over": {"steps": 0}}, "a length of 0; allowed: more than 0 steps or epochs"),
        ({"kind": "cosine", "over": {"epochs": 0}}, "a length of 0; allowed"),
        ({"kind": "constant", "warmup": {"epochs": 10}}, "schedule.warmup takes 10 epochs and training 10 at most"),
        ({"kind": "cosine", "warmup": {"epochs": 10.5}}, "takes 10.5 epochs .* allowed: fewer than `epochs`"),
        ({"kind": "constant", "floor": 0.1}, "unknown key 'floor'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        TrainConfig.model_validate({"schedule": schedule})


def test_a_warm_up_may_take_all_but_the_end() -> None:
    for warmup in ({"epochs": 9.9}, {"steps": 10_000}):
        TrainConfig.model_validate({"epochs": 10, "schedule": {"kind": "constant", "warmup": warmup}})


def test_one_schedule_scales_both_optimisers() -> None:
    ranker = build_ranker(LAYOUT, TASKS, model_config("mmoe"), RATES)
    train = TrainConfig.model_validate(
        {
            "dense_optimizer": {"kind": "adagrad", "learning_rate": 0.1},
            "embedding_optimizer": {"kind": "adagrad", "learning_rate": 0.4},
            "schedule": {"kind": "constant", "warmup": {"epochs": 0.5}},
        }
    )
    with pytest.raises(ValueError, match="steps per epoch"):
        build_optimizer(ranker, train)
    optimizer = build_optimizer(ranker, train, steps_per_epoch=8)
    table, kernel = ranker.embedding_variables[0], ranker.dense_variables[0]
    table_sums, kernel_sums = np.full(table.shape, 0.1), np.full(kernel.shape, 0.1)
    for share in (1 / 4, 2 / 4, 3 / 4, 1, 1):
        before = table.numpy(), kernel.numpy()
        slices = tf.IndexedSlices(tf.ones([1, table.shape[1]]), [2], table.shape)
        optimizer.apply_gradients([(slices, table), (tf.ones_like(kernel), kernel)])
        table_sums[2] += 1
        kernel_sums += 1
        moved = before[0][2] - table.numpy()[2], before[1] - kernel.numpy()
        np.testing.assert_allclose(moved[0], share * 0.4 / np.sqrt(table_sums[2]), rtol=1e-4)
        np.testing.assert_allclose(moved[1], share * 0.1 / np.sqrt(kernel_sums), rtol=1e-4)
