"""Artifacts that lie in a store, on this disk for as long as a stage works that knows files alone."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tfx.types.artifact import Artifact

from features import folders
from features.paths import remote
from pipeline.runs import stopped_folder

Artifacts = dict[str, list[Artifact]]
Parts = Mapping[str, Sequence[str] | None]
"""By an input's name, the folders of it that a stage reads; None: it stays where it is. All is copied of inputs that are not named."""
Do = Callable[[Any, Artifacts, Artifacts, dict[str, Any]], Any]
"""The method of an executor."""


def at_hand(do: Do, parts: Parts | None = None) -> Do:
    """An executor's method whose artifacts are local.

    What it returns is dropped: it would name the local folders. TFX then takes what stands in the outputs themselves.
    """

    @functools.wraps(do)
    def local(self: Any, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        with local_artifacts(input_dict, output_dict, parts or {}):
            do(self, input_dict, output_dict, exec_properties)

    return local


@contextlib.contextmanager
def local_artifacts(inputs: Artifacts, outputs: Artifacts, parts: Parts) -> Iterator[None]:
    """For as long as the block takes, the URIs of artifacts in a store are those of local folders: inputs are copied there, and outputs
    from there once the block ended well, else what explains why it did not (:func:`pipeline.runs.stopped_folder`).

    Args:
        inputs: of a stage.
        outputs: of it; the block may put others into the lists.
        parts: what it reads of inputs.

    Raises:
        DataError: if a store does not answer or refuses. Some files of an output may be there then.
    """
    with contextlib.ExitStack() as stack:
        known: dict[str, str] = {}
        for name, artifacts in inputs.items():
            for artifact in artifacts:
                wanted = parts.get(name, ())
                if wanted is not None and remote(artifact.uri) is not None:
                    here = stack.enter_context(folders.local_copy(artifact.uri, wanted))
                    known[here], artifact.uri = artifact.uri, here
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="feedrank_outputs_"))
        made: dict[str, str] = {}
        for artifact in (one for found in outputs.values() for one in found):
            if remote(artifact.uri) is not None:
                here = os.path.join(root, *artifact.uri.rstrip("/").split("/")[-2:])
                os.makedirs(here)
                made[here], artifact.uri = artifact.uri, here
        known |= made
        try:
            yield
            for here, uri in made.items():
                folders.copy(here, uri)
        except Exception:
            for here, uri in made.items():
                if os.path.isdir(kept := stopped_folder(here)):
                    folders.copy(kept, stopped_folder(uri))
            raise
        finally:
            for artifact in (one for of in (inputs, outputs) for found in of.values() for one in found):
                _put_back(artifact, known)


def _put_back(artifact: Artifact, known: Mapping[str, str]) -> None:
    """The URI in the store, there and in what a stage wrote down of its inputs."""
    artifact.uri = known.get(artifact.uri, artifact.uri)
    for value in artifact.mlmd_artifact.custom_properties.values():
        for here, uri in known.items():
            if value.string_value == here or value.string_value.startswith(f"{here}/"):
                value.string_value = uri + value.string_value.removeprefix(here)
