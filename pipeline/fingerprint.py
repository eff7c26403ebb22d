"""What makes TFX's cache forget: other data, other functions of the dataset, another release."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect

from features import logs
from features.logs.kafka_slice import check_slice
from features.spec import Dataset, DerivedTable, SideTable
from pipeline.config import DataConfig


def fingerprint(dataset: Dataset, data: DataConfig) -> str:
    """Names, sizes and times of the files, which topic a slice is of, the source of the functions that the dataset names, the release, and which
    key hashes.

    TFX's cache looks at parameters and artifacts, never at code: without this an edited function would change what a
    pushed model is asked with, and not what it was trained on.

    Raises:
        DataError: if a pattern finds no file, or a topic does not hold the slice.
        ConfigError: if columns are hashed and there is no key.
        ImportError: if a function's module cannot be imported.
    """
    release = importlib.metadata.version("feedrank")
    pseudonyms = logs.pseudonyms_of(dataset, data.hash_key)
    key = "" if pseudonyms is None else f"-{pseudonyms.fingerprint()[:16]}"
    kafka = dataset.source.kafka
    topic = "" if kafka is None else "-" + "-".join(check_slice(kafka))
    return f"{logs.fingerprint(dataset, data.path)}{topic}-{code_fingerprint(dataset)}-{release}{key}"


def code_fingerprint(dataset: Dataset) -> str:
    """A hash of the modules whose functions the dataset names."""
    of_tables = [d for table in dataset.tables.values() if isinstance(table, SideTable) for d in table.derived]
    functions = [derived.function for derived in (*of_tables, *dataset.derived)]
    functions += [table.function for table in dataset.tables.values() if isinstance(table, DerivedTable)]
    digest = hashlib.blake2b(digest_size=8)
    for module in sorted({function.partition(":")[0] for function in functions}):
        digest.update(inspect.getsource(importlib.import_module(module)).encode())
    return digest.hexdigest()
