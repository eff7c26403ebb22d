"""The networks: embeddings, trunks, heads and their training."""

from features import environment

environment.prepare()
