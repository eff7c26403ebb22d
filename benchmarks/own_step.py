"""feedrank's training step as a candidate of `benchmarks.train_step`: ``python -m benchmarks.own_step PROBLEM``."""

from __future__ import annotations

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from benchmarks.step_problem import EXPERT_UNITS, EXPERTS, LAYERS, POSITIVES, TASK_EXPERTS, TOWER_UNITS, Problem, answer
from features.layout import Input, Layout, Table
from features.spec import Task, label_column
from models.config import ModelConfig, TrainConfig
from models.ranker import Ranker, build_ranker
from models.training.step import TrainStep

TRUNKS = {
    "mmoe": {"kind": "mmoe", "experts": EXPERTS},
    "ple": {"kind": "ple", "shared_experts": EXPERTS, "task_experts": TASK_EXPERTS, "layers": LAYERS},
}


def make_ranker(problem: Problem) -> Ranker:
    """The problem's model, as a user would configure it."""
    names = [f"id_{i}" for i in range(problem.features)]
    layout = Layout(
        inputs=tuple(Input(name=name, kind="index", table=name) for name in names),
        tables=tuple(Table(name=name, rows=problem.rows) for name in names),
    )
    parts = {
        "trunk": {**TRUNKS[problem.model], "units": EXPERT_UNITS},
        "head": {"kind": "independent", "tower_units": TOWER_UNITS},
        "embedding_dim": problem.dim,
    }
    tasks = {f"task_{i}": Task(label=f"y_{i}") for i in range(problem.tasks)}
    model = ModelConfig.model_validate(parts)
    return build_ranker(layout, tasks, model, dict.fromkeys(tasks, POSITIVES), problem.precision)


def held_batches(problem: Problem) -> tf.data.Dataset:
    """Endless batches from memory."""
    labels = {label_column(name): values for name, values in problem.labels().items()}
    with tf.device("CPU"):
        return tf.data.Dataset.from_tensor_slices({**problem.inputs(), **labels}).repeat().prefetch(4)


def main() -> None:
    problem = Problem.from_command_line()
    dataset = held_batches(problem)
    ranker = make_ranker(problem)
    config = TrainConfig.model_validate({"batch_size": problem.batch, "precision": problem.precision})
    step = TrainStep(ranker, config, dataset.element_spec)

    def run(steps: int) -> None:
        for batch in dataset.take(steps):
            step(batch)
        step.losses(1)

    answer(
        examples_per_s=problem.measure(run),
        what=f"{type(config.dense_optimizer).__name__}, {type(config.embedding_optimizer).__name__} on tables",
    )


if __name__ == "__main__":
    main()
