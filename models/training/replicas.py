"""Copies of a ranker that train together: which rows are whose, and what they tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import tensorflow as tf

from features.errors import ModelError

SUM = tf.distribute.ReduceOp.SUM


def part_of(rows: int, replica: int, replicas: int) -> slice:
    """Which of a batch's `rows` belong to one of its replicas; they differ by one row at most."""
    return slice(replica * rows // replicas, (replica + 1) * rows // replicas)


class Replicas:
    """The part that this process plays among those that train one model.

    Args:
        strategy: under which they train.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        self.total = strategy.num_replicas_in_sync
        """Copies of the model, those of other processes included."""
        self.here = len(strategy.extended.worker_devices) if self.total > 1 else 1
        """Copies in this process."""
        worker = _worker_number(strategy)
        self.first = worker * self.here
        """Number of the first copy here; they count from 0 over all processes."""
        self.chief = worker == 0
        """Whether this process writes checkpoints, validates and reports."""
        signature = [tf.TensorSpec([None], tf.int32)]
        self._sum = tf.function(self._sum_everywhere, input_signature=signature, autograph=False)

    def pieces(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of each copy here, one after the other, of each global batch.

        A copy whose part is empty (`counts`) gets one row of the batch that is another's, for no step can do without rows.
        """
        for batch in batches:
            for part in self._parts(batch.num_rows):
                yield batch.slice(part.start, max(part.stop - part.start, 1))

    def counts(self, rows: int) -> list[int]:
        """How many rows of a global batch of `rows` belong to each copy here."""
        return [part.stop - part.start for part in self._parts(rows)]

    def _parts(self, rows: int) -> list[slice]:
        return [part_of(rows, replica, self.total) for replica in range(self.first, self.first + self.here)]

    def from_chief(self, text: Callable[[], str]) -> str:
        """What the chief's `text` says, in all processes; they wait for it, and only the chief calls it."""
        if self.total == self.here:
            return text()
        said = list(text().encode()) if self.chief else []
        length = int(self._sum(tf.constant([len(said)])).numpy()[0])
        return bytes(self._sum(tf.constant(said or [0] * length)).numpy().tolist()).decode()

    def check_same(self, training: str) -> None:
        """Refuses to train with processes that have another model, configuration or data.

        Raises:
            ModelError: if the chief's `training` is another.
        """
        if (chiefs := self.from_chief(lambda: training)) != training:
            raise ModelError(f"all workers must train the same: this one has training {training}, the chief {chiefs}")

    def wait(self) -> None:
        """Until all processes are here."""
        self.from_chief(lambda: "all here")

    def _sum_everywhere(self, values: tf.Tensor) -> tf.Tensor:
        """Of all processes, each of which counts once."""

        def add(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            once = tf.cast(context.replica_id_in_sync_group == self.first, values.dtype)
            return context.all_reduce(SUM, values * once)

        return self.strategy.experimental_local_results(self.strategy.run(add, args=(values,)))[0]


def shares_of(rows: Mapping[str, tf.Tensor], own: tf.Tensor) -> dict[str, tf.Tensor]:
    """This replica's share of all replicas' rows, for each entry; 0 where there are none. In replica context.

    Args:
        rows: how many rows count, from ``Ranker.loss_rows``.
        own: how many of the replica's rows are its own; with 0 its one row is another's and does not count.
    """
    counted = {name: tf.where(own > 0, count, 0) for name, count in rows.items()}
    totals = tf.distribute.get_replica_context().all_reduce(SUM, counted)
    return {name: tf.math.divide_no_nan(count, totals[name]) for name, count in counted.items()}


def sum_over_replicas(gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> list[Any]:
    """Each gradient of all replicas together; None where a variable has none. In replica context."""
    present = [gradient for gradient in gradients if gradient is not None]
    summed = iter(tf.distribute.get_replica_context().all_reduce(SUM, present))
    return [None if gradient is None else next(summed) for gradient in gradients]


def _worker_number(strategy: tf.distribute.Strategy) -> int:
    """Of this process among those that hold copies; the chief is 0."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0
    resolver = strategy.cluster_resolver
    return int(resolver.task_id + (resolver.task_type == "worker" and "chief" in resolver.cluster_spec().jobs))
