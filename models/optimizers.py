"""Optimisers: one for embedding tables that touches looked-up rows only, one for everything else.

Built on ``tf.keras.optimizers.legacy``: its Adam and Adagrad are one fused kernel a variable, its sparse path sums duplicate
rows once and updates rows in place, and ``tfrs.experimental.optimizers.CompositeOptimizer`` is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_recommenders as tfrs

from features.errors import ConfigError
from models import config
from models.ranker import Ranker
from models.schedules import ScheduledRate, whole_steps

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices"


class LazyAdam(tf.keras.optimizers.legacy.Adam):
    """Adam whose sparse update touches the rows of the gradient only.

    For each row r of the gradient, with the global step t:
    ``m_r = b1 m_r + (1 - b1) g_r``, ``v_r = b2 v_r + (1 - b2) g_r^2``,
    ``x_r -= lr sqrt(1 - b2^t) / (1 - b1^t) m_r / (sqrt(v_r) + epsilon)``. Other rows, and their moments, stay as they are, whereas Adam
    decays and moves every row of the table at every step. Equal to Adam as long as every row is in every gradient.

    Example:
        >>> LazyAdam(learning_rate=0.01).get_config()["name"]
        'LazyAdam'

    Paper: Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015 (the lazy form is TensorFlow Addons').
    """

    def __init__(self, learning_rate: float = 0.001, name: str = "LazyAdam", **kwargs: Any) -> None:
        super().__init__(learning_rate, name=name, **kwargs)

    def _resource_apply_sparse(
        self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor, apply_state: Any = None
    ) -> tf.Operation:
        """Called by the base class, which has summed duplicate rows."""
        key = (var.device, var.dtype.base_dtype)
        scale = (apply_state or {}).get(key) or self._fallback_apply_state(*key)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m_rows = scale["beta_1_t"] * tf.gather(m, indices) + scale["one_minus_beta_1_t"] * grad
        v_rows = scale["beta_2_t"] * tf.gather(v, indices) + scale["one_minus_beta_2_t"] * tf.square(grad)
        step = scale["lr"] * m_rows / (tf.sqrt(v_rows) + scale["epsilon"])
        return tf.group(
            m.scatter_update(tf.IndexedSlices(m_rows, indices)),
            v.scatter_update(tf.IndexedSlices(v_rows, indices)),
            var.scatter_sub(tf.IndexedSlices(step, indices)),
        )


class RowwiseAdagrad(tf.keras.optimizers.legacy.Adagrad):
    """Adagrad with one accumulator a row, or one for each of its `groups`.

    For each row r of the gradient, d numbers wide: ``a_r += sum_j g_rj^2 / d``, ``x_r -= lr g_r / (sqrt(a_r) + epsilon)``. Other rows, and
    their accumulators, stay as they are. A dense gradient counts as one that holds every row.

    Where a row holds the vectors of several groups side by side (``embeddings: stem``), each is such a row of its own: one
    accumulator for all would let the gradient of one task slow down the others' vectors.

    It is EXACT_ROWWISE_ADAGRAD of FBGEMM and TorchRec, with an initial accumulator as Keras' Adagrad has.

    Example:
        >>> RowwiseAdagrad(learning_rate=0.01).get_config()["name"]
        'RowwiseAdagrad'

    Papers: Duchi et al., Adaptive Subgradient Methods, JMLR 2011; by rows: Mudigere et al., Software-Hardware Co-design for
    Fast and Scalable Training of Deep Learning Recommendation Models, ISCA 2022.
    """

    def __init__(
        self, learning_rate: float = 0.01, groups: int = 1, name: str = "RowwiseAdagrad", **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.groups = groups

    def _create_slots(self, var_list: Sequence[tf.Variable]) -> None:
        start = tf.keras.initializers.Constant(self._initial_accumulator_value)
        for var in var_list:
            self.add_slot(var, "accumulator", start, shape=(var.shape[0], self.groups))

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable, apply_state: Any = None) -> tf.Operation:
        return self._resource_apply_sparse(grad, var, tf.range(tf.shape(grad)[0]), apply_state)

    def _resource_apply_sparse(
        self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor, apply_state: Any = None
    ) -> tf.Operation:
        """Called by the base class, which has summed duplicate rows."""
        key = (var.device, var.dtype.base_dtype)
        scale = (apply_state or {}).get(key) or self._fallback_apply_state(*key)
        accumulator = self.get_slot(var, "accumulator")
        grouped = tf.reshape(grad, (-1, self.groups, var.shape[1:].num_elements() // self.groups))
        sums = tf.gather(accumulator, indices) + tf.reduce_mean(tf.square(grouped), axis=-1)
        rates = scale["lr_t"] / (tf.sqrt(sums) + scale["epsilon"])
        step = tf.reshape(grouped * rates[..., None], tf.shape(grad))
        return tf.group(
            accumulator.scatter_update(tf.IndexedSlices(sums, indices)),
            var.scatter_sub(tf.IndexedSlices(step, indices)),
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "groups": self.groups}


class DecayingAdam(tf.keras.optimizers.legacy.Adam):
    """Adam that takes ``lr * weight_decay * x`` off every kernel x, apart from the moments (AdamW).

    A kernel is a matrix that multiplies activations; the last part of its name begins with ``kernel`` or ``recurrent_kernel``, as our
    layers and Keras' name them. The others stay: biases and slopes; what mixes tasks or layers (alpha, beta), for its start is
    no zero; hard-concrete ``log_alpha``; top-k's ``noise_kernel`` and DSelect-k's ``digits`` and ``selectors``, whose zero is noise or
    indecision; periodic ``coefficients``, which are frequencies.

    Paper: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
    """

    def __init__(
        self, learning_rate: float = 0.001, weight_decay: float = 0.0, name: str = "DecayingAdam", **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.weight_decay = weight_decay

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable, apply_state: Any = None) -> tf.Operation:
        name = var.name.partition("/replica_")[0].rpartition("/")[2]  # a strategy's copies are called NAME/replica_N
        if not self.weight_decay or not name.startswith(("kernel", "recurrent_kernel")):
            return super()._resource_apply_dense(grad, var, apply_state)
        key = (var.device, var.dtype.base_dtype)
        scale = (apply_state or {}).get(key) or self._fallback_apply_state(*key)
        decayed = var.assign_sub(scale["lr_t"] * self.weight_decay * var)
        with tf.control_dependencies([decayed]):
            return super()._resource_apply_dense(grad, var, apply_state)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "weight_decay": self.weight_decay}


class ClippedComposite(tfrs.experimental.optimizers.CompositeOptimizer):
    """TFRS' composite of optimisers, which scales all gradients together before it hands them out.

    Args:
        optimizers_and_vars: pairs of an optimiser and a function that returns its variables.
        clip_norm: largest norm of all gradients together; None leaves them as they are.
    """

    def __init__(self, optimizers_and_vars: Sequence[tuple[Any, Any]], clip_norm: float | None = None) -> None:
        super().__init__(optimizers_and_vars)
        self._clip_norm = clip_norm

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Gradient, tf.Variable]],
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
    ) -> None:
        """Clips, then applies each gradient by its variable's optimiser."""
        gradients, variables = zip(*grads_and_vars, strict=True)
        clipped = clip_gradients(gradients, self._clip_norm)
        super().apply_gradients(list(zip(clipped, variables, strict=True)), name, experimental_aggregate_gradients)


def build_optimizer(ranker: Ranker, train: config.TrainConfig, steps_per_epoch: int | None = None) -> ClippedComposite:
    """Both optimisers behind one ``apply_gradients``, schedule and gradient clipping included.

    A ``tf.train.Checkpoint`` of the ranker and the result holds weights, slots and step: training resumes exactly.

    Args:
        ranker: what is trained.
        train: how.
        steps_per_epoch: only a schedule needs it.

    Raises:
        ValueError: if there is a schedule and no `steps_per_epoch`.
        ConfigError: if a warm-up in steps takes all of the training.
    """
    parts: list[tuple[Any, Callable[[], list[tf.Variable]]]] = [
        (_optimizer(train.dense_optimizer, train, steps_per_epoch), lambda: ranker.dense_variables)
    ]
    if ranker.embedding_variables:
        embedding = _optimizer(train.embedding_optimizer, train, steps_per_epoch, ranker.lookups.groups or 1)
        parts.append((embedding, lambda: ranker.embedding_variables))
    for optimizer, variables in parts:  # now: a function whose trace creates variables is traced twice
        optimizer._create_all_weights(variables())
    return ClippedComposite(parts, train.clip_norm)


def clip_gradients(gradients: Sequence[Gradient], clip_norm: float | None) -> list[Gradient]:
    """Scales all gradients together so that their norm is at most `clip_norm`; None leaves them.

    Rows that occur twice in a sparse gradient are summed first: the norm is that of the dense gradient.
    """
    if clip_norm is None:
        return list(gradients)
    clipped, _ = tf.clip_by_global_norm([sum_duplicates(gradient) for gradient in gradients], clip_norm)
    return list(clipped)


def sum_duplicates(gradient: Gradient) -> Gradient:
    """A sparse gradient in which every row occurs once; a dense one as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, positions = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, positions, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _check_warmup(train: config.TrainConfig, steps_per_epoch: int) -> None:
    """The configuration, which does not know how many steps an epoch has, can refuse whole epochs only."""
    warmup, whole = train.schedule.warmup, steps_per_epoch * train.epochs
    if (steps := whole_steps(warmup, steps_per_epoch)) >= whole:
        said = f"{steps:,} steps" if warmup.epochs is None else f"{warmup.epochs:g} epochs, which are {steps:,} steps,"
        raise ConfigError(
            f"train.schedule.warmup takes {said} and training {whole:,} at most ({steps_per_epoch:,} steps an epoch, "
            f"epochs: {train.epochs}), so it would end in its warm-up; allowed: 0 to {whole - 1:,} steps"
        )


def _optimizer(
    part: config.DenseOptimizer | config.EmbeddingOptimizer,
    train: config.TrainConfig,
    steps_per_epoch: int | None,
    groups: int = 1,
) -> tf.keras.optimizers.legacy.Optimizer:
    rate: float | ScheduledRate = part.learning_rate
    if train.schedule != config.ConstantSchedule():
        if steps_per_epoch is None:
            raise ValueError(f"schedule '{train.schedule.kind}' needs the steps per epoch; got none")
        _check_warmup(train, steps_per_epoch)
        rate = ScheduledRate(part.learning_rate, train.schedule, steps_per_epoch, train.epochs)
    if isinstance(part, config.AdagradOptimizer | config.RowwiseAdagradOptimizer):
        start: dict[str, Any] = {"initial_accumulator_value": part.initial_accumulator, "epsilon": part.epsilon}
        if isinstance(part, config.RowwiseAdagradOptimizer):
            return RowwiseAdagrad(rate, groups, **start)
        return tf.keras.optimizers.legacy.Adagrad(rate, **start)
    moments: dict[str, Any] = {"beta_1": part.beta_1, "beta_2": part.beta_2, "epsilon": part.epsilon}
    if isinstance(part, config.AdamOptimizer):
        return DecayingAdam(rate, part.weight_decay, **moments)
    return LazyAdam(rate, **moments)
