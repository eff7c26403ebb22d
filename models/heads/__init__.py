"""Heads: {task: (batch, width)} -> {output: score}."""
