"""A small Ali-CCP: the four raw files, quirks included. Seeded, so each call writes the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

USER_FIELDS = {"121": 5, "122": 4, "124": 2, "125": 7, "126": 3, "127": 3, "128": 2, "129": 4}
HISTORIES = {"109_14": 40, "110_14": 80, "127_14": 60, "150_14": 50}
FACTS = {"206": 40, "207": 80, "216": 60}
INTENTIONS = 50


class Part(NamedTuple):
    """What was written of one part, as a reader must find it."""

    clicks: int
    conversions: int
    orphans: int
    users: int


def feature(field: str, code: int, value: float = 1.0) -> str:
    """One feature of a list."""
    return f"{field}\x02{code}\x03{value:.5g}"


def line(*fields: object, features: list[str]) -> str:
    """One line of a file: fields, the number of features, the features."""
    return ",".join([*map(str, fields), str(len(features)), "\x01".join(features)])


def write_part(folder: Path, part: str, rows: int, seed: int) -> Part:
    """Writes ``sample_skeleton_<part>.csv`` and ``common_features_<part>.csv``.

    Both parts use the same indices of common features, for other users. Some users have no history of a kind, some fields are absent,
    features stand in any order, 1 % of the conversions come without a click.
    """
    draw = random.Random(seed)
    users = max(rows // 20, 2)
    commons = [line(f"{user:016x}", features=_user(draw, seed * 1000 + user)) for user in range(users)]
    impressions, clicks, conversions, orphans = [], 0, 0, 0
    for row in range(rows):
        click = int(draw.random() < 0.4)
        conversion = int(draw.random() < (0.4 if click else 0.005))
        clicks, conversions, orphans = clicks + click, conversions + conversion, orphans + (conversion and not click)
        index = f"{draw.randrange(users):016x}"
        impressions.append(line(row + 1, click, conversion, index, features=_item(draw)))
    (folder / f"common_features_{part}.csv").write_text("".join(f"{text}\n" for text in commons))
    (folder / f"sample_skeleton_{part}.csv").write_text("".join(f"{text}\n" for text in impressions))
    return Part(clicks, conversions, orphans, users)


def _user(draw: random.Random, user: int) -> list[str]:
    features = [feature("101", user)]
    features += [feature(field, draw.randrange(codes)) for field, codes in USER_FIELDS.items() if draw.random() < 0.9]
    for field, codes in HISTORIES.items():
        codes_of_user = draw.sample(range(codes), draw.randrange(12))
        features += [feature(field, 4_000_000 + code, draw.uniform(0.5, 4)) for code in codes_of_user]
    draw.shuffle(features)
    return features


def _item(draw: random.Random) -> list[str]:
    features = [feature("205", 9_000_000 + draw.randrange(200))]
    features += [feature(field, 8_000_000 + draw.randrange(codes)) for field, codes in FACTS.items()]
    intentions = draw.sample(range(INTENTIONS), draw.choice((1, 1, 2, 3, 4)))
    features += [feature("210", 9_000_000 + code) for code in intentions]
    matches = [field for field in ("508", "509", "702") if draw.random() < 0.7]
    matches += ["853" for _ in intentions if draw.random() < 0.5]
    features += [feature(field, 5_000_000 + draw.randrange(99), draw.uniform(0.5, 4)) for field in matches]
    features.append(feature("301", 9_351_665 + draw.randrange(3)))
    draw.shuffle(features)
    return features
