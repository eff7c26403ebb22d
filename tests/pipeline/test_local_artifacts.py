"""Artifacts of a store, at hand for a stage; what a stage that fails leaves in the store and in MLMD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.types import standard_artifacts

from features import folders
from features.errors import DataError
from features.paths import Remote, remote
from pipeline.components import validate
from pipeline.components.local_artifacts import Artifacts, at_hand
from pipeline.components.store_files import use_for_stores
from pipeline.components.validate import SpecSchema
from pipeline.runners import local
from pipeline.runs import stopped_folder
from tests.features.logs.small_log import dataset


def _artifacts(**uris: str) -> Artifacts:
    made: Artifacts = {}
    for name, uri in uris.items():
        made[name] = [standard_artifacts.Model()]
        made[name][0].uri = uri
    return made


class Stage:
    """An executor: copies what it reads, as a stage of ours writes."""

    fails = False

    def do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> str:
        read, made = input_dict["examples"][0].uri, output_dict["model"][0]
        self.local = [artifact.uri for found in (input_dict, output_dict) for (artifact,) in found.values()]
        self.seen = folders.list_files(read)
        made.set_string_custom_property("made_from", f"{read}/Split-test")
        folders.copy(read, f"{made.uri}/copied")
        if self.fails:
            folders.make(kept := stopped_folder(made.uri))
            folders.write_text(f"{kept}/why.txt", "because")
            raise ValueError("for a test")
        return made.uri


def test_a_stage_works_on_this_disk(store: str, tmp_path: Path) -> None:
    for name in ("Split-train/data", "Split-test/data", "Split-test/more"):
        folders.write_text(f"{store}/ingest/examples/3/{name}", name)
    inputs = _artifacts(
        examples=f"{store}/ingest/examples/3", kept=f"{store}/x/y/1", empty=f"{store}/x/z/2", here=str(tmp_path)
    )
    outputs = _artifacts(model=f"{store}/train/model/7")
    before = [artifact.uri for found in (inputs, outputs) for (artifact,) in found.values()]
    stage = Stage()
    do = at_hand(Stage.do, {"examples": ["Split-test"], "kept": None})
    assert do(stage, inputs, outputs, {}) is None
    assert stage.seen == ["Split-test/data", "Split-test/more"]
    assert [remote(uri) is None for uri in stage.local] == [True, False, True, True, True]
    assert stage.local[3] == str(tmp_path)
    assert [artifact.uri for found in (inputs, outputs) for (artifact,) in found.values()] == before
    made = outputs["model"][0]
    assert made.get_string_custom_property("made_from") == f"{store}/ingest/examples/3/Split-test"
    assert folders.list_files(f"{store}/train") == ["model/7/copied/Split-test/data", "model/7/copied/Split-test/more"]
    assert folders.read_text(f"{store}/train/model/7/copied/Split-test/more") == "Split-test/more"
    assert not any(Path(uri).exists() for uri in (stage.local[0], stage.local[4]))


def test_of_a_stage_that_fails_what_explains_it_is_kept(store: str) -> None:
    folders.write_text(f"{store}/ingest/examples/3/data", "data")
    inputs, outputs = _artifacts(examples=f"{store}/ingest/examples/3"), _artifacts(model=f"{store}/train/model/7")
    stage = Stage()
    stage.fails = True
    with pytest.raises(ValueError, match="for a test"):
        at_hand(Stage.do)(stage, inputs, outputs, {})
    assert folders.list_files(f"{store}/train") == ["stopped/7/why.txt"]
    assert inputs["examples"][0].uri == f"{store}/ingest/examples/3"
    assert outputs["model"][0].uri == f"{store}/train/model/7"


def test_half_an_artifact_is_none(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails in the middle of an upload: TFX takes away what came, and the next run makes it whole."""
    use_for_stores()
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def run(run_id: str) -> Any:
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="small",
            pipeline_root=f"{store}/small",
            components=[SpecSchema(dataset=dataset().model_dump_json()).with_id("schema")],
            metadata_connection_config=connection,
            enable_cache=True,
        )
        compiled = compiler.Compiler().compile(pipeline)
        runtime_parameter_utils.substitute_runtime_parameter(
            compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        )
        return local._Launcher(compiled, local._Reports()).launch(compiled.nodes[0].pipeline_node)

    written: list[str] = []

    def half(folder: str, to: Remote, last: str = "") -> None:
        folders.write_text(f"{to}/half", "half")
        written.append(str(to))
        raise DataError("the store is gone")

    with monkeypatch.context() as patched:
        patched.setattr("features.stores.upload", half)
        with pytest.raises(DataError, match="the store is gone"):
            run("first")
    assert written == [f"{store}/small/schema/schema/1"]
    assert not folders.exists(written[0])
    with metadata.Metadata(connection) as handle:
        states = {artifact.state for artifact in handle.store.get_artifacts()}
    assert metadata_store_pb2.Artifact.LIVE not in states
    made = run("second")
    assert made.state == "done"
    assert folders.list_files(made.outputs["schema"][0]) == [validate.SCHEMA_FILE]
    assert run("third").state == "cached"
