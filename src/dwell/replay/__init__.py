"""The replay buffer: bounded, addressed by identity, drawn by a stated law with the weights that correct for it."""

from dwell.replay.buffer import ReplayBuffer, Strategy
from dwell.replay.meter import RateMeter, VersionAges, version_ages
from dwell.replay.schedules import BetaSchedule
from dwell.replay.snapshot import Snapshot
from dwell.replay.training_set import Recipe, batches, fingerprint
from dwell.replay.view import ExperienceView

__all__ = [
    "BetaSchedule",
    "ExperienceView",
    "RateMeter",
    "Recipe",
    "ReplayBuffer",
    "Snapshot",
    "Strategy",
    "VersionAges",
    "batches",
    "fingerprint",
    "version_ages",
]
