"""Training on several devices and machines. One CPU stands for all of them: logical devices, and processes on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf
import tensorflow_recommenders as tfrs

from features.errors import ConfigError
from features.spec import ROW_WEIGHT
from models.config import MultiWorkerMirroredStrategy, ParameterServerStrategy, StrategyConfig, TrainConfig
from models.lookups import Lookups
from models.ranker import build_ranker
from models.training import build_strategy, check_devices
from models.training.replicas import Replicas, part_of
from tests.models.rankers import LAYOUT, RATES, TASKS, batch_of, model_config
from tests.models.transformed import write_split

TWO_CPUS: dict[str, Any] = {"strategy": {"kind": "mirrored", "devices": ["CPU:0", "CPU:1"]}, "cpus": 2}


# -- whose rows, whose share -----------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 9))
def test_the_parts_of_a_batch_are_the_batch(rows: int, replicas: int) -> None:
    parts = [part_of(rows, replica, replicas) for replica in range(replicas)]
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_replica_without_rows_gets_one_that_is_not_its_own() -> None:
    replicas = Replicas(tf.distribute.get_strategy())
    replicas.total, replicas.here = 3, 3
    batches = [pa.record_batch([pa.array(values)], names=["x"]) for values in ([1, 2, 3, 4, 5], [6])]
    pieces = [piece.column(0).to_pylist() for piece in replicas.pieces(iter(batches))]
    assert pieces == [[1], [2, 3], [4, 5], [6], [6], [6]]
    assert [replicas.counts(5), replicas.counts(1)] == [[1, 2, 2], [0, 0, 1]]


def test_weighed_by_their_shares_the_losses_of_parts_sum_to_that_of_the_batch() -> None:
    """Parts of 3, 12 and 1 rows; `like` has a mask, which leaves other shares of rows in each."""
    ranker = build_ranker(LAYOUT, TASKS, model_config("ple_dlen", embedding_l2=0.1), RATES)
    batch = batch_of(16, seed=4)
    cuts = [slice(0, 3), slice(3, 15), slice(15, 16)]
    parts = [{name: values[cut] for name, values in batch.items()} for cut in cuts]
    shown = [float(tf.reduce_sum(part["mask_like"])) for part in parts]
    assert len({like / (cut.stop - cut.start) for like, cut in zip(shown, cuts, strict=True)}) > 1
    totals, gradients = [], []
    for part, cut, like in zip(parts, cuts, shown, strict=True):
        rows = (cut.stop - cut.start) / 16
        shares = {"click": rows, "watch": rows, "buy": rows, "all": rows, "like": like / sum(shown)}
        labels = ranker.labels(part)
        expected_rows = {**dict.fromkeys(("click", "watch", "buy", "all"), 16 * rows), "like": like}
        assert {name: float(count) for name, count in ranker.loss_rows(labels).items()} == expected_rows
        with tf.GradientTape() as tape:
            total, losses = ranker.dense_loss(ranker.embed(part), labels, training=True, shares=shares)
        totals.append([float(total), *(float(losses[task]) for task in TASKS)])
        gradients.append([tf.convert_to_tensor(g) for g in tape.gradient(total, ranker.trainable_variables)])
    with tf.GradientTape() as tape:
        total, losses = ranker.dense_loss(ranker.embed(batch), ranker.labels(batch), training=True)
    whole = [float(total), *(float(losses[task]) for task in TASKS)]
    np.testing.assert_allclose(np.sum(totals, axis=0), whole, rtol=1e-5)
    for *summed, gradient in zip(*gradients, tape.gradient(total, ranker.trainable_variables), strict=True):
        np.testing.assert_allclose(sum(summed), tf.convert_to_tensor(gradient), rtol=1e-4, atol=1e-6)


def test_a_calibrator_of_weighted_rows_sums_to_that_of_the_batch() -> None:
    """AITM's is a mean by the rows' weights, so its parts count by theirs, and not by their rows."""
    layout = LAYOUT.model_copy(update={"row_weights": True})
    ranker = build_ranker(layout, TASKS, model_config("aitm", head={"calibrator_weight": 3.0}), RATES)
    batch = {**batch_of(16, seed=4), ROW_WEIGHT: tf.constant([10.0] * 4 + [1.0] * 12)}
    parts = [{name: values[cut] for name, values in batch.items()} for cut in (slice(0, 8), slice(8, 16))]
    counted = [ranker.loss_rows(ranker.labels(part)) for part in parts]
    assert [float(of[ROW_WEIGHT]) for of in counted] == [44.0, 8.0]
    totals = []
    for part, own in zip(parts, counted, strict=True):
        shares = {name: own[name] / tf.add_n([of[name] for of in counted]) for name in own}
        totals.append(float(ranker.dense_loss(ranker.embed(part), ranker.labels(part), True, shares)[0]))
    whole = float(ranker.dense_loss(ranker.embed(batch), ranker.labels(batch), True)[0])
    assert sum(totals) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("config", "cluster", "message"),
    [
        (
            MultiWorkerMirroredStrategy(),
            {},
            r"'multi_worker_mirrored' needs .* types worker .* TF_CONFIG.* found none in None",
        ),
        (
            ParameterServerStrategy(),
            {"worker": ["a:1"], "ps": ["b:1"]},
            r"types chief, ps, worker .* found ps, worker in ",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, config: StrategyConfig, cluster: dict[str, Any], message: str
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if cluster:
        task = {"type": "worker", "index": 0}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(ConfigError, match=message):
        build_strategy(config)


def test_devices_that_are_not_there_are_refused() -> None:
    strategy = TrainConfig.model_validate({"strategy": {"kind": "mirrored", "devices": ["CPU:0", "GPU:7"]}}).strategy
    for refused in (check_devices, build_strategy):
        with pytest.raises(ConfigError, match=r"mirrored over CPU:0, GPU:7, but there is no GPU:7; allowed: CPU:0"):
            refused(strategy)
    check_devices(TrainConfig.model_validate({"strategy": {"kind": "mirrored", "devices": ["CPU:0"]}}).strategy)


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        (["banana"], "device 'banana' of mirrored; allowed: such as GPU:0"),
        (["GPU:0", "GPU:0"], "must differ; got GPU:0, GPU:0"),
    ],
)
def test_devices_that_cannot_be_are_refused_by_the_configuration(devices: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainConfig.model_validate({"strategy": {"kind": "mirrored", "devices": devices}})


def test_without_a_strategy_there_is_none() -> None:
    assert build_strategy(TrainConfig().strategy) is tf.distribute.get_strategy()


@pytest.mark.parametrize("strategy", ["tpu", {"kind": "tpu"}, {"kind": "tpu", "address": "my-tpu"}])
def test_a_tpu_is_refused_with_the_reason(strategy: Any) -> None:
    """When this fails because the strategy was made: docs/several_devices.md tells what it takes, and what must be tried on a TPU."""
    with pytest.raises(
        ValueError, match=r"strategy 'tpu' does not work: .* allowed: none, mirrored, multi_worker_mirrored"
    ):
        TrainConfig.model_validate({"strategy": strategy})


def test_averages_of_steps_that_have_no_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ema_decay averages .* 'parameter_server' have no steps in common"):
        TrainConfig.model_validate({"strategy": "parameter_server", "ema_decay": 0.9})


def test_the_tables_are_those_of_tfrs_tpu_embedding() -> None:
    """On CPU it looks up the rows that ours does, with the gradients of ours; it knows no pooling of padded lists."""
    api = tf.tpu.experimental.embedding
    lookups = Lookups(LAYOUT, embedding_dim=4, whole=["history"])
    batch = batch_of(12, seed=7)
    with tf.GradientTape() as tape:
        ours = lookups(batch)
        loss = sum(tf.reduce_sum(rows**3) for rows in (*ours.vectors.values(), *ours.whole.values()))
    expected = tape.gradient(loss, [lookups.tables["user"].table, lookups.tables["item"].table])
    tables = {
        table.name: api.TableConfig(
            table.rows,
            table.dim or 4,
            name=table.name,
            initializer=tf.constant_initializer(lookups.tables[table.name].table.numpy()),
        )
        for table in LAYOUT.tables
    }
    features = {i.name: api.FeatureConfig(tables[str(i.table)], name=i.name) for i in LAYOUT.embedded()}
    layer = tfrs.layers.embedding.TPUEmbedding(features, optimizer=api.Adagrad(0.1))
    with tf.GradientTape() as tape:
        theirs = layer({name: batch[name] for name in features})
        loss = sum(tf.reduce_sum(rows**3) for rows in theirs.values())
    for name, rows in {**ours.vectors, **ours.whole}.items():
        np.testing.assert_array_equal(theirs[name], rows)
    by_name = {"user" if "user" in variable.name else "item": variable for variable in layer.trainable_variables}
    found = tape.gradient(loss, [by_name["user"], by_name["item"]])
    for ours_gradient, theirs_gradient in zip(expected, found, strict=True):
        assert isinstance(theirs_gradient, tf.IndexedSlices)
        found_rows, expected_rows = (tf.convert_to_tensor(gradient) for gradient in (theirs_gradient, ours_gradient))
        np.testing.assert_allclose(found_rows, expected_rows, rtol=1e-5, atol=1e-9)


# -- whole trainings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """385 training rows: three batches of 128, and one of a single row, of which one replica has none."""
    directory = tmp_path_factory.mktemp("distributed")
    write_split(directory / "train", 385, seed=1)
    write_split(directory / "validation", 600, seed=2)
    return directory


def start(folder: pathlib.Path, cluster: dict[str, Any] | None = None, **settings: Any) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    environment |= {"TF_CONFIG": json.dumps(cluster)} if cluster else {}
    command = [sys.executable, "-m", "tests.models.train_distributed", str(folder), json.dumps(settings)]
    root = pathlib.Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str], code: int = 0) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == code, errors


def free_addresses(number: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def weights(folder: pathlib.Path, out: str, number: int = 0) -> list[Any]:
    with np.load(folder / out / f"weights-{number}.npz") as file:
        return [file[name] for name in file.files]


def losses(folder: pathlib.Path, out: str) -> list[float]:
    return [epoch["loss"] for epoch in json.loads((folder / out / "log-0" / "curves.json").read_text())["epochs"]]


def assert_close(found: list[Any], expected: list[Any], atol: float = 1e-6) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def alone(folder: pathlib.Path) -> list[Any]:
    """Weights of one process on one device."""
    finish(start(folder, out="alone"))
    return weights(folder, "alone")


@pytest.mark.slow
@pytest.mark.parametrize("xla", ["off", "on"])
def test_two_devices_train_as_one(folder: pathlib.Path, alone: list[Any], xla: str) -> None:
    finish(start(folder, out=f"mirrored-{xla}", xla=xla, **TWO_CPUS))
    assert_close(weights(folder, f"mirrored-{xla}"), alone, atol=1e-6 if xla == "off" else 1e-5)
    assert losses(folder, f"mirrored-{xla}") == pytest.approx(losses(folder, "alone"), abs=1e-5)


@pytest.mark.slow
def test_two_devices_keep_what_belongs_to_rows_as_one_does(folder: pathlib.Path) -> None:
    """Each task's own vectors in a row, an accumulator for each of them, averages since the row's last change; and kernels' decay."""
    own = {"trunk": {"kind": "ple", "units": [8], "task_experts": 1, "shared_experts": 1}, "embeddings": "stem"}
    decay = {"kind": "adam", "learning_rate": 0.01, "weight_decay": 0.5}
    settings = {
        "model": own,
        "ema_decay": 0.8,
        "embedding_optimizer": "rowwise_adagrad",
        "dense_optimizer": decay,
    }
    finish(start(folder, out="rows-alone", **settings), start(folder, out="rows-mirrored", **settings, **TWO_CPUS))
    assert_close(weights(folder, "rows-mirrored"), weights(folder, "rows-alone"))
    assert losses(folder, "rows-mirrored") == pytest.approx(losses(folder, "rows-alone"), abs=1e-5)


@pytest.mark.slow
def test_two_worker_processes_train_as_one(folder: pathlib.Path, alone: list[Any]) -> None:
    cluster = {"worker": free_addresses(2)}
    finish(
        *(
            start(
                folder,
                {"cluster": cluster, "task": {"type": "worker", "index": index}},
                out="workers",
                strategy="multi_worker_mirrored",
            )
            for index in (0, 1)
        )
    )
    for worker in (0, 1):
        assert_close(weights(folder, "workers", worker), alone)
    assert losses(folder, "workers") == pytest.approx(losses(folder, "alone"), abs=1e-5)
    assert not (folder / "workers" / "log-1").exists()  # the chief alone writes


@pytest.mark.slow
def test_two_devices_that_were_killed_go_on_as_if_nothing_had_happened(folder: pathlib.Path) -> None:
    """With dropout, whose masks differ between the devices: 4 steps an epoch, a checkpoint after the 3rd and the 4th."""
    settings = {**TWO_CPUS, "model": {"input_dropout": 0.2}, "precision": "mixed_bfloat16"}
    undisturbed = start(folder, out="undisturbed", **settings)
    finish(start(folder, out="killed", die_at=6, **settings), code=-signal.SIGKILL)
    finish(start(folder, out="killed", **settings), undisturbed)
    assert_close(weights(folder, "killed"), weights(folder, "undisturbed"), atol=0)


@contextlib.contextmanager
def servers(folder: pathlib.Path, cluster: dict[str, list[str]]) -> Iterator[None]:
    tasks = [{"type": kind, "index": index} for kind in ("ps", "worker") for index in range(len(cluster[kind]))]
    settings = {"out": "servers", "strategy": "parameter_server"}
    processes = [start(folder, {"cluster": cluster, "task": task}, **settings) for task in tasks]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_parameter_servers_hold_the_variables_and_learn(tmp_path: pathlib.Path) -> None:
    write_split(tmp_path / "train", 2_000, seed=1)
    write_split(tmp_path / "validation", 600, seed=2)
    for number, die_at, code in (
        (2, 23, -signal.SIGKILL),
        (1, 0, 0),
    ):  # it goes on in a smaller cluster of new processes
        chief, ps, *workers = free_addresses(2 + number)
        cluster = {"chief": [chief], "ps": [ps], "worker": workers}
        with servers(tmp_path, cluster):
            task = {"cluster": cluster, "task": {"type": "chief", "index": 0}}
            settings = {"out": "servers", "strategy": "parameter_server", "die_at": die_at}
            finish(start(tmp_path, task, **settings), code=code)
    first, second = losses(tmp_path, "servers")
    assert second < first
    devices = json.loads((tmp_path / "servers" / "devices-0.json").read_text())
    assert {device.partition("/device")[0] for device in devices} == {"/job:ps/replica:0/task:0"}
