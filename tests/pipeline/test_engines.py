"""The config word `engine`: what Beam is told, by Beam's own parser, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.errors import ConfigError
from pipeline.components.engine import beam_args
from pipeline.config import RunConfig, dump
from pipeline.engines import Engine, LocalEngine
from pipeline.loading import CONFIGS, load

EXTERNAL = {"kind": "external", "address": "workers:50000"}
DATAFLOW = {"kind": "dataflow", "project": "p-1", "region": "europe-west4", "temp_location": "gs://bucket/tmp"}
TOLD: list[tuple[Any, dict[str, Any]]] = [
    ("local", {"runner": "FnApiRunner"}),
    (
        {"kind": "local", "options": {"direct_running_mode": "multi_processing", "direct_num_workers": 2}},
        {"runner": "FnApiRunner", "direct_running_mode": "multi_processing", "direct_num_workers": 2},
    ),
    (
        {"kind": "prism", "job_endpoint": "127.0.0.1:8073"},
        {"runner": "PortableRunner", "job_endpoint": "127.0.0.1:8073", "environment_type": "LOOPBACK"},
    ),
    (
        {"kind": "prism", "prism_location": "bin/prism", "environment": EXTERNAL},
        {
            "runner": "PrismRunner",
            "prism_location": "bin/prism",
            "environment_type": "EXTERNAL",
            "environment_config": "workers:50000",
        },
    ),
    ("flink", {"runner": "FlinkRunner", "flink_master": "[local]", "flink_version": "1.20"}),
    (
        {
            "kind": "flink",
            "flink_master": "jobs:8081",
            "flink_version": "1.19",
            "flink_job_server_jar": "server.jar",
            "flink_submit_uber_jar": True,
            "parallelism": 8,
            "environment": {"kind": "docker", "image": "feedrank:1"},
            "options": {"max_parallelism": 128, "files_to_stage": ["a.jar", "b.jar"], "auto_unique_labels": True},
        },
        {
            "runner": "FlinkRunner",
            "flink_master": "jobs:8081",
            "flink_version": "1.19",
            "flink_job_server_jar": "server.jar",
            "flink_submit_uber_jar": True,
            "parallelism": 8,
            "environment_type": "DOCKER",
            "environment_config": "feedrank:1",
            "max_parallelism": 128,
            "files_to_stage": ["a.jar", "b.jar"],
            "auto_unique_labels": True,
        },
    ),
    ("spark", {"runner": "SparkRunner", "spark_master_url": "local[*]", "spark_version": "3"}),
    (
        {
            "kind": "spark",
            "spark_master_url": "spark://master:7077",
            "spark_job_server_jar": "https://jars/server.jar",
            "environment": {"kind": "process", "command": "/opt/boot", "env": {"A": "b"}},
        },
        {
            "runner": "SparkRunner",
            "spark_master_url": "spark://master:7077",
            "spark_version": "3",
            "spark_job_server_jar": "https://jars/server.jar",
            "environment_type": "PROCESS",
            "environment_config": '{"command": "/opt/boot", "env": {"A": "b"}}',
        },
    ),
    (
        {
            **DATAFLOW,
            "staging_location": "gs://bucket/stage",
            "machine_type": "n2-standard-4",
            "num_workers": 2,
            "max_num_workers": 20,
            "sdk_container_image": "eu.gcr.io/p-1/feedrank:1",
            "service_account_email": "w@p-1.iam",
            "subnetwork": "regions/europe-west4/subnetworks/a",
            "options": {"no_use_public_ips": True, "experiments": ["use_runner_v2", "shuffle_mode=service"]},
        },
        {
            "runner": "DataflowRunner",
            "project": "p-1",
            "region": "europe-west4",
            "temp_location": "gs://bucket/tmp",
            "staging_location": "gs://bucket/stage",
            "machine_type": "n2-standard-4",
            "num_workers": 2,
            "max_num_workers": 20,
            "sdk_container_image": "eu.gcr.io/p-1/feedrank:1",
            "service_account_email": "w@p-1.iam",
            "subnetwork": "regions/europe-west4/subnetworks/a",
            "use_public_ips": False,
            "experiments": ["use_runner_v2", "shuffle_mode=service"],
        },
    ),
]


def engine_of(value: Any) -> Engine:
    """As a configuration would have it."""
    found: Engine = pydantic.TypeAdapter(Engine).validate_python(value)
    return found


@pytest.mark.parametrize(("value", "told"), TOLD, ids=lambda value: value if isinstance(value, str) else None)
def test_beam_understands_all_of_it(value: Any, told: dict[str, Any]) -> None:
    args = beam_args(engine_of(value))
    given = PipelineOptions(args).get_all_options(drop_default=True, retain_unknown_options=True)
    defaults = PipelineOptions([]).get_all_options()
    assert given == {name: value for name, value in told.items() if value != defaults.get(name, None)}
    assert {name: PipelineOptions(args).get_all_options()[name] for name in told} == told


def test_local_is_the_default_and_names_its_runner() -> None:
    config = load(CONFIGS / "demo.yaml")
    assert config.engine == LocalEngine()
    assert config.engine.args == ("--runner=FnApiRunner",)


def test_another_engine_replaces_the_one_below_it(tmp_path: Path) -> None:
    path = tmp_path / "saved.yaml"
    path.write_text(dump(load(CONFIGS / "demo.yaml", ["engine=flink", "engine.parallelism=3"])))
    saved = load(path)
    assert saved.engine.args == (
        "--runner=FlinkRunner",
        "--flink_master=[local]",
        "--flink_version=1.20",
        "--parallelism=3",
    )
    assert load(path, ["engine=spark"]).engine.args[0] == "--runner=SparkRunner"
    assert load(path, ["engine=local"]).engine == LocalEngine()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("dask", "'dask'"),
        ("direct", "'direct'"),
        ("prism", "needs `job_endpoint`, .* got neither"),
        ({"kind": "prism", "job_endpoint": "a:1", "prism_location": "b"}, "got both"),
        ({"kind": "prism", "job_endpoint": "http://a:1"}, "job_endpoint"),
        ({"kind": "flink", "flink_version": 1.20}, "flink_version"),
        ({"kind": "flink", "flink_master": "jobs:8081"}, r"'jobs:8081' is a cluster.*got no `environment`"),
        ({"kind": "flink", "flink_master": "jobs:8081", "environment": "loopback"}, "the process that starts the run"),
        ({"kind": "spark", "spark_master_url": "spark://m:7077"}, "is a cluster"),
        ({"kind": "spark", "spark_submit_uber_jar": True}, "belong together"),
        ({**DATAFLOW, "temp_location": "/tmp/x"}, "got '/tmp/x'; allowed: gs://"),
        ({**DATAFLOW, "staging_location": "s3://b/x"}, "got 's3://b/x'; allowed: gs://"),
        ({**DATAFLOW, "num_workers": 3, "max_num_workers": 2}, "num_workers 3 is above max_num_workers 2"),
        ({"kind": "dataflow", "project": "p"}, "region"),
        ({"kind": "local", "options": {"runner": "DirectRunner"}}, "option 'runner' is set by engine.kind"),
        ({"kind": "local", "options": {"environment_type": "DOCKER"}}, "set by engine.environment"),
        ({"kind": "flink", "options": {"parallelism": 2}}, "set by engine.parallelism"),
        ({"kind": "local", "options": {"--direct_num_workers": 2}}, "without dashes"),
        ({"kind": "flink", "options": {"s3_secret_access_key": "x"}}, "holds a secret"),
        ({"kind": "local", "options": {"streaming": False}}, "says nothing to Beam"),
    ],
)
def test_what_cannot_run_is_refused(value: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        engine_of(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direct_num_worker": 2}, "unknown option 'direct_num_worker'; did you mean 'direct_num_workers'?"),
        ({"max_parallelism": "many"}, "Beam refuses .*--max_parallelism: invalid int value: 'many'"),
    ],
)
def test_options_that_beam_would_drop_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        beam_args(LocalEngine(options=options))


def config_of(engine: Any, **changes: Any) -> RunConfig:
    return RunConfig.model_validate({"name": "x", "dataset": "synthetic", "engine": engine, **changes})


def test_dataflow_wants_all_in_a_store() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"do not reach output 'runs', data\.path 'data/synthetic'"):
        config_of(DATAFLOW)
    far = config_of(DATAFLOW, output="gs://bucket/runs", data={"path": "gs://bucket/log"})
    with pytest.raises(ConfigError, match="output: 'gs://bucket/runs' is no path of this machine"):
        far.check_paths()
    config_of(DATAFLOW, artifacts="gs://bucket/artifacts", data={"path": "gs://bucket/log"}).check_paths()
    with pytest.raises(pydantic.ValidationError, match=r"do not reach artifacts '/mnt/artifacts'; allowed: gs://"):
        config_of(DATAFLOW, artifacts="/mnt/artifacts", data={"path": "gs://bucket/log"})


def test_workers_elsewhere_want_absolute_paths(tmp_path: Path) -> None:
    there = {"kind": "prism", "job_endpoint": "127.0.0.1:1", "environment": EXTERNAL}
    with pytest.raises(
        pydantic.ValidationError, match=r"prism's workers .*got output 'runs', data\.path 'data/synthetic'"
    ):
        config_of(there)
    with pytest.raises(pydantic.ValidationError, match=r"got data\.hash_key 'key'; allowed: absolute"):
        config_of(there, output=str(tmp_path), data={"path": "s3://bucket/log", "hash_key": "key"})
    assert not config_of(there, output=str(tmp_path), data={"path": str(tmp_path)}).engine.works_here
    config_of(there, artifacts="s3://bucket/artifacts", data={"path": "s3://bucket/log"}).check_paths()
    with pytest.raises(pydantic.ValidationError, match=r"got artifacts 'shared'; allowed: absolute"):
        config_of(there, artifacts="shared", data={"path": "s3://bucket/log"})
    assert config_of({"kind": "prism", "job_endpoint": "127.0.0.1:1"}).engine.works_here


@pytest.mark.parametrize(
    "engine",
    [
        {"kind": "prism", "prism_location": "no/prism"},
        {"kind": "flink", "flink_job_server_jar": "no/server.jar"},
        {"kind": "spark", "spark_job_server_jar": "no/server.jar"},
    ],
)
def test_programs_must_be_there(engine: dict[str, Any], tmp_path: Path) -> None:
    (key,) = engine.keys() - {"kind"}
    with pytest.raises(ConfigError, match=rf"engine\.{key}: no file 'no/"):
        config_of(engine).check_paths()
    (tmp_path / "there").touch()
    config_of({**engine, key: str(tmp_path / "there")}).check_paths()
