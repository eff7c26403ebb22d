"""One compiled training step, and the running sums of an epoch."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import tensorflow as tf

from features.errors import ModelError
from features.outputs import ALL
from models.arrow_stream import stream_tensors
from models.config import TrainConfig
from models.lookups import Embedded
from models.optimizers import build_optimizer
from models.ranker import Ranker
from models.training.averaging import Gradient, WeightAverage
from models.training.gradients import DenseGradients, dense_gradients, looked_up
from models.training.replicas import Replicas, part_of, shares_of, sum_over_replicas

NEVER = np.iinfo(np.int64).max
Batch = Mapping[str, tf.Tensor]


def use_xla(config: TrainConfig) -> bool:
    """Whether the dense part is compiled: ``auto`` says yes where there is a GPU or TPU."""
    if config.xla == "auto":
        return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))
    return config.xla == "on"


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """A ``tf.function`` of code whose Python branches never ask a tensor: looking for such ones is most of the tracing time."""
    return tf.function(function, autograph=False, **options)


class TrainStep(tf.Module):
    """Changes a ranker by one batch at a time.

    Table lookups and sparse row updates stay outside of XLA, which would turn sparse gradients into dense ones; trunk, head,
    loss and its gradients are one function that XLA may compile. XLA makes a program for one size of batch, and here only for that of
    `batch_size`: an epoch's smaller last batch goes through the same function as a plain graph, or it would cost a second
    compilation. Losses are summed on the device, so that no step waits for a number.

    Checkpoints hold its variables: the optimizer's, the weights' averages and the epoch's sums.

    Args:
        ranker: what is trained.
        config: how.
        signature: of a batch, ``{column: (None,) or (None, length)}``. The step is traced at once, so that all its
            variables exist before a checkpoint is read.
        steps_per_epoch: only a schedule of learning rates needs it.
    """

    def __init__(
        self,
        ranker: Ranker,
        config: TrainConfig,
        signature: Mapping[str, tf.TensorSpec],
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(name="train_step")
        self.replicas = Replicas(ranker.distribute_strategy)
        self.optimizer = build_optimizer(ranker, config, steps_per_epoch)
        self.average = (
            WeightAverage(ranker.dense_variables, ranker.embedding_variables, config.ema_decay)
            if config.ema_decay is not None
            else None
        )
        self.names = (ALL, *ranker.tasks)
        self.sums = tf.Variable(tf.zeros(len(self.names), tf.float64), trainable=False)
        self.batches = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.first_bad = tf.Variable(tf.fill([len(self.names)], tf.constant(NEVER, tf.int64)), trainable=False)
        self._ranker = ranker
        self._decay_by_step = config.decay_task_weights == "step"
        self._batch_size = config.batch_size
        dense = functools.partial(dense_gradients, ranker)
        self._plain = compiled(dense)
        self._xla = compiled(dense, jit_compile=True) if use_xla(config) else None
        self._step = self._traced(signature)

    def __call__(self, batch: Any) -> None:
        """Trains on one batch with inputs, labels, masks and weights: an item of `feed`."""
        self._step(dict(batch))

    def feed(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Generator[Any, None, None]:
        """Yields what the step takes, one item for each of `batches`."""
        return stream_tensors(batches, schema)

    def wait(self) -> None:
        """Until all batches given so far are done."""

    def begin_epoch(self) -> None:
        """Sets the sums to 0."""
        self.sums.assign(tf.zeros_like(self.sums))
        self.batches.assign(0)
        self.first_bad.assign(tf.fill(self.first_bad.shape, tf.constant(NEVER, tf.int64)))

    def losses(self, epoch: int) -> dict[str, float]:
        """Means over the epoch's batches so far: ``all`` (the total) and each task's.

        Raises:
            ModelError: if a loss was NaN or infinite, with the first such step and its tasks.
        """
        first_bad = self.first_bad.numpy()
        if (first := first_bad.min()) != NEVER:
            tasks = [name for name, step in zip(self.names, first_bad, strict=True) if step == first and name != ALL]
            raise ModelError(
                f"epoch {epoch}, step {first}: the loss of {', '.join(tasks) or 'the regularisation'} is not a finite number. "
                "A smaller learning rate or train.clip_norm may help; or an input holds a value that is none"
            )
        batches = max(1, int(self.batches.numpy()))
        return {name: float(total) / batches for name, total in zip(self.names, self.sums.numpy(), strict=True)}

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The ranker with the averages of its weights, or as it is if none are kept."""
        return self.average.applied() if self.average else contextlib.nullcontext()

    def _traced(self, signature: Mapping[str, tf.TensorSpec]) -> Callable[..., Any]:
        def step(batch: Batch) -> None:
            self._count(self._train(batch))

        return compiled(step).get_concrete_function(dict(signature))

    def _train(self, batch: Batch, own: tf.Tensor | None = None) -> tf.Tensor:
        """One replica's part of a step, and its losses: (1 + tasks,).

        Args:
            batch: the replica's rows.
            own: how many of them are really its own, where other replicas have the rest of the batch: the losses of all
                sum to those of the whole.
        """
        ranker, labels = self._ranker, self._ranker.labels(batch)
        shares = None if own is None else shares_of(ranker.loss_rows(labels), own)
        with tf.GradientTape() as tape:
            embedded = ranker.embed(batch)
        dense, tables = self._dense(embedded, labels, shares), ranker.embedding_variables
        of_tables = tape.gradient(looked_up(embedded), tables, output_gradients=dense.of_vectors)
        gradients, variables = [*of_tables, *dense.of_variables], [*tables, *ranker.dense_variables]
        if own is not None:  # before they are clipped: the norm is that of the whole batch's gradient
            gradients = sum_over_replicas(gradients)
        self._apply(list(zip(gradients, variables, strict=True)), summed=own is not None)
        return tf.stack([dense.loss, *(dense.losses[name] for name in ranker.tasks)])

    def _dense(self, embedded: Embedded, labels: Batch, shares: Batch | None) -> DenseGradients:
        """`dense_gradients`, under XLA where that is on and this replica's part of the batch has its usual size."""
        arguments = {"embedded": embedded, "labels": labels, "shares": shares}
        if self._xla is None:
            return cast("DenseGradients", self._plain(**arguments))
        replica = tf.distribute.get_replica_context()
        part = part_of(self._batch_size, replica.replica_id_in_sync_group, replica.num_replicas_in_sync)
        rows = tf.shape(next(iter(labels.values())))[0]
        gradients: DenseGradients = tf.cond(
            tf.equal(rows, part.stop - part.start),
            functools.partial(self._xla, **arguments),
            functools.partial(self._plain, **arguments),
        )
        return gradients

    def _apply(self, gradients: Sequence[tuple[Gradient, tf.Variable]], summed: bool) -> None:
        if self.average:
            self.average.before_step(gradients)
        self.optimizer.apply_gradients(gradients, experimental_aggregate_gradients=not summed)
        if self.average:
            self.average.after_step()

    def _count(self, losses: tf.Tensor) -> None:
        number = self.batches.assign_add(1)
        if self._decay_by_step:
            self._ranker.decays.assign_add(1)
        self.sums.assign_add(tf.cast(losses, tf.float64))
        self.first_bad.assign(tf.where(tf.math.is_finite(losses), self.first_bad, tf.minimum(self.first_bad, number)))
