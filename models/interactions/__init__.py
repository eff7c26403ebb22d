"""Interactions between features before the trunk: (batch, width) -> (batch, width)."""
