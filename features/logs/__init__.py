"""Reading feed logs: files of any health in, typed Arrow batches and dead letters out. No Beam, no TensorFlow."""

from features.logs.counts import Counts, check_budget, count_tables, told_losses
from features.logs.files import fingerprint, resolve, resolve_log
from features.logs.personal import Pseudonyms, pseudonyms_of
from features.logs.reader import LogBatch, check_log, read_log
from features.logs.sources import check_found
from features.logs.tables import Tables, load_saved_tables, load_tables, save_tables, with_counters
from features.logs.vectors import prepare_vectors

__all__ = [
    "Counts",
    "LogBatch",
    "Pseudonyms",
    "Tables",
    "check_budget",
    "check_found",
    "check_log",
    "count_tables",
    "fingerprint",
    "load_saved_tables",
    "load_tables",
    "prepare_vectors",
    "pseudonyms_of",
    "read_log",
    "resolve",
    "resolve_log",
    "save_tables",
    "told_losses",
    "with_counters",
]
