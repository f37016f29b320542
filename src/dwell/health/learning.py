"""Learning: where the live params go, what the gate says, and whether the reward predictor agrees with users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Final

import numpy as np

from dwell.health.report import Check
from dwell.health.snapshot import ExaminationSeen, HealthSnapshot
from dwell.health.thresholds import judged, shown
from dwell.records import GateDecision
from dwell.records.arrays import FloatArray

__all__ = ["learning_checks", "step_cosines", "step_norms"]

_JUDGED: Final = frozenset({"judged", "requested", "forced"})  # what tried to go live
_MIN_STEPS: Final = 4
_OFF: Final = 3.0  # users are of other kinds than the predictor's model: a factor of two is usual for lower positions
_FEW_STEPS: Final = "the live params have moved too seldom to tell"


def step_norms(path: FloatArray) -> FloatArray:
    """Return the lengths of the steps between successive params, float64 (v - 1,).

    Args:
        path: (v, p), each at norm 1.
    """
    norms: FloatArray = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return norms


def step_cosines(path: FloatArray) -> FloatArray:
    """Return the cosines between one step and the next; steps of length 0 are left out.

    Args:
        path: (v, p).
    """
    steps = np.diff(path, axis=0)
    steps = steps[np.linalg.norm(steps, axis=1) > 0.0]
    units = steps / np.linalg.norm(steps, axis=1)[:, None]
    cosines: FloatArray = np.einsum("vp,vp->v", units[:-1], units[1:])
    return cosines


def learning_checks(snapshot: HealthSnapshot) -> Iterator[Check]:
    """Yield the checks of learning."""
    yield from _ledger(snapshot.decisions, snapshot.now)
    seen = snapshot.batches
    yield from _path(snapshot.steps, None if seen is None else seen.step_norm)
    if seen is None or seen.objective_first is None or seen.objective_last is None:
        yield judged("objective_gain", None, "nothing was learned yet")
    else:
        gain = seen.objective_last - seen.objective_first
        words = f"from {seen.objective_first:.3g} to {seen.objective_last:.3g} a list, as the learner estimates it"
        yield judged("objective_gain", gain, words)
    if snapshot.examination is not None:
        yield from _examination(snapshot.examination)


def _ledger(decisions: Sequence[GateDecision], now: float) -> Iterator[Check]:
    tried = [decision for decision in decisions if decision.kind in _JUDGED]
    counts = Counter(decision.verdict for decision in tried)
    last = f"the last verdict is {tried[-1].verdict}: {tried[-1].reasons[0]}" if tried else "the gate was not asked yet"
    yield judged("n_promoted", counts["promote"], f"{counts['promote']:,} proposals went live; {last}")
    yield judged("n_held", counts["hold"], f"{counts['hold']:,} entries of the ledger say hold")
    yield judged("n_rejected", counts["reject"], f"{counts['reject']:,} proposals were rejected")
    n_row = sum(1 for _ in takewhile(lambda decision: decision.verdict == "reject", reversed(tried)))
    words = f"the last {n_row:,} verdicts are rejections" if n_row else "the last verdict is no rejection"
    yield judged("rejected_in_a_row", n_row, words)
    promoted = [decision.decided_at for decision in tried if decision.verdict == "promote"]
    hours = (now - promoted[-1]) / 3600.0 if promoted else None
    words = "nothing was promoted yet" if hours is None else f"the last promotion was {shown(hours, 'hours')} ago"
    yield judged("hours_since_promotion", hours, words)


def _path(path: FloatArray, learned: float | None) -> Iterator[Check]:
    norms = step_norms(path) if len(path) > 1 else np.zeros(0)
    if not norms.size:
        words = "the live params have not moved among learned ones yet"
        if learned is not None:
            words = f"the last proposal is {learned:.3g} away from the params that were live, both at length 1"
        yield judged("step_norm", learned, words)
    else:
        words = f"the live params moved by {norms[-1]:.3g} last, {norms.mean():.3g} in the mean of {norms.size}"
        yield judged("step_norm", float(norms[-1]), words)
    cosines = step_cosines(path) if norms.size >= _MIN_STEPS else np.zeros(0)
    if not cosines.size:
        yield judged("step_cosine", None, _FEW_STEPS)
        yield judged("step_shrink", None, _FEW_STEPS)
        return
    cosine, n_turns = float(cosines.mean()), int(np.count_nonzero(cosines < 0.0))
    yield judged("step_cosine", cosine, f"{n_turns} of {cosines.size} steps turn back; mean cosine {cosine:.2g}")
    half = norms.size // 2
    first, last = float(np.median(norms[:half])), float(np.median(norms[-half:]))
    words = f"the later half of the steps is {last:.3g} long, the earlier {first:.3g}"
    yield judged("step_shrink", last / first if first else None, words)


def _examination(seen: ExaminationSeen) -> Iterator[Check]:
    ends = list(zip(seen.calibration_low, seen.calibration_high, strict=False))
    known = [(i, low, high) for i, (low, high) in enumerate(ends, 1) if low is not None and high is not None]
    off = [i for i, low, high in known if low > _OFF or high < 1.0 / _OFF]
    words = f"rewards are within a factor of three of what is expected at all of {len(known)} positions"
    if off:
        words = f"rewards are far from what is expected at position {', '.join(map(str, off[:10]))}"
    yield judged("calibration_off", len(off) if known else None, words if known else "no predictor to compare with yet")
    more = f", and {len(seen.rises) - 1} more" if len(seen.rises) > 1 else ""
    words = seen.rises[0] + more if seen.rises else "no position is looked at more than the one above it"
    yield judged("examination_rises", len(seen.rises), words, remedy=seen.remedy)
