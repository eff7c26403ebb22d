"""How a ranker is trained."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen, SpecError
from models.settings.schedules import ConstantSchedule, ScheduleConfig
from models.settings.strategies import MirroredStrategy, NoStrategy, StrategyConfig


class _Adam(Frozen):
    kind: str
    learning_rate: float = pydantic.Field(default=0.001, gt=0)
    """Before `train.schedule` scales it."""
    beta_1: float = pydantic.Field(default=0.9, ge=0, lt=1)
    """Share of the mean gradient that a step keeps."""
    beta_2: float = pydantic.Field(default=0.999, ge=0, lt=1)
    """Share of the mean squared gradient that a step keeps."""
    epsilon: float = pydantic.Field(default=1e-7, gt=0)
    """Added to the root that gradients are divided by."""


class AdamOptimizer(_Adam):
    """Kingma and Ba, Adam, ICLR 2015. For dense variables."""

    kind: Literal["adam"] = "adam"
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    """Times the learning rate: the share that kernels lose at each step, apart from Adam's moments (Loshchilov and Hutter,
    Decoupled Weight Decay Regularization, ICLR 2019: AdamW). Biases, mixtures of tasks and gates' choices lose nothing."""


class LazyAdamOptimizer(_Adam):
    """Adam that touches only the rows that were looked up. For embedding tables."""

    kind: Literal["lazy_adam"] = "lazy_adam"


class _Adagrad(Frozen):
    kind: str
    learning_rate: float = pydantic.Field(default=0.05, gt=0)
    """Before `train.schedule` scales it."""
    initial_accumulator: float = pydantic.Field(default=0.1, ge=0)
    """Sum of squared gradients to begin with: the larger, the shorter the first steps."""
    epsilon: float = pydantic.Field(default=1e-7, gt=0)
    """Added to the root that gradients are divided by."""


class AdagradOptimizer(_Adagrad):
    """Duchi et al., Adaptive Subgradient Methods, JMLR 2011. Touches only the rows that were looked up."""

    kind: Literal["adagrad"] = "adagrad"


class RowwiseAdagradOptimizer(_Adagrad):
    """Adagrad with one accumulator a row instead of one a number: little memory beside the tables. Touches only the rows
    that were looked up. The accumulator sums the mean squared gradient of the row, as in TorchRec's EXACT_ROWWISE_ADAGRAD."""

    kind: Literal["rowwise_adagrad"] = "rowwise_adagrad"


DenseOptimizer = Annotated[AdamOptimizer | AdagradOptimizer, pydantic.Field(discriminator="kind"), BareKind()]
EmbeddingOptimizer = Annotated[
    AdagradOptimizer | RowwiseAdagradOptimizer | LazyAdamOptimizer, pydantic.Field(discriminator="kind"), BareKind()
]


class TrainConfig(Frozen):
    """How a ranker is trained."""

    batch_size: int = pydantic.Field(default=2048, ge=1)
    """Rows of a step."""
    epochs: int = pydantic.Field(default=10, ge=1)
    """At most; early stopping may end sooner."""
    patience: int = pydantic.Field(default=2, ge=0)
    """Epochs in a row without a better validation mean AUC after which training stops, as Keras counts: 0 and 1 both stop
    at the first. The best epoch's weights are kept. In the mean a task weighs as much as its positives make its AUC sure."""
    seed: int = pydantic.Field(default=1, ge=0, lt=2**32)
    """Of first weights, dropout and the order of rows."""
    dense_optimizer: DenseOptimizer = AdamOptimizer()
    """Of all variables but embedding tables."""
    embedding_optimizer: EmbeddingOptimizer = AdagradOptimizer()
    """Of embedding tables."""
    decay_task_weights: Literal["epoch", "step"] = "epoch"
    """What t counts in the tasks' ``weight * weight_gamma^t``: finished epochs or steps."""
    schedule: ScheduleConfig = ConstantSchedule()
    """Scales the learning rates of both optimisers alike."""
    clip_norm: float | None = pydantic.Field(default=None, gt=0)
    """Largest norm of all gradients together, tables included; larger ones are all scaled down by the same factor (Pascanu
    et al., On the difficulty of training recurrent neural networks, ICML 2013)."""
    ema_decay: float | None = pydantic.Field(default=None, gt=0, lt=1)
    """Keeps exponential moving averages of all weights, of which the last ``1 / (1 - ema_decay)`` steps make the most (0.999: a
    thousand); validation and export take the averages. Tables take twice the memory. null: the weights as they are."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile the dense part. ``auto``: on GPU and TPU only; on CPU plain graphs are faster. It is compiled once a training, for
    batches of `batch_size`; smaller ones (an epoch's last) go through the plain graph. In bfloat16 the experts' biases and
    activations are compiled in any case. ``on`` for a CPU with bfloat16: XLA's compiler was seen to end the process with the trunk
    `sluice` and batches of 64 rows (a failed check of its own), not with 1024."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """``mixed_bfloat16`` trains with bfloat16 products, float32 variables and losses. What is exported computes in float32, whose
    answers do not depend on the machine that serves; evaluate and check_serving judge that."""
    strategy: StrategyConfig = NoStrategy()
    """Devices and machines that train together. ``batch_size`` is what all of them see in one step together."""
    shuffle_rows: int = pydantic.Field(default=200_000, ge=0)
    """Rows held in memory to draw batches from; 0 keeps the files' order."""
    warm_start: str = pydantic.Field(default="none", min_length=1)
    """Where the weights come from at the start. ``none``: drawn at random. ``last_pushed``: the last model that this pipeline pushed
    before it had these rows (none of its own in a repeated run, nor one of another configuration of the same rows); at random where there is none.
    Else a model: its folder, one of numbered versions (the highest), a pipeline's name, a run's id. Rows of tables are matched by token; the report tells what was matched. The optimisers'
    moments and the schedule start anew."""
    checkpoint_every_steps: int = pydantic.Field(default=1000, ge=1)
    """Steps between two checkpoints, from which a killed run goes on."""
    keep_checkpoints: int = pydantic.Field(default=2, ge=1)
    """The newest ones that stay on disk while training goes on."""

    @pydantic.model_validator(mode="after")
    def _averages_need_steps_in_order(self) -> TrainConfig:
        if self.strategy.kind == "parameter_server" and self.ema_decay is not None:
            raise SpecError(
                "ema_decay averages the weights after each step, and the workers of strategy 'parameter_server' have no steps "
                "in common; leave ema_decay out, or use 'none', 'mirrored' or 'multi_worker_mirrored'"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _warmup_ends_before_training(self) -> TrainConfig:
        if (epochs := self.schedule.warmup.epochs or 0) >= self.epochs:
            raise SpecError(
                f"schedule.warmup takes {epochs:g} epochs and training {self.epochs} at most, so it would end in its warm-up; allowed: "
                "fewer than `epochs`"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _devices_have_rows(self) -> TrainConfig:
        if isinstance(self.strategy, MirroredStrategy) and len(self.strategy.devices) > self.batch_size:
            raise SpecError(
                f"batch_size: {self.batch_size} rows are shared by the {len(self.strategy.devices)} devices of strategy "
                f"'mirrored', and each needs one; allowed: {len(self.strategy.devices)} or more"
            )
        return self
