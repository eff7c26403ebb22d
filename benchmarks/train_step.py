"""Examples per second of one training step, feedrank's and DeepCTR's, measured in turn.

    python -m benchmarks.train_step [--models mmoe ple] [--rows 50000 1000000 5000000] [--rounds 3] [--seconds 5] \
        [--no-bfloat16]

Five binary tasks, ten id features of 16 dimensions with a table of ``--rows`` rows each, experts of 256-128-64 (MMoE: 5; PLE: 5
shared and 2 a task, two layers), towers of 64, batches of 2048 from memory (see `benchmarks.step_problem`). PLE is measured at
the first number of rows alone.

Each figure is a process of its own; every round asks all candidates one after the other, so that a machine whose speed drifts
is unfair to none. Printed are the median over the rounds, the lowest and the highest, the ratio to DeepCTR's median, and the
machine's load at the end of each process: above the number of cores somebody else was at work. ``mixed_bfloat16`` pays
on processors that multiply bfloat16 by themselves (avx512_bf16, amx_bf16); others imitate it and are slower.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.peers import environment
from benchmarks.step_problem import Problem

BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
FLAT = 0.10
"""Largest share by which the rate of the largest tables may be below that of the smallest."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Who takes the step."""

    name: str
    module: str
    precision: str = "float32"
    peer: str | None = None

    def measure(self, problem: Problem) -> dict[str, Any]:
        """One process's answer; its `examples_per_s` is None if it failed, for example for want of memory."""
        python = environment.python_of(self.peer) if self.peer else sys.executable
        asked = json.dumps(dataclasses.asdict(dataclasses.replace(problem, precision=self.precision)))
        try:
            return environment.run_module(python, self.module, asked)
        except environment.PeerError as error:
            print(f"{self.name} failed at {problem.rows:,} rows: {error}", file=sys.stderr)
            return {"examples_per_s": None, "load": float("nan"), "what": "failed"}


PEER = Candidate("DeepCTR float32", "benchmarks.peers.deepctr_step", peer="deepctr")
CANDIDATES = (
    Candidate("feedrank float32", "benchmarks.own_step"),
    Candidate("feedrank bfloat16", "benchmarks.own_step", "mixed_bfloat16"),
    PEER,
)


@dataclasses.dataclass
class Result:
    """What one candidate reached at one problem."""

    candidate: Candidate
    problem: Problem
    answers: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Examples per second of each round that did not fail."""
        return [a["examples_per_s"] for a in self.answers if a["examples_per_s"] is not None]

    @property
    def median(self) -> float:
        """Of the rounds, NaN if all failed."""
        return statistics.median(self.rates) if self.rates else float("nan")


def compare(problems: list[Problem], candidates: Sequence[Candidate], rounds: int) -> list[Result]:
    """All candidates at all problems, in turn."""
    results = [Result(candidate, problem) for problem in problems for candidate in candidates]
    for number in range(1, rounds + 1):
        for result in results:
            answer = result.candidate.measure(result.problem)
            result.answers.append(answer)
            print(
                f"round {number}: {result.problem.model} {result.problem.rows:,} {result.candidate.name}: {answer}",
                file=sys.stderr,
                flush=True,
            )
    return results


def table(results: list[Result]) -> str:
    """Markdown, a line a candidate and problem."""
    lines = [
        "| model | rows a table | who | examples/s, median (lowest to highest) | ratio | load | how |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        peer = next(p for p in results if p.candidate is PEER and p.problem == r.problem)
        spread = f"{min(r.rates):,.0f} to {max(r.rates):,.0f}" if r.rates else "failed"
        load = max(a["load"] for a in r.answers)
        lines.append(
            f"| {r.problem.model} | {r.problem.rows:,} | {r.candidate.name} | {r.median:,.0f} ({spread}) "
            f"| {r.median / peer.median:.2f} | {load:.1f} | {r.answers[-1]['what']} |"
        )
    return "\n".join(lines)


def flatness(results: list[Result]) -> str:
    """How much slower the largest tables are than the smallest, for each of our candidates."""
    lines = []
    for candidate in CANDIDATES:
        own = [r for r in results if r.candidate is candidate and r.problem.model == "mmoe"]
        if len(own) > 1:
            first, last = (pick(own, key=lambda r: r.problem.rows) for pick in (min, max))
            share = last.median / first.median
            verdict = "flat" if share >= 1 - FLAT else "not flat"
            lines.append(
                f"{candidate.name}: {last.problem.rows:,} rows a table at {share:.0%} of the rate of "
                f"{first.problem.rows:,}: {verdict}"
            )
    return "\n".join(lines)


def processor() -> str:
    """The processor's name, and whether it multiplies bfloat16 by itself."""
    text = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    about = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in about.items()}
    flags = [flag for flag in BFLOAT16_FLAGS if flag in fields.get("flags", "").split()]
    return f"{fields.get('model name', 'unknown processor')}; bfloat16 instructions: {', '.join(flags) or 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mmoe", "ple"], choices=["mmoe", "ple"])
    parser.add_argument("--rows", nargs="+", type=int, default=[50_000, 1_000_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="about how long each process is timed")
    parser.add_argument("--no-bfloat16", action="store_true", help="leave it out, on a processor that only imitates it")
    options = parser.parse_args()
    candidates = [c for c in CANDIDATES if c.precision == "float32" or not options.no_bfloat16]
    problems = [
        Problem(model=model, rows=rows, seconds=options.seconds)
        for model in options.models
        for rows in (options.rows if model == "mmoe" else options.rows[:1])
    ]
    results = compare(problems, candidates, options.rounds)
    print(processor())
    print(table(results))
    print(flatness(results))


if __name__ == "__main__":
    main()
