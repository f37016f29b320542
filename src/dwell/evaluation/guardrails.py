"""Better on average may be worse for some: which segments a proposal is shown to cost more than it may.

Each segment with enough events is tested for a mean difference below -margin, one-sided, by Student's t; Holm's
correction holds the chance that ANY segment objects without cause at alpha, however many there are. This is a veto, not
a proof: a segment that does not object is not shown to be well, and one with few events is not asked.

Source: Student 1908; Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from dwell.errors import EvaluationError
from dwell.evaluation.diagnostics import Finding, graded
from dwell.evaluation.intervals import student
from dwell.records.arrays import FloatArray

__all__ = ["guardrail_objections"]

_FEW: Final = 2  # a variance needs two values
_HALF: Final = 0.5
_ROUNDING: Final = 1e-9  # a mean of equal values at the margin lies on it, whatever its sum was rounded to
_REMEDY: Final = (
    "Give the segment a feature that tells it apart, learn it apart, or allow a wider margin if the loss is acceptable."
)


def guardrail_objections(
    x: FloatArray, segments: Sequence[str | int | None], *, margin: float, alpha: float, min_events: int
) -> tuple[Finding, ...]:
    """Return one finding, of severity "fail", per segment that is shown to lose more than the margin, by name.

    The order of the events does not matter. One look at independent events errs with at most alpha; whoever looks
    again and again, or whose users come back often, is held up without cause more often, but promotes no more easily.
    Student's t is exact for normal values; for skewed ones `min_events` should be a hundred or more.

    Args:
        x: float64 (n,), difference of each event, proposal - safe policy, in reward per list; n may be 0.
        segments: (n,) name or code of each event's segment; events with None are in no segment and not guarded.
        margin: How much worse a segment may be, reward per list, >= 0.
        alpha: Chance that any segment objects although none loses more than the margin, in (0, 0.5].
        min_events: Events from which a segment is tested, >= 2.

    Raises:
        EvaluationError: Unequal lengths, values that are not finite, or a setting out of range.
    """
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or values.size != len(segments) or not np.isfinite(values).all():
        raise EvaluationError(
            "one finite difference and one segment per event are due", field="x", value=(values.shape, len(segments))
        )
    _check_settings(margin, alpha, min_events)
    parts = {name: part for name, part in _parts(values, segments).items() if part.size >= min_events}
    losing = _losing(list(parts.values()), margin, alpha)
    return tuple(
        graded(
            f"segment_{name}",
            "fail",
            float(part.mean()),
            -margin,
            f"segment {name!r} loses {-float(part.mean()):.4f} reward per list on {part.size} events,"
            f" significantly more than the {margin:g} that it may",
            _REMEDY,
        )
        for (name, part), is_losing in zip(parts.items(), losing, strict=True)
        if is_losing
    )


def _check_settings(margin: float, alpha: float, min_events: int) -> None:
    if isinstance(margin, bool) or not (math.isfinite(margin) and margin >= 0.0):
        raise EvaluationError("a margin is a finite number >= 0", field="margin", value=margin)
    if isinstance(alpha, bool) or not 0.0 < alpha <= _HALF:
        raise EvaluationError("the chance of a false objection lies in (0, 0.5]", field="alpha", value=alpha)
    if isinstance(min_events, bool) or min_events < _FEW:
        raise EvaluationError("a segment is tested on at least two events", field="min_events", value=min_events)


def _parts(values: FloatArray, segments: Sequence[str | int | None]) -> dict[str | int, FloatArray]:
    """Return each segment's values in ascending order, segments by name: sums then do not depend on the order given."""
    found: dict[str | int, list[float]] = {}
    for value, name in zip(values.tolist(), segments, strict=True):
        if name is not None:
            found.setdefault(name, []).append(value)
    ordered = sorted(found.items(), key=lambda part: (isinstance(part[0], str), part[0]))  # codes before names
    return {name: np.sort(np.array(part)) for name, part in ordered}


def _losing(parts: Sequence[FloatArray], margin: float, alpha: float) -> list[bool]:
    """Return which segments lose more than the margin, by Holm's step-down: fewer left to test, less to correct for."""
    losing = [False] * len(parts)
    while not all(losing):
        level = alpha / losing.count(False)
        found = [_highest(part, level) < -margin - _ROUNDING for part in parts]
        if found == losing:
            break
        losing = found  # a higher level rejects at least the same ones
    return losing


def _highest(part: FloatArray, level: float) -> float:
    """Return the one-sided upper confidence bound on the mean; at one half that is the mean itself."""
    return float(part.mean()) if level >= _HALF else student(part, 2.0 * level).high
