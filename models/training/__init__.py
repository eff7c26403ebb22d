"""How a ranker is trained: `fit`, and what it leaves behind."""

from models.training.checkpoint import fingerprint
from models.training.curves import Curves
from models.training.loop import TrainingData, TrainResult, fit
from models.training.step import compiled
from models.training.strategies import build_strategy, check_devices, for_serving
from models.training.validation import predict_all
from models.training.warm_start import Earlier, WarmStart, take_over

__all__ = [
    "Curves",
    "Earlier",
    "TrainResult",
    "TrainingData",
    "WarmStart",
    "build_strategy",
    "check_devices",
    "compiled",
    "fingerprint",
    "fit",
    "for_serving",
    "predict_all",
    "take_over",
]
