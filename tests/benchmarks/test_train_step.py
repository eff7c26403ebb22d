from __future__ import annotations

import math

import pytest

from benchmarks.peers import environment
from benchmarks.step_problem import Problem
from benchmarks.train_step import CANDIDATES, PEER, Result, flatness, table

OWN = CANDIDATES[0]


def result(candidate, rows, *rates):
    answers = [{"examples_per_s": rate, "load": 0.5, "what": "Adam"} for rate in rates]
    return Result(candidate, Problem(rows=rows), answers)


def test_the_table_compares_medians_at_the_same_rows():
    results = [
        result(OWN, 10, 90.0, 300.0, 100.0),
        result(PEER, 10, 50.0),
        result(OWN, 20, 80.0),
        result(PEER, 20, 20.0),
    ]
    lines = table(results).splitlines()[2:]
    assert lines[0] == "| mmoe | 10 | feedrank float32 | 100 (90 to 300) | 2.00 | 0.5 | Adam |"
    assert [line.split(" | ")[4] for line in lines] == ["2.00", "1.00", "4.00", "1.00"]


def test_a_candidate_that_failed_has_no_number():
    failed = result(OWN, 10, None)
    assert math.isnan(failed.median)
    assert "nan (failed)" in table([failed, result(PEER, 10, 50.0)])


@pytest.mark.parametrize(("rate", "verdict"), [(90.0, ": flat"), (89.0, ": not flat")])
def test_flat_is_within_ten_percent_of_the_smallest_tables(rate, verdict):
    said = flatness([result(OWN, 50, 100.0), result(OWN, 100, 95.0), result(OWN, 500, rate)])
    assert said.startswith(f"{OWN.name}: 500 rows a table at {rate:.0f}%")
    assert said.endswith(verdict)


def test_an_unknown_peer_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no peer is called 'tensorrec'; known: deepctr, lightgbm, torch_rechub"):
        environment.python_of("tensorrec")


def test_a_failed_process_tells_its_last_words():
    with pytest.raises(environment.PeerError, match=r"benchmarks\.nothing ended with 1: .*No module named"):
        environment.run_module("python3", "benchmarks.nothing")
