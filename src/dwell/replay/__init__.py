"""The replay buffer: bounded, addressed by identity, drawn by a stated law with the weights that correct for it."""

from dwell.replay.buffer import ReplayBuffer, Strategy
from dwell.replay.view import ExperienceView

__all__ = ["ExperienceView", "ReplayBuffer", "Strategy"]
