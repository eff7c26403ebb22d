"""How it all runs: configuration, components, runners, command line."""

from features import environment

environment.prepare()
