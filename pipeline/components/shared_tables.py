"""Side tables and counters in workers: each is in a process once, whatever number of threads and stages look things up there."""

from __future__ import annotations

from collections.abc import Callable

from apache_beam.utils.shared import Shared

from features.logs import Tables, load_saved_tables, pseudonyms_of, with_counters
from features.spec import Dataset
from pipeline.config import DataConfig


class SharedTables:
    """The side tables that lie in a folder, of which a process holds one copy.

    A worker has a copy of a DoFn for each stage and each of its threads. By a key that is pickled with it (:class:`apache_beam.utils.shared.Shared`), every copy of
    this object finds what another copy loaded; so all stages of a pipeline are given the same one. Another pipeline's has another key: it loads anew.

    Beam keeps alive what was asked for last, in the process that runs the pipeline, too: there the local engine's workers are threads. As a context manager this
    lets go of it when the pipeline has run.

    Args:
        dataset: the spec.
        data: says where the key of hashes is.
        folder: that of the side tables; counters come to lie there, too.
    """

    def __init__(self, dataset: Dataset, data: DataConfig, folder: str) -> None:
        self.folder = folder
        self._dataset = dataset.model_dump_json()
        self._hash_key = data.hash_key
        self._tables, self._counted = Shared(), Shared()

    def __enter__(self) -> SharedTables:
        return self

    def __exit__(self, *_: object) -> None:
        Shared().acquire(lambda: None)  # what is asked for last now is nothing

    def load(self) -> Tables:
        """The tables without counters. To be held as long as they are used: behind that they may be loaded again.

        Raises:
            ConfigError: if the key of hashes cannot be read.
            DataError: see `features.logs.load_saved_tables`.
        """
        return _acquired(self._tables, self._read)

    def load_counted(self) -> Tables:
        """The same tables, with the dataset's counters, once these are there; as of :meth:`load`.

        Raises:
            DataError: also if a counter is not there, or has more entries than it may have.
        """
        dataset = Dataset.model_validate_json(self._dataset)
        if not dataset.counters:
            return self.load()
        return _acquired(self._counted, lambda: with_counters(self.load(), dataset, self.folder))

    def _read(self) -> Tables:
        dataset = Dataset.model_validate_json(self._dataset)
        return load_saved_tables(self.folder, pseudonyms_of(dataset, self._hash_key))


def _acquired(shared: Shared, load: Callable[[], Tables]) -> Tables:
    """What is there, or is loaded. Beam looks twice whether it is there, and finds nothing if its last holder lets go in between."""
    found: Tables | None = None
    while found is None:
        found = shared.acquire(load)
    return found
