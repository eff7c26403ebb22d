"""The dense part under XLA: it compiles as a whole, equals the plain graph, and is compiled once a training."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from features.layout import Layout
from models.config import PRESETS, TrainConfig
from models.ranker import Ranker, build_ranker
from models.training.gradients import dense_gradients
from models.training.step import TrainStep, use_xla
from tests.models.rankers import LAYOUT, RATES, TASKS, batch_of, model_config

MODELS: dict[str, dict[str, Any]] = {
    **{name: {"preset": name, "embedding_dim": 6} for name in PRESETS},
    "top_k": {"preset": "mmoe", "gate": {"kind": "top_k", "k": 2, "noise": False}},
    "dselect_k": {"preset": "ple", "gate": {"kind": "dselect_k", "k": 2}},
    "numbers": {"preset": "mmoe", "numbers": "periodic", "embedding_l2": 0.1},
    "cgc_escm2": {"preset": "escm2", "trunk": {"kind": "cgc"}},
    "sluice_din_dot": {"preset": "sluice", "interactions": "dot", "embedding_dim": 6},
    "cross_stitch_fm_esmm": {
        "preset": "esmm",
        "trunk": {"kind": "cross_stitch"},
        "interactions": "fm",
        "embedding_dim": 6,
    },
    "hmoe_noise": {"preset": "hmoe", "gate": {"kind": "top_k", "k": 2}, "input_dropout": 0.2},
    "snr_position": {"preset": "snr_trans", "trunk": {"dropout": 0.3}, "beside": "position_tower"},
}
ATTENTION = LAYOUT.inputs[2].model_copy(update={"pooling": "din_attention", "target": "item"})
DIN = LAYOUT.model_copy(update={"inputs": (*LAYOUT.inputs[:2], ATTENTION, *LAYOUT.inputs[3:])})
LEAVES_XLA = (" infeed(", " outfeed(", " send(", " recv(")
SIZES = (64, 64, 40, 64, 1, 40, 64)
"""Batches of `batch_size`, and smaller ones."""


def small_ranker(parts: dict[str, Any], layout: Layout = LAYOUT) -> Ranker:
    tf.keras.utils.set_random_seed(3)
    return build_ranker(layout, TASKS, model_config(**parts), RATES)


def dense_part(ranker: Ranker, rows: int) -> Callable[[], Any]:
    """What training compiles: the losses and the gradients of a batch that has been looked up."""
    batch = batch_of(rows)
    embedded, labels = ranker.embed(batch), ranker.labels(batch)

    def run() -> Any:
        found = dense_gradients(ranker, embedded, labels)
        by_variable = [tf.convert_to_tensor(gradient) for gradient in found.of_variables if gradient is not None]
        return [found.loss, *found.losses.values(), *found.of_vectors, *by_variable]

    return run


def draw_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA draws other numbers than the plain graph; here both draw the same ones."""

    def uniform(shape: Any, seed: tf.Tensor, dtype: tf.DType = tf.float32, alg: str = "") -> tf.Tensor:
        del seed, alg
        numbers = tf.range(tf.reduce_prod(shape)) * 7919 % 1009
        return tf.reshape((tf.cast(numbers, dtype) + 0.5) / 1009, shape)

    monkeypatch.setattr(tf.random, "stateless_uniform", uniform)
    monkeypatch.setattr(tf.random, "stateless_normal", lambda *args, **options: 4 * uniform(*args, **options) - 2)


@pytest.mark.parametrize("name", MODELS)
def test_the_dense_part_is_one_program_and_equals_the_plain_graph(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    run = dense_part(small_ranker(MODELS[name], DIN if "din" in name else LAYOUT), rows=48)
    draw_alike(monkeypatch)
    plain, xla = tf.function(run, autograph=False), tf.function(run, autograph=False, jit_compile=True)
    program = xla.experimental_get_compiler_ir()(stage="optimized_hlo")
    assert program.startswith("HloModule")
    assert not [word for word in LEAVES_XLA if word in program]
    for expected, found in zip(plain(), xla(), strict=True):
        assert np.isfinite(found.numpy()).all()
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-6)


def test_what_xla_cannot_compile_fails_loudly() -> None:
    """So that the test above could fail: nothing falls back to the plain graph."""

    def with_a_string(x: tf.Tensor) -> tf.Tensor:
        return tf.strings.to_number(tf.strings.as_string(x))

    with pytest.raises(tf.errors.InvalidArgumentError, match="AsString"):
        tf.function(with_a_string, jit_compile=True)(tf.constant(1.0))


@pytest.mark.parametrize(
    ("xla", "there", "used"),
    [("auto", [], False), ("auto", ["GPU"], True), ("auto", ["TPU"], True), ("on", [], True), ("off", ["GPU"], False)],
)
def test_auto_compiles_where_there_is_an_accelerator(
    monkeypatch: pytest.MonkeyPatch, xla: str, there: list[str], used: bool
) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] if kind in there else [])
    assert use_xla(TrainConfig.model_validate({"xla": xla})) is used


@pytest.mark.parametrize("xla", ["on", "off"])
def test_batches_of_any_size_are_traced_once(xla: str) -> None:
    ranker = small_ranker({"preset": "mmoe"})
    with mock.patch.object(ranker, "dense_loss", wraps=ranker.dense_loss) as traced:
        step = TrainStep(ranker, TrainConfig.model_validate({"xla": xla, "batch_size": SIZES[0]}), signature())
        traces = {"on": 2, "off": 1}[xla]  # for XLA, and as a plain graph
        assert traced.call_count == traces
        for size in SIZES:
            step(batch_of(size))
        assert traced.call_count == traces
    assert np.isfinite(step.losses(1)["all"])


def signature() -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec((None, *value.shape[1:]), value.dtype) for name, value in batch_of(1).items()}


@pytest.mark.parametrize(
    "parts",
    [
        {"preset": "mmoe", "embedding_l2": 0.1},
        {"preset": "mose", "trunk": {"shared_units": 6, "tower_units": 6}},  # a loop over steps
        {"preset": "escm2", "trunk": {"kind": "ple"}, "gate": {"kind": "dselect_k", "k": 2}, "embeddings": "stem"},
    ],
    ids=lambda parts: parts["preset"],
)
def test_smaller_batches_train_as_they_do_without_xla(parts: dict[str, Any]) -> None:
    weights = {}
    for xla in ("on", "off"):
        ranker = small_ranker(parts)
        step = TrainStep(ranker, TrainConfig.model_validate({"xla": xla, "batch_size": 64}), signature())
        for size in (64, 40):
            step(batch_of(size))
        weights[xla] = [*ranker.get_weights(), list(step.losses(1).values())]
    for expected, found in zip(weights["off"], weights["on"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_is_compiled_once_whatever_sizes_batches_have(tmp_path: pathlib.Path) -> None:
    """The first batch compiles one program, forward and backward; nothing does later."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text"}
    subprocess.run([sys.executable, "-m", "tests.models.test_xla"], env=environment, check=True, capture_output=True)
    steps = [int(line) for line in (tmp_path / "programs.txt").read_text().split()]
    assert steps == [1] * len(SIZES)


def main() -> None:
    """Writes how many programs XLA has compiled after each step. XLA's own dump tells: one file each."""
    folder = pathlib.Path(os.environ["XLA_FLAGS"].split("=")[1].split()[0])
    config = TrainConfig.model_validate({"xla": "on", "batch_size": SIZES[0]})
    step = TrainStep(small_ranker({"preset": "mmoe"}), config, signature())
    counts = []
    for size in SIZES:
        step(batch_of(size))
        step.losses(1)
        counts.append(len(list(folder.glob("module_*before_optimizations.txt"))))
    (folder / "programs.txt").write_text("\n".join(map(str, counts)))


if __name__ == "__main__":
    main()
