"""How far a proposal may go: bounds on every weight, and on the distance from the live params."""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.learning.settings import LearnerSettings
from dwell.records.arrays import FloatArray

__all__ = ["bounded"]

_HALVINGS: Final = 30  # of an angle: beyond them it is no step at all
_POLE: Final = 1e-7  # sine of the angle to the opposite pole below which rounding alone would choose the direction


def bounded(w: FloatArray, start: FloatArray, settings: LearnerSettings) -> tuple[FloatArray, float, bool]:
    """Return w at norm 1, each weight and the distance from the start cut to what is allowed."""
    norm = float(np.linalg.norm(w))
    limit = np.maximum(settings.max_weight, np.abs(start))
    unit = _boxed(w / norm, start, limit) if norm > 0.0 else start
    distance = float(np.linalg.norm(unit - start))
    if distance <= settings.max_step_norm:
        return unit, distance, False
    # along the great circle: a chord of length c spans the angle 2 arcsin(c / 2)
    sideways = unit - (unit @ start) * start
    length = float(np.linalg.norm(sideways))
    if length < _POLE:
        return start, 0.0, True  # the opposite pole: no direction leads there more than another
    sideways /= length
    most = 2.0 * np.arcsin(settings.max_step_norm / 2.0)
    # an arc between two points inside the bounds may bulge out of them; boxed again, it may end too far: then halve
    angle = most
    for _ in range(_HALVINGS):
        cut = _boxed(np.cos(angle) * start + np.sin(angle) * sideways, start, limit)
        distance = float(np.linalg.norm(cut - start))
        if distance <= settings.max_step_norm * (1.0 + 1e-12):
            return cut, min(distance, settings.max_step_norm), True
        angle *= 0.5
    return start, 0.0, True


def _boxed(unit: FloatArray, start: FloatArray, limit: FloatArray) -> FloatArray:
    """Return a vector at norm 1 whose weights stay within their limits, the others scaled up to make good the norm.

    Since `start` has norm 1 within the same limits, there always is one.
    """
    is_cut = np.abs(unit) > limit
    if not is_cut.any():
        return unit
    result = unit.copy()
    for _ in range(unit.size):
        result[is_cut] = np.copysign(limit, unit)[is_cut]
        due = max(1.0 - float((result[is_cut] ** 2).sum()), 0.0) ** 0.5
        free = np.where(is_cut, 0.0, unit)
        if not free.any():
            free = np.where(is_cut, 0.0, start)
        size = float(np.linalg.norm(free))
        result = np.where(is_cut, result, free * (due / size) if size > 0.0 else 0.0)
        newly = (np.abs(result) > limit) & ~is_cut
        if not newly.any():
            break
        is_cut |= newly
    return result
