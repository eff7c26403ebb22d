"""Sub-network routing, with matrices on the connections or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import SnrAverTrunk, SnrTransTrunk
from models.layers.expert_bank import ExpertBank
from models.layers.routing import Routing
from models.trunks.trunk import Trunk


class Snr(Trunk):
    """Levels of small networks that all tasks share, each connection between two of them learned to be open or closed.

    Level l holds as many sub-networks as the next, each one layer of ``units[l]``; what they give goes by `Routing` to each
    sub-network of the level above, at the top to each task. Connections are drawn once a batch in training and fixed
    otherwise (see `HardConcrete`); training adds ``l0 * expected number of open connections`` to the loss. With a `SnrTransTrunk`
    each connection has a matrix, ``v_j = sum_i z_ij W_ij u_i``; with a `SnrAverTrunk` none, ``v_j = sum_i z_ij u_i``.

    The paper's own text could not be read. The order ``z W u`` is that of ``model/snr_trans.py`` in alipay's MMLRec; the distribution of z is
    that of Louizos et al., Learning Sparse Neural Networks through L0 Regularization, ICLR 2018. MMLRec differs: it trains the random
    draw as a parameter, has one log alpha a layer, and divides log alpha alone by beta (0.9).

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}.

    Example:
        >>> Snr(["click", "like"], SnrTransTrunk(units=(8,)))(tf.ones((2, 3)))["like"].shape
        TensorShape([2, 8])

    Paper: Ma et al., SNR: Sub-Network Routing for Flexible Parameter Sharing in Multi-Task Learning, AAAI 2019.
    """

    config: SnrTransTrunk | SnrAverTrunk

    def __init__(self, tasks: Sequence[str], config: SnrTransTrunk | SnrAverTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        policy = self.dtype_policy
        self.banks = [
            ExpertBank(config.networks, (units,), config.dropout, name=f"level_{i}", dtype=policy)
            for i, units in enumerate(config.units, 1)
        ]
        distribution = {"beta": config.beta, "gamma": config.gamma, "zeta": config.zeta}
        targets = [config.networks] * (len(config.units) - 1) + [len(self.tasks)]
        self.routes = [
            Routing(count, isinstance(config, SnrTransTrunk), **distribution, name=f"routes_{i}", dtype=policy)
            for i, count in enumerate(targets, 1)
        ]

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        hidden = inputs
        for bank, route in zip(self.banks, self.routes, strict=True):
            hidden = route(bank(hidden, training=training), training=training)
        if training and self.config.l0:
            chances = [tf.reduce_sum(route.connections.open_chance()) for route in self.routes]
            self.add_loss(self.config.l0 * tf.add_n(chances))
        return self.by_task(hidden)

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"level/target": (batch, networks)}: the connections that are used for serving, the same for all rows."""
        rows = tf.shape(inputs)[0]
        connections = tf.concat([route.connections.gates() for route in self.routes], axis=1)
        names = self.expert_names()
        return {
            name: tf.repeat(gates[None], rows, axis=0)
            for name, gates in zip(names, tf.unstack(connections, axis=1), strict=True)
        }

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"level/sub-network j" and at the top "level/task": the sub-networks of the level}."""
        networks = tuple(f"sub-network {i + 1}" for i in range(self.config.networks))
        top = len(self.routes)
        between = {f"{i}/{network}": networks for i in range(1, top) for network in networks}
        return {**between, **{f"{top}/{task}": networks for task in self.tasks}}
