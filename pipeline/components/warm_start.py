"""The earlier model that a training begins with, read from its export."""

from __future__ import annotations

import logging

import pydantic
from tensorflow_transform.output_wrapper import TFTransformOutput
from tfx import v1 as tfx

from features.errors import ModelError
from models.config import ModelConfig
from models.ranker import Ranker
from models.training import Earlier, WarmStart, take_over
from serving.bundle import Bundle
from serving.weights import read_vocabularies, read_weights, weights_fingerprint

LOGGER = logging.getLogger(__name__)


def begin(ranker: Ranker, fn_args: tfx.components.FnArgs) -> WarmStart | None:
    """Gives `ranker` the weights of the model that the graph found for `train.warm_start`; None if it found none.

    Raises:
        ModelError: if that is no export of ours, or of another architecture.
    """
    path = fn_args.base_model or fn_args.custom_config.get("warm_start")
    if path is None:
        return None
    graph = TFTransformOutput(fn_args.transform_graph_path).transform_savedmodel_dir
    vocabularies = read_vocabularies(graph, [table.name for table in ranker.layout.tables])
    started = take_over(ranker, vocabularies, read_earlier(path))
    LOGGER.info("the training begins with the weights of an earlier model: %s", started.model_dump_json())
    return started


def read_earlier(path: str) -> Earlier:
    """What an export has learned.

    Raises:
        ModelError: if it is none of ours, or of a release whose configuration this one does not know.
    """
    bundle = Bundle(path)
    layout = bundle.layout()
    try:
        config = ModelConfig.model_validate(bundle.model_config())
    except pydantic.ValidationError as error:
        raise ModelError(f"train.warm_start: the model at {path} was made by another release: {error}") from error
    return Earlier(
        path=path,
        fingerprint=weights_fingerprint(path),
        layout=layout,
        tasks=bundle.dataset().tasks,
        config=config,
        weights=read_weights(path),
        vocabularies=read_vocabularies(path, [table.name for table in layout.tables]),
    )
