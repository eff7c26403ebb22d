"""Where training runs: TensorFlow's distribution strategies, and what their processes say to each other.

Processes find each other by the environment variable ``TF_CONFIG``, TensorFlow's own convention, in every one of them:

    {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}

for ``multi_worker_mirrored`` (the first worker, or a task of type ``chief``, is the chief), and with tasks of types ``chief`` (one), ``worker``
and ``ps`` for ``parameter_server``. All of them read the same data; checkpoints lie in a folder that all of them see.
"""

from __future__ import annotations

import os

import tensorflow as tf

from features.errors import ConfigError
from models.config import JOBS, MirroredStrategy, MultiWorkerMirroredStrategy, ParameterServerStrategy, StrategyConfig
from models.ranker import Ranker


def build_strategy(config: StrategyConfig) -> tf.distribute.Strategy:
    """The strategy under whose ``scope()`` the ranker is to be built; `models.training.fit` finds it by the ranker.

    Call it before anything else of TensorFlow: a cluster must be known before the first tensor. Where TF_CONFIG makes this
    process a server of ``parameter_server`` (a worker or ps), it serves and does not return.

    Raises:
        ConfigError: if a cluster is needed and TF_CONFIG describes none, or a device is named that is not there.
    """
    if isinstance(config, MirroredStrategy):
        check_devices(config)
        return tf.distribute.MirroredStrategy(list(config.devices) or None)
    if isinstance(config, MultiWorkerMirroredStrategy):
        _check_cluster(config.kind)
        return tf.distribute.MultiWorkerMirroredStrategy()
    if isinstance(config, ParameterServerStrategy):
        return _parameter_servers(_check_cluster(config.kind))
    return tf.distribute.get_strategy()


def check_devices(config: StrategyConfig) -> None:
    """Refuses devices that this process does not see: TensorFlow would put two copies on one CPU, where they wait for each other.

    Raises:
        ConfigError: if a device of ``mirrored`` is none of those that there are.
    """
    if not isinstance(config, MirroredStrategy) or not config.devices:
        return
    found = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    if absent := [device for device in config.devices if device not in found]:
        raise ConfigError(
            f"train.strategy: mirrored over {', '.join(config.devices)}, but there is no {', '.join(absent)}; allowed: {', '.join(found)}"
        )


def _check_cluster(kind: str) -> tf.distribute.cluster_resolver.ClusterResolver:
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    jobs, found = JOBS[kind], set(resolver.cluster_spec().jobs)
    if not found.issuperset(jobs):
        raise ConfigError(
            f"train.strategy '{kind}' needs a cluster with tasks of types {', '.join(sorted(jobs))} in the environment variable "
            f"TF_CONFIG, in every process; found {', '.join(sorted(found)) or 'none'} in {os.environ.get('TF_CONFIG')!r}"
        )
    return resolver


def _parameter_servers(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> tf.distribute.Strategy:
    resolver.rpc_layer = "grpc"
    if resolver.task_type in ("worker", "ps"):
        server = tf.distribute.Server(
            resolver.cluster_spec(), resolver.task_type, resolver.task_id, protocol=resolver.rpc_layer
        )
        server.join()
    return tf.distribute.ParameterServerStrategy(resolver)


def for_serving(ranker: Ranker) -> Ranker:
    """The ranker to export: float32 throughout, with variables of this process alone. Itself if it is that, else a copy.

    What a bfloat16 product gives depends on where it is rounded: TensorFlow's optimiser of graphs joins product, bias and relu and
    rounds once, plain operations round thrice, and other devices differ again. Probabilities differ by 1e-2. The variables are
    float32 all the while, so a float32 copy answers alike wherever it is asked.
    """
    with ranker.distribute_strategy.scope():
        if not tf.distribute.has_strategy() and ranker.precision == "float32":
            return ranker
    copy = Ranker.from_config({**ranker.get_config(), "precision": "float32"})
    for variable, trained in zip(copy.variables, ranker.variables, strict=True):
        variable.assign(trained.numpy())
    return copy
