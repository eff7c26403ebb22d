"""Beam's arguments of an engine, as Beam itself reads them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from features.errors import ConfigError
from features.frozen import did_you_mean
from pipeline.engines import Engine


def beam_args(engine: Engine) -> list[str]:
    """The engine's arguments, all of which Beam knows: it would drop others with a warning.

    Args:
        engine: of the configuration.

    Raises:
        ConfigError: the option that Beam does not know, or whose value it refuses.
    """
    args = list(engine.args)
    known = _parsed(args, strange=False)
    if strange := [name for name in _parsed(args, strange=True) if name not in known]:
        near = did_you_mean(strange[0], sorted(known))
        raise ConfigError(
            f"engine.options: unknown option '{strange[0]}'{near} allowed: those of Beam's PipelineOptions"
        )
    return args


def _parsed(args: Sequence[str], *, strange: bool) -> dict[str, object]:
    """All of Beam's options with their values; with those that it does not know, or without."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return PipelineOptions(list(args)).get_all_options(retain_unknown_options=strange)
    except SystemExit as error:  # argparse's way to refuse a value
        raise ConfigError(f"engine: Beam refuses its options: {told.getvalue().strip().splitlines()[-1]}") from error
