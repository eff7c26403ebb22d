from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import graph
from pipeline.loading import CONFIGS, load
from pipeline.lookups import Lookups


def test_another_truth_is_another_question_to_the_cache(tmp_path: Path) -> None:
    config = load(CONFIGS / "demo.yaml", [f"data.path={tmp_path}"])
    file = tmp_path / "truth" / "dt=2026-01-05" / "part-0.parquet"
    file.parent.mkdir(parents=True)

    def asked() -> dict[str, object]:
        """What TFX's cache sees of the evaluate stage beside its artifacts."""
        pipeline = graph.build_pipeline(config, "root", Lookups(fingerprint=lambda dataset, path: "abc"))
        (evaluate,) = (node for node in pipeline.components if node.id == "evaluate")
        return dict(evaluate.exec_properties)

    pq.write_table(pa.table({"item": ["a"], "up": [0.5]}), file)
    first = asked()
    assert asked() == first
    written = os.stat(file).st_mtime_ns
    pq.write_table(pa.table({"item": ["a"], "up": [0.6]}), file)
    os.utime(file, ns=(written, written + 1))  # of the same size, and maybe within one tick of the clock
    assert asked() != first
    again = asked()
    pq.write_table(pa.table({"item": ["b"], "up": [0.5]}), file.with_name("part-1.parquet"))
    assert asked() != again
