"""What one run does: the configuration's classes. `pipeline.loading` reads them from YAML. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from features import catalog
from features.actions import MOST_SHARDS
from features.columns import drift_columns, kept_columns
from features.errors import ConfigError
from features.frozen import Frozen, SpecError, unknown
from features.kinds import Embedded, Pretrained
from features.paths import check_local, check_readable, check_writable, remote
from features.spec import METRICS, Bag, Dataset, Numeric, Sequence, SideTable, Task
from features.synthesis.config import SynthesisConfig
from models.config import (
    AitmHead,
    ChainHead,
    DlenHead,
    Escm2Head,
    EsmmHead,
    ModelConfig,
    PositionTowerBeside,
    TrainConfig,
    chain_problem,
    cluster_problem,
    dlen_problem,
    entire_space_problem,
    pairs_problem,
    plain_loss_problem,
    same_loss_problem,
    tower_problem,
)
from pipeline.engines import DataflowEngine, Engine, LocalEngine

MAX_REGRESSION = 0.005
"""How far a task may fall behind the last blessed model where the configuration does not say."""
WITNESS_ROWS = 1024
"""Validation rows whose predictions travel with the export, for check_serving to compare."""

ARTIFACT_STORES = ("s3", "gs")
"""Where artifacts may lie: stores that pyarrow, Beam and TensorFlow all write to."""
CLUSTERED = ("multi_worker_mirrored", "parameter_server")
"""Strategies of several processes."""

Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class Budget(Frozen):
    """How many rows may be quarantined, and files damaged, before the run stops."""

    max_share: Share = 0.01
    """Of all rows read."""
    max_rows: pydantic.NonNegativeInt | None = None
    """Rows, whatever their share; null: any number."""
    max_damaged_files: pydantic.NonNegativeInt = 0
    """Truncated, corrupt or unreadable ones: a share of rows says nothing about them, for their lost rows are uncounted."""


class DataConfig(Frozen):
    """Where the log is."""

    path: str = ""
    """Folder that the dataset's files are relative to; by default ``data/<dataset>``. May be ``s3://BUCKET/FOLDER``, ``gs://...`` or
    ``hdfs://HOST:PORT/FOLDER``, with pyarrow's options behind a ``?``."""
    budget: Budget = Budget()
    """What may be lost on the way before the run stops."""
    hash_key: str | None = None
    """File with the key of columns that are hashed (``personal: hash``): 16 to 64 bytes, the same for every run and all who ask
    the model. Every worker reads it."""
    shards: Annotated[int, pydantic.Field(ge=1, le=MOST_SHARDS)] | None = None
    """Into how many parts rows are brought together to join actions and to find duplicates, one of which must fit into a worker's memory; by
    default one for 128 MiB of files."""
    synthesize: SynthesisConfig | None = None
    """Makes a synthetic log at `path` before the run, unless the same one is there already."""


class ValidateConfig(Frozen):
    """When data is too strange to train on."""

    max_drift: Share = 0.3
    """L-infinity distance of a categorical column between the training split and a later one."""
    max_numeric_drift: Share = 0.3
    """Jensen-Shannon divergence of a numeric column between the training split and a later one."""
    ignore_drift: tuple[str, ...] = ()
    """Columns that drift by nature (an age, a count that grows): their drift is written down, and stops nothing."""
    max_orphans: Share = 0.01
    """Share of a task's positive rows, in any split, that may lack their parent's positive label. Fewer are warned of."""
    required_days: bool = True
    """Every day of the split must have rows."""
    min_day_share: Share = 0.5
    """Of the mean of the days before it (seven at most): a day with fewer rows stops the run, for it may be half-written."""


class Bound(Frozen):
    """A metric's allowed range."""

    minimum: float | None = None
    """Lowest value allowed; null: any."""
    maximum: float | None = None
    """Highest value allowed; null: any."""

    @pydantic.model_validator(mode="after")
    def _check_range(self) -> Bound:
        if self.minimum is None and self.maximum is None:
            raise SpecError("a bound needs `minimum`, `maximum` or both; got neither")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise SpecError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}; no value is allowed")
        return self


class EvaluateConfig(Frozen):
    """When a model is good enough."""

    slices: tuple[str, ...] = ()
    """Columns for whose values the metrics are also computed."""
    thresholds: dict[str, dict[str, Bound]] = pydantic.Field(default={})
    """By task, then metric; null takes away what a configuration below has set."""
    max_regression: Share | dict[str, Share] | None = MAX_REGRESSION
    """How far a task's AUC may fall below the last blessed model's on the same rows; of a regression, the share by which
    its MSE may rise. One number for all tasks, or by task (0.005 for those not named); null: any model may follow."""
    regression_z: float = pydantic.Field(default=1.645, ge=0)
    """Standard errors of the difference that a fall of AUC, or a rise of MSE, may have beyond `max_regression`: on few rows or positives,
    equal models differ by chance. At 1.645 chance alone refuses, for each task, at most one of twenty models that fell as far
    as allowed."""
    up_interactions: tuple[str, ...] | None = None
    """Tasks that count as an interaction when `up` is judged; all binary ones by default."""

    def allowed_regression(self, task: str) -> float | None:
        """`max_regression` of one task."""
        allowed = self.max_regression
        return allowed.get(task, MAX_REGRESSION) if isinstance(allowed, dict) else allowed

    @pydantic.field_validator("thresholds", mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kept = {task: bounds for task, bounds in value.items() if bounds is not None}
        return {t: {m: x for m, x in b.items() if x is not None} if isinstance(b, dict) else b for t, b in kept.items()}


class CheckServingConfig(Frozen):
    """How the export is compared with the trainer."""

    rows: int = pydantic.Field(default=256, ge=1, le=WITNESS_ROWS)
    """Validation rows that the export and the trainer both score."""
    tolerance: float = pydantic.Field(default=1e-5, gt=0)
    """Largest difference of a prediction; of values beyond 1, as a share of the trainer's."""


class PushConfig(Frozen):
    """Where blessed models go."""

    directory: str | None = None
    """TF Serving's model folder, by default ``<output>/<name>/serving``; also of a store: ``s3://``, ``gs://``, ``hdfs://``."""


def _from_catalog(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in catalog.names():
        raise SpecError(unknown("dataset", value, catalog.names()))
    return catalog.load(value)


_NAME = {"enum": list(catalog.names())}
_EXTENDED = {**_NAME, "description": "A dataset of the catalog's, over which the keys beside this one are laid."}
_EXTENSION = {"type": "object", "required": ["extends"], "properties": {"extends": _EXTENDED}}

AnyDataset = Annotated[
    Dataset,
    pydantic.BeforeValidator(
        _from_catalog,
        json_schema_input_type=Annotated[str, pydantic.WithJsonSchema(_NAME)]
        | Annotated[dict[str, Any], pydantic.WithJsonSchema(_EXTENSION)]
        | Dataset,
    ),
]
"""A dataset, or the name of one of the catalog's. `pipeline.loading` lays changes over one that is extended."""


class RunConfig(Frozen):
    """All that a run depends on. Saved with the run; a run from the saved file builds the same graph.

    Raises:
        pydantic.ValidationError: naming the key, what was received and what is allowed.
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    """Of the pipeline: runs of one name share their history, cache and pushed models."""
    output: str = "runs"
    """Folder of all pipelines; this one's is ``<output>/<name>``."""
    artifacts: str | None = None
    """Where stages hand on what they make, a folder ``<name>`` in it: a shared folder, ``s3://BUCKET/FOLDER`` or ``gs://BUCKET/FOLDER``; by
    default ``<output>/<name>/artifacts``. Metadata, checkpoints, history and reports stay in `output`."""
    dataset: AnyDataset
    """The log to learn from: a name of the catalog's (``feedrank datasets``), one with changes (``extends``), or a whole one."""
    data: DataConfig = pydantic.Field(default=DataConfig(), validate_default=True)
    """Where the log is, and how much of it may be bad."""
    validate_: ValidateConfig = pydantic.Field(default=ValidateConfig(), alias="validate")
    """When data is too strange to train on."""
    model: ModelConfig = ModelConfig()
    """The network: a preset (``feedrank models``), or its parts."""
    train: TrainConfig = TrainConfig()
    """How the network is trained."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """When a model is good enough to be pushed."""
    check_serving: CheckServingConfig = CheckServingConfig()
    """How closely the export must answer as the trainer did."""
    push: PushConfig = PushConfig()
    """Where blessed models go."""
    engine: Engine = LocalEngine()
    """Who runs the Beam pipelines: local, prism, flink, spark or dataflow."""

    @property
    def directory(self) -> Path:
        """The pipeline's folder, ``<output>/<name>``."""
        return Path(self.output) / self.name

    @property
    def artifacts_directory(self) -> str:
        """TFX's pipeline root: one folder a stage, output and execution."""
        if self.artifacts is None:
            return f"{self.output.rstrip('/')}/{self.name}/artifacts"
        return f"{self.artifacts.rstrip('/')}/{self.name}"

    @property
    def push_directory(self) -> str:
        """TF Serving's model folder: one numbered folder a version."""
        # Not through Path, which would make gs:/bucket of gs://bucket.
        return self.push.directory or f"{self.output.rstrip('/')}/{self.name}/serving"

    @property
    def checkpoints_directory(self) -> str:
        """Where training keeps its state, so that a killed run goes on."""
        return f"{self.output.rstrip('/')}/{self.name}/checkpoints"

    def check_paths(self) -> None:
        """Refuses what only a compiled pipeline may name: logs and artifacts may lie in stores, and models be pushed to them; all else that a
        run writes is local.

        Raises:
            ConfigError: if a path that is written is remote, or one that is read is of a file system that is not read.
        """
        sources = {"dataset.source": self.dataset.source}
        if self.dataset.actions is not None:
            sources["dataset.actions.source"] = self.dataset.actions.source
        for name, table in self.dataset.tables.items():
            if isinstance(table, SideTable):
                sources[f"dataset.tables.{name}.source"] = table.source
        check_local("output", self.output)
        (check_readable if self.data.synthesize is None else check_local)("data.path", self.data.path)
        check_writable("push.directory", self.push.directory or "")
        check_local("data.hash_key", self.data.hash_key or "")
        for name, feature in self.dataset.pretrained().items():
            check_readable(f"dataset.features.{name}.vectors", feature.vectors)
        for what, source in sources.items():
            for pattern in source.patterns:
                check_readable(what, pattern)
            check_readable(f"{what}.success", source.success or "")
        self.engine.check_paths()

    def check_cluster(self, tf_config: str | None) -> None:
        """Refuses a training of several processes that this one cannot lead.

        Args:
            tf_config: the environment variable TF_CONFIG.

        Raises:
            ConfigError: if it does not make this process the chief of the cluster that `train.strategy` needs.
        """
        if problem := cluster_problem(self.train.strategy.kind, tf_config):
            raise ConfigError(f"train.strategy: {problem}")

    @pydantic.field_validator("data")
    @classmethod
    def _default_path(cls, data: DataConfig, info: pydantic.ValidationInfo) -> DataConfig:
        dataset = info.data.get("dataset")
        if data.path or dataset is None:
            return data
        return data.model_copy(update={"path": f"data/{dataset.name}"})

    @pydantic.model_validator(mode="after")
    def _check(self) -> RunConfig:
        _check_validate(self.validate_, self.dataset)
        _check_evaluate(self.evaluate, self.dataset)
        _check_model(self.model, self.dataset)
        _check_decay(self.train, self.dataset)
        if self.artifacts is not None:
            _check_artifacts(self.artifacts, self.train)
        if not self.engine.works_here:
            written = {"output": self.output} if self.artifacts is None else {"artifacts": self.artifacts}
            paths = {**written, "data.path": self.data.path, "data.hash_key": self.data.hash_key}
            _check_reached(self.engine, {what: path for what, path in paths.items() if path and remote(path) is None})
        return self


def _check_validate(validate: ValidateConfig, dataset: Dataset) -> None:
    compared = drift_columns(dataset)
    for column in validate.ignore_drift:
        if column not in dataset.all_columns():
            raise SpecError(f"validate.ignore_drift: {unknown('column', column, compared)}")
        if column not in compared:
            raise SpecError(
                f"validate.ignore_drift: no drift is measured of column '{column}'; allowed: {', '.join(compared) or '(none)'}"
            )


def _check_evaluate(evaluate: EvaluateConfig, dataset: Dataset) -> None:
    columns = dataset.all_columns()
    allowed = [name for name in kept_columns(dataset) if not columns[name].is_list]
    for column in evaluate.slices:
        if column not in columns:
            raise SpecError(f"evaluate.slices: {unknown('column', column, allowed)}")
        if column not in allowed:
            what = "a list" if columns[column].is_list else "an outcome, which examples do not keep"
            raise SpecError(f"evaluate.slices: column '{column}' is {what}; allowed: {', '.join(allowed)}")
    for name, bounds in evaluate.thresholds.items():
        task = _task(dataset, name, "evaluate.thresholds")
        # The first of a kind (AUC, MSE) is always measured.
        computed = [
            m for m in METRICS[task.kind] if m in (METRICS[task.kind][0], *(task.metrics or METRICS[task.kind]))
        ]
        for metric in bounds:
            if metric not in computed:
                raise SpecError(f"evaluate.thresholds.{name}: {unknown('metric', metric, computed)}")
    if isinstance(evaluate.max_regression, dict):
        for name in evaluate.max_regression:
            _task(dataset, name, "evaluate.max_regression")
    for name in evaluate.up_interactions or ():
        if _task(dataset, name, "evaluate.up_interactions").kind != "binary":
            raise SpecError(f"evaluate.up_interactions: task '{name}' is a regression; allowed: binary tasks")


def _check_model(model: ModelConfig, dataset: Dataset) -> None:
    raw = [name for name, f in dataset.features.items() if isinstance(f, Numeric) and f.scaling == "none"]
    if raw and model.numbers.kind == "piecewise_linear":
        raise SpecError(
            f"model.numbers: piecewise_linear needs scaled numbers, for its bins lie where scaled numbers do; feature "
            f"'{raw[0]}' has `scaling: none`; allowed: zscore, log_zscore, quantile"
        )
    if model.trunk.READS_SEQUENCES and not any(isinstance(f, Sequence) for f in dataset.features.values()):
        raise SpecError(
            f"model.trunk: {model.trunk.kind} reads sequences token by token, and '{dataset.name}' has no feature of kind "
            "sequence; allowed: another trunk, or such a feature"
        )
    with_table = Embedded | Pretrained
    embedded = [n for n in dataset.features if isinstance(dataset.features[dataset.vocabulary_owner(n)], with_table)]
    numbers = any(isinstance(feature, Numeric) for feature in dataset.features.values())
    if problem := pairs_problem(model.interactions, embedded, numbers):
        raise SpecError(f"model.interactions: {problem}")
    if isinstance(model.beside, PositionTowerBeside):
        _check_position_tower(model.beside, dataset)
    if isinstance(model.head, DlenHead) and (problem := dlen_problem(model.head, dataset.tasks)):
        raise SpecError(f"model.head: dlen {problem}")
    if isinstance(model.head, DlenHead) and dataset.downsample and dataset.downsample.correct == "probability":
        raise SpecError(
            "model.head: dlen composes probabilities over a latent state, UP, and bounds them by the tasks' rates, which left-out rows move; "
            "`correct: probability` does not correct those; allowed with dlen: `dataset.downsample.correct: weights`"
        )
    if isinstance(model.head, ChainHead):
        _check_chain(model.head, dataset)


def _check_chain(head: ChainHead, dataset: Dataset) -> None:
    checks = [chain_problem]
    if isinstance(head, EsmmHead | Escm2Head):
        checks += [entire_space_problem, plain_loss_problem]
    if isinstance(head, AitmHead) and head.calibrator_weight:
        checks.append(same_loss_problem)
    for check in checks:
        if problem := check(dataset.tasks):
            raise SpecError(f"model.head: {head.kind} {problem}")


def _check_decay(train: TrainConfig, dataset: Dataset) -> None:
    """Of tasks' weights by steps."""
    if train.decay_task_weights != "step":
        return
    gammas = {name: task.weight_gamma for name, task in dataset.tasks.items()}
    if grown := [f"'{name}' has {gamma:g}" for name, gamma in gammas.items() if gamma > 1]:
        raise SpecError(
            f"train.decay_task_weights: by steps a weight_gamma above 1 grows a task's weight beyond all numbers; "
            f"{', '.join(grown)}; allowed: at most 1, or decay_task_weights: epoch"
        )
    if all(gamma == 1 for gamma in gammas.values()):
        raise SpecError(
            "train.decay_task_weights: step, and every task has weight_gamma 1, which decays nothing; allowed: a weight_gamma "
            f"below 1 of one of {', '.join(gammas)}, or decay_task_weights: epoch"
        )


def _check_position_tower(tower: PositionTowerBeside, dataset: Dataset) -> None:
    if dataset.position is None:
        raise SpecError(
            f"model.beside: position_tower needs the position of each impression; dataset '{dataset.name}' names no column "
            "as its `position`"
        )
    lists = {name: isinstance(feature, Bag | Sequence) for name, feature in dataset.features.items()}
    if problem := tower_problem(tower, dataset.tasks, lists):
        raise SpecError(f"model.beside: position_tower {problem}")


def _check_artifacts(path: str, train: TrainConfig) -> None:
    """Of a store: clients of several libraries write there, by the bare path."""
    try:
        check_writable("artifacts", path)
    except ConfigError as error:
        raise SpecError(str(error)) from error
    found = remote(path)
    if found is None:
        return
    if found.scheme not in ARTIFACT_STORES or found.options:
        raise SpecError(
            f"artifacts: '{path}'; allowed: s3://BUCKET/FOLDER or gs://BUCKET/FOLDER without options, for Beam and TensorFlow know none (another "
            "endpoint of S3: AWS_ENDPOINT_URL; its region: AWS_REGION), or a folder of this machine or of a mounted file system"
        )
    if train.strategy.kind in CLUSTERED:
        raise SpecError(
            f"artifacts: '{path}' is copied to one machine for the training, and train.strategy {train.strategy.kind} reads on all of its "
            "machines; allowed: artifacts of a file system that they share, or another strategy"
        )


def _check_reached(engine: Engine, local: Mapping[str, str]) -> None:
    """Workers elsewhere read and write files by the paths that they are given, from another folder or on another machine."""
    if isinstance(engine, DataflowEngine) and local:
        told = ", ".join(f"{what} '{path}'" for what, path in local.items())
        raise SpecError(
            f"engine: dataflow's workers are other machines, which do not reach {told}; allowed: gs:// (`artifacts: gs://BUCKET/FOLDER` "
            "instead of a local `output`), or one of the engines local, prism, flink, spark"
        )
    if told := ", ".join(f"{what} '{path}'" for what, path in local.items() if not Path(path).is_absolute()):
        raise SpecError(
            f"engine: {engine.kind}'s workers are other processes, to which a relative path means another file; got {told}; allowed: "
            "absolute paths of a file system that all of them share, or of a store (`artifacts` instead of `output`)"
        )


def _task(dataset: Dataset, name: str, where: str) -> Task:
    if name not in dataset.tasks:
        raise SpecError(f"{where}: {unknown('task', name, dataset.tasks)}")
    return dataset.tasks[name]


def dump(config: RunConfig) -> str:
    """The whole configuration as YAML, defaults included; `pipeline.loading.load` reads an equal one from it."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True, width=120)
