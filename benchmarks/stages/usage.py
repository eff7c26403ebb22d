"""What a piece of work took of the machine."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import time
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass
class Usage:
    """Of one stage.

    Attributes:
        seconds: of the clock.
        core_seconds: of all cores, children's among them.
        peak_mb: largest memory of the process in that time, or of a child that has ended by then.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0
    peak_mb: float = 0.0


@contextlib.contextmanager
def measured() -> Iterator[Usage]:
    """Fills the usage it gives when the block ends. Linux only: the kernel forgets the earlier peak when asked to."""
    usage = Usage()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    started, cores = time.perf_counter(), _core_seconds()
    yield usage
    usage.seconds, usage.core_seconds = time.perf_counter() - started, _core_seconds() - cores
    (peak,) = (line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if "VmHWM" in line)
    usage.peak_mb = max(int(peak.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def _core_seconds() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)
