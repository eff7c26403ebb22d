"""Where a row of a log is, beside its key, while rows of one key are brought together: names of columns."""

from __future__ import annotations

FILE = "feedrank_file"
"""int32: number of the row's file, by name."""
BEGIN = "feedrank_begin"
"""int64: where the piece of the file begins that the row was read from (`features.logs.pieces.Piece.begin`)."""
ROW = "feedrank_row"
"""int64: the row's number among the file's data rows, from 1."""
TIME = "feedrank_time"
"""int64: microseconds since 1970-01-01 UTC."""
ACTIONS = "feedrank_actions"
"""int64: how many actions belong to the row."""
