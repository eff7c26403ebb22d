"""The people and things of the synthetic feed: tastes, habits, popularity, and the tables that a log shows of them.

Whether user u prefers item i on day t is a coin with probability

    UP(u, i, t) = sigmoid(bias + generosity_u + quality_it + TASTE_WEIGHT * <taste_ut, taste_i> / sqrt(DIMENSIONS)).

Tastes are for the greater part explained by what the tables show (age, gender, city; category, author); the rest is
the person's or thing's own, and shows in the interests that a user has named and in what was clicked. How a preference
is *shown* is a habit: each user splits the expressive tasks (like, follow, comment, share) by a Dirichlet draw, so that
what one user tells by a like another tells by a comment (the conflict of the DLEN paper, section 1).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.columns import list_array
from features.synthesis.config import SynthesisConfig
from features.synthesis.history import Ints

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

DIMENSIONS = 6
TASTE_WEIGHT = 1.5
UP_BIAS = -0.5
EXPRESSIVE: tuple[str, ...] = ("like", "follow", "comment", "share")
HABIT_CONCENTRATION = 0.5
"""Of the Dirichlet: below 1, most users have one or two favourite ways of showing a preference."""

CATEGORIES = (
    "animals", "beauty", "cars", "comedy", "cooking", "dance", "education", "fashion", "finance", "fitness",
    "games", "gardening", "health", "movies", "music", "news", "science", "sports", "technology", "travel",
)  # fmt: skip
GENDERS = ("female", "male")
CITIES = tuple(f"city_{number:02d}" for number in range(30))
ACTIVITIES = ("low", "medium", "high")
TAGS_PER_CATEGORY = 6
INTERESTS = 3
"""Categories that a user names when joining, favourite first."""

_USERS, _ITEMS, _WALK, _CATEGORIES = range(4)


def generator(config: SynthesisConfig, *stream: int) -> np.random.Generator:
    """An independent random stream of this seed: streams depend on their numbers alone, never on what ran before."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([config.seed, *stream])))


@dataclasses.dataclass(frozen=True)
class Users:
    """What is true of each user; every array has `users` rows. The user's id is the row's number plus 1."""

    table: pa.Table
    taste: Floats
    """(users, DIMENSIONS), on the middle day."""
    taste_drift: Floats
    """(users, DIMENSIONS): the direction in which the taste moves."""
    generosity: Floats
    click_habit: Floats
    """P(click | preferred and seen)."""
    habits: Floats
    """(users, len(EXPRESSIVE)): multiplies each expressive task's rate; mean 1 over the tasks."""
    purchasing: Floats
    """Multiplies the conversion rate."""
    traffic: npt.NDArray[np.float64]
    """Cumulative share of requests, for sampling by `searchsorted`."""


@dataclasses.dataclass(frozen=True)
class Items:
    """What is true of each item; every array has `items` rows. The item's id is the row's number plus 1."""

    table: pa.Table
    taste: Floats
    """(items, DIMENSIONS)."""
    quality: Floats
    """(days, items)."""
    shareability: Floats
    """(items, len(EXPRESSIVE)): multiplies each expressive task's rate; mean about 1."""
    affordability: Floats
    """Multiplies the conversion rate."""
    exposure: npt.NDArray[np.float64]
    """(days, items): cumulative share of impressions."""


def _mixture(observed: Floats, own: Floats, share: float) -> Floats:
    """Unit-variance mixture in which `share` of the variance is `observed`."""
    mixed: Floats = (np.sqrt(share) * observed + np.sqrt(1 - share) * own).astype(np.float32)
    return mixed


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)


def _nullable(values: npt.NDArray[np.generic], missing: Bools, kind: pa.DataType) -> pa.Array:
    return pa.array(values, type=kind, mask=missing)


def category_tastes(config: SynthesisConfig) -> Floats:
    """(categories, DIMENSIONS): the middle of each category's items."""
    return _normal(generator(config, _CATEGORIES), len(CATEGORIES), DIMENSIONS)


def make_users(config: SynthesisConfig) -> Users:
    """Draws the users.

    Returns:
        Users with the table ``user_id, age, gender, city, activity, member_days, interests``; about 5 % of ages,
        3 % of genders, 2 % of cities and 10 % of interests are missing.
    """
    rng, n = generator(config, _USERS), config.users
    age = np.clip(rng.gamma(6.0, 5.5, n), 13, 80).astype(np.int64)
    gender, city = rng.integers(len(GENDERS), size=n), rng.integers(len(CITIES), size=n)
    age_group = np.minimum((age - 13) // 10, 5)
    loadings = [_normal(rng, size, DIMENSIONS) for size in (6, len(GENDERS), len(CITIES))]
    weights = np.sqrt((0.4, 0.4, 0.2))
    observed = sum(w * t[code] for w, t, code in zip(weights, loadings, (age_group, gender, city), strict=True))
    taste = _mixture(observed, _normal(rng, n, DIMENSIONS), 0.65)
    generosity = 0.8 * _normal(rng, n)
    traffic = np.exp(0.8 * _normal(rng, n) + 0.5 * generosity)
    # The young comment, the old share, ...: a table that the model can find, around which users scatter.
    leaning = np.exp(0.6 * _normal(rng, 6, len(EXPRESSIVE)))
    leaning /= leaning.mean(axis=1, keepdims=True)
    gammas = rng.standard_gamma(HABIT_CONCENTRATION * leaning[age_group]) + 1e-6
    activity = np.digitize(np.log(traffic) + 0.4 * _normal(rng, n), (-0.5, 0.6))
    table = pa.table(
        {
            "user_id": np.arange(1, n + 1),
            "age": _nullable(age, rng.random(n) < 0.05, pa.int64()),
            "gender": _nullable(np.array(GENDERS)[gender], rng.random(n) < 0.03, pa.string()),
            "city": _nullable(np.array(CITIES)[city], rng.random(n) < 0.02, pa.string()),
            "activity": pa.array(np.array(ACTIVITIES)[activity], pa.string()),
            "member_days": rng.geometric(1 / 400, n),
            "interests": _interests(rng, taste, category_tastes(config)),
        }
    )
    return Users(
        table=table,
        taste=taste,
        taste_drift=_normal(rng, n, DIMENSIONS),
        generosity=generosity.astype(np.float32),
        click_habit=rng.beta(9, 1.4, n).astype(np.float32),
        habits=(len(EXPRESSIVE) * gammas / gammas.sum(axis=1, keepdims=True)).astype(np.float32),
        purchasing=np.exp(0.8 * _normal(rng, n) - 0.32).astype(np.float32),
        traffic=np.cumsum(traffic, dtype=np.float64) / traffic.sum(dtype=np.float64),
    )


def make_items(config: SynthesisConfig) -> Items:
    """Draws the items.

    Returns:
        Items with the table ``item_id, author_id, category, tags, duration_s, price``; about 5 % of prices are missing.
    """
    rng, n = generator(config, _ITEMS), config.items
    authors = max(n // 5, 1)
    author_category = rng.integers(len(CATEGORIES), size=authors)
    author = np.minimum((authors * rng.random(n) ** 1.5).astype(np.int64), authors - 1)
    # Most authors keep to their field.
    category = np.where(rng.random(n) < 0.85, author_category[author], rng.integers(len(CATEGORIES), size=n))
    of_author = _normal(rng, authors, DIMENSIONS)
    observed = _mixture(category_tastes(config)[category], of_author[author], 0.8)
    spread = 0.5 * _normal(rng, len(CATEGORIES), len(EXPRESSIVE))[category] + 0.4 * _normal(rng, n, len(EXPRESSIVE))
    log_price = _normal(rng, n)
    duration = np.round(np.exp(3.3 + 0.8 * _normal(rng, n)), 1).astype(np.float32)
    price = np.round(np.exp(2.5 + 0.9 * log_price), 2).astype(np.float32)
    table = pa.table(
        {
            "item_id": np.arange(1, n + 1),
            "author_id": author + 1,
            "category": pa.array(np.array(CATEGORIES)[category], pa.string()),
            "tags": _tags(rng, category),
            "duration_s": duration,
            "price": _nullable(price, rng.random(n) < 0.05, pa.float32()),
        }
    )
    quality, exposure = _walk(config)
    return Items(
        table=table,
        taste=_mixture(observed, _normal(rng, n, DIMENSIONS), 0.85),
        quality=quality,
        shareability=np.exp(spread - 0.2).astype(np.float32),
        affordability=np.exp(-0.7 * log_price - 0.245).astype(np.float32),
        exposure=exposure,
    )


def _interests(rng: np.random.Generator, taste: Floats, categories: Floats) -> pa.Array:
    """list<string>: the categories that a user likes best, by an imperfect judgement; null for who named none."""
    liking = taste @ categories.T / np.float32(np.sqrt(DIMENSIONS))
    liking += 0.4 * _normal(rng, *liking.shape)
    best = np.argsort(-liking, axis=1, kind="stable")[:, :INTERESTS]
    named = rng.random(len(taste)) >= 0.1
    values = pa.array(np.array(CATEGORIES)[best[named].ravel()], pa.string())
    return list_array(values, np.where(named, INTERESTS, 0), ~named)


def _tags(rng: np.random.Generator, category: Ints) -> pa.Array:
    """list<string>: one to three tags of the item's category, without repetition; null for every twentieth item."""
    n = len(category)
    count = np.where(rng.random(n) < 0.05, 0, rng.integers(1, 4, n))
    order = np.argsort(rng.random((n, TAGS_PER_CATEGORY)), axis=1)
    chosen = np.arange(TAGS_PER_CATEGORY) < count[:, None]
    names = np.array([f"{name}_{number}" for name in CATEGORIES for number in range(TAGS_PER_CATEGORY)])
    values = names[(category[:, None] * TAGS_PER_CATEGORY + order)[chosen]]
    return list_array(pa.array(values, pa.string()), count, count == 0)


def _walk(config: SynthesisConfig) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Quality (days, items) and cumulative exposure (days, items): both move a little every day."""
    rng, n = generator(config, _WALK), config.items
    step = config.drift / np.sqrt(max(config.days - 1, 1))
    steps = np.concatenate([np.zeros((1, n), np.float32), _normal(rng, config.days - 1, n)])
    quality = 0.7 * _normal(rng, n) + step * np.cumsum(steps, axis=0)
    steps[1:] = _normal(rng, config.days - 1, n)
    rank = rng.permutation(n) + 1
    weight = np.exp(-config.popularity_skew * np.log(rank) + 2 * step * np.cumsum(steps, axis=0))
    exposure = np.cumsum(weight, axis=1, dtype=np.float64)
    return quality.astype(np.float32), exposure / exposure[:, -1:]


def taste_on_day(users: Users, config: SynthesisConfig, day: int) -> Floats:
    """(users, DIMENSIONS): tastes move along a line, `config.drift` deviations from the first day to the last."""
    moved: Floats = users.taste + np.float32(config.drift * (day / (config.days - 1) - 0.5)) * users.taste_drift
    return moved


def up_probability(logit: Floats) -> Floats:
    """UP: the sigmoid of the preference logit."""
    up: Floats = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return up
