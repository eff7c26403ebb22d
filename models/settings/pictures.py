"""Pictures of the architectures, for two tasks A and B: data flows from the bottom to the top."""

from __future__ import annotations

from collections.abc import Mapping

from models.settings.model import ModelConfig

HEADS: Mapping[str, str] = {
    "independent": """
           P(A)                                P(B)
             │                                   │
        ┌─────────┐                         ┌─────────┐
        │ tower A │                         │ tower B │
        └─────────┘                         └─────────┘
             │                                   │
""",
    "dlen": """
           P(A)                                P(B)
             │                                   │
     ┌───────────────────────────────────────────────────┐
     │    P(k) = P(k|UP) P(UP) + P(k|not UP) P(not UP)   │
     └───────────────────────────────────────────────────┘
             │                 │                 │
        ┌─────────┐    ┌──────────────┐     ┌─────────┐
        │ tower A │    │ state: P(UP) │     │ tower B │
        └─────────┘    └──────────────┘     └─────────┘
             │                 x                 │
""",
    "esmm": """
           P(A)                         P(B) = P(A) P(B|A)
             │                                   │
             ├──────────────────────────────────►×
             │                                P(B|A)
             │                                   │
        ┌─────────┐                         ┌─────────┐
        │ tower A │                         │ tower B │
        └─────────┘                         └─────────┘
             │                                   │
""",
    "escm2": """
           P(A)                         P(B) = P(A) P(B|A)
             │                                   │
             ├──────────────────────────────────►×
             │                                P(B|A)
             │                                   │
        ┌─────────┐    ┌────────────┐       ┌─────────┐
        │ tower A │    │ imputation │       │ tower B │
        └─────────┘    └────────────┘       └─────────┘
             │             DR only               │
""",
    "aitm": """
           P(A)         ≥  (calibrator)        P(B)
             │                                   │
        ┌─────────┐                         ┌─────────┐
        │ tower A │                         │ tower B │
        └─────────┘                         └─────────┘
             │                                   │
             ├──────── transfer ────────► attention
             │                                   │
""",
}

TRUNKS: Mapping[str, str] = {
    "single_task": """
       ┌───────────┐                       ┌───────────┐
       │ network A │                       │ network B │
       └───────────┘                       └───────────┘
             └─────────────────┬─────────────────┘
""",
    "shared_bottom": """
             └─────────────────┬─────────────────┘
                      ┌────────────────┐
                      │ shared network │
                      └────────────────┘
                               │
""",
    "moe": """
             └─────────────────┬─────────────────┘
                               Σ ◄── gate: one for all tasks
             ┌─────────────────┼─────────────────┐
       ┌──────────┐      ┌──────────┐      ┌──────────┐
       │ expert 1 │      │ expert 2 │      │ expert 3 │
       └──────────┘      └──────────┘      └──────────┘
             └─────────────────┼─────────────────┘
""",
    "mmoe": """
             Σ ◄─ gate A                         Σ ◄─ gate B
             ├─────────────────┼─────────────────┤
       ┌──────────┐      ┌──────────┐      ┌──────────┐
       │ expert 1 │      │ expert 2 │      │ expert 3 │
       └──────────┘      └──────────┘      └──────────┘
             └─────────────────┼─────────────────┘
""",
    "cgc": """
             Σ ◄─ gate A                         Σ ◄─ gate B
             ├───────────────┐   ┌───────────────┤
       ┌───────────┐  ┌────────────────┐   ┌───────────┐
       │ experts A │  │ shared experts │   │ experts B │
       └───────────┘  └────────────────┘   └───────────┘
             └─────────────────┼─────────────────┘
""",
    "ple": """
             Σ ◄─ gate A                         Σ ◄─ gate B
             ├───────────────┐   ┌───────────────┤
       ┌───────────┐  ┌────────────────┐   ┌───────────┐
       │ experts A │  │ shared experts │   │ experts B │
       └───────────┘  └────────────────┘   └───────────┘
             │                 │                 │
             Σ ◄─ gate A       Σ ◄─ gate S       Σ ◄─ gate B
             ├─────────────────┼─────────────────┤
       ┌───────────┐  ┌────────────────┐   ┌───────────┐
       │ experts A │  │ shared experts │   │ experts B │
       └───────────┘  └────────────────┘   └───────────┘
             └─────────────────┼─────────────────┘
""",
    "cross_stitch": """
             │                                   │
     ┌───────────────────────────────────────────────────┐
     │                another cross-stitch               │
     └───────────────────────────────────────────────────┘
             │                                   │
     ┌──────────────┐                    ┌──────────────┐
     │ layer 2 of A │                    │ layer 2 of B │
     └──────────────┘                    └──────────────┘
             │                                   │
     ┌───────────────────────────────────────────────────┐
     │    cross-stitch: for each task a mixture of all   │
     └───────────────────────────────────────────────────┘
             │                                   │
     ┌──────────────┐                    ┌──────────────┐
     │ layer 1 of A │                    │ layer 1 of B │
     └──────────────┘                    └──────────────┘
             └─────────────────┬─────────────────┘
""",
    "sluice": """
             │                                   │
     ┌───────────────────────────────────────────────────┐
     │   β: a mixture of each task's layers, all after α │
     └───────────────────────────────────────────────────┘
             │                                   │
  ┌─────────────────────┐             ┌─────────────────────┐
  │ layer 2 of A: a │ b │             │ layer 2 of B: a │ b │
  └─────────────────────┘             └─────────────────────┘
             │                                   │
     ┌───────────────────────────────────────────────────┐
     │    α: mixtures of all tasks' subspaces a and b    │
     └───────────────────────────────────────────────────┘
             │                                   │
  ┌─────────────────────┐             ┌─────────────────────┐
  │ layer 1 of A: a │ b │             │ layer 1 of B: a │ b │
  └─────────────────────┘             └─────────────────────┘
             └─────────────────┬─────────────────┘
""",
    "snr_trans": """
             │                                   │
     ┌───────────────────────────────────────────────────┐
     │      z W: routes learned to be open or closed     │
     └───────────────────────────────────────────────────┘
             │                 │                 │
      ┌────────────┐    ┌────────────┐    ┌────────────┐
      │ network 21 │    │ network 22 │    │ network 23 │
      └────────────┘    └────────────┘    └────────────┘
             │                 │                 │
     ┌───────────────────────────────────────────────────┐
     │        z W: each open route transforms by W       │
     └───────────────────────────────────────────────────┘
             │                 │                 │
      ┌────────────┐    ┌────────────┐    ┌────────────┐
      │ network 11 │    │ network 12 │    │ network 13 │
      └────────────┘    └────────────┘    └────────────┘
             └─────────────────┼─────────────────┘
""",
    "snr_aver": """
             │                                   │
     ┌───────────────────────────────────────────────────┐
     │       z: routes learned to be open or closed      │
     └───────────────────────────────────────────────────┘
             │                 │                 │
      ┌────────────┐    ┌────────────┐    ┌────────────┐
      │ network 21 │    │ network 22 │    │ network 23 │
      └────────────┘    └────────────┘    └────────────┘
             │                 │                 │
     ┌───────────────────────────────────────────────────┐
     │       z: what comes by open routes is summed      │
     └───────────────────────────────────────────────────┘
             │                 │                 │
      ┌────────────┐    ┌────────────┐    ┌────────────┐
      │ network 11 │    │ network 12 │    │ network 13 │
      └────────────┘    └────────────┘    └────────────┘
             └─────────────────┼─────────────────┘
""",
    "hmoe": """
             Σ ◄─ relations of A                 Σ ◄─ relations of B
             ├─────────────────┼─────────────────┤
       ┌───────────┐                       ┌───────────┐
       │ network A │                       │ network B │
       └───────────┘                       └───────────┘
             │        no gradient across         │
             Σ ◄─ gate A                         Σ ◄─ gate B
             ├─────────────────┼─────────────────┤
       ┌──────────┐      ┌──────────┐      ┌──────────┐
       │ expert 1 │      │ expert 2 │      │ expert 3 │
       └──────────┘      └──────────┘      └──────────┘
             └─────────────────┼─────────────────┘
""",
    "mose": """
    ┌─────────────────┐                   ┌─────────────────┐
    │ LSTM tower of A │                   │ LSTM tower of B │
    └─────────────────┘                   └─────────────────┘
             Σ ◄─ gate A                         Σ ◄─ gate B
             ├─────────────────┼─────────────────┤
        ┌────────┐        ┌────────┐        ┌────────┐
        │ LSTM 1 │        │ LSTM 2 │        │ LSTM 3 │
        └────────┘        └────────┘        └────────┘
             └─────────────────┼─────────────────┘
                 shared LSTM over the history
""",
}

EMBEDDINGS: Mapping[str, str] = {
    "shared": """
                    x = embeddings, numbers
""",
    "stem": """
          x of A           shared x           x of B
""",
}

SPARSE: Mapping[str, str] = {
    "top_k": "each gate opens its k best experts only",
    "dselect_k": "each gate learns which k experts it opens",
}


def picture(model: ModelConfig) -> str:
    """A model's parts on top of each other.

    Returns:
        Lines of at most 100 characters.
    """
    parts = [HEADS[model.head.kind], TRUNKS[model.trunk.kind], EMBEDDINGS[model.embeddings.kind]]
    notes = []
    if model.gate.kind in SPARSE:
        notes.append(f"gates ({model.gate.kind}): {SPARSE[model.gate.kind]}")
    if model.interactions.kind != "none":
        notes.append(f"x goes through interactions first: {model.interactions.kind}")
    if model.beside.kind == "position_tower":
        notes.append("beside: a small tower of the position, whose logit is added to that of each task's tower")
    return "\n".join([*(part.strip("\n") for part in parts), *notes])
