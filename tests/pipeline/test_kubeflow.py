from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import tomli
import yaml
from kfp import components
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils
from tfx.utils import import_utils

import pipeline
from features.errors import ConfigError
from pipeline import graph
from pipeline.config import RunConfig
from pipeline.loading import BASE, CONFIGS, load
from pipeline.lookups import Lookups
from pipeline.runners.kubeflow import FINGERPRINT, compile_pipeline, kubeflow_name

DEMO = CONFIGS / "demo.yaml"
SHIPPED = sorted(path for path in CONFIGS.glob("*.yaml") if path != BASE)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load(DEMO, ["data.path=no/such/folder", "output=gs://bucket/runs"])


@pytest.fixture(scope="module")
def written(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "demo.yaml"
    compile_pipeline(config, str(path), image="registry/feedrank:1")
    return path


@pytest.fixture(scope="module")
def spec(written: Path) -> dict[str, Any]:
    return yaml.safe_load(written.read_text())


def test_the_kfp_library_loads_it(written: Path) -> None:
    loaded = components.load_component_from_file(str(written))
    assert loaded.name == "demo"
    assert set(loaded.component_spec.inputs or {}) == {FINGERPRINT}


def test_it_has_the_local_graphs_stages_and_arrows(config: RunConfig, spec: dict[str, Any]) -> None:
    local = graph.build_pipeline(config, "root", Lookups(fingerprint=lambda dataset, data: "abc"))
    tasks = spec["root"]["dag"]["tasks"]
    # Kubeflow looks up the last blessed model in two steps, its blessing first.
    twofold = {"baseline-model-resolver": "baseline", "baseline-model-blessing-resolver": "baseline"}
    assert {twofold.get(name, name) for name in tasks} == {node.id for node in local.components}
    arrows = {(twofold.get(up, up), name) for name, task in tasks.items() for up in task.get("dependentTasks", ())}
    expected = {(up.id, node.id) for node in local.components for up in node.upstream_nodes}
    # Kubeflow's strategies know no own artifacts to leave out: the previous statistics are looked up before this run's.
    expected ^= {("train", "baseline"), ("statistics", "previous_statistics"), ("previous_statistics", "ingest")}
    assert {arrow for arrow in arrows if arrow[1] not in twofold} == expected


def test_push_waits_for_both_blessings(spec: dict[str, Any]) -> None:
    artifacts = spec["root"]["dag"]["tasks"]["push"]["inputs"]["artifacts"]
    producers = {name: part["taskOutputArtifact"]["producerTask"] for name, part in artifacts.items()}
    assert producers == {"model": "train", "model_blessing": "evaluate", "infra_blessing": "check_serving"}


def test_every_executor_can_be_imported_in_the_image(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    containers = {name: part["container"] for name, part in executors.items() if "container" in part}
    assert {part["image"] for part in containers.values()} == {"registry/feedrank:1"}
    for container in containers.values():
        path = container["args"][container["args"].index("--executor_class_path") + 1]
        assert hasattr(import_utils.import_class_by_path(path), "Do")


def test_every_artifact_type_is_found_again_by_tfx(spec: dict[str, Any]) -> None:
    text = json.dumps(spec["components"])
    titles = set(re.findall(r"title: ([a-z]+\.[A-Z]\w+)", text))
    own = {title for title in titles if title.startswith("pipeline.")}
    assert own == {
        f"pipeline.{name}" for name in ("Quarantine", "IngestManifest", "SideTables", "DataVerdict", "HtmlReport")
    }
    for title in own:
        assert title == import_utils.import_class_by_path(title).TYPE_NAME
    assert kubeflow_v2_entrypoint_utils.compiler_utils.TITLE_TO_CLASS_PATH.keys() >= titles - own


def test_buckets_keep_both_slashes(spec: dict[str, Any]) -> None:
    parameters = spec["root"]["dag"]["tasks"]["push"]["inputs"]["parameters"]
    destination = json.loads(parameters["push_destination"]["runtimeValue"]["constant"])
    assert destination["filesystem"]["base_directory"] == "gs://bucket/runs/demo/serving"


def test_json_is_a_job_of_the_same_specification(config: RunConfig, spec: dict[str, Any], tmp_path: Path) -> None:
    compile_pipeline(config, str(tmp_path / "demo.json"), image="registry/feedrank:1")
    job = json.loads((tmp_path / "demo.json").read_text())
    assert job["pipelineSpec"] == spec
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/runs/demo/artifacts"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_configuration_compiles(path: Path, tmp_path: Path) -> None:
    compile_pipeline(load(path, ["data.path=no/such/folder"]), str(tmp_path / "x.yaml"))
    loaded = components.load_component_from_file(str(tmp_path / "x.yaml"))
    assert loaded.name == kubeflow_name(load(path).name)


def test_names_become_such_as_kubeflow_takes(config: RunConfig, tmp_path: Path) -> None:
    compile_pipeline(config.model_copy(update={"name": "My_Run"}), str(tmp_path / "x.yaml"))
    spec = yaml.safe_load((tmp_path / "x.yaml").read_text())
    assert spec["pipelineInfo"]["name"] == "my-run"
    # Folders keep the run's own name.
    assert "gs://bucket/runs/My_Run/serving" in json.dumps(spec)


def test_other_endings_are_refused(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"cannot write 'x.txt'; allowed endings: \.yaml"):
        compile_pipeline(config, "x.txt")


@pytest.mark.slow
def test_the_command_says_the_files_name_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "compile", str(DEMO), "--output", str(tmp_path / "x.yaml")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{tmp_path / 'x.yaml'}\n", "")


# -- the workers' image, which no check builds ------------------------------------------------------------------------

ROOT = Path(pipeline.__file__).parents[1]


@pytest.fixture(scope="module")
def image() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile."""
    lines = (ROOT / "pipeline" / "runners" / "Dockerfile").read_text().splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line and not line.startswith("#")]


def test_the_image_copies_all_that_is_installed(image: list[tuple[str, str]]) -> None:
    files = [names for what, names in image if what == "COPY" and not names.startswith("--from=")]
    copied = [name for names in files for name in names.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    project = tomli.loads((ROOT / "pyproject.toml").read_text())
    rooms = [name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    assert {*rooms, "pyproject.toml", "uv.lock", project["project"]["readme"], "setup.py"} <= set(copied)
    renamed = [names for names in files if names.split()[-1] not in ("./", names.split()[0])]
    assert renamed == []


def test_the_image_is_installed_as_the_makefile_does(image: list[tuple[str, str]]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    [command] = re.findall(r"\$\(UV\) (sync .*) \$\(COMPILED\)", makefile)
    syncs = [line for what, line in image if what == "RUN" and " sync " in line]
    assert len(syncs) == 2
    assert all(line.startswith(f"uv {command} --no-dev") for line in syncs)
    [keras] = re.findall(r"^export (TF_USE_LEGACY_KERAS) := (\d)$", makefile, flags=re.MULTILINE)
    assert ("ENV", "=".join(keras)) in image
    python = (ROOT / ".python-version").read_text().strip()
    assert image[0][0] == "FROM"
    assert image[0][1].startswith(f"python:{python}-")


def test_the_image_has_tfx_behind_the_name_that_workers_are_started_by(
    image: list[tuple[str, str]], spec: dict[str, Any]
) -> None:
    executors = spec["deploymentSpec"]["executors"].values()
    commands = {executor["container"]["command"][0] for executor in executors if "container" in executor}
    assert commands == {"python"}
    [folder] = [line for what, line in image if what == "WORKDIR"]
    assert ("ENV", f"PATH={folder}/.venv/bin:$PATH") in image


def test_the_image_starts_beams_workers_of_the_version_that_is_locked(image: list[tuple[str, str]]) -> None:
    python = (ROOT / ".python-version").read_text().strip()
    folder = "/opt/apache/beam"
    assert ("COPY", f"--from=apache/beam_python{python}_sdk:{beam.__version__} {folder} {folder}") in image
    assert image[-1] == ("ENTRYPOINT", f'["{folder}/boot"]')


def test_the_documents_name_the_image_that_is_asked_for(tmp_path: Path, config: RunConfig) -> None:
    compile_pipeline(config, str(tmp_path / "x.yaml"))
    executors = yaml.safe_load((tmp_path / "x.yaml").read_text())["deploymentSpec"]["executors"].values()
    [name] = {executor["container"]["image"] for executor in executors if "container" in executor}
    assert f"docker build -f pipeline/runners/Dockerfile -t {name} ." in (ROOT / "README.md").read_text()
    assert f"-t REGISTRY/{name} ." in (ROOT / "pipeline" / "runners" / "Dockerfile").read_text()
