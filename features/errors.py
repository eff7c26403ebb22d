"""Errors that a user can act on."""

from __future__ import annotations


class FeedrankError(Exception):
    """Base of every error whose message alone tells the user what happened, what was received and what is allowed.

    The command line prints it in one paragraph and puts the traceback into the run's log file.
    """


class DataError(FeedrankError):
    """The data is not what the spec says: too many bad rows, a missing column, an empty split, drift, ..."""


class ConfigError(FeedrankError):
    """The configuration cannot be run."""


class ModelError(FeedrankError):
    """A model cannot be built, loaded or served as it should."""
