"""Tables between workers."""

import pickle

import pyarrow as pa

from pipeline.components.table_coder import TableCoder


def test_tables_travel_whole() -> None:
    table = pa.table({"ids": pa.array([[1], None, [2]]), "word": pa.array([b"a", b"\xff", None])})
    chunks = pa.concat_tables([table.slice(1), table])
    coder = pickle.loads(pickle.dumps(TableCoder()))  # as it goes to a worker itself
    for of in (table, chunks, table.slice(0, 0)):
        found = coder.decode(coder.encode(of))
        assert found.equals(of)
        assert found.schema == of.schema
        assert coder.get_impl().estimate_size(of) == of.nbytes
