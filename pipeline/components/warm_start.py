"""The earlier model that a training begins with, read from its export."""

from __future__ import annotations

import dataclasses
import logging

from tensorflow_transform.output_wrapper import TFTransformOutput
from tfx import v1 as tfx

from features import folders
from models.config import ModelConfig
from models.ranker import Ranker
from models.training import Earlier, WarmStart, take_over
from pipeline.pushed import check_beginning, exported_config
from serving.bundle import Bundle
from serving.weights import read_vocabularies, read_weights, weights_fingerprint

LOGGER = logging.getLogger(__name__)


def check(model: ModelConfig, fn_args: tfx.components.FnArgs) -> None:
    """Refuses an earlier model of another architecture, before anything is read or built.

    Raises:
        ModelError: if it is one, or no export of ours.
    """
    if (path := _earlier_path(fn_args)) is not None:
        check_beginning(model, path)


def begin(ranker: Ranker, fn_args: tfx.components.FnArgs) -> WarmStart | None:
    """Gives `ranker` the weights of the model that the graph found for `train.warm_start`; None if it found none.

    Raises:
        ModelError: if that is no export of ours, or of another architecture.
    """
    path = _earlier_path(fn_args)
    if path is None:
        return None
    graph = TFTransformOutput(fn_args.transform_graph_path).transform_savedmodel_dir
    vocabularies = read_vocabularies(graph, [table.name for table in ranker.layout.tables])
    with folders.local_copy(path) as here:
        earlier = dataclasses.replace(read_earlier(here), path=path)
    started = take_over(ranker, vocabularies, earlier)
    LOGGER.info("the training begins with the weights of an earlier model: %s", started.model_dump_json())
    return started


def _earlier_path(fn_args: tfx.components.FnArgs) -> str | None:
    return fn_args.base_model or fn_args.custom_config.get("warm_start")


def read_earlier(path: str) -> Earlier:
    """What an export has learned.

    Raises:
        ModelError: if it is none of ours, or of a release whose configuration this one does not know.
    """
    bundle = Bundle(path)
    layout = bundle.layout()
    return Earlier(
        path=path,
        fingerprint=weights_fingerprint(path),
        layout=layout,
        tasks=bundle.dataset().tasks,
        config=exported_config(path),
        weights=read_weights(path),
        vocabularies=read_vocabularies(path, [table.name for table in layout.tables]),
    )
