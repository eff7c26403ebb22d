"""Whether this machine can run the pipeline. Libraries are loaded in a process of their own, so that a crash is a finding."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement

from features.environment import LEGACY_KERAS

MINIMUM_DISK_GB = 5.0
MINIMUM_MEMORY_GB = 4.0
_IMPORT_TIMEOUT_S = 180
_LOGS = {"kafka": "logs in Kafka", "bigquery": "logs in BigQuery"}
"""What is read with the packages of an extra."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "note", "problem"]
    """A note stops nothing."""
    detail: str


_NATIVE_OPS = """
import features, tensorflow as tf
import tensorflow_io as tfio
from tensorflow_io.python.ops import core_ops
core_ops.io_arrow_stream_dataset
print(tf.keras.Model.__module__)
print(" ".join(device.device_type for device in tf.config.list_physical_devices()))
@tf.function(jit_compile=True)
def double(x): return x + x
print(float(double(tf.constant(1.0))))
"""


def longest_name() -> int:
    """Characters of the longest name of a finding, before any is made: they are shown one by one."""
    return max(len(name) for name in (LEGACY_KERAS, *(requirement.name for requirement in _requirements() or ())))


def examine(data: Path) -> Iterator[Finding]:
    """Looks at everything, the slow things last.

    Args:
        data: folder whose disk will hold data and runs.
    """
    yield _python()
    yield from _packages()
    yield Finding(LEGACY_KERAS, "ok", f"{os.environ[LEGACY_KERAS]} (Keras 2)")
    yield _disk(data)
    yield _memory()
    yield Finding("processors", "ok", f"{len(os.sched_getaffinity(0))}")
    yield Finding(
        "data", *(("ok", str(data)) if data.is_dir() else ("note", f"no folder '{data}' yet (see README, 'Data')"))
    )
    yield from _tensorflow()


def _python() -> Finding:
    ok = sys.version_info[:2] == (3, 10)
    return Finding("python", "ok" if ok else "problem", f"{platform.python_version()}{'' if ok else '; needs 3.10'}")


def _requirements() -> list[Requirement] | None:
    """What this version of feedrank asks for; None: it is not installed."""
    try:
        return [Requirement(told) for told in metadata.requires("feedrank") or []]
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    """What is installed against what this version of feedrank asks for."""
    requirements = _requirements()
    if requirements is None:
        yield Finding("feedrank", "problem", "not installed; run: make install")
        return
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield _absent(requirement)
            continue
        ok = requirement.specifier.contains(version, prereleases=True)
        detail = version if ok else f"{version}; needs {requirement.specifier}"
        yield Finding(requirement.name, "ok" if ok else "problem", detail)


def _absent(requirement: Requirement) -> Finding:
    """What is not installed: a problem, but for what some logs alone are read with."""
    needs = f"not installed; needs {requirement.specifier}"
    for extra, reads in _LOGS.items():
        if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
            return Finding(requirement.name, "note", f"{needs}, for {reads} alone (extra '{extra}')")
    return Finding(requirement.name, "problem", needs)


def _disk(data: Path) -> Finding:
    existing = next(folder for folder in (data.absolute(), *data.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    ok = free >= MINIMUM_DISK_GB
    return Finding(
        "disk", "ok" if ok else "problem", f"{free:.1f} GB free{'' if ok else f'; needs {MINIMUM_DISK_GB:g}'}"
    )


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    ok = total >= MINIMUM_MEMORY_GB
    return Finding(
        "memory", "ok" if ok else "problem", f"{total:.1f} GB{'' if ok else f'; needs {MINIMUM_MEMORY_GB:g}'}"
    )


def _tensorflow() -> Iterator[Finding]:
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _NATIVE_OPS],
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
    except subprocess.TimeoutExpired:
        yield Finding("tensorflow", "problem", f"did not load within {_IMPORT_TIMEOUT_S} s")
        return
    lines = asked.stdout.splitlines()
    why = (asked.stderr.strip().splitlines() or ["it printed nothing"])[-1][:300]
    keras_ok = bool(lines) and lines[0].startswith("tf_keras")
    detail = "loads Keras 2, and tensorflow-io's native operations load" if keras_ok else why
    yield Finding("TensorFlow", "ok" if keras_ok else "problem", detail)
    if keras_ok:
        gpus = lines[1].split().count("GPU") if len(lines) > 1 else 0
        yield Finding("GPU", "ok" if gpus else "note", f"{gpus} visible" if gpus else "none; training runs on the CPU")
        compiles = len(lines) > 2
        yield Finding("XLA", "ok" if compiles else "note", "compiles" if compiles else f"does not compile here: {why}")
