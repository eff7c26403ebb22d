"""TensorFlow's client of S3, which is tensorflow-io's: loaded with this module, by Beam in each of its workers (``--beam_plugins``), where TFT
writes its graph into S3.
"""

import os
from urllib.parse import urlsplit

import tensorflow_io  # noqa: F401 - makes TensorFlow know s3://

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def name_endpoint() -> None:
    """Tells the client of AWS_ENDPOINT_URL, under the names which it alone knows; what is set already stays."""
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    if endpoint is not None:
        url = urlsplit(endpoint)
        os.environ.setdefault("S3_ENDPOINT", url.netloc)
        os.environ.setdefault("S3_USE_HTTPS", "1" if url.scheme == "https" else "0")


name_endpoint()
