"""Experience replay for retrieval: keep what was served, learn from what came of it, promote only on evidence.

loop = dwell.open("search.dwell", features=["bm25", "cosine"])
served = loop.rank("reset 2fa", candidates=[{"id": "kb-12", "bm25": 7.1, "cosine": 0.83}, ...], user="u-77")
loop.feedback(served.event_id, "click", doc="kb-12")
report = loop.train()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dwell.activation import Activation
    from dwell.client import AsyncClient, Client
    from dwell.config import Config
    from dwell.errors import ConfigError, DwellError, PromotionRefused, RecordError, StorageError
    from dwell.learning.linear import LinearRanker
    from dwell.learning.predictor_face import RewardPredictor
    from dwell.learning.trees import TreeSettings
    from dwell.loop import Challenge, Loop, TrainReport
    from dwell.loop import open_loop as open  # noqa: A004 - the name is public surface: dwell.open
    from dwell.loop.seed import (
        add_experience_with_priority,
        buffer_health_report,
        compute_priority,
        temporal_weight,
        train_from_replay,
        train_with_temporal_weighting,
    )
    from dwell.records import (
        Batch,
        ColumnSpec,
        Estimate,
        Experience,
        Feedback,
        GateDecision,
        Params,
        Served,
        UpdateResult,
    )
    from dwell.replay import ReplayBuffer

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "AsyncClient",
    "Batch",
    "Challenge",
    "Client",
    "ColumnSpec",
    "Config",
    "ConfigError",
    "DwellError",
    "Estimate",
    "Experience",
    "Feedback",
    "GateDecision",
    "LinearRanker",
    "Loop",
    "Params",
    "PromotionRefused",
    "RecordError",
    "ReplayBuffer",
    "RewardPredictor",
    "Served",
    "StorageError",
    "TrainReport",
    "TreeSettings",
    "UpdateResult",
    "add_experience_with_priority",
    "buffer_health_report",
    "compute_priority",
    "open",
    "temporal_weight",
    "train_from_replay",
    "train_with_temporal_weighting",
]

# each name loads its room when it is first used: `dwell --help` needs not even numpy, a buffer needs no database
_LAZY = {
    "ConfigError": ("dwell.errors", "ConfigError"),
    "DwellError": ("dwell.errors", "DwellError"),
    "PromotionRefused": ("dwell.errors", "PromotionRefused"),
    "RecordError": ("dwell.errors", "RecordError"),
    "StorageError": ("dwell.errors", "StorageError"),
    "Batch": ("dwell.records", "Batch"),
    "ColumnSpec": ("dwell.records", "ColumnSpec"),
    "Estimate": ("dwell.records", "Estimate"),
    "Experience": ("dwell.records", "Experience"),
    "Feedback": ("dwell.records", "Feedback"),
    "GateDecision": ("dwell.records", "GateDecision"),
    "Params": ("dwell.records", "Params"),
    "Served": ("dwell.records", "Served"),
    "UpdateResult": ("dwell.records", "UpdateResult"),
    "AsyncClient": ("dwell.client", "AsyncClient"),
    "Client": ("dwell.client", "Client"),
    "Activation": ("dwell.activation", "Activation"),
    "ReplayBuffer": ("dwell.replay", "ReplayBuffer"),
    "Challenge": ("dwell.loop", "Challenge"),
    "Config": ("dwell.config", "Config"),
    "LinearRanker": ("dwell.learning.linear", "LinearRanker"),
    "Loop": ("dwell.loop", "Loop"),
    "RewardPredictor": ("dwell.learning.predictor_face", "RewardPredictor"),
    "TrainReport": ("dwell.loop", "TrainReport"),
    "TreeSettings": ("dwell.learning.trees", "TreeSettings"),
    "open": ("dwell.loop", "open_loop"),
    "add_experience_with_priority": ("dwell.loop.seed", "add_experience_with_priority"),
    "buffer_health_report": ("dwell.loop.seed", "buffer_health_report"),
    "compute_priority": ("dwell.loop.seed", "compute_priority"),
    "temporal_weight": ("dwell.loop.seed", "temporal_weight"),
    "train_from_replay": ("dwell.loop.seed", "train_from_replay"),
    "train_with_temporal_weighting": ("dwell.loop.seed", "train_with_temporal_weighting"),
}


def __getattr__(name: str) -> object:
    """Load a public name from its room when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'dwell' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    found = getattr(import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
