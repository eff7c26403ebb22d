"""TensorFlow's files in S3."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from features import folders
from tests.architecture import source

PROGRAM = """
import sys
from pipeline.components import tensorflow_s3
import tensorflow as tf
folder = sys.argv[1]
with tf.io.gfile.GFile(f"{folder}/x/made", "w") as file:
    file.write("by TensorFlow")
tf.io.gfile.rename(f"{folder}/x", f"{folder}/y", overwrite=True)
sys.exit(3)
"""


@pytest.mark.slow
def test_a_process_that_used_it_ends_with_its_own_status(store: str) -> None:
    """The endpoint is AWS_ENDPOINT_URL's; without our help tensorflow-io aborts the process at its end."""
    command = [sys.executable, "-c", PROGRAM, store]
    done = subprocess.run(command, cwd=source.ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr[-2000:]
    assert {name: folders.read_text(f"{store}/{name}") for name in folders.list_files(store)} == {
        "y/made": "by TensorFlow"
    }
