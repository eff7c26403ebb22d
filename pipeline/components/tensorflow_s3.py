"""TensorFlow's client of S3, which is tensorflow-io's: loaded with this module, by Beam in each of its workers (``--beam_plugins``), where TFT
writes its graph into S3.
"""

import ctypes
import os

import tensorflow_io  # noqa: F401 - makes TensorFlow know s3://

from features.stores import s3_endpoint


def name_endpoint() -> None:
    """Tells the client of AWS_ENDPOINT_URL, under the name that it knows. It reads it once, when it is first used."""
    if (endpoint := s3_endpoint()) is not None:
        os.environ["S3_ENDPOINT"] = endpoint


def _end_at_once() -> None:
    """Has the process end without the destructors of C++, with its status.

    Those of tensorflow-io 0.37.1 abort a process that used its client of S3 ("pure virtual method called"). Python is done when they run.
    """
    libc = ctypes.CDLL(None)
    libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)


name_endpoint()
_end_at_once()
