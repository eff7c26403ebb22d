"""What reading a slice of a Kafka topic costs a worker: ``python -m benchmarks.kafka_slice --rows 400000``.

A broker is started on this machine (Java and Maven), a topic is filled with the log of 18 columns of `benchmarks.stages`, as JSON and as
Avro, and one process reads it: the messages alone, with their values as columns, and as typed, labelled rows of a split. The broker's own
work is not in the core-seconds, but takes its share of the machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fastavro
import orjson

from benchmarks.stages import log
from benchmarks.stages.usage import measured
from features.kafka import KafkaAvro, KafkaSource
from features.logs import Tables, read_log
from features.logs.kafka_reader import _messages, cut_kafka
from features.logs.kafka_slice import pinned
from features.logs.sources import read_source
from features.spec import Dataset, Source
from tests.kafka_broker import KafkaBroker, kafka_broker

_SENT_ROWS = 50_000
_TYPES = {"int64": "long", "string": ["null", "string"], "float32": ["null", "double"]}


def _schema() -> dict[str, Any]:
    columns = log.dataset("csv").columns
    fields = [{"name": name, "type": _TYPES[column.type]} for name, column in columns.items()]
    return {"type": "record", "name": "Impression", "fields": fields}


def _rows(rows: int) -> Iterator[list[dict[str, Any]]]:
    for number, start in enumerate(range(0, rows, _SENT_ROWS)):
        end = min(start + _SENT_ROWS, rows)
        yield log._table(number, end - start, (start / rows, end / rows)).to_pylist()


def _encoder(form: str) -> Callable[[dict[str, Any]], bytes]:
    schema: Any = fastavro.parse_schema(_schema())

    def encoded(row: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, schema, row)
        return stream.getvalue()

    return orjson.dumps if form == "jsonl" else encoded


def _fill(broker: KafkaBroker, form: str, rows: int) -> int:
    """Writes a topic of the format's name; returns the bytes of its messages."""
    broker.make(form)
    encode, size = _encoder(form), 0
    for table in _rows(rows):
        values = [encode(row) for row in table]
        size += sum(map(len, values))
        broker.send(form, values)
    return size


def _dataset(broker: KafkaBroker, form: str, rows: int, folder: Path) -> Dataset:
    file = folder / "impression.avsc"
    file.write_text(json.dumps(_schema()))
    avro = KafkaAvro(file=str(file)) if form == "avro" else None
    kafka = KafkaSource(
        servers=broker.servers, topic=form, offsets={0: (0, rows)}, avro=avro, format="avro" if avro else "jsonl"
    )
    return pinned(log.dataset("csv").model_copy(update={"source": Source(kafka=kafka)}))


def _readings(dataset: Dataset) -> Mapping[str, Callable[[], int]]:
    """What is measured, by name; each gives the rows that it read."""
    kafka = dataset.source.kafka
    assert kafka is not None
    pieces = cut_kafka(kafka.names[0], dataset.source, (), 0)

    def messages() -> int:
        return sum(len(found) for piece in pieces for found in _messages(kafka, piece))

    def columns() -> int:
        found = (read_source(piece, piece.file, dataset.source, dataset.columns) for piece in pieces)
        return sum(len(batch.rows) for batches in found for batch in batches)

    def rows() -> int:
        return sum(batch.rows.num_rows for batch in read_log(dataset, "", Tables(), pieces))

    return {"messages alone": messages, "as columns": columns, "as rows of a split": rows}


def main() -> None:
    """Measures each reading in turn, several times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=("jsonl", "avro"), default=["jsonl", "avro"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, kafka_broker(Path(folder)) as broker:
        for form in arguments.formats:
            size = _fill(broker, form, arguments.rows)
            dataset = _dataset(broker, form, arguments.rows, Path(folder))
            for name, work in _readings(dataset).items():
                for _ in range(arguments.rounds):
                    with measured() as usage:
                        read = work()
                    assert read == arguments.rows, f"{read} of {arguments.rows} rows"
                    print(
                        f"{form:5} {name:18} {read / usage.seconds:>9,.0f} rows/s  {1e6 * usage.core_seconds / read:5.2f} core-us a row  "
                        f"{size / read:4.0f} bytes a row  peak {usage.peak_mb:,.0f} MB  load {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
