"""Who runs the Beam pipelines: one word of the configuration, or a mapping with that engine's own options.

Options have Beam's names. `pipeline.components.engine` asks Beam whether it knows all of them: this module loads no Beam.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from features.errors import ConfigError
from features.frozen import BareKind, Frozen, SpecError
from features.paths import remote

Value = bool | int | float | str
"""Of an option."""
Address = Annotated[str, pydantic.Field(pattern=r"^[^\s/:]+:\d{1,5}$")]
"""``HOST:PORT``."""
_OPTION = re.compile(r"[a-z][a-z0-9_]*")
_LOCAL_MASTER = re.compile(r"local(\[[^\]]*\])?")
_SECRET = re.compile("secret|token|access_key|password|connection_string|gbek")
_NAMED_BY_KIND = ("runner", "environment_type", "environment_config", "environment_option", "environment_options")


class _Environment(Frozen):
    """What all environments have."""

    TYPE: ClassVar[str]
    """Beam's name of it."""

    @property
    def args(self) -> tuple[str, ...]:
        """Beam's arguments."""
        config = self._config()
        return (f"--environment_type={self.TYPE}", *(() if config is None else (f"--environment_config={config}",)))

    def _config(self) -> str | None:
        """What Beam is told beside the type."""
        return None


class LoopbackEnvironment(_Environment):
    """The process that starts the run works, too: for engines on this machine."""

    TYPE = "LOOPBACK"

    kind: Literal["loopback"] = "loopback"


class ExternalEnvironment(_Environment):
    """Pools of workers that run already: ``python -m apache_beam.runners.worker.worker_pool_main --service_port=PORT``.

    A pool starts ``python`` from its PATH: put the folder of this environment's first. It listens on all interfaces, without
    any password.
    """

    TYPE = "EXTERNAL"

    kind: Literal["external"] = "external"
    address: Address
    """HOST:PORT of the pool, as the engine's machines reach it."""

    def _config(self) -> str:
        return self.address


class DockerEnvironment(_Environment):
    """Each worker is a container."""

    TYPE = "DOCKER"

    kind: Literal["docker"] = "docker"
    image: str = pydantic.Field(min_length=1)
    """One that holds Beam's worker, feedrank and its extra `pipeline`, of the versions that start the run."""

    def _config(self) -> str:
        return self.image


class ProcessEnvironment(_Environment):
    """The engine starts a command on its machines."""

    TYPE = "PROCESS"

    kind: Literal["process"] = "process"
    command: str = pydantic.Field(min_length=1)
    """Beam's ``boot`` program, or one that does the same; feedrank and its extra `pipeline` must be installed for it."""
    env: dict[str, str] = {}
    """Environment variables of the command."""

    def _config(self) -> str:
        return json.dumps({"command": self.command, "env": self.env})


Environment = Annotated[
    LoopbackEnvironment | ExternalEnvironment | DockerEnvironment | ProcessEnvironment,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]
"""Where an engine runs our code."""


class _Engine(Frozen):
    """What all engines have."""

    RUNNER: ClassVar[str]
    """Beam's name of it."""

    options: dict[str, Value | tuple[Value, ...]] = {}
    """Any other option of Beam's by its name: `true` gives the bare flag, a list the option once for each value."""

    @property
    def args(self) -> tuple[str, ...]:
        """Beam's arguments, the runner's name first."""
        return (f"--runner={self.RUNNER}", *self._own_args(), *_rendered(self.options))

    def _own_args(self) -> Iterator[str]:
        """Those of the engine's own keys: each is an option of Beam's of the same name."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in ("kind", "options") or value is None:
                continue
            yield from value.args if isinstance(value, _Environment) else _rendered({name: value})

    @property
    def works_here(self) -> bool:
        """Whether our code runs in the process that starts the run, where a relative path means the same."""
        return isinstance(getattr(self, "environment", None), LoopbackEnvironment | None)

    def check_paths(self) -> None:
        """Refuses files of this machine that are not there.

        Raises:
            ConfigError: naming the key.
        """

    @pydantic.field_validator("options")
    @classmethod
    def _check_options(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        for name, value in options.items():
            if not _OPTION.fullmatch(name):
                raise SpecError(
                    f"option '{name}'; allowed: Beam's name without dashes in front, such as max_parallelism"
                )
            if name in cls.model_fields or name in _NAMED_BY_KIND:
                where = name if name in cls.model_fields else "kind" if name == "runner" else "environment"
                raise SpecError(f"option '{name}' is set by engine.{where}; allowed here: Beam's other options")
            if _SECRET.search(name):
                raise SpecError(
                    f"option '{name}' holds a secret, and options are saved with the run and printed; allowed: credentials as the store's own "
                    "tools find them, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                )
            if value is False or value == ():
                raise SpecError(
                    f"option '{name}: {json.dumps(value)}' says nothing to Beam; allowed: leave it out, or `no_...: true`"
                )
        return options


def _check_file(what: str, path: str | None) -> None:
    """A file of this machine must be there; a URL is the engine's affair."""
    if path is not None and "://" not in path and not Path(path).is_file():
        raise ConfigError(
            f"{what}: no file '{path}'; allowed: a file of this machine{'' if 'prism' in what else ', or a URL'}"
        )


def _check_reached(key: str, master: str, is_local: bool, environment: _Environment | None) -> None:
    """Workers of a cluster must be told where our code is; `loopback` means this process, which they do not reach."""
    if is_local or not (environment is None or isinstance(environment, LoopbackEnvironment)):
        return
    got = "no `environment`" if environment is None else "`environment: loopback`, the process that starts the run"
    raise SpecError(
        f"{key} '{master}' is a cluster, and its machines must find our code; got {got}; allowed: environment: "
        "{kind: docker, image: ...}, {kind: process, command: ...} or {kind: external, address: HOST:PORT}"
    )


def _rendered(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        for each in value if isinstance(value, tuple) else (value,):
            yield f"--{name}" if each is True else f"--{name}={each}"


class LocalEngine(_Engine):
    """Beam's FnApiRunner, in the process that starts the run. Not DirectRunner, which may choose another one by itself."""

    RUNNER = "FnApiRunner"

    kind: Literal["local"] = "local"


class PrismEngine(_Engine):
    """Beam's portable runner, a program of its own: one that runs already, or a file that is started for each stage."""

    RUNNER = "PrismRunner"

    kind: Literal["prism"] = "prism"
    job_endpoint: Address | None = None
    """HOST:PORT of a running ``prism --job_port=PORT``."""
    prism_location: str | None = None
    """File of the program, made by ``go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.74.0``."""
    environment: Environment = LoopbackEnvironment()
    """Where our code runs."""

    @property
    def args(self) -> tuple[str, ...]:
        """Beam's arguments; Beam's PrismRunner starts programs, and one that runs is any portable runner."""
        runner = self.RUNNER if self.job_endpoint is None else "PortableRunner"
        return (f"--runner={runner}", *self._own_args(), *_rendered(self.options))

    def check_paths(self) -> None:
        """See the base."""
        _check_file("engine.prism_location", self.prism_location)

    @pydantic.model_validator(mode="after")
    def _check_where(self) -> PrismEngine:
        if (self.job_endpoint is None) == (self.prism_location is None):
            got = "neither" if self.job_endpoint is None else "both"
            raise SpecError(
                "prism needs `job_endpoint`, HOST:PORT of a running one, or `prism_location`, the file of its program (Beam would "
                f"otherwise download one); got {got}; allowed: one of them"
            )
        return self


class FlinkEngine(_Engine):
    """Apache Flink, by Beam's job server, for which Beam downloads a jar, or `flink_job_server_jar`."""

    RUNNER = "FlinkRunner"

    kind: Literal["flink"] = "flink"
    flink_master: str = "[local]"
    """HOST:PORT of the cluster's REST interface; ``[local]``: a Flink inside the job server."""
    flink_version: Literal["1.17", "1.18", "1.19", "1.20", "2.0"] = "1.20"
    """The cluster's, in quotation marks: to YAML a bare 1.20 is 1.2."""
    flink_job_server_jar: str | None = None
    """File or URL of Beam's job server for that version."""
    flink_submit_uber_jar: Literal[True] | None = None
    """Sends the job as one jar to the cluster instead of by a job server on this machine."""
    parallelism: pydantic.PositiveInt | None = None
    """Tasks that each step is split into; null: as Flink is set up, or 1."""
    environment: Environment | None = None
    """Where our code runs; null: `loopback` with ``[local]``. A cluster needs another one."""

    def check_paths(self) -> None:
        """See the base."""
        _check_file("engine.flink_job_server_jar", self.flink_job_server_jar)

    @pydantic.model_validator(mode="after")
    def _check_environment(self) -> FlinkEngine:
        _check_reached("flink_master", self.flink_master, self.flink_master in ("[local]", "[auto]"), self.environment)
        return self


class SparkEngine(_Engine):
    """Apache Spark, by Beam's job server, for which Beam downloads a jar, or `spark_job_server_jar`."""

    RUNNER = "SparkRunner"

    kind: Literal["spark"] = "spark"
    spark_master_url: str = "local[*]"
    """``spark://HOST:PORT``; ``local[*]``: a Spark inside the job server."""
    spark_version: Literal["3"] = "3"
    """The cluster's, in quotation marks."""
    spark_job_server_jar: str | None = None
    """File or URL of Beam's job server."""
    spark_submit_uber_jar: Literal[True] | None = None
    """Sends the job as one jar to `spark_rest_url`."""
    spark_rest_url: str | None = None
    """``http://HOST:6066``."""
    environment: Environment | None = None
    """Where our code runs; null: `loopback` with ``local[...]``. A cluster needs another one."""

    def check_paths(self) -> None:
        """See the base."""
        _check_file("engine.spark_job_server_jar", self.spark_job_server_jar)

    @pydantic.model_validator(mode="after")
    def _check_cluster(self) -> SparkEngine:
        if (self.spark_submit_uber_jar is None) != (self.spark_rest_url is None):
            raise SpecError(
                "`spark_submit_uber_jar` and `spark_rest_url` belong together; got one; allowed: both or none"
            )
        is_local = _LOCAL_MASTER.fullmatch(self.spark_master_url) is not None and self.spark_rest_url is None
        _check_reached("spark_master_url", self.spark_rest_url or self.spark_master_url, is_local, self.environment)
        return self


class DataflowEngine(_Engine):
    """Google Cloud's Dataflow. Its workers are other machines: all that they read and write is in a store."""

    RUNNER = "DataflowRunner"

    kind: Literal["dataflow"] = "dataflow"
    project: str = pydantic.Field(pattern=r"^[a-z0-9.:-]+$")
    """Google Cloud's project, by its id."""
    region: str = pydantic.Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")
    """Such as europe-west4."""
    temp_location: str
    """``gs://BUCKET/FOLDER``."""
    staging_location: str | None = None
    """``gs://BUCKET/FOLDER``; null: below `temp_location`."""
    machine_type: str | None = None
    """Of the workers, such as n2-standard-4."""
    num_workers: pydantic.PositiveInt | None = None
    """At the beginning."""
    max_num_workers: pydantic.PositiveInt | None = None
    """At most."""
    sdk_container_image: str | None = None
    """Image that holds Beam's worker, feedrank and its extra `pipeline`; or give ``options: {setup_file: ./setup.py}``."""
    service_account_email: str | None = None
    """Whose rights the workers have."""
    subnetwork: str | None = None
    """That the workers are in."""

    @property
    def works_here(self) -> bool:
        """See the base."""
        return False

    @pydantic.field_validator("temp_location", "staging_location")
    @classmethod
    def _check_store(cls, path: str | None) -> str | None:
        found = None if path is None else remote(path)
        if path is not None and (found is None or found.scheme != "gs" or not found.authority):
            raise SpecError(
                f"Dataflow's own files lie in Google Cloud Storage; got '{path}'; allowed: gs://BUCKET/FOLDER"
            )
        return path

    @pydantic.model_validator(mode="after")
    def _check_workers(self) -> DataflowEngine:
        if self.num_workers and self.max_num_workers and self.num_workers > self.max_num_workers:
            raise SpecError(f"num_workers {self.num_workers} is above max_num_workers {self.max_num_workers}")
        return self


Engine = Annotated[
    LocalEngine | PrismEngine | FlinkEngine | SparkEngine | DataflowEngine,
    pydantic.Field(discriminator="kind"),
    BareKind(),
]
"""Who runs the Beam pipelines."""
