"""What a user is told when something fails, through Beam and TFX."""

from __future__ import annotations

import pytest

from features.errors import ConfigError, DataError, FeedrankError
from pipeline.failures import message, user_error

TEXT = """Traceback (most recent call last):
  File "worker.py", line 1, in process
features.errors.DataError: inner

The above exception was the direct cause of the following exception:

features.errors.ConfigError: outer,
  on two lines [while running 'Read']

"""


def test_an_error_that_is_no_user_s() -> None:
    assert user_error(ValueError("x")) is None
    assert message(ValueError("x")) == "ValueError: x"


def test_a_user_s_error_is_handed_on_as_it_is() -> None:
    error = DataError("no file")
    assert user_error(error) is error
    wrapped = RuntimeError("stage failed")
    wrapped.__cause__ = error
    assert user_error(wrapped) is error


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (DataError("no file [while running 'Read-ptransform-7']"), DataError, "no file"),
        (RuntimeError(TEXT), ConfigError, "outer,\n  on two lines"),
        (RuntimeError("features.errors.StrangeError: odd"), FeedrankError, "odd"),
    ],
)
def test_what_beam_wraps_is_unwrapped(error: Exception, kind: type[FeedrankError], told: str) -> None:
    found = user_error(error)
    assert type(found) is kind
    assert str(found) == message(error) == told
