"""The choices that make a ranker and its training: one frozen class a part, presets on top.

``model: dlen`` in YAML stands for ``model: {preset: dlen}``; what is written beside `preset` overrides it. The classes are
in `models.settings`, one file a part. This module loads no TensorFlow.
"""

from __future__ import annotations

from models.settings.architecture import architecture_problem
from models.settings.base import PAPER_UNITS, Rate, Units
from models.settings.beside import BesideConfig, NoBeside, PositionTowerBeside, tower_problem
from models.settings.chains import (
    chain_problem,
    children,
    entire_space_problem,
    parents_first,
    plain_loss_problem,
    same_loss_problem,
)
from models.settings.embeddings import EmbeddingsConfig, SharedEmbeddings, StemEmbeddings
from models.settings.gates import DselectKGate, GateConfig, SoftmaxGate, TopKGate
from models.settings.heads import (
    AitmHead,
    ChainHead,
    DlenHead,
    Escm2Head,
    EsmmHead,
    HeadConfig,
    IndependentHead,
    dlen_problem,
)
from models.settings.interactions import (
    DcnV2Interactions,
    DotInteractions,
    FmInteractions,
    InteractionsConfig,
    NoInteractions,
    width_problem,
)
from models.settings.model import MODEL_PARTS, ModelConfig, change_kind, change_preset
from models.settings.numbers import IdentityNumbers, NumbersConfig, PeriodicNumbers, PiecewiseLinearNumbers
from models.settings.presets import ALIASES, PRESETS, Preset
from models.settings.schedules import (
    ConstantSchedule,
    CosineSchedule,
    Duration,
    ExponentialSchedule,
    InverseSqrtSchedule,
    ScheduleConfig,
)
from models.settings.strategies import (
    JOBS,
    MirroredStrategy,
    MultiWorkerMirroredStrategy,
    NoStrategy,
    ParameterServerStrategy,
    StrategyConfig,
    TpuStrategy,
    cluster_problem,
)
from models.settings.training import (
    AdagradOptimizer,
    AdamOptimizer,
    DenseOptimizer,
    EmbeddingOptimizer,
    LazyAdamOptimizer,
    RowwiseAdagradOptimizer,
    TrainConfig,
)
from models.settings.trunks import (
    CgcTrunk,
    CrossStitchTrunk,
    HmoeTrunk,
    MmoeTrunk,
    MoeTrunk,
    MoseTrunk,
    PleLayer,
    PleTrunk,
    SharedBottomTrunk,
    SingleTaskTrunk,
    SluiceTrunk,
    SnrAverTrunk,
    SnrTransTrunk,
    TrunkConfig,
)

__all__ = [
    "ALIASES",
    "JOBS",
    "MODEL_PARTS",
    "PAPER_UNITS",
    "PRESETS",
    "AdagradOptimizer",
    "AdamOptimizer",
    "AitmHead",
    "BesideConfig",
    "CgcTrunk",
    "ChainHead",
    "ConstantSchedule",
    "CosineSchedule",
    "CrossStitchTrunk",
    "DcnV2Interactions",
    "DenseOptimizer",
    "DlenHead",
    "DotInteractions",
    "DselectKGate",
    "Duration",
    "EmbeddingOptimizer",
    "EmbeddingsConfig",
    "Escm2Head",
    "EsmmHead",
    "ExponentialSchedule",
    "FmInteractions",
    "GateConfig",
    "HeadConfig",
    "HmoeTrunk",
    "IdentityNumbers",
    "IndependentHead",
    "InteractionsConfig",
    "InverseSqrtSchedule",
    "LazyAdamOptimizer",
    "MirroredStrategy",
    "MmoeTrunk",
    "ModelConfig",
    "MoeTrunk",
    "MoseTrunk",
    "MultiWorkerMirroredStrategy",
    "NoBeside",
    "NoInteractions",
    "NoStrategy",
    "NumbersConfig",
    "ParameterServerStrategy",
    "PeriodicNumbers",
    "PiecewiseLinearNumbers",
    "PleLayer",
    "PleTrunk",
    "PositionTowerBeside",
    "Preset",
    "Rate",
    "RowwiseAdagradOptimizer",
    "ScheduleConfig",
    "SharedBottomTrunk",
    "SharedEmbeddings",
    "SingleTaskTrunk",
    "SluiceTrunk",
    "SnrAverTrunk",
    "SnrTransTrunk",
    "SoftmaxGate",
    "StemEmbeddings",
    "StrategyConfig",
    "TopKGate",
    "TpuStrategy",
    "TrainConfig",
    "TrunkConfig",
    "Units",
    "architecture_problem",
    "chain_problem",
    "change_kind",
    "change_preset",
    "children",
    "cluster_problem",
    "dlen_problem",
    "entire_space_problem",
    "parents_first",
    "plain_loss_problem",
    "same_loss_problem",
    "tower_problem",
    "width_problem",
]
