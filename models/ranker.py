"""The ranker: inputs, trunk and head, composed in sight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from features.errors import ModelError
from features.layout import Input, Layout
from features.outputs import ALL
from features.sampling import Correction
from features.spec import POSITION, ROW_WEIGHT, Task, label_column, mask_column, weight_column
from models.beside.beside import Beside
from models.beside.nothing import Nothing
from models.beside.position_tower import PositionTower
from models.config import ModelConfig
from models.heads.aitm import Aitm
from models.heads.dlen import Dlen
from models.heads.escm2 import Escm2
from models.heads.esmm import Esmm
from models.heads.head import Head
from models.heads.independent import Independent
from models.heads.scores import Score, start_of
from models.inputs import Inputs
from models.interactions.dcn_v2 import DcnV2
from models.interactions.dot import Dot
from models.interactions.fm import Fm
from models.interactions.interactions import Interactions
from models.interactions.unchanged import Unchanged
from models.layers.dropout import Dropout
from models.lookups import Embedded, Lookups, Sequences, side_by_side
from models.losses import weighted_mean
from models.objectives import row_losses
from models.sampling import corrected
from models.trunks.cross_stitch import CrossStitchNetworks
from models.trunks.hmoe import Hmoe
from models.trunks.mmoe import Mmoe
from models.trunks.moe import Moe
from models.trunks.mose import Mose
from models.trunks.ple import Ple
from models.trunks.shared_bottom import SharedBottom
from models.trunks.single_task import SingleTask
from models.trunks.sluice import Sluice
from models.trunks.snr import Snr
from models.trunks.trunk import Trunk

TRUNKS: Mapping[str, type[Trunk]] = {
    "single_task": SingleTask,
    "shared_bottom": SharedBottom,
    "moe": Moe,
    "mmoe": Mmoe,
    "hmoe": Hmoe,
    "cgc": Ple,
    "ple": Ple,
    "cross_stitch": CrossStitchNetworks,
    "sluice": Sluice,
    "snr_trans": Snr,
    "snr_aver": Snr,
    "mose": Mose,
}
INTERACTIONS: Mapping[str, type[Interactions]] = {"none": Unchanged, "dot": Dot, "fm": Fm, "dcn_v2": DcnV2}
HEADS: Mapping[str, type[Head]] = {
    "independent": Independent,
    "dlen": Dlen,
    "esmm": Esmm,
    "aitm": Aitm,
    "escm2": Escm2,
}
BESIDE: Mapping[str, type[Beside]] = {"none": Nothing, "position_tower": PositionTower}

Tensors = Mapping[str, tf.Tensor]


def build_ranker(
    layout: Layout,
    tasks: Mapping[str, Task],
    config: ModelConfig,
    rates: Mapping[str, float],
    precision: str = "float32",
    correction: Correction | None = None,
) -> Ranker:
    """Makes a ranker with all its variables, drawn from TensorFlow's global seed.

    Args:
        layout: inputs and tables, from Transform.
        tasks: what to predict, by name.
        config: the model's parts.
        rates: each binary task's share of positives in the training split (a regression's best constant may be given).
        precision: ``float32``, or ``mixed_bfloat16`` for bfloat16 matrix products with float32 variables and losses.
        correction: what predictions (no losses) need, as the training rows are down-sampled.

    Raises:
        ModelError: if a binary task has no rate between 0 and 1, a regression a constant that its loss cannot predict, or parts
            and tasks do not fit.
    """
    _check_rates(tasks, rates)
    ranker = Ranker(layout, tasks, config, rates, precision, correction)
    ranker(_blank_rows(layout))
    return ranker


class Ranker(tfrs.Model):
    """Embeddings x trunk x head, and what stands beside; see `build_ranker`.

    The steps are methods, because training compiles them apart: `embed` looks up tables (sparse gradients, never compiled);
    `dense_loss` is everything above (dense, may be one XLA program). What trunk and head add to the loss beside the tasks'
    (a gate's balance, a penalty) they give to Keras' ``add_loss``, in training only.

    Losses are computed from log-probabilities by `models.losses` and not by ``tfrs.tasks.Ranking``: that takes predictions as one tensor
    and averages masked rows over the whole batch, while the heads give both logarithms and a mask must not shrink a loss.

    Shapes:
        input: {name: (batch,) or (batch, length)} as in the layout; names it does not know are ignored.
        output: {output: float32 (batch,)}: each task's probability (or value), and what the head adds.
    """

    def __init__(
        self,
        layout: Layout,
        tasks: Mapping[str, Task],
        config: ModelConfig,
        rates: Mapping[str, float],
        precision: str = "float32",
        correction: Correction | None = None,
    ) -> None:
        super().__init__(name="ranker")
        self.layout, self.tasks, self.config = layout, dict(tasks), config
        self.rates, self.precision, self.correction = dict(rates), precision, correction
        policy = tf.keras.mixed_precision.Policy(precision)
        groups = len(tasks) + 1 if config.embeddings.kind == "stem" else None
        self.read_whole = _read_whole(layout, config)
        whole = [i.name for i in self.read_whole]
        self.lookups = Lookups(layout, config.embedding_dim, groups, whole, name="lookups", dtype=policy)
        self.inputs_layer = Inputs(layout, config.numbers, name="inputs", dtype=policy)
        widths = {i.name: self.lookups.width(i) for i in layout.embedded()}
        self.interactions = INTERACTIONS[config.interactions.kind](
            widths, config.interactions, name="interactions", dtype=policy
        )
        self.dropout = Dropout(config.input_dropout, name="dropout", dtype=policy)
        self.trunk = TRUNKS[config.trunk.kind](
            list(tasks), config.trunk, **_trunk_options(config), name="trunk", dtype=policy
        )
        self.decays = tf.Variable(
            0, trainable=False, dtype=tf.int64, name="decays", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.head = HEADS[config.head.kind](tasks, config.head, rates, name="head", dtype=policy)
        self.beside = BESIDE[config.beside.kind](layout, tasks, config.beside, name="beside", dtype=policy)

    # -- the steps -----------------------------------------------------------------------------------------------------

    def embed(self, inputs: Tensors) -> Embedded:
        """Transformed inputs -> what the dense part reads. All lookups of embedding tables happen here."""
        embedded: Embedded = self.lookups(inputs)
        return embedded

    def represent(self, embedded: Embedded) -> tf.Tensor:
        """-> (batch, width), or (batch, tasks + 1, width) if tasks have embeddings of their own."""
        return self.inputs_layer(embedded)

    def sequences(self, embedded: Embedded) -> Sequences | None:
        """What a trunk reads token by token, if it does."""
        return side_by_side(embedded, self.read_whole) if self.read_whole else None

    def score(
        self, embedded: Embedded, features: tf.Tensor, training: bool = False, position: tf.Tensor | None = None
    ) -> dict[str, Score]:
        """What was looked up, and `represent`'s output of it -> {output: score}: interactions, dropout, trunk, then head, with the
        logits from beside. Dense; no lookups."""
        kept = self.dropout(self.interactions(features), training=training)
        shared = kept[:, -1] if kept.shape.rank == 3 else kept
        sequences = self.sequences(embedded)
        given = (kept,) if sequences is None else (kept, sequences)
        by_task = self.trunk(*given, training=training)
        biases = self.beside(embedded, position, training=training)
        scores: dict[str, Score] = self.head(by_task, shared, training=training, biases=biases)
        return scores

    def labels(self, batch: Tensors) -> dict[str, tf.Tensor]:
        """What only training knows of the batch, for `dense_loss`: labels, masks, sample weights, and positions if asked for."""
        masks = [mask_column(name) for name, task in self.tasks.items() if task.mask is not None]
        weights = [weight_column(name) for name, task in self.tasks.items() if task.sample_weight is not None]
        of_rows = [ROW_WEIGHT] if self.layout.row_weights else []
        names = [*map(label_column, self.tasks), *masks, *weights, *of_rows]
        position = {POSITION: batch[POSITION]} if self.config.beside.kind == "position_tower" else {}
        return {name: tf.cast(batch[name], tf.float32) for name in names} | position

    def row_weights(self, labels: Tensors) -> dict[str, tf.Tensor | None]:
        """{task: how much each row counts in its loss, (batch,): mask times sample weight times row weight}; None where each counts 1."""
        weights: dict[str, tf.Tensor | None] = {}
        for name in self.tasks:
            columns = (mask_column(name), weight_column(name), ROW_WEIGHT)
            factors = [labels[column] for column in columns if column in labels]
            weights[name] = tf.math.reduce_prod(tf.stack(factors), axis=0) if factors else None
        return weights

    def loss_rows(self, labels: Tensors) -> dict[str, tf.Tensor]:
        """Rows that each task's loss is the mean of, by their weights, under `ALL` how many there are, and under `ROW_WEIGHT`, where rows
        weigh, what they weigh together: float32 scalars."""
        rows = tf.cast(tf.shape(next(iter(labels.values())))[0], tf.float32)
        weights = self.row_weights(labels)
        counted = {name: rows if w is None else tf.reduce_sum(w) for name, w in weights.items()}
        of_rows = {ROW_WEIGHT: tf.reduce_sum(labels[ROW_WEIGHT])} if ROW_WEIGHT in labels else {}
        return counted | of_rows | {ALL: rows}

    def task_weights(self) -> dict[str, tf.Tensor | float]:
        """{task: its weight in the total loss now}: ``weight * weight_gamma^t`` (PLE paper, eq. 10), t being `decays`; the head's part
        in it is `Head.loss_weight`.

        The paper counts t in epochs, others in steps: training decides when it adds to `decays`.
        """
        t = tf.cast(self.decays, tf.float32)
        return {
            name: task.weight if task.weight_gamma == 1 else task.weight * tf.pow(task.weight_gamma, t)
            for name, task in self.tasks.items()
        }

    def dense_loss(
        self, embedded: Embedded, labels: Tensors, training: bool = False, shares: Tensors | None = None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The total loss, and each task's own, not yet times its weight. Dense: may be compiled as one function.

        ``loss = sum_t weight_t * weighted mean over the rows of t of loss_t + embedding_l2 * mean over rows of |embeddings|^2``, the embeddings
        before dropout, those of a list pooled; and in training what trunk and head add. A head may change weights, too.

        With `shares` (this replica's of all replicas' `loss_rows`) every mean counts by its share, so that the results' sums
        over the replicas are those of one batch of all their rows; only what is no mean over rows (a gate's balance) or
        has a mask of its own (ESCM2's risk) is then the replicas' mean.
        """
        features = self.represent(embedded)
        position = labels.get(POSITION) if training else None
        scores = self.score(embedded, features, training, position)
        losses = {
            name: weighted_mean(row_losses(self.tasks[name].objective, labels[label_column(name)], scores[name]), rows)
            for name, rows in self.row_weights(labels).items()
        }
        weights = self.task_weights()
        added = [*self.trunk.losses, *self.head.losses]
        if self.config.embedding_l2:
            added.append(self.config.embedding_l2 * self._embedding_norm(features))
        if shares is not None:
            losses = {name: shares[name] * loss for name, loss in losses.items()}
            added = [shares[ALL] * loss for loss in added]
        if training:
            auxiliary = self.head.auxiliary_loss(scores, labels, weights)
            added.append(auxiliary if shares is None else shares.get(ROW_WEIGHT, shares[ALL]) * auxiliary)
        return tf.add_n(
            [*(weights[name] * self.head.loss_weight(name) * loss for name, loss in losses.items()), *added]
        ), losses

    def _embedding_norm(self, features: tf.Tensor) -> tf.Tensor:
        """Mean over rows of the squared length of all their embeddings."""
        width = sum(self.lookups.width(i) for i in self.layout.embedded())
        vectors = tf.cast(features[..., :width], tf.float32)
        return tf.reduce_sum(tf.square(vectors)) / tf.cast(tf.shape(vectors)[0], tf.float32)

    # -- together ------------------------------------------------------------------------------------------------------

    def call(self, inputs: Tensors, training: bool = False) -> dict[str, tf.Tensor]:
        """Predictions: {output: float32 (batch,)}, corrected where training rows are down-sampled."""
        embedded = self.embed(inputs)
        scores = self.score(embedded, self.represent(embedded), training)
        predictions = {name: scores[name].prediction for name in self.head.output_names(self.tasks)}
        return predictions if self.correction is None else predictions | corrected(scores, self.correction)

    def compute_loss(self, inputs: Tensors, training: bool = False) -> tf.Tensor:
        """The total loss of a batch that holds inputs, labels and masks."""
        return self.dense_loss(self.embed(inputs), self.labels(inputs), training)[0]

    @property
    def losses(self) -> list[tf.Tensor]:
        """None: `compute_loss` holds what layers give to ``add_loss``, and Keras' ``fit`` would add it once more."""
        return []

    # -- for reports and exports ---------------------------------------------------------------------------------------

    def gate_weights(self, inputs: Tensors) -> dict[str, tf.Tensor]:
        """{"layer/task": (batch, experts)}; {} for a trunk without gates. Names of the experts: `expert_names`."""
        return self.trunk.gate_weights(self.interactions(self.represent(self.embed(inputs))))

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"layer/task": the names of its experts} in the order of `gate_weights`."""
        return self.trunk.expert_names()

    # -- variables -----------------------------------------------------------------------------------------------------

    @property
    def embedding_variables(self) -> list[tf.Variable]:
        """Embedding tables: their gradients are sparse."""
        return [variable for table in self.lookups.tables.values() for variable in table.trainable_variables]

    @property
    def dense_variables(self) -> list[tf.Variable]:
        """All other trainable variables."""
        tables = {variable.ref() for variable in self.embedding_variables}
        return [variable for variable in self.trainable_variables if variable.ref() not in tables]

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs, JSON values only."""
        return {
            "layout": self.layout.model_dump(mode="json"),
            "tasks": {name: task.model_dump(mode="json") for name, task in self.tasks.items()},
            "config": self.config.model_dump(mode="json"),
            "rates": dict(self.rates),
            "precision": self.precision,
            "correction": self.correction.model_dump(mode="json") if self.correction else None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Ranker:
        """A new ranker of the same shape (its weights are drawn anew)."""
        del custom_objects
        tasks = {name: Task.model_validate(task) for name, task in config["tasks"].items()}
        layout, model = Layout.model_validate(config["layout"]), ModelConfig.model_validate(config["config"])
        correction = Correction.model_validate(config["correction"]) if config["correction"] else None
        return build_ranker(layout, tasks, model, config["rates"], config["precision"], correction)


def _read_whole(layout: Layout, config: ModelConfig) -> tuple[Input, ...]:
    """Inputs that the trunk reads token by token."""
    if not config.trunk.READS_SEQUENCES:
        return ()
    if not layout.sequences():
        raise ModelError(
            f"trunk '{config.trunk.kind}' reads sequences; the layout has none: a feature of kind sequence is needed"
        )
    return layout.sequences()


def _trunk_options(config: ModelConfig) -> dict[str, Any]:
    """What only some trunks take."""
    options: dict[str, Any] = {"gate": config.gate} if config.trunk.GATED else {}
    return {**options, "own_inputs": True} if config.embeddings.kind == "stem" else options


def _blank_rows(layout: Layout) -> dict[str, tf.Tensor]:
    """Two rows in which everything is missing."""
    return {
        i.name: tf.zeros((2,) if i.kind != "indices" else (2, i.length), tf.float32 if i.kind == "number" else tf.int64)
        for i in layout.inputs
    }


def _check_rates(tasks: Mapping[str, Task], rates: Mapping[str, float]) -> None:
    for name, task in tasks.items():
        if task.kind == "binary" and not 0 < rates.get(name, 0) < 1:
            raise ModelError(
                f"task '{name}' has rate {rates.get(name)} in the training split; a binary task needs positives and "
                "negatives there, a rate between 0 and 1"
            )
        try:
            start_of(task, rates.get(name))
        except ValueError as error:
            raise ModelError(
                f"task '{name}' starts from {rates[name]:g}, which its loss {task.objective.kind} cannot predict"
            ) from error
