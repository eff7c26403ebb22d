"""The check_serving stage: the export must answer, from a fresh process, as the trainer did.

Writes ``check.json`` and the file and property of TFX's own InfraValidator into its ``InfraBlessing``, so that the stock
Pusher honours the verdict.
"""

import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tfx import types
from tfx.components.infra_validator import executor as infra_validator
from tfx.types import artifact_utils, standard_artifacts

import serving
from features import progress
from features.errors import FeedrankError, ModelError
from features.raw_inputs import raw_input_specs
from features.spec import ROW_ID, Dataset
from pipeline.components.annotations import InputArtifact, OutputArtifact, Parameter, component
from pipeline.components.evaluate import serving_model
from pipeline.config import CheckServingConfig
from pipeline.evaluation.rows import read_split
from serving.ask import ASKED, SIGNATURES_FILE
from serving.bundle import Bundle

FILE = "check.json"
SPLIT = "validation"
TIMEOUT_S = 900
_STDERR_CHARACTERS = 2000

Numbers = dict[str, Any]


@component(parts={"examples": [f"Split-{SPLIT}"]})
def CheckServing(
    dataset: Parameter[str],
    check_serving: Parameter[str],
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
) -> None:
    """Asks the export raw validation rows and compares with the trainer's own predictions.

    Args:
        dataset: the `Dataset` as JSON.
        check_serving: the `CheckServingConfig` as JSON.
        examples: ingest's examples; the ``validation`` split is read.
        model: judged.
        blessing: gets INFRA_BLESSED or INFRA_NOT_BLESSED, and ``check.json``.
    """
    found = check_export(
        serving_model(model),
        artifact_utils.get_split_uri([examples], SPLIT),
        Dataset.model_validate_json(dataset),
        CheckServingConfig.model_validate_json(check_serving),
    )
    bless(blessing, found)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a fresh process learned from the export.

    Attributes:
        signatures: name to ``{"inputs": {name: [dtype, rank]}, "outputs": {...}}``.
        tables: by signature, the row id and one float32 column per output.
    """

    signatures: Numbers
    tables: dict[str, pa.Table]


def check_export(model: str, split: str, dataset: Dataset, config: CheckServingConfig) -> Numbers:
    """The whole check; whatever is wrong with the export becomes a reason, not an exception.

    Args:
        model: folder of the SavedModel.
        split: folder of the raw examples of the split that the trainer predicted.
        dataset: the spec.
        config: how many rows, how close.

    Returns:
        What ``check.json`` holds: ``rows``, ``max_difference``, per signature its differences, ``inputs`` and ``outputs``
        expected and found, ``seconds`` and the ``verdict`` with its reasons.
    """
    started = time.monotonic()
    found: Numbers = {"rows": 0, "max_difference": None, "tolerance": config.tolerance, "signatures": {}}
    reasons: list[str] = []
    try:
        expected = Bundle(model).predictions().slice(0, config.rows)
        rows = rows_of(split, dataset, expected)
        answers = ask_in_fresh_process(model, rows)
    except (FeedrankError, OSError, pa.ArrowException) as error:
        reasons.append(str(error))
    else:
        found |= {"rows": rows.num_rows, "inputs": _names(dataset, answers), "outputs": _outputs(expected, answers)}
        reasons += _interface_reasons(dataset, expected, answers)
        found["signatures"] = {
            name: compare(expected, table) for name, table in answers.tables.items() if _comparable(expected, table)
        }
        reasons += _uncompared_reasons(expected, answers)
        reasons += _difference_reasons(found["signatures"], expected.num_rows, config.tolerance)
        found["max_difference"] = _worst(found["signatures"])
    found |= {"seconds": time.monotonic() - started, "verdict": {"blessed": not reasons, "reasons": reasons}}
    progress.report("check_serving", rows=found["rows"], note="refused" if reasons else "blessed")
    return found


def bless(blessing: types.Artifact, found: Numbers) -> None:
    """Writes ``check.json`` and marks the `InfraBlessing` as TFX's InfraValidator does."""
    directory = Path(blessing.uri)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).write_text(json.dumps(found, indent=1, allow_nan=False))
    mark = infra_validator._mark_blessed if found["verdict"]["blessed"] else infra_validator._mark_not_blessed
    mark(blessing)


# -- asking ---------------------------------------------------------------------------------------------------


def rows_of(split: str, dataset: Dataset, predictions: pa.Table) -> pa.Table:
    """The raw rows that `predictions` are about, in the split's order.

    Raises:
        DataError: if the split holds no file.
        ModelError: if a row of the predictions is not in the split.
    """
    wanted = predictions.column(ROW_ID).combine_chunks()
    found = pa.Table.from_batches(_matching(split, dataset, wanted))
    if found.num_rows != len(wanted):
        raise ModelError(
            f"the model's predictions are about {len(wanted)} rows, of which {found.num_rows} are in {split}; the export "
            "belongs to other examples: train it again"
        )
    return found


def _matching(split: str, dataset: Dataset, wanted: pa.Array) -> Iterator[pa.RecordBatch]:
    missing = len(wanted)
    for batch in read_split(split, dataset):
        ids = batch.column(batch.schema.names.index(ROW_ID))
        kept = batch.filter(pc.is_in(ids, value_set=wanted))
        missing -= kept.num_rows
        yield kept
        if missing <= 0:
            return


def ask_in_fresh_process(model: str, rows: pa.Table) -> Answers:
    """Runs ``python -m serving.ask``.

    Raises:
        ModelError: if it fails or takes longer than `TIMEOUT_S`; the message ends with the tail of its stderr.
    """
    with tempfile.TemporaryDirectory(prefix="feedrank_check_") as name:
        directory = Path(name)
        pq.write_table(rows, directory / "rows.parquet")
        _run([sys.executable, "-m", "serving.ask", model, str(directory / "rows.parquet"), str(directory)])
        return Answers(
            signatures=json.loads((directory / SIGNATURES_FILE).read_text()),
            tables={
                signature: pq.read_table(directory / f"{signature}.parquet")
                for signature in ASKED
                if (directory / f"{signature}.parquet").exists()
            },
        )


def _run(command: list[str]) -> None:
    house = str(Path(serving.__file__).parents[1])
    path = os.pathsep.join([house, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"the export did not answer within {TIMEOUT_S} s") from error
    if done.returncode:
        raise ModelError(
            f"a fresh process that asked the export ended with status {done.returncode}; its last words: "
            f"{done.stderr[-_STDERR_CHARACTERS:].strip()}"
        )


# -- judging --------------------------------------------------------------------------------------------------


def compare(expected: pa.Table, answered: pa.Table) -> Numbers:
    """Largest difference per output, rows matched by id; of values beyond 1, as a share of the trainer's.

    Args:
        expected: the trainer's predictions.
        answered: the export's; the same rows and outputs.

    Returns:
        ``{"rows", "outputs": {name: {"max_difference", "row_id", "trainer", "export"}}}``: the worst row of each output. A
        value that is not finite on either side counts as an infinite difference, written as None.
    """
    left, right = expected.sort_by(ROW_ID), answered.sort_by(ROW_ID)
    ids = left.column(ROW_ID).to_numpy()
    names = [name for name in expected.schema.names if name != ROW_ID]
    return {
        "rows": answered.num_rows,
        "outputs": {
            name: _worst_row(ids, left.column(name).to_numpy(), right.column(name).to_numpy()) for name in names
        },
    }


def _worst_row(
    ids: npt.NDArray[np.int64], trainer: npt.NDArray[np.float32], export: npt.NDArray[np.float32]
) -> Numbers:
    finite = np.isfinite(trainer) & np.isfinite(export)
    differences = np.full(len(ids), np.inf)
    values = trainer[finite].astype(np.float64)
    differences[finite] = np.abs(values - export[finite]) / np.maximum(1, np.abs(values))
    worst = int(differences.argmax())
    numbers = {"max_difference": differences[worst], "trainer": trainer[worst], "export": export[worst]}
    return {"row_id": int(ids[worst])} | {k: float(v) if math.isfinite(v) else None for k, v in numbers.items()}


def _comparable(expected: pa.Table, answered: pa.Table) -> bool:
    same_ids = sorted(expected.column(ROW_ID).to_pylist()) == sorted(answered.column(ROW_ID).to_pylist())
    return same_ids and set(expected.schema.names) == set(answered.schema.names)


def _worst(signatures: Numbers) -> float | None:
    differences = [output["max_difference"] for found in signatures.values() for output in found["outputs"].values()]
    return None if not differences or None in differences else max(differences)


def _names(dataset: Dataset, answers: Answers) -> Numbers:
    found = answers.signatures.get("raw", {}).get("inputs", {})
    return {"expected": sorted(dataset.feature_columns()), "found": sorted(found)}


def _outputs(expected: pa.Table, answers: Answers) -> Numbers:
    found = {name: sorted(answers.signatures.get(name, {}).get("outputs", {})) for name in ASKED}
    return {"expected": sorted(set(expected.schema.names) - {ROW_ID}), "found": found}


def _interface_reasons(dataset: Dataset, expected: pa.Table, answers: Answers) -> list[str]:
    """What is wrong with the signatures: one sentence each."""
    reasons = [f"the export has no signature '{name}'" for name in ASKED if name not in answers.signatures]
    raw = answers.signatures.get("raw")
    inputs = {name: [spec.dtype.name, spec.shape.rank] for name, spec in raw_input_specs(dataset).items()}
    if raw and raw["inputs"] != inputs:
        reasons.append(f"signature 'raw' takes {_described(raw['inputs'])}; the spec says {_described(inputs)}")
    outputs = {name: ["float32", 1] for name in expected.schema.names if name != ROW_ID}
    for name in ASKED:
        found = answers.signatures.get(name, {}).get("outputs", outputs)
        if found != outputs:
            reasons.append(
                f"signature '{name}' answers {_described(found)}; the trainer predicts {_described(outputs)}"
            )
    return reasons


def _uncompared_reasons(expected: pa.Table, answers: Answers) -> list[str]:
    """One sentence for each signature that is there and whose answers cannot be set beside the trainer's."""
    reasons = []
    for name in ASKED:
        table = answers.tables.get(name)
        if name not in answers.signatures or (table is not None and _comparable(expected, table)):
            continue
        answered = (
            "nothing" if table is None else f"about {_contents(table)}; allowed: {_contents(expected)}, the same ids"
        )
        reasons.append(f"signature '{name}' was not compared with the trainer: it answered {answered}")
    return reasons


def _contents(predictions: pa.Table) -> str:
    outputs = ", ".join(sorted(set(predictions.schema.names) - {ROW_ID}))
    return f"{predictions.num_rows} rows with {outputs or 'no output'}"


def _described(tensors: Numbers) -> str:
    return ", ".join(f"{name} ({dtype}, rank {rank})" for name, (dtype, rank) in sorted(tensors.items())) or "nothing"


def _difference_reasons(signatures: Numbers, rows: int, tolerance: float) -> list[str]:
    reasons = [] if rows else ["the trainer left no predictions to compare with"]
    for signature, found in signatures.items():
        for name, worst in found["outputs"].items():
            if worst["max_difference"] is None or worst["max_difference"] > tolerance:
                reasons.append(
                    f"signature '{signature}' answers {name} = {worst['export']} for row {worst['row_id']} where the trainer "
                    f"predicted {worst['trainer']}; allowed difference: {tolerance:g}"
                )
    return reasons
