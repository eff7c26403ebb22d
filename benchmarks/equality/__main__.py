"""Do feedrank's stages write what stock TFX's parts say of the same rows?

    python -m benchmarks.equality [--rows 60000] [--kuairand FOLDER] [--folder FOLDER]

A whole run on the synthetic log of `benchmarks.stages` and, with a folder of its official files, one on KuaiRand (one epoch each).
Compared is what the run wrote:

- the statistics stage's FeatureStats.pb of the training split with `tfdv.generate_statistics_from_dataframe`;
- Transform's vocabularies with `tft.vocabulary`'s files, its z-scores with `tft.mean` and `tft.var`, one column after the other, and its
  quantile buckets with exact ranks, beside `tft.quantiles`' own;
- evaluation.json with TFMA (`tfma.analyze_raw_data`) and scikit-learn on the test rows and the pushed model's answers.

Where many columns or tasks are compared the table shows the worst. Exit code 1 if a difference is larger than allowed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.equality.compared import Compared, table
from benchmarks.stages import log as stages_log
from features.kinds import Bucketized, Numeric
from features.spec import SPLITS, Dataset, label_column
from pipeline import loading
from pipeline.config import RunConfig
from pipeline.runs import RunFolder, RunRecord, StageResult

KUAIRAND = Path(__file__).parents[2] / "pipeline" / "configs" / "kuairand.yaml"


def main() -> int:
    """Runs, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="of the synthetic log; a third is trained on")
    parser.add_argument("--kuairand", type=Path, help="folder of KuaiRand-Pure's official files")
    parser.add_argument("--folder", type=Path, help="where the runs go; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        found = _synthetic(Path(folder), arguments.rows)
        if arguments.kuairand:
            found += _kuairand(Path(folder), arguments.kuairand)
    print(table(found))
    return 0 if all(one.agrees for one in found) else 1


def _synthetic(folder: Path, rows: int) -> list[Compared]:
    stages_log.write(folder / "log", rows, "csv")
    spec = stages_log.dataset("csv")
    features = {
        **spec.features,
        "age_log": Numeric(column="age_h", scaling="log_zscore"),
        "age_place": Numeric(column="age_h", scaling="quantile"),
        "age_bucket": Bucketized(column="age_h", buckets=10),
        "duration_bucket": Bucketized(column="duration_s", buckets=32),
    }
    spec = spec.model_copy(update={"features": features})
    settings = {
        "name": "synthetic",
        "dataset": spec.model_dump(mode="json"),
        "data": {"path": str(folder / "log")},
        "output": str(folder / "runs"),
        "evaluate": {"slices": ["device"]},
    }
    path = folder / "synthetic.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return _compare("synthetic", path, ["train.epochs=1"], ("click", "device"))


def _kuairand(folder: Path, data: Path) -> list[Compared]:
    overrides = [f"output={folder / 'runs'}", f"data.path={data}", "train.epochs=1"]
    overrides += [f"evaluate.thresholds.{task}=null" for task in ("click", "long_view")]
    return _compare("KuaiRand", KUAIRAND, overrides, ("click", "tab"))


class _Quiet:
    """Nobody watches the run."""

    def stage_started(self, name: str) -> None:
        """Says which on standard error."""
        print(name, file=sys.stderr)

    def stage_finished(self, result: StageResult) -> None:
        """Says nothing."""


def _compare(name: str, path: Path, overrides: Sequence[str], sliced: tuple[str, str]) -> list[Compared]:
    """All comparisons of one run; `sliced`: a task and a column."""
    from pipeline.runners import local

    config = loading.load(path, list(overrides))
    with RunFolder.create(config) as run:
        record = local.run(config, run, _Quiet())
    if stopped := [stage.name for stage in record.stages if stage.state == "failed"]:
        raise RuntimeError(f"the run on {name} stopped at {', '.join(stopped)}")
    return [*_statistics(name, config, record), *_learned(name, config, record), *_scores(name, config, record, sliced)]


def _output(record: RunRecord, stage: str, name: str) -> Path:
    found = record.output(stage, name)
    assert found is not None
    return found


def _rows(record: RunRecord, dataset: Dataset, split: str) -> Any:
    """A split's examples as one Arrow table of plain columns."""
    import pyarrow as pa

    from pipeline.evaluation.rows import read_split

    return pa.Table.from_batches(read_split(_output(record, "ingest", "examples") / f"Split-{split}", dataset))


def _statistics(name: str, config: RunConfig, record: RunRecord) -> list[Compared]:
    from benchmarks.equality import statistics

    rows = _rows(record, config.dataset, SPLITS[0])
    plain = [field.name for field in rows.schema if not str(field.type).startswith("list")]
    frame = pd.DataFrame({column: rows[column].to_pandas(integer_object_nulls=True) for column in plain})
    written = _output(record, "statistics", "statistics") / f"Split-{SPLITS[0]}" / "FeatureStats.pb"
    return statistics.compare(name, written, _output(record, "schema", "schema") / "schema.pbtxt", frame)


def _learned(name: str, config: RunConfig, record: RunRecord) -> list[Compared]:
    from benchmarks.equality import learned

    split = f"Split-{SPLITS[0]}"
    examples = _output(record, "ingest", "examples") / split
    transformed = _output(record, "transform", "transformed_examples") / split
    graph = _output(record, "transform", "transform_graph")
    return learned.compare(name, config.dataset, examples, transformed, graph)


def _scores(name: str, config: RunConfig, record: RunRecord, sliced: tuple[str, str]) -> list[Compared]:
    from benchmarks.equality import scores
    from pipeline.components.evaluate import FILE
    from pipeline.evaluation.predictor import Predictor

    found = json.loads((_output(record, "evaluate", "evaluation") / FILE).read_text(encoding="utf-8"))
    rows, dataset = _rows(record, config.dataset, SPLITS[2]), config.dataset
    assert dataset.group is not None
    predictor = Predictor(_output(record, "train", "model") / "Format-Serving")
    task, column = sliced
    columns = [dataset.group, column, *map(label_column, dataset.tasks)]
    frame = rows.select(list(dict.fromkeys(columns))).to_pandas().assign(**predictor.predict(rows))
    frame[column] = frame[column].astype(str)
    return [
        *scores.compare(name, found, frame, list(dataset.tasks), dataset.group),
        *scores.of_slices(name, found, frame, task, column),
    ]


if __name__ == "__main__":
    sys.exit(main())
