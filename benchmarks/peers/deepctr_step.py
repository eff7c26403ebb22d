"""DeepCTR's training step as a candidate of `benchmarks.train_step`; runs in DeepCTR's own environment.

Its default optimiser (Keras' Adam) and loss, and no L2 on the tables, which by default costs it a pass over all of them. Batches
come from memory as whole tensors. ``fit`` and ``train_on_batch`` are both tried; the faster one counts.
"""

from __future__ import annotations

import tensorflow as tf
from deepctr.feature_column import SparseFeat
from deepctr.models import MMOE, PLE

from benchmarks.step_problem import EXPERT_UNITS, EXPERTS, LAYERS, TASK_EXPERTS, TOWER_UNITS, Problem, answer


def make_model(problem: Problem) -> tf.keras.Model:
    columns = [SparseFeat(f"id_{i}", problem.rows, problem.dim) for i in range(problem.features)]
    shared = {
        "expert_dnn_hidden_units": EXPERT_UNITS,
        "tower_dnn_hidden_units": TOWER_UNITS,
        "l2_reg_embedding": 0,
        "task_types": ("binary",) * problem.tasks,
        "task_names": tuple(f"task_{i}" for i in range(problem.tasks)),
    }
    if problem.model == "mmoe":
        model = MMOE(columns, num_experts=EXPERTS, **shared)
    else:
        model = PLE(columns, EXPERTS, TASK_EXPERTS, num_levels=LAYERS, **shared)
    model.compile("adam", loss=["binary_crossentropy"] * problem.tasks)
    return model


def main() -> None:
    problem = Problem.from_command_line()
    if problem.precision != "float32":
        tf.keras.mixed_precision.set_global_policy(problem.precision)
    model = make_model(problem)
    batches = (problem.inputs(), {name: values[..., None] for name, values in problem.labels().items()})
    dataset = tf.data.Dataset.from_tensor_slices(batches).repeat().prefetch(4)

    def fit(steps: int) -> None:
        model.fit(dataset.take(steps), verbose=0)

    def train_on_batch(steps: int) -> None:
        for inputs, labels in dataset.take(steps):
            model.train_on_batch(inputs, labels)

    rates = {run.__name__: problem.measure(run) for run in (fit, train_on_batch)}
    faster = max(rates, key=lambda name: rates[name])
    answer(examples_per_s=rates[faster], what=f"Adam, {faster}")


if __name__ == "__main__":
    main()
