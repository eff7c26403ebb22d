"""Pictures of the architectures, for two tasks A and B: data flows from the bottom to the top.

Where lines cross without touching, the horizontal one has a gap: ``─│─``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from models.settings.model import ModelConfig

HEADS: Mapping[str, str] = {
    "independent": """
           P(A)                                    P(B)
             │                                       │
        ┌─────────┐                             ┌─────────┐
        │ tower A │                             │ tower B │
        └─────────┘                             └─────────┘
             │                                       │
""",
    "dlen": """
           P(A)                                    P(B)
             │                                       │
     ┌───────────────────────────────────────────────────────┐
     │      P(k) = P(k|UP) P(UP) + P(k|not UP) P(not UP)     │
     └───────────────────────────────────────────────────────┘
             │                   │                   │
        ┌─────────┐      ┌──────────────┐       ┌─────────┐
        │ tower A │      │ state: P(UP) │       │ tower B │
        └─────────┘      └──────────────┘       └─────────┘
             │                   x                   │
""",
    "esmm": """
           P(A)                                    P(B)
             │                                       │
             ├─────────────── P(A) ─────────────────►×
             │                                       │ P(B|A)
        ┌─────────┐                             ┌─────────┐
        │ tower A │                             │ tower B │
        └─────────┘                             └─────────┘
             │                                       │
""",
    "escm2": """
           P(A)                                    P(B)
             │                                       │
             ├─────────────── P(A) ─────────────────►×
             │           imputed error               │ P(B|A)
        ┌─────────┐    ┌─────────────────┐      ┌─────────┐
        │ tower A │    │ imputation of B │      │ tower B │
        └─────────┘    └─────────────────┘      └─────────┘
             │                   x                   │
""",
    "aitm": """
           P(A)      ≥, by a penalty in training   P(B)
             │                                       │
        ┌─────────┐                             ┌─────────┐
        │ tower A │                             │ tower B │
        └─────────┘                             └─────────┘
             │                                       │
             │             ┌──────────┐        ┌───────────┐
             ├────────────►│ transfer │───────►│ attention │
             │             └──────────┘        └───────────┘
             │                                       │
""",
}

TRUNKS: Mapping[str, str] = {
    "single_task": """
       ┌───────────┐                           ┌───────────┐
       │ network A │                           │ network B │
       └───────────┘                           └───────────┘
             └───────────────────┬───────────────────┘
""",
    "shared_bottom": """
             └───────────────────┬───────────────────┘
                        ┌────────────────┐
                        │ shared network │
                        └────────────────┘
                                 │
""",
    "moe": """
             └───────────────────┬───────────────────┘
                                 Σ ◄─ one gate for all tasks
             ┌───────────────────┼───────────────────┐
       ┌──────────┐        ┌──────────┐        ┌──────────┐
       │ expert 1 │        │ expert 2 │        │ expert 3 │
       └──────────┘        └──────────┘        └──────────┘
             └───────────────────┼───────────────────┘
""",
    "mmoe": """
             Σ ◄─ gate A                             Σ ◄─ gate B
             ├───────────────────┬───────────────────┤
       ┌──────────┐        ┌──────────┐        ┌──────────┐
       │ expert 1 │        │ expert 2 │        │ expert 3 │
       └──────────┘        └──────────┘        └──────────┘
             └───────────────────┼───────────────────┘
""",
    "cgc": """
             Σ ◄─ gate A                             Σ ◄─ gate B
             ├────────────┐             ┌────────────┤
       ┌───────────┐    ┌────────────────┐     ┌───────────┐
       │ experts A │    │ shared experts │     │ experts B │
       └───────────┘    └────────────────┘     └───────────┘
             └───────────────────┼───────────────────┘
""",
    "ple": """
             Σ ◄─ gate A                             Σ ◄─ gate B
             ├────────────┐             ┌────────────┤
       ┌───────────┐    ┌────────────────┐     ┌───────────┐
       │ experts A │    │ shared experts │     │ experts B │
       └───────────┘    └────────────────┘     └───────────┘
             │                   │                   │
             Σ ◄─ gate A         Σ ◄─ gate S         Σ ◄─ gate B
             ├────────────┐      │      ┌────────────┤
         ┌───│────────────│──────┼──────│────────────│───┐
       ┌───────────┐    ┌────────────────┐     ┌───────────┐
       │ experts A │    │ shared experts │     │ experts B │
       └───────────┘    └────────────────┘     └───────────┘
             └───────────────────┼───────────────────┘
""",
    "cgc stem": """
             Σ ◄─ gate A                             Σ ◄─ gate B
             ├───────────────────┬───────────────────┤         every task hears all experts;
       ┌───────────┐    ┌────────────────┐     ┌───────────┐   its gradient stops at those
       │ experts A │    │ shared experts │     │ experts B │   of other tasks
       └───────────┘    └────────────────┘     └───────────┘
             │                   │                   │
""",
    "ple stem": """
             Σ ◄─ gate A                             Σ ◄─ gate B
             ├───────────────────┬───────────────────┤         every task hears all experts;
       ┌───────────┐    ┌────────────────┐     ┌───────────┐   its gradient stops at those
       │ experts A │    │ shared experts │     │ experts B │   of other tasks
       └───────────┘    └────────────────┘     └───────────┘
             │                   │                   │
             Σ ◄─ gate A         Σ ◄─ gate S         Σ ◄─ gate B
             ├───────────────────┼───────────────────┤         as above; the gradient of S
       ┌───────────┐    ┌────────────────┐     ┌───────────┐   stops at all tasks' experts
       │ experts A │    │ shared experts │     │ experts B │
       └───────────┘    └────────────────┘     └───────────┘
             │                   │                   │
""",
    "cross_stitch": """
             │                                       │
   ┌───────────────────────────────────────────────────────────┐
   │   cross-stitch: for each channel a mixture of all tasks   │
   └───────────────────────────────────────────────────────────┘
             │                                       │
     ┌──────────────┐                        ┌──────────────┐
     │ layer 2 of A │                        │ layer 2 of B │
     └──────────────┘                        └──────────────┘
             │                                       │
   ┌───────────────────────────────────────────────────────────┐
   │   cross-stitch: for each channel a mixture of all tasks   │
   └───────────────────────────────────────────────────────────┘
             │                                       │
     ┌──────────────┐                        ┌──────────────┐
     │ layer 1 of A │                        │ layer 1 of B │
     └──────────────┘                        └──────────────┘
             └───────────────────┬───────────────────┘
""",
    "sluice": """
             │                                       │
┌─────────────────────────────────────────────────────────────────┐
│     β: for each task a mixture of its layers, after their α     │
└─────────────────────────────────────────────────────────────────┘
 │           │                                       │           │
 │   ┌───────────────────────────────────────────────────────┐   │
 │   │      α: mixtures of all tasks' subspaces a and b      │   │
 │   └───────────────────────────────────────────────────────┘   │
 │           │                                       │           │
 │ ┌──────────────────┐                    ┌──────────────────┐  │
 │ │ layer 2, A: a, b │                    │ layer 2, B: a, b │  │
 │ └──────────────────┘                    └──────────────────┘  │
 │           │                                       │           │
 └───────────┤                                       ├───────────┘
     ┌───────────────────────────────────────────────────────┐
     │      α: mixtures of all tasks' subspaces a and b      │
     └───────────────────────────────────────────────────────┘
             │                                       │
   ┌──────────────────┐                    ┌──────────────────┐
   │ layer 1, A: a, b │                    │ layer 1, B: a, b │
   └──────────────────┘                    └──────────────────┘
             └───────────────────┬───────────────────┘
""",
    "snr_trans": """
             │                                       │
   ┌───────────────────────────────────────────────────────────┐
   │    z W: each task its own open routes, transformed by W   │
   └───────────────────────────────────────────────────────────┘
             │                   │                   │
      ┌────────────┐      ┌────────────┐      ┌────────────┐
      │ network 21 │      │ network 22 │      │ network 23 │
      └────────────┘      └────────────┘      └────────────┘
             │                   │                   │
   ┌───────────────────────────────────────────────────────────┐
   │  z W: each network its own open routes, transformed by W  │
   └───────────────────────────────────────────────────────────┘
             │                   │                   │
      ┌────────────┐      ┌────────────┐      ┌────────────┐
      │ network 11 │      │ network 12 │      │ network 13 │
      └────────────┘      └────────────┘      └────────────┘
             └───────────────────┼───────────────────┘
""",
    "snr_aver": """
             │                                       │
   ┌───────────────────────────────────────────────────────────┐
   │        z: each task the sum of its own open routes        │
   └───────────────────────────────────────────────────────────┘
             │                   │                   │
      ┌────────────┐      ┌────────────┐      ┌────────────┐
      │ network 21 │      │ network 22 │      │ network 23 │
      └────────────┘      └────────────┘      └────────────┘
             │                   │                   │
   ┌───────────────────────────────────────────────────────────┐
   │       z: each network the sum of its own open routes      │
   └───────────────────────────────────────────────────────────┘
             │                   │                   │
      ┌────────────┐      ┌────────────┐      ┌────────────┐
      │ network 11 │      │ network 12 │      │ network 13 │
      └────────────┘      └────────────┘      └────────────┘
             └───────────────────┼───────────────────┘
""",
    "hmoe": """
             Σ ◄─ relations of A                     Σ ◄─ relations of B
             ├───────────────────────────────────────┤
       ┌───────────┐                           ┌───────────┐   a task hears all networks; its
       │ network A │                           │ network B │   gradient stops at the others'
       └───────────┘                           └───────────┘
             Σ ◄─ gate A                             Σ ◄─ gate B
             ├───────────────────┬───────────────────┤
       ┌──────────┐        ┌──────────┐        ┌──────────┐
       │ expert 1 │        │ expert 2 │        │ expert 3 │
       └──────────┘        └──────────┘        └──────────┘
             └───────────────────┼───────────────────┘
""",
    "mose": """
             │ state of the last step                │ state of the last step
    ┌─────────────────┐                     ┌─────────────────┐
    │ LSTM tower of A │                     │ LSTM tower of B │
    └─────────────────┘                     └─────────────────┘
             │ each step                             │ each step
             Σ ◄─ gate A                             Σ ◄─ gate B
             ├───────────────────┬───────────────────┤         a gate reads x: the same
     ┌───────────────┐   ┌───────────────┐   ┌───────────────┐ weights for all steps
     │ LSTM expert 1 │   │ LSTM expert 2 │   │ LSTM expert 3 │
     └───────────────┘   └───────────────┘   └───────────────┘
             └───────────────────┼───────────────────┘
                          ┌─────────────┐
                          │ shared LSTM │
                          └─────────────┘
                                 │
                  each step: tokens of the sequences, x
""",
}
"""By kind; those with gates also as they are with embeddings of each task's own (``cgc stem``)."""

_COLUMNS = (13, 33, 53)
"""Where the lines of A, of what tasks share and of B stand."""
_BESIDE = 71
"""Where the position tower stands, beside the tasks' own."""
_GATE = re.compile(r"(?<=◄─ )((?:one )?gate(?: [ABS]| for all tasks))( *)")
_INTERACTIONS: Mapping[str, str] = {
    "dot": "and beside: products of all pairs",
    "fm": "and beside: sum of all products",
    "dcn_v2": "cross layers of all features",
}


def picture(model: ModelConfig) -> str:
    """A model's parts on top of each other, and below what the picture leaves out.

    Returns:
        Lines of at most 100 characters.
    """
    lines = [*_head(model), *_trunk(model), *_inputs(model), *_drawn(model)]
    if model.beside.kind == "position_tower":
        lines.append("in serving the position counts as missing")
    if model.gate.kind == "top_k":
        lines.append(f"gates top_k: each opens the best {model.gate.k} experts of a row")
    if model.gate.kind == "dselect_k":
        lines.append(f"gates dselect_k: each learns which experts it opens, at most {model.gate.k}")
    if model.head.kind == "escm2":
        lines.append(f"in training also: the risk of P(B|A) by weights 1 / P(A) ({model.head.form})")
    return "\n".join(line.rstrip() for line in lines)


def _head(model: ModelConfig) -> list[str]:
    """The towers, and what stands beside them."""
    head = model.head
    kind = "esmm" if head.kind == "escm2" and head.form == "ipw" else head.kind
    lines = HEADS[kind].strip("\n").splitlines()
    if model.embeddings.kind == "stem":
        lines[-1] = lines[-1].replace("    x    ", "shared x ")
    if model.beside.kind != "position_tower":
        return lines
    towers = next(row for row, line in enumerate(lines) if "│ tower A │" in line) - 1
    left, middle, right = _COLUMNS
    wire = "─" * (right - left - 2)
    if lines[towers - 1][middle : middle + 1].strip():  # what goes up there is crossed
        wire = wire[: middle - left - 2] + "│" + wire[middle - left - 1 :]
    added = " " * left + f"+◄{wire}+◄{'─' * (_BESIDE - right - 2)}┐ a logit for each"
    context = ", context" if model.beside.context else ""
    beside = [*_boxes({_BESIDE: "position tower"}), _row({_BESIDE: f"position{context}"}), *[""] * len(lines)]
    pairs = zip(lines[towers:], beside, strict=False)
    return [*lines[:towers], added, *(line + other[len(line) :] for line, other in pairs)]


def _trunk(model: ModelConfig) -> Iterator[str]:
    """The trunk; sparse gates with the number of experts that they open."""
    trunk, stem = model.trunk, model.embeddings.kind == "stem"
    kind = "cgc" if trunk.kind == "ple" and len(trunk.stacked()) == 1 else trunk.kind
    opens = {"softmax": "", "top_k": "top ", "dselect_k": "≤ "}[model.gate.kind]
    suffix = f" ({opens}{model.gate.k})" if model.gate.kind != "softmax" else ""
    for line in TRUNKS[f"{kind} stem" if stem else kind].strip("\n").splitlines():
        yield _GATE.sub(lambda found: (found[1] + suffix).ljust(len(found[0])), line)


def _inputs(model: ModelConfig) -> list[str]:
    """What the trunk reads, and what is computed of it before."""
    stem, kind = model.embeddings.kind == "stem", model.interactions.kind
    columns = _COLUMNS if stem else _COLUMNS[1:2]
    names = ("x of A", "shared x", "x of B") if stem else ("x",)
    tables = ("embeddings of A", "shared embeddings", "embeddings of B") if stem else ("embeddings, numbers",)
    numbers = ["numbers stand beside each; a task's gate reads the sum of its own input and the shared one"] * stem
    if kind == "none" and not stem:
        return [_row({columns[0]: "x = embeddings, numbers"})]
    below = [_row(dict.fromkeys(columns, "│")), _row(dict(zip(columns, tables, strict=True))), *numbers]
    labels = _row(dict(zip(columns, names, strict=True)))
    if kind == "none":
        return [labels, *below]
    boxes = _boxes(dict.fromkeys(columns, kind))
    boxes[1] += f"   {_INTERACTIONS[kind]}"
    return [labels, *boxes, *below]


def _drawn(model: ModelConfig) -> list[str]:
    """Where the configuration has other numbers than the picture."""
    trunk = model.trunk
    found: dict[str, tuple[int, int]] = {}
    if trunk.kind == "ple" and len(trunk.stacked()) > 1:
        found["two layers"] = (2, len(trunk.stacked()))
    if trunk.kind in ("cross_stitch", "sluice"):
        found["two layers"] = (2, len(trunk.units))
    if trunk.kind == "sluice":
        found["two subspaces"] = (2, trunk.subspaces)
    if trunk.kind in ("snr_trans", "snr_aver"):
        found = {"two levels": (2, len(trunk.units)), "three networks a level": (3, trunk.networks)}
    if trunk.kind in ("moe", "mmoe", "hmoe", "mose"):
        found["three experts"] = (3, trunk.experts)
    return [f"{drawn} drawn; the configuration has {has}" for drawn, (shown, has) in found.items() if shown != has]


def _boxes(labels: Mapping[int, str]) -> list[str]:
    """Three lines with a box around the label at each column."""
    edges = {column: "─" * (len(label) + 2) for column, label in labels.items()}
    return [
        _row({column: f"┌{edge}┐" for column, edge in edges.items()}),
        _row({column: f"│ {label} │" for column, label in labels.items()}),
        _row({column: f"└{edge}┘" for column, edge in edges.items()}),
    ]


def _row(texts: Mapping[int, str]) -> str:
    """A line with texts whose middles stand at the columns."""
    line = ""
    for column, text in texts.items():
        line = line.ljust(column - len(text) // 2) + text
    return line
