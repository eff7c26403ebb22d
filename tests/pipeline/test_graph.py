from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ModelError
from pipeline import graph
from pipeline.loading import CONFIGS, load
from pipeline.lookups import Lookups
from serving.bundle import FOLDER


def test_another_truth_is_another_question_to_the_cache(tmp_path: Path) -> None:
    config = load(CONFIGS / "demo.yaml", [f"data.path={tmp_path}"])
    file = tmp_path / "truth" / "dt=2026-01-05" / "part-0.parquet"
    file.parent.mkdir(parents=True)

    def asked() -> dict[str, object]:
        """What TFX's cache sees of the evaluate stage beside its artifacts."""
        pipeline = graph.build_pipeline(config, "root", Lookups(fingerprint=lambda dataset, data: "abc"))
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


def trainer(tmp_path: Path, warm_start: str, *more: str) -> Any:
    config = load(CONFIGS / "demo.yaml", [f"data.path={tmp_path}", f"train.warm_start={warm_start}", *more])
    pipeline = graph.build_pipeline(config, "root", Lookups(fingerprint=lambda dataset, data: "abc"))
    return next(node for node in pipeline.components if node.id == "train")


def test_a_training_reads_the_last_pushed_model_where_it_begins_with_it(tmp_path: Path) -> None:
    assert "base_model" not in trainer(tmp_path, "none").inputs
    node = trainer(tmp_path, "last_pushed")
    assert node.inputs["base_model"].producer_component_id == "earlier_model"
    (earlier,) = (above for above in node.upstream_nodes if above.id == "earlier_model")
    assert {above.id for above in earlier.upstream_nodes} == {"transform"}


def test_another_model_to_begin_with_is_another_question_to_the_cache(export: Any, tmp_path: Path) -> None:
    from tests.serving.exports import make_other_export

    asked = []
    for version in ("1", "2"):
        make_other_export(export, tmp_path / "serving" / version, seed=int(version))
        (tmp_path / "serving" / version / FOLDER / "model.json").write_text(json.dumps({"preset": "mmoe_dlen"}))
        asked.append(json.loads(trainer(tmp_path, str(tmp_path / "serving")).exec_properties["custom_config"]))
    assert [Path(each["warm_start"]).name for each in asked] == ["1", "2"]
    assert asked[0]["warm_start_fingerprint"] != asked[1]["warm_start_fingerprint"]
    with pytest.raises(ModelError, match=r"^train.warm_start: '.*nothing' names no model"):
        trainer(tmp_path, str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match=r"model.head is 'independent' and that of .*serving/2 is 'dlen'"):
        trainer(tmp_path, str(tmp_path / "serving"), "model=mmoe")


def test_the_gate_of_the_data_knows_what_the_head_asks_and_no_more(tmp_path: Path) -> None:
    def gate(*more: str) -> dict[str, Any]:
        config = load(CONFIGS / "demo.yaml", [f"data.path={tmp_path}", *more])
        pipeline = graph.build_pipeline(config, "root", Lookups(fingerprint=lambda dataset, data: "abc"))
        (validate,) = (node for node in pipeline.components if node.id == "validate")
        return json.loads(validate.exec_properties["validate"])

    plain = gate()
    assert (plain["rarer_children"], plain["highest_rate"], plain["max_drift"]) == (False, None, 0.3)
    assert gate("model=mmoe", "model.trunk.experts=7", "train.epochs=2") == plain
    assert gate("model.head.prior=0.4") == plain | {"highest_rate": 0.4}
    assert gate("model=esmm") == gate("model=escm2") == plain | {"rarer_children": True}
