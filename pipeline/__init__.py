"""How it all runs: configuration, components, runners, command line."""

from __future__ import annotations

import importlib
from typing import Any

from features import environment

environment.prepare()


def __getattr__(name: str) -> Any:
    """Lets the artifact types be found as ``pipeline.<Class>`` (see `pipeline.artifacts`) without loading TFX before."""
    if not name[:1].isupper():  # a submodule
        raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
    return getattr(importlib.import_module("pipeline.artifacts"), name)
