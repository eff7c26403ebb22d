"""How a ranker is trained: `fit`, and what it leaves behind."""

from models.training.checkpoint import fingerprint
from models.training.curves import Curves
from models.training.loop import TrainingData, TrainResult, fit
from models.training.step import compiled
from models.training.validation import predict_all

__all__ = ["Curves", "TrainResult", "TrainingData", "compiled", "fingerprint", "fit", "predict_all"]
