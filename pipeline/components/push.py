"""The push stage: TFX's Pusher, which also pushes into stores."""

import time
from typing import Any

from tfx import v1 as tfx
from tfx.components.pusher import executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types.artifact import Artifact
from tfx.utils import io_utils, proto_utils

from features.paths import Remote, remote
from features.stores import is_folder, upload
from pipeline.components.local_artifacts import at_hand

_SAVED_MODEL = "saved_model.pb"


class PushExecutor(executor.Executor):
    """Pusher's executor. Of stores TFX knows those that TensorFlow knows, and it copies a file through memory; here pyarrow writes them.

    Without ``saved_model.pb``, which is written last, TF Serving loads no version.
    """

    @at_hand
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed, as TFX does.

        Raises:
            DataError: if a store does not take it.
        """
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties["push_destination"], destination)
        base = remote(destination.filesystem.base_directory)
        if base is None or not self.CheckBlessing(input_dict):
            super().Do(input_dict, output_dict, exec_properties)
            return
        (pushed,) = output_dict["pushed_model"]
        model = self.GetModelPath(input_dict)
        version = _free_version(base, int(time.time()))
        target = base.below(str(version))
        upload(model, target, last=_SAVED_MODEL)
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=str(target), pushed_version=str(version))


def _free_version(base: Remote, version: int) -> int:
    """Of versions that are seconds, the first from `version` on that is not there."""
    while is_folder(base.below(str(version))):
        version += 1
    return version


class StorePusher(tfx.components.Pusher):
    """`tfx.components.Pusher` whose directory may be ``s3://``, ``gs://`` or ``hdfs://``."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PushExecutor)
