"""A synthetic feed log with a known truth: what `feedrank data synth` writes and `make demo` trains on.

``synthesize(config, directory)`` writes

    directory/log/dt=YYYY-MM-DD/part-00000.parquet     the log (or .csv)
    directory/users.parquet, items.parquet             its side tables (or .csv)
    directory/truth/dt=YYYY-MM-DD/part-00000.parquet   the truth, row by row, by impression_id: always Parquet
    directory/synthesis.json                           the config and the summary

and `features.catalog.synthetic.dataset_for(config)` describes the log.
"""

from features.synthesis.config import LABELS, TASKS, SynthesisConfig, SynthesisSummary
from features.synthesis.writing import synthesize

__all__ = ["LABELS", "TASKS", "SynthesisConfig", "SynthesisSummary", "synthesize"]
