"""How a process that serves takes over what the learner beside it committed: proposals and the examination."""

from __future__ import annotations

from dwell.loop.examining import examination_in_force
from dwell.loop.standing import restore_standing
from dwell.loop.state import LoopState

__all__ = ["follow", "follow_learner"]


def follow(state: LoopState, *, at_once: bool = False) -> None:
    """Take over what other processes committed: params, erasures and, where one learns, what it left to be judged.

    Cheap enough for every rank: it looks at most twice a second, and reads only after somebody committed.

    Args:
        state: The loop.
        at_once: Look now.

    Raises:
        StorageError: The store could not be read.
    """
    if not state.refresh(at_once=at_once) or not state.is_learning_elsewhere:
        return
    follow_learner(state)


def follow_learner(state: LoopState) -> None:
    """Take over what another process that learned left to be judged, and the examination in force.

    Raises:
        StorageError: The store could not be read.
    """
    with state.store.snapshot() as reader:
        examination = examination_in_force(reader, state.config)
    if examination.version != state.rules.examination.version:
        state.rules = state.rules._replace(examination=examination)
    restore_standing(state)
