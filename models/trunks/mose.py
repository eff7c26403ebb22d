"""Mixture of sequential experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import MoseTrunk
from models.layers.dropout import Dropout
from models.layers.gates import make_gates
from models.layers.lstm_bank import LstmBank
from models.lookups import Sequences
from models.trunks.gated import GatedTrunk


class Mose(GatedTrunk):
    """A shared LSTM over the row's sequences, LSTM experts on its states, a gate and an LSTM tower for each task.

    With ``x_t = [s_t, x]``, the sequences' vectors at step t and the row's features:
    ``h_t = LSTM_shared(x_t)``; ``e_t,i = LSTM_i(h_t)`` (stacked for several `units`); ``f_k,t = sum_i g_k(x)_i e_t,i`` with
    ``g_k(x) = softmax(x W_k)``, one gate for all steps; ``y_k`` is the last present step's state of ``LSTM_k(f_k,t)``, task k's tower.

    The paper predicts a user's next day from his days so far and knows nothing else of a row. A ranker's row has a
    candidate, its user and numbers, too: they are x, which every step reads and which the gates weigh by (x holds each
    sequence's pooled vector, so that the gates see the whole sequence as in the paper). The last step is what the paper
    predicts from. Several sequences are read side by side as `Sequences` aligns them; a row without any token is one step of
    zeros. The head's towers stand on these. Dropout is on what each LSTM hands on, not on its own states (Zaremba et al., Recurrent
    Neural Network Regularization, 2014).

    Written from the paper's abstract and accounts of others: its own text and code could not be read. Where it puts the gates' input and
    the towers' may differ.

    Shapes:
        input: x (batch, in), and `Sequences`.
        output: {task: (batch, tower_units)}.

    Example:
        >>> sequences = Sequences(tf.ones((2, 5, 3)), tf.ones((2, 5), tf.bool))
        >>> Mose(["click", "like"], MoseTrunk(units=(8,), tower_units=6))(tf.ones((2, 4)), sequences)["like"].shape
        TensorShape([2, 6])

    Paper: Qin et al., Multitask Mixture of Sequential Experts for User Activity Streams, KDD 2020.
    """

    def __init__(self, tasks: Sequence[str], config: MoseTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        policy, units = self.dtype_policy, enumerate(config.units)
        self.features = tf.keras.layers.Dense(4 * config.shared_units, use_bias=False, name="features", dtype=policy)
        self.shared = LstmBank(1, config.shared_units, name="shared", dtype=policy)
        self.experts = [LstmBank(config.experts, n, name=f"experts_{i}", dtype=policy) for i, n in units]
        self.dropouts = [
            Dropout(config.dropout, name=f"dropout_{i}", dtype=policy) for i in range(len(config.units) + 2)
        ]
        self.gates = make_gates(self.gate, len(self.tasks), config.experts, name="gates", dtype=policy)
        self.towers = LstmBank(len(self.tasks), config.tower_units, name="towers", dtype=policy)

    def call(  # type: ignore[override]
        self, inputs: tf.Tensor, sequences: Sequences, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """{task: (batch, tower_units)}."""
        present = tf.concat([tf.ones_like(sequences.present[:, :1]), sequences.present[:, 1:]], axis=1)
        # x W is the same at each step: multiplied once.
        hidden = self.shared(tf.cast(sequences.vectors, inputs.dtype), present, self.features(inputs))[:, :, 0]
        first, *between, last = self.dropouts
        hidden = first(hidden, training=training)
        for bank, dropout in zip(self.experts, between, strict=True):
            hidden = dropout(bank(hidden, present), training=training)
        mixed = tf.einsum("bke,bteu->btku", self.gates(inputs, training=training), hidden)
        return self.by_task(last(self.towers(mixed, present)[:, -1], training=training))

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"1/task": (batch, experts)}."""
        return {f"1/{task}": gate for task, gate in self.by_task(self.gates(inputs)).items()}

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"1/task": ("expert 1", ...)}."""
        names = tuple(f"expert {i + 1}" for i in range(self.experts[0].networks))
        return {f"1/{task}": names for task in self.tasks}
