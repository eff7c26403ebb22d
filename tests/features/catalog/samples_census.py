"""A small Census-Income written as the official files are, quirks included. Seeded, so each call writes the same."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any, NamedTuple

NOWHERE = "Not in universe"
UNKNOWN = "?"
COUNTRIES = ("United-States",) * 8 + ("Mexico", "Trinadad&Tobago", "Outlying-U S (Guam USVI etc)", UNKNOWN)
MIGRATION = ("Nonmover", NOWHERE, UNKNOWN, UNKNOWN)


class Part(NamedTuple):
    """What was written of one file, as a reader must find it."""

    rows: int
    rich: int
    never_married: int
    unknown_states: int


def write_census(folder: Path, file: str, rows: int, seed: int) -> Part:
    """Writes ``census-income.data`` or ``census-income.test``, gzip if the name ends so.

    No header; blanks behind the commas and before the label, one blank before a comma where the citizenship says ``U S ,``; ``?`` for
    what is unknown; labels that end with a period; one row in twelve stands there twice.
    """
    draw = random.Random(seed)
    people = [_person(draw) for _ in range(rows - rows // 12)]
    people += [draw.choice(people) for _ in range(rows // 12)]
    draw.shuffle(people)
    text = "".join(", ".join(map(str, person)) + "\n" for person in people).encode()
    (folder / file).write_bytes(gzip.compress(text) if file.endswith(".gz") else text)
    return Part(
        rows=len(people),
        rich=sum(person[41] == "50000+." for person in people),
        never_married=sum(person[7] == "Never married" for person in people),
        unknown_states=sum(person[21] == UNKNOWN for person in people),
    )


def _person(draw: random.Random) -> tuple[Any, ...]:
    """42 values in the order of the official documentation."""
    age = draw.randrange(91)
    child = age < 15
    married = not child and draw.random() < 0.6
    rich = not child and draw.random() < (0.25 if married else 0.1)
    work = NOWHERE if child else draw.choice(("Private", "State government", NOWHERE))
    return (
        *(age, work, 0 if child else draw.randrange(52), 0 if child else draw.randrange(47)),
        "Children" if child else draw.choice(("Bachelors degree(BA AB BS)", "1st 2nd 3rd or 4th grade")),
        *(draw.choice((0, 0, 0, 500, 1200)), draw.choice((NOWHERE, "High school"))),
        draw.choice(("Married-civilian spouse present", "Divorced", "Widowed")) if married else "Never married",
        "Not in universe or children" if child else draw.choice(("Retail trade", "Education")),
        NOWHERE if child else draw.choice(("Sales", "Machine operators assmblrs & inspctrs")),
        *(draw.choice(("White", "Black", "Other")), draw.choice(("All other", "Mexican (Mexicano)", "NA"))),
        *(draw.choice(("Female", "Male")), NOWHERE, draw.choice((NOWHERE, "Job loser - on layoff"))),
        "Children or Armed Forces" if child else "Full-time schedules",
        *(draw.choice((0, 0, 0, 7688)) if rich else 0, draw.choice((0, 0, 1902)), draw.choice((0, 0, 0, 2500))),
        *("Nonfiler" if child else "Joint one under 65 & one 65+", NOWHERE, draw.choice((NOWHERE, "Utah", UNKNOWN))),
        "Child <18 never marr not in subfamily" if child else "Householder",
        *("Child under 18 never married" if child else "Householder", f"{draw.uniform(37, 18_000):.2f}"),
        *(draw.choice(MIGRATION), draw.choice(MIGRATION), draw.choice(MIGRATION)),
        *("Not in universe under 1 year old", draw.choice((UNKNOWN, NOWHERE, "No")), 0 if child else draw.randrange(7)),
        "Both parents present" if child else NOWHERE,
        *(draw.choice(COUNTRIES), draw.choice(COUNTRIES), draw.choice(COUNTRIES)),
        draw.choice(("Native- Born in the United States", "Foreign born- Not a citizen of U S ")),
        *(draw.randrange(3), NOWHERE, draw.randrange(3), 0 if child else draw.randrange(53), draw.choice((94, 95))),
        "50000+." if rich else "- 50000.",
    )
