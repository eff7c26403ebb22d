"""How Arrow tables go from one worker to another."""

import apache_beam as beam
import pyarrow as pa


class TableCoder(beam.coders.Coder):
    """Tables as Arrow streams. Beam asks how large elements are; without a coder of their own it pickles each that it asks about."""

    def encode(self, value: pa.Table) -> bytes:
        """As an Arrow stream."""
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, value.schema) as writer:
            writer.write_table(value)
        encoded: bytes = stream.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.Table:
        """The table that was encoded."""
        with pa.ipc.open_stream(encoded) as reader:
            return reader.read_all()

    def estimate_size(self, value: pa.Table) -> int:
        """Bytes of its columns."""
        return int(value.nbytes)

    def to_type_hint(self) -> type[pa.Table]:
        """What it encodes."""
        return pa.Table
