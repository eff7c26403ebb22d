"""Trunks: (batch, width) -> {task: (batch, width)}."""
