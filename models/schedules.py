"""Learning rates that follow a schedule."""

from __future__ import annotations

import math
from typing import Any

import pydantic
import tensorflow as tf

from models.config import CosineSchedule, Duration, ExponentialSchedule, InverseSqrtSchedule, ScheduleConfig


class ScheduledRate(tf.keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a step, counted from 0: ``rate * w(t)``.

    It is a function of the optimizer's own count of steps, which checkpoints hold: a resumed training goes on where it was.

    Args:
        rate: the learning rate that the schedule scales.
        schedule: how.
        steps_per_epoch: for what the schedule states in epochs.
        epochs: of the whole training, at most.

    Example:
        >>> warmed = {"kind": "constant", "warmup": {"steps": 4}}
        >>> float(ScheduledRate(0.5, warmed, steps_per_epoch=10, epochs=1)(1))
        0.25
    """

    def __init__(
        self, rate: float, schedule: ScheduleConfig | dict[str, Any], steps_per_epoch: int, epochs: int
    ) -> None:
        adapter: pydantic.TypeAdapter[ScheduleConfig] = pydantic.TypeAdapter(ScheduleConfig)
        self.rate, self.schedule = rate, adapter.validate_python(schedule)
        self.steps_per_epoch, self.epochs = steps_per_epoch, epochs
        self._warmup = self._steps(self.schedule.warmup)

    def __call__(self, step: Any) -> tf.Tensor:
        """A float32 scalar."""
        number = tf.cast(step, tf.float32) + 1.0
        warming = number / max(self._warmup, 1)
        return self.rate * tf.where(number <= self._warmup, warming, self._decayed(number))

    def _decayed(self, number: tf.Tensor) -> tf.Tensor:
        """Share of the rate after the warm-up, for step `number`, counted from 1."""
        schedule, after = self.schedule, number - 1 - self._warmup
        if isinstance(schedule, CosineSchedule):
            left = self.steps_per_epoch * self.epochs - self._warmup
            steps = left if schedule.over is None else self._steps(schedule.over)
            wave = 0.5 * (1 + tf.cos(math.pi * tf.minimum(after / max(steps, 1), 1.0)))
            return schedule.floor + (1 - schedule.floor) * wave
        if isinstance(schedule, ExponentialSchedule):
            return tf.maximum(schedule.floor, schedule.factor ** (after / max(self._steps(schedule.every), 1)))
        if isinstance(schedule, InverseSqrtSchedule):
            return tf.maximum(schedule.floor, tf.sqrt(max(self._warmup, 1) / number))
        return tf.ones_like(number)

    def _steps(self, duration: Duration) -> int:
        return whole_steps(duration, self.steps_per_epoch)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON values only."""
        schedule = self.schedule.model_dump(mode="json")
        return {"rate": self.rate, "schedule": schedule, "steps_per_epoch": self.steps_per_epoch, "epochs": self.epochs}


def whole_steps(duration: Duration, steps_per_epoch: int) -> int:
    """How many steps a duration takes, rounded.

    Example:
        >>> whole_steps(Duration(epochs=0.24), steps_per_epoch=10)
        2
    """
    return round((duration.epochs or 0) * steps_per_epoch) if duration.steps is None else duration.steps
