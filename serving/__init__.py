"""How a model is asked: signatures, exports, clients."""

from features import environment

environment.prepare()
