"""What must hold in every process before TensorFlow is imported: drivers, workers, servers and tests."""

from __future__ import annotations

import os
import sys
import warnings

from features.errors import ConfigError

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
_YES = ("1", "true", "True")


def prepare() -> None:
    """Chooses Keras 2 for TensorFlow and silences one deprecation that would drown the output.

    TensorFlow reads the choice when it is imported: tensorflow-recommenders refuses Keras 3, and Transform's graph fails
    with it. Each of our packages calls this first, so that it holds in workers that unpickle a function of ours, too.

    Raises:
        ConfigError: if Keras 3 was already chosen, by the environment or by an earlier import.
    """
    if os.environ.setdefault(LEGACY_KERAS, _chosen_so_far()) not in _YES:
        raise ConfigError(
            f"{LEGACY_KERAS} is '{os.environ[LEGACY_KERAS]}', which makes TensorFlow load Keras 3; tensorflow-recommenders "
            f"and Transform work with Keras 2 only: set {LEGACY_KERAS}=1, or unset it and import feedrank's packages before "
            "tensorflow"
        )
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.api_core")


def _chosen_so_far() -> str:
    return "0" if "tensorflow" in sys.modules else "1"
