"""How a stage tells what it is doing, without knowing who listens.

Stages call :func:`report`; the command line installs a logging handler that draws a line or a bar. In a worker process
the same record is an ordinary log line.
"""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("feedrank.progress")
Number = int | float


def report(stage: str, **numbers: Number | str) -> None:
    """Reports the state of a stage.

    Args:
        stage: the stage's name as in the flow (``ingest``, ``train``, ...).
        **numbers: what is known now. ``rows`` (rows done so far in this stage) is understood everywhere; ``train`` adds
            ``epoch``, ``epochs``, ``step``, ``steps``, ``loss``, ``auc_<task>`` and ``mse_<task>``; ``note`` is a short text,
            ``said`` one that keeps a line of its own.
    """
    text = " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in numbers.items())
    LOGGER.info("%s %s", stage, text, extra={"stage": stage, "numbers": numbers})
