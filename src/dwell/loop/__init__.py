"""The loop, a file per arrow: serve, feedback, close, train, promote; `engine` is the facade."""

from dwell.loop.challenge import Challenge
from dwell.loop.engine import Loop
from dwell.loop.entrance import open_loop
from dwell.loop.train import TrainReport

__all__ = ["Challenge", "Loop", "TrainReport", "open_loop"]
