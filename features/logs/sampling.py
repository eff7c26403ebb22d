"""Which rows of a batch negative down-sampling leaves out, and what the others weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.logs.row_ids import uniform
from features.sampling import Downsample
from features.spec import SPLITS

SAMPLED_OUT = -2
"""In the place of a part of the split (`features.spec.SPLITS`): a row of the training split that is left out."""


def sampled_parts(
    downsample: Downsample, labels: Sequence[NDArray[Any]], part: NDArray[Any], ids: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Parts with `SAMPLED_OUT` where a row is left out, and each row's weight, float32: 1 / keep of a kept negative, else 1.

    Args:
        downsample: how many negatives stay.
        labels: of each task of the rule, (rows,), 0 or 1.
        part: (rows,), position in `SPLITS`.
        ids: int64 (rows,).
    """
    negative = (part == SPLITS.index("train")) & ~np.any([label > 0 for label in labels], axis=0)
    kept = uniform(ids, downsample.seed, "downsample") < downsample.keep
    weights = np.where(negative, np.float32(1 / downsample.keep), np.float32(1)).astype(np.float32)
    return np.where(negative & ~kept, SAMPLED_OUT, part).astype(part.dtype), weights
