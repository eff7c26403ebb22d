"""From the world to impressions: who is shown what, at which position, and what comes of it.

The feed is made in blocks of whole requests. A block's random numbers depend on (seed, day, block) alone, and its
features on what was clicked before its day began, so the rows do not depend on how they are cut into files.

Each impression tosses three kinds of coins: the user prefers the item (UP), the item at this position was looked at
(E, the position effect), and then for each task

    P(task) = E(position) * [P(task | UP) * UP + P(task | not UP) * (1 - UP)]        (DLEN, eq. 1, times examination)

All tasks of an impression share the first two coins, which is what makes them correlate. A conversion needs a click.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.synthesis.config import LABELS, TASKS, SynthesisConfig
from features.synthesis.history import Ints, RecentClicks
from features.synthesis.world import (
    DIMENSIONS,
    EXPRESSIVE,
    TASTE_WEIGHT,
    UP_BIAS,
    Bools,
    Floats,
    Items,
    Users,
    generator,
    make_items,
    make_users,
    taste_on_day,
    up_probability,
)

BLOCK_ROWS = 65_536
"""Rows of a block, at most: also a Parquet row group."""
DEVICES = ("android", "ios", "web")
SECONDS_A_POSITION = 8

GIVEN_UP = {"like": 0.125, "follow": 0.0125, "comment": 0.025, "share": 0.045}
"""P(task | UP, looked at) of an average user and item."""
GIVEN_NOT_UP = {"click": 0.06, "like": 0.003, "follow": 0.0003, "comment": 0.0006, "share": 0.001}
"""P(task | not UP, looked at): a tenth to a third of the task's own rate (DLEN, section 3.1)."""
CONVERSION_GIVEN_CLICK = {"up": 0.0040, "not_up": 0.0006}

_LOG, _BEFORE = 10, 11


@dataclasses.dataclass(frozen=True)
class Impressions:
    """Consecutive impressions: the log's rows, and the truth about them in the same order."""

    log: pa.RecordBatch
    truth: pa.RecordBatch


@dataclasses.dataclass(frozen=True)
class Feed:
    """The world, ready to be shown: yields each day's blocks in order."""

    config: SynthesisConfig
    users: Users
    items: Items

    @classmethod
    def of(cls, config: SynthesisConfig) -> Feed:
        """Draws the world of this config."""
        return cls(config, make_users(config), make_items(config))

    def blocks(self) -> Iterator[tuple[int, Impressions]]:
        """(day number, block), in the order of time; memory holds one block and the users' recent clicks."""
        clicks = self._clicks_before_the_log()
        row = 0
        for day in range(self.config.days):
            seen = clicks.snapshot()
            taste = taste_on_day(self.users, self.config, day)
            for block in range(self._blocks_of_day(day)):
                showing = self._show(day, block, taste)
                outcome = self._outcome(showing)
                rows = np.arange(row, row + len(showing.user), dtype=np.int64)
                yield day, Impressions(self._log(rows, showing, outcome, seen), _truth(rows, outcome))
                clicked = outcome.labels["click"]
                clicks.add(showing.user[clicked], showing.item[clicked])
                row += len(rows)

    def _requests_of_block(self) -> int:
        return max(BLOCK_ROWS // self.config.positions, 1)

    def _blocks_of_day(self, day: int) -> int:
        return -(-self.config.rows_of_day(day) // (self._requests_of_block() * self.config.positions))

    def _show(self, day: int, block: int, taste: Floats) -> Showing:
        """Requests of one slice of the day; an earlier ranker, which knows a little, has sorted each one's items."""
        config, size = self.config, self._requests_of_block()
        rng = generator(config, _LOG, day, block)
        rows = min(size * config.positions, config.rows_of_day(day) - block * size * config.positions)
        requests = -(-rows // config.positions)
        visitor = np.searchsorted(self.users.traffic, rng.random(requests))
        item = np.searchsorted(self.items.exposure[day], _spread(rng, requests, config.positions))
        user = np.repeat(visitor, config.positions).reshape(item.shape)
        up = self._up(user.ravel(), item.ravel(), day, taste).reshape(item.shape)
        score = up + 0.6 * rng.standard_normal(item.shape, dtype=np.float32)
        order = np.argsort(-score, axis=1, kind="stable")
        # Slices of equal traffic, so that the day's blocks follow one another in time.
        when = np.sort((block + rng.random(requests)) / self._blocks_of_day(day))
        seconds = np.interp(when, *_traffic_by_hour()) * (86_400 - SECONDS_A_POSITION * config.positions)
        return Showing(
            rng=rng,
            day=day,
            user=user.ravel()[:rows],
            item=np.take_along_axis(item, order, axis=1).ravel()[:rows],
            up=np.take_along_axis(up, order, axis=1).ravel()[:rows],
            position=np.tile(np.arange(1, config.positions + 1), requests)[:rows],
            request_ms=np.repeat((seconds * 1000).astype(np.int64), config.positions)[:rows],
            device=np.repeat(rng.integers(len(DEVICES), size=requests), config.positions)[:rows],
            device_missing=np.repeat(rng.random(requests) < 0.01, config.positions)[:rows],
        )

    def _up(self, user: Ints, item: Ints, day: int, taste: Floats) -> Floats:
        match = np.einsum("nd,nd->n", taste[user], self.items.taste[item]) / np.float32(np.sqrt(DIMENSIONS))
        logit = TASTE_WEIGHT * match + self.users.generosity[user] + self.items.quality[day][item] + UP_BIAS
        return up_probability(logit)

    def _outcome(self, showing: Showing) -> Outcome:
        rng, user, item = showing.rng, showing.user, showing.item
        rows = len(user)
        examination = showing.position.astype(np.float32) ** np.float32(-self.config.position_decay)
        preferred = rng.random(rows, dtype=np.float32) < showing.up
        looked = rng.random(rows, dtype=np.float32) < examination
        probabilities: dict[str, Floats] = {}
        labels: dict[str, Bools] = {}
        for task in TASKS:
            given_up, given_not_up = self._propensities(task, user, item)
            mean = examination * (given_up * showing.up + given_not_up * (1 - showing.up))
            coin = rng.random(rows, dtype=np.float32)
            if task == "conversion":
                # Tossed after a click: P(conversion) = P(conversion | click) * P(click), for each side of UP.
                after_click = np.where(preferred, given_up / self._click(user), given_not_up / GIVEN_NOT_UP["click"])
                labels[task] = labels["click"] & (coin < after_click)
            else:
                labels[task] = looked & (coin < np.where(preferred, given_up, given_not_up))
            probabilities[task] = mean
        return Outcome(up=showing.up, examination=examination, probabilities=probabilities, labels=labels)

    def _click(self, user: Ints) -> Floats:
        return self.users.click_habit[user]

    def _propensities(self, task: str, user: Ints, item: Ints) -> tuple[Floats, Floats | np.float32]:
        """P(task | UP) and P(task | not UP) of these users and items, once the item is looked at."""
        if task == "click":
            return self._click(user), np.float32(GIVEN_NOT_UP[task])
        if task == "conversion":
            appeal = np.minimum(self.users.purchasing[user] * self.items.affordability[item], np.float32(50))
            up = self._click(user) * np.float32(CONVERSION_GIVEN_CLICK["up"]) * appeal
            return up, np.float32(GIVEN_NOT_UP["click"] * CONVERSION_GIVEN_CLICK["not_up"]) * appeal
        way = EXPRESSIVE.index(task)
        habit = self.users.habits[user, way] * self.items.shareability[item, way]
        return np.minimum(np.float32(GIVEN_UP[task]) * habit, np.float32(0.95)), np.float32(GIVEN_NOT_UP[task])

    def _log(self, rows: Ints, showing: Showing, outcome: Outcome, seen: RecentClicks) -> pa.RecordBatch:
        midnight = datetime.datetime.combine(self.config.dates[showing.day], datetime.time(), datetime.timezone.utc)
        time_ms = int(midnight.timestamp()) * 1000 + showing.request_ms
        columns: dict[str, pa.Array] = {
            "impression_id": pa.array(rows),
            "time_ms": pa.array(time_ms + SECONDS_A_POSITION * 1000 * (showing.position - 1)),
            "user_id": pa.array(showing.user + 1),
            "item_id": pa.array(showing.item + 1),
            "position": pa.array(showing.position),
            "device": pa.array(np.array(DEVICES)[showing.device], pa.string(), mask=showing.device_missing),
            "recent_clicks": seen.of(showing.user),
        }
        columns |= {LABELS[task]: pa.array(outcome.labels[task].astype(np.int64)) for task in TASKS}
        return pa.RecordBatch.from_pydict(columns)

    def _clicks_before_the_log(self) -> RecentClicks:
        """Lets most users click for a while before the first day, so that it is not a day without history."""
        clicks = RecentClicks.empty(self.config.users, self.config.history_length)
        taste = taste_on_day(self.users, self.config, 0)
        shown = 4 * self.config.history_length
        step = max(BLOCK_ROWS // shown, 1)
        for first in range(0, self.config.users, step):
            rng = generator(self.config, _BEFORE, first // step)
            visitors = np.arange(first, min(first + step, self.config.users))
            visits = np.where(rng.random(len(visitors)) < 0.05, 0, rng.integers(1, shown + 1, len(visitors)))
            user = np.repeat(visitors, visits)
            item = np.searchsorted(self.items.exposure[0], rng.random(len(user)))
            clicked = rng.random(len(user)) < self._up(user, item, 0, taste) * self._click(user)
            clicks.add(user[clicked], item[clicked])
        return clicks


@dataclasses.dataclass(frozen=True)
class Showing:
    """What was shown, one value a row; `user` and `item` are row numbers of the world."""

    rng: np.random.Generator
    day: int
    user: Ints
    item: Ints
    up: Floats
    position: Ints
    request_ms: Ints
    """Of the request, since the day began."""
    device: Ints
    device_missing: Bools


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it, and how likely that was."""

    up: Floats
    examination: Floats
    probabilities: dict[str, Floats]
    labels: dict[str, Bools]


def _truth(rows: Ints, outcome: Outcome) -> pa.RecordBatch:
    columns = {"impression_id": rows, "up": outcome.up, "position_effect": outcome.examination}
    columns |= {f"p_{task}": outcome.probabilities[task] for task in TASKS}
    return pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})


def _spread(rng: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """(rows, columns) uniform numbers, a row's spread over [0, 1): a request then seldom shows an item twice."""
    strata = (np.arange(columns) + rng.random((rows, columns))) / columns
    return (strata + rng.random((rows, 1))) % 1.0


def _traffic_by_hour() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Share of the day's requests until each hour, and the hour's share of the day: quiet at night, a peak at 20:00."""
    hours = np.arange(24)
    weight = 1.2 + np.cos((hours - 20) / 24 * 2 * np.pi)
    return np.concatenate([[0.0], np.cumsum(weight) / weight.sum()]), np.arange(25) / 24
