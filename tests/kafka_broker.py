"""A Kafka broker on this machine: one node, KRaft, fetched by Maven."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import kafka_security

READY_S = 60
FETCH_S = 300
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tests</groupId><artifactId>broker</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>3.9.1</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"


class KafkaBroker(NamedTuple):
    """A running broker.

    Attributes:
        servers: host and port.
        process: the broker's.
        secure: by listener of `tests.kafka_security`, host and port, where the broker has them.
    """

    servers: str
    process: subprocess.Popen[bytes]
    secure: Mapping[str, str] = {}

    @property
    def admin(self) -> Any:
        """confluent-kafka's client for administrators."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.servers})

    def make(self, topic: str, partitions: int = 1, **config: str) -> None:
        """A new topic; of an option ``cleanup_policy`` is ``cleanup.policy``."""
        from confluent_kafka.admin import NewTopic

        settings = {name.replace("_", "."): value for name, value in config.items()}
        admin = self.admin  # it must live until it is answered
        (made,) = admin.create_topics([NewTopic(topic, partitions, 1, config=settings)]).values()
        made.result(READY_S)

    def send(
        self,
        topic: str,
        values: Sequence[bytes | None],
        partition: int = 0,
        transaction: str = "",
        times_ms: Sequence[int] = (),
    ) -> None:
        """Appends messages, of the time of now or of `times_ms`; in a `transaction`, whose name ends with ``abort`` if it does, they and a
        mark, which is not there yet if it ends with ``open``.
        """
        from confluent_kafka import Producer

        name = {"transactional.id": transaction} if transaction else {}
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5, **name})
        if transaction:
            producer.init_transactions(READY_S)
            producer.begin_transaction()
        for value, time_ms in itertools.zip_longest(values, times_ms, fillvalue=0):
            producer.produce(topic, value, key=b"k", partition=partition, timestamp=time_ms)
            producer.poll(0)
        producer.flush(READY_S)
        if transaction and not transaction.endswith("open"):
            (producer.abort_transaction if transaction.endswith("abort") else producer.commit_transaction)(READY_S)


@contextlib.contextmanager
def kafka_broker(folder: Path, secure: bool = False) -> Iterator[KafkaBroker]:
    """Starts a broker on free ports of the loopback address, if `secure` also with TLS and passwords; skips the test where Java, Maven or
    their repository are not there.
    """
    pytest.importorskip("confluent_kafka", reason="needs the extra feedrank[kafka]")
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}, which a broker needs")
    (folder / "pom.xml").write_text(POM)
    fetch = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"]
    try:
        fetched = subprocess.run(fetch, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"Maven fetched no broker within {FETCH_S} s")
    if fetched.returncode:
        pytest.skip(f"Maven fetched no broker: {fetched.stdout[-500:]}")
    listeners = kafka_security.LISTENERS if secure else {}
    if secure:
        kafka_security.make_certificates(folder)
    ports = dict(zip(("PLAINTEXT", "CONTROLLER", *listeners), _free_ports(2 + len(listeners)), strict=True))
    (folder / "server.properties").write_text(_properties(folder, ports, listeners))
    java = ["java", "-Xmx512m", "-cp", f"{folder}/libs/*"]
    command = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", "server.properties"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=READY_S, check=True)
    log = folder / "broker.log"
    with log.open("wb") as output:
        command = [*java, "kafka.Kafka", "server.properties"]
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env={**os.environ})
    try:
        end = time.monotonic() + READY_S
        while "Kafka Server started" not in log.read_text(errors="replace"):
            if time.monotonic() > end or process.poll() is not None:
                pytest.fail(f"the broker did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        yield KafkaBroker(addresses["PLAINTEXT"], process, {name: addresses[name] for name in listeners})
    finally:
        process.kill()
        process.wait()


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _properties(folder: Path, ports: Mapping[str, int], listeners: Mapping[str, str]) -> str:
    addresses = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **listeners}
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(address for name, address in addresses.items() if name != "CONTROLLER"),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "controller.listener.names": "CONTROLLER",
        "log.dirs": f"{folder}/data",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        **(kafka_security.properties(folder) if listeners else {}),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
