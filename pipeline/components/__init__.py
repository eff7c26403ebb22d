"""The stages: one TFX component a file, thin, over plain functions."""
