"""What a run looks up among earlier runs: the model to be measured against, the statistics to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tfx import types
from tfx.dsl.components.common import resolver

from features import logs
from features.spec import Dataset

_BLESSED = "blessed"
_CURRENT_MODEL_ID = "current_model_id"


class LatestOtherBlessedModel(resolver.ResolverStrategy):
    """Resolves ``model`` and ``model_blessing`` to the latest blessed model other than ``current``.

    TFX's `LatestBlessedModelStrategy` would find the current model itself when a run is repeated with nothing changed:
    evaluation would be redone against itself and the same model pushed once more. Leaving it out keeps the evaluation's
    inputs as they were, so that TFX's cache answers.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Picks the artifacts.

        Args:
            store: the MLMD store; all that is needed is in `input_dict`.
            input_dict: all artifacts under ``model`` and ``model_blessing``, and this run's model under ``current``.

        Returns:
            The same keys; ``model`` and ``model_blessing`` hold one artifact each, or none if no other model is blessed.
        """
        del store
        current = {model.id for model in input_dict["current"]}
        blessings = {
            blessing.get_int_custom_property(_CURRENT_MODEL_ID): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(_BLESSED) == 1
        }
        candidates = [m for m in input_dict["model"] if m.id in blessings and m.id not in current]
        latest = max(candidates, key=lambda model: model.id, default=None)
        return {
            "model": [latest] if latest else [],
            "model_blessing": [blessings[latest.id]] if latest else [],
            "current": input_dict["current"],
        }


class LatestIfAny(resolver.ResolverStrategy):
    """Resolves each input to its latest artifact, or to none in the first run (where `LatestArtifactStrategy` fails)."""

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Picks the artifact with the highest id of each key; `store` is not needed."""
        del store
        return {key: sorted(found, key=lambda a: a.id)[-1:] for key, found in input_dict.items()}


class Lookups(NamedTuple):
    """How a platform looks things up."""

    baseline: type[resolver.ResolverStrategy] = LatestOtherBlessedModel
    """Of inputs ``model`` and ``model_blessing``; one other than TFX's own also gets this run's model as ``current``."""
    previous: type[resolver.ResolverStrategy] = LatestIfAny
    """The last run's statistics."""
    fingerprint: Callable[[Dataset, str], Any] = logs.fingerprint
    """Of a dataset's files in a folder: other data has another one, so that the cache does not answer. Text, or a
    `RuntimeParameter` where the data is not at hand as the graph is composed."""
