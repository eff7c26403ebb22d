"""What a column, a feature and a task mean."""

from features import environment

environment.prepare()
