"""Where training runs: one device, several, or several machines. Processes learn of each other from TF_CONFIG."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from features.frozen import BareKind, Frozen, SpecError


class NoStrategy(Frozen):
    """One process and one device."""

    kind: Literal["none"] = "none"


class MirroredStrategy(Frozen):
    """All devices of this machine hold the model; each trains on its part of every batch."""

    kind: Literal["mirrored"] = "mirrored"
    devices: tuple[str, ...] = ()
    """As TensorFlow names them (``GPU:0``); empty: all GPUs, or the CPU where there is none."""

    @pydantic.field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        if strange := [device for device in devices if not re.fullmatch(r"(CPU|GPU):\d+", device)]:
            raise SpecError(f"device '{strange[0]}' of mirrored; allowed: such as GPU:0, GPU:1")
        if len(set(devices)) < len(devices):
            raise SpecError(f"devices of mirrored must differ; got {', '.join(devices)}")
        return devices


class MultiWorkerMirroredStrategy(Frozen):
    """All devices of all machines of TF_CONFIG hold the model; each trains on its part of every batch."""

    kind: Literal["multi_worker_mirrored"] = "multi_worker_mirrored"


class TpuStrategy(Frozen):
    """Refused: no TPU was at hand to try anything on, and the training step is not made for one."""

    kind: Literal["tpu"] = "tpu"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _refused(cls, value: Any) -> Any:
        del value
        raise SpecError(
            "strategy 'tpu' does not work: a TPU compiles the whole step for one size of batch, which this step with its lookups "
            "is not made for, and there was none to try another one on (docs/several_devices.md says what it takes); "
            "allowed: none, mirrored, multi_worker_mirrored, parameter_server"
        )


class ParameterServerStrategy(Frozen):
    """Variables live on TF_CONFIG's ``ps`` tasks; its workers train on whole batches without waiting for each other.

    Gradients are computed from variables that other workers may have changed since: two runs differ.
    """

    kind: Literal["parameter_server"] = "parameter_server"


JOBS: Mapping[str, tuple[str, ...]] = {
    "multi_worker_mirrored": ("worker",),
    "parameter_server": ("chief", "worker", "ps"),
}
"""Types of tasks that the cluster of a strategy of several processes has."""


class _ClusterTask(pydantic.BaseModel):
    type: str
    index: int


class _TfConfig(pydantic.BaseModel):
    cluster: dict[str, list[str] | dict[int, str]]
    task: _ClusterTask


def cluster_problem(strategy: str, tf_config: str | None) -> str | None:
    """Why a process with this TF_CONFIG cannot be the chief of a training; None if it can, or if it needs none.

    Args:
        strategy: its kind.
        tf_config: the environment variable; None where it is not set.
    """
    if strategy not in JOBS:
        return None
    if (what := _not_chief(JOBS[strategy], tf_config)) is None:
        return None
    cluster = {job: ["HOST:PORT"] for job in JOBS[strategy]}
    example = json.dumps({"cluster": cluster, "task": {"type": JOBS[strategy][0], "index": 0}})
    return f"'{strategy}' needs the environment variable TF_CONFIG, which {what}; got {tf_config!r}, allowed: such as {example}"


def _not_chief(jobs: tuple[str, ...], tf_config: str | None) -> str | None:
    if not tf_config:
        return "is not set"
    try:
        told = _TfConfig.model_validate_json(tf_config)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"cannot be read: {where + ': ' if where else ''}{first['msg']}"
    if absent := [job for job in jobs if not told.cluster.get(job)]:
        return f"names no task of type {', '.join(absent)}"
    chief = "chief" if "chief" in told.cluster else "worker"
    if (told.task.type, told.task.index) != (chief, 0):
        return f"makes this process {told.task.type} {told.task.index}, and the one that runs the pipeline is {chief} 0"
    return None


StrategyConfig = Annotated[
    NoStrategy | MirroredStrategy | MultiWorkerMirroredStrategy | TpuStrategy | ParameterServerStrategy,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]
