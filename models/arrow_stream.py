"""Arrow record batches into TensorFlow, through a socket of their own.

``ArrowStreamDataset.from_record_batches`` would do the same, but every dataset of every process of a machine listens on
one fixed path, its threads never end, and an error of the source ends the stream as if all rows had come. Here each stream
has a private socket, which is gone when the stream ends, and an error of the source is raised where the batches are used.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator

import pyarrow as pa
import tensorflow as tf
from tensorflow_io import arrow as tfio_arrow

from features.errors import ConfigError
from models.input_pipeline import list_length

PREFETCHED_BATCHES = 4
WRITTEN_BYTES = 4 * 2**20
"""Put together before they are written: a batch has hundreds of small buffers."""
LONGEST_PATH = 107
"""Bytes of a socket's path on Linux (unix(7)): ``sun_path`` has 108, and a 0 ends it."""


class _Server(threading.Thread):
    """Writes `batches` to the first one who connects to `path`, then ends."""

    def __init__(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: pathlib.Path) -> None:
        super().__init__(name="feedrank-arrow-stream", daemon=True)
        self.error: BaseException | None = None
        """Of the batches' source, or of putting a batch into the stream; that the reader has gone is none."""
        self.rows = 0
        """Written so far."""
        self.complete = False
        """Whether the end mark is written, too."""
        self._batches = batches
        self._schema = schema
        self._reading = False
        self._closed = False
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)

    def run(self) -> None:
        try:
            connection, _ = self._listener.accept()
            with self._lock:
                self._connection = connection
            if not self._closed:
                self._write(connection)
        except OSError as error:
            if self._reading:  # the source's; else the socket's, whose other end has gone or which `close` has ended
                self.error = error
        except BaseException as error:  # raised again by the reader, in its own thread
            self.error = error
        finally:
            self.close()

    def _write(self, connection: socket.socket) -> None:
        with connection.makefile("wb", buffering=WRITTEN_BYTES) as file:
            writer = pa.RecordBatchStreamWriter(file, self._schema)
            for batch in self._read():
                writer.write_batch(batch)
                file.flush()
                self.rows += batch.num_rows
            # Not in a `finally`: without the end mark TensorFlow knows that the stream broke.
            writer.close()
            file.flush()
            self.complete = True

    def _read(self) -> Iterator[pa.RecordBatch]:
        """The batches; `_reading` while the next one is waited for."""
        self._reading = True
        for batch in self._batches:
            self._reading = False
            yield batch
            self._reading = True
        self._reading = False

    def close(self) -> None:
        """Ends the conversation; a write that waits for its reader fails at once."""
        self._closed = True
        with self._lock:
            connection, self._connection = self._connection, None
        for open_socket in (self._listener, connection):
            if open_socket is not None:
                with contextlib.suppress(OSError):  # not connected, or already ended by the other side
                    open_socket.shutdown(socket.SHUT_RDWR)
                open_socket.close()


def stream_tensors(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Generator[dict[str, tf.Tensor], None, None]:
    """Yields each record batch as ``{column: (rows,) or (rows, length) tensor}``.

    A batch holds at least one row. When the generator ends, fails or is closed, socket and thread are released, and `batches` is
    closed if it is a generator.

    Raises:
        BaseException: whatever the source of the batches raised.
        ConfigError: if the folder of temporary files has too long a name for a socket.
        RuntimeError: if TensorFlow's reader ends before the batches do.
    """
    with contextlib.closing(batches) if isinstance(batches, Generator) else contextlib.nullcontext():
        first = next(batches, None)
        if first is not None:  # TensorFlow's reader crashes on a stream without a batch
            yield from _streamed(itertools.chain([first], batches), schema)


def _streamed(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Generator[dict[str, tf.Tensor], None, None]:
    with tempfile.TemporaryDirectory(prefix="feedrank-") as directory:
        path = pathlib.Path(directory) / "arrow.sock"
        _check_length(path)
        server = _Server(batches, schema, path)
        server.start()
        rows = 0
        broken: tf.errors.OpError | None = None
        try:
            for columns in _dataset(schema, path):
                rows += int(columns[0].shape[0])
                yield dict(zip(schema.names, columns, strict=True))
        except tf.errors.OpError as error:
            broken = error
        finally:
            server.close()  # first: a write to a reader that has stopped reading would wait for it for ever
            server.join()
        if (cause := server.error or broken) is not None:
            raise cause
        if not server.complete or rows != server.rows:
            more = "" if server.complete else " or more"
            raise RuntimeError(f"the stream ended after {rows} of {server.rows}{more} rows")


def _check_length(path: pathlib.Path) -> None:
    if (length := len(os.fsencode(path))) > LONGEST_PATH:
        raise ConfigError(
            f"the socket {path} of the input has a path of {length} bytes; allowed: {LONGEST_PATH} at most; set TMPDIR to a shorter folder"
        )


def tensor_specs(schema: pa.Schema) -> dict[str, tf.TensorSpec]:
    """What `stream_tensors` yields for a schema of `models.input_pipeline.batch_schema`."""
    return {field.name: tf.TensorSpec((None, *_row_shape(field)), _dtype(field), field.name) for field in schema}


def _dtype(field: pa.Field) -> tf.DType:
    return tf.float32 if pa.types.is_floating(field.type) else tf.int64


def _row_shape(field: pa.Field) -> tuple[int, ...]:
    length = list_length(field)
    return () if length is None else (length,)


def _dataset(schema: pa.Schema, path: pathlib.Path) -> tf.data.Dataset:
    dataset = tfio_arrow.ArrowStreamDataset(
        f"unix://{path}",
        columns=list(range(len(schema))),
        output_types=tuple(_dtype(field) for field in schema),
        # Shapes of one row: the batch dimension is added by the dataset, and ``[None]`` would mean a list.
        output_shapes=tuple(tf.TensorShape(_row_shape(field)) for field in schema),
        batch_mode="auto",
    )
    return dataset.prefetch(PREFETCHED_BATCHES)
