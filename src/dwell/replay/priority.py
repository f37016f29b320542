"""How much replaying an experience is worth, from its reward and what was expected of it."""

from __future__ import annotations

from typing import Final

__all__ = ["EPSILON", "MAGNITUDE_SHARE", "priority_of"]

MAGNITUDE_SHARE: Final = 0.1  # the seed: "also prioritize extreme outcomes"
EPSILON: Final = 0.01  # the seed: every experience keeps a priority above zero


def priority_of(reward: float, predicted_reward: float) -> float:
    """Return `|reward - predicted| + 0.1 |reward| + 0.01`, finite for finite arguments, > 0."""
    return abs(reward - predicted_reward) + MAGNITUDE_SHARE * abs(reward) + EPSILON
