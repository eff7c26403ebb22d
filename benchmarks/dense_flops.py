"""How much of the processor's matrix speed the dense part of a training step reaches.

    python -m benchmarks.dense_flops [--models mmoe ple] [--precisions float32 mixed_bfloat16] [--rounds 5]

The dense part is everything above the lookups, forward and backward: experts, gates, mixing, towers, losses, and gradients for all
weights and for the looked-up vectors. What it has to multiply, ``6 x batch x weights`` operations (one product forward, two
backward, two operations a multiplication), is divided by its time. Beside it: the same products alone, each weight's three in
their own shapes by plain ``tf.matmul``, their times added. Both are measured in turn; medians are printed, and the load.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import cast

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from benchmarks.own_step import held_batches, make_ranker
from benchmarks.step_problem import Problem
from benchmarks.train_step import processor
from models.config import TrainConfig
from models.ranker import Ranker
from models.training.step import compiled, use_xla


def dense_part(ranker: Ranker, problem: Problem) -> Callable[[], object]:
    """Loss and all gradients of one batch that has been looked up."""
    batch = next(iter(held_batches(problem)))
    embedded, labels = ranker.embed(batch), ranker.labels(batch)
    variables = ranker.dense_variables

    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(embedded)
            loss, _ = ranker.dense_loss(embedded, labels, training=True)
        return tape.gradient(
            loss, [*tf.nest.flatten(embedded), *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return cast("Callable[[], object]", compiled(gradients, jit_compile=use_xla(TrainConfig()) or None))


def weights(ranker: Ranker) -> list[tf.TensorShape]:
    """Shapes of all that is multiplied: (in, out), or (experts, in, out). Gates of one input, (gates, in, experts), are one product."""
    kernels = [v for v in ranker.dense_variables if v.name.rsplit("/", 1)[-1].startswith("kernel")]
    return [tf.TensorShape((v.shape[1], v.shape[0] * v.shape[2])) if "gate" in v.name else v.shape for v in kernels]


def products(shape: tf.TensorShape, batch: int, dtype: tf.DType) -> list[Callable[[], object]]:
    """A weight's product forward, and the two backward."""
    *experts, width, units = shape
    inputs, outputs = (tf.cast(tf.random.normal((*experts, batch, n)), dtype) for n in (width, units))
    weight = tf.cast(tf.random.normal(shape), dtype)
    return [
        lambda: tf.matmul(inputs, weight),
        lambda: tf.matmul(inputs, outputs, transpose_a=True),
        lambda: tf.matmul(outputs, weight, transpose_b=True),
    ]


def seconds(run: Callable[[], object], times: int = 5) -> float:
    """Of one call, over `times`."""
    tf.test.experimental.sync_devices()
    began = time.perf_counter()
    for _ in range(times):
        run()
    tf.test.experimental.sync_devices()
    return (time.perf_counter() - began) / times


def measure(problem: Problem, rounds: int) -> tuple[float, float]:
    """GFLOP/s of the dense part, and of the plain products."""
    ranker = make_ranker(problem)
    dense, shapes = dense_part(ranker, problem), weights(ranker)
    dtype = tf.bfloat16 if problem.precision == "mixed_bfloat16" else tf.float32
    plain = [product for shape in shapes for product in products(shape, problem.batch, dtype)]
    operations = 6 * problem.batch * sum(shape.num_elements() for shape in shapes) / 1e9
    dense(), [product() for product in plain]
    times = [(seconds(dense), sum(map(seconds, plain))) for _ in range(rounds)]
    return tuple(operations / statistics.median(column) for column in zip(*times, strict=True))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mmoe", "ple"], choices=["mmoe", "ple"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "mixed_bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(processor())
    print(
        "| model | precision | dense part, GFLOP/s | plain products, GFLOP/s | share | of the first precision | load |"
    )
    print("|---|---|---|---|---|---|---|")
    for model in options.models:
        first = None
        for precision in options.precisions:
            reached, possible = measure(Problem(model=model, rows=1000, precision=precision), options.rounds)
            first = first or reached
            print(
                f"| {model} | {precision} | {reached:,.0f} | {possible:,.0f} | {reached / possible:.0%} "
                f"| {reached / first:.2f} | {os.getloadavg()[0]:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
