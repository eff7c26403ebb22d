"""Do our models say what other libraries' say, given the same weights?

    python -m benchmarks.peer_parity [--peers deepctr torch_rechub]

Each peer, in an environment of its own, builds its models at tiny sizes with random weights and leaves weights and outputs of
one batch. Ours get these weights, all of them, and must give the same probabilities: printed is the largest difference of
each output over the batch, and how much the peer's output varies between rows (its standard deviation): equal constants would prove nothing.
Below the table stands where a peer's model is not the paper's, and how that was switched off.

Exit code 1 if an output differs by more than 1e-5.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from typing import NamedTuple

from benchmarks.parity.copies import copied_ranker  # chooses Keras 2

# isort: split
import numpy as np
import tensorflow as tf

from benchmarks.parity.peers import DeepCtr, PeerWeights, Rechub
from benchmarks.parity.problem import inputs, load
from benchmarks.peers import environment

PEERS: dict[str, tuple[str, type[PeerWeights]]] = {
    "deepctr": ("benchmarks.peers.deepctr_parity", DeepCtr),
    "torch_rechub": ("benchmarks.peers.rechub_parity", Rechub),
}
TOLERANCE = 1e-5


class Result(NamedTuple):
    """One output of one model."""

    peer: str
    model: str
    output: str
    difference: float
    """Largest over the batch."""
    spread: float
    """Standard deviation over the batch, of the peer's."""

    @property
    def agrees(self) -> bool:
        """Same numbers but for rounding (NaN is not)."""
        return self.difference <= TOLERANCE


def compare(peer: str, path: pathlib.Path) -> list[Result]:
    """A model that a peer left against ours with its weights, output by output."""
    weights, outputs = load(path)
    kind = PEERS[peer][1]
    ours = copied_ranker(path.stem, kind(weights))({name: tf.constant(values) for name, values in inputs().items()})
    return [
        Result(peer, path.stem, name, float(np.abs(ours[name] - values).max()), float(np.std(values)))
        for name, values in sorted(outputs.items())
    ]


def table(results: list[Result]) -> str:
    """Markdown, a line an output."""
    lines = ["| peer | model | output | largest difference | spread | |", "|---|---|---|---|---|---|"]
    for r in results:
        verdict = "same" if r.agrees else "DIFFERENT"
        lines.append(f"| {r.peer} | {r.model} | {r.output} | {r.difference:.1e} | {r.spread:.2f} | {verdict} |")
    return "\n".join(lines)


def notes(peers: list[str]) -> str:
    """What of each peer is not the papers'."""
    said = [(peer, model, note) for peer in peers for model, note in PEERS[peer][1].NOTES.items()]
    return "\n".join(["Switched off in the peers:", *(f"- {peer}, {model}: {note}" for peer, model, note in said)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    peers = parser.parse_args().peers
    results = []
    for peer in peers:
        with tempfile.TemporaryDirectory() as folder:
            answer = environment.run_module(environment.python_of(peer), PEERS[peer][0], folder)
            for model in answer["models"]:
                results += compare(peer, pathlib.Path(folder, f"{model}.npz"))
    print(table(results), notes(peers), sep="\n\n")
    sys.exit(not all(result.agrees for result in results))


if __name__ == "__main__":
    main()
