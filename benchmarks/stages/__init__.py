"""What each stage of the data costs a row, beside stock TFX: ``python -m benchmarks.stages``."""
