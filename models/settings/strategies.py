"""Where training runs: one device, several, or several machines. Processes learn of each other from TF_CONFIG."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen


class NoStrategy(Frozen):
    """One process and one device."""

    kind: Literal["none"] = "none"


class Mirrored(Frozen):
    """All devices of this machine hold the model; each trains on its part of every batch."""

    kind: Literal["mirrored"] = "mirrored"
    devices: tuple[str, ...] = ()
    """As TensorFlow names them (``GPU:0``); empty: all GPUs, or the CPU where there is none."""


class MultiWorkerMirrored(Frozen):
    """All devices of all machines of TF_CONFIG hold the model; each trains on its part of every batch."""

    kind: Literal["multi_worker_mirrored"] = "multi_worker_mirrored"


class Tpu(Frozen):
    """All cores of a TPU hold the model, its tables too; each trains on its part of every batch. Never run: no TPU was at hand."""

    kind: Literal["tpu"] = "tpu"
    address: str = "local"
    """Of the TPU: its name, ``grpc://HOST:PORT``, or ``local`` on a TPU machine itself."""


class ParameterServer(Frozen):
    """Variables live on TF_CONFIG's ``ps`` tasks; its workers train on whole batches without waiting for each other.

    Gradients are computed from variables that other workers may have changed since: two runs differ.
    """

    kind: Literal["parameter_server"] = "parameter_server"


StrategyConfig = Annotated[
    NoStrategy | Mirrored | MultiWorkerMirrored | Tpu | ParameterServer,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]
