"""Logs whose propensities are sound, or wrong by 10 %: how often the check raises a flag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from dwell.evaluation.propensity_checks import propensity_findings
from dwell.ranking import conditional_propensities, policy_scores
from dwell.records.rows import EventRow
from study.judging_logs import TEMPERATURE, THETA
from study.judging_report import Count
from study.worlds import FloatArray

__all__ = ["corrupted"]

_N_CANDIDATES: Final = 15
_MOST_EVENTS: Final = 1_000
_EMPTY: Final = EventRow(
    seq=0,
    event_id="",
    query_hash=0,
    user_hash=None,
    served_at=0.0,
    features=np.zeros((_N_CANDIDATES, 1), dtype=np.float32),
    inclusion=np.ones(_N_CANDIDATES),
    exposure=np.full(_N_CANDIDATES, 0.1),
    n_kept=THETA.size,
    n_shown=THETA.size,
    rewards=np.zeros(THETA.size),
    propensities=np.ones(THETA.size),
    caller_rank=np.arange(_N_CANDIDATES, dtype=np.float64),
    params_version=1,
    temperature=TEMPERATURE,
    is_held_out=False,
    is_deterministic=False,
    is_caller_ordered=False,
    version=1,
)


def _log(rng: np.random.Generator, n: int, *, believed: float = TEMPERATURE) -> tuple[list[EventRow], list[FloatArray]]:
    """Return events drawn at the serving temperature, logged as if it had been another; log weights in served order."""
    rows, log_weights = [], []
    for _ in range(n):
        scores = rng.normal(size=_N_CANDIDATES)
        z = policy_scores(scores, TEMPERATURE)
        order = np.argsort(np.log(rng.standard_exponential(z.size)) - z)
        logged = policy_scores(scores, believed)
        rows.append(replace(_EMPTY, propensities=conditional_propensities(logged, order, THETA.size)))
        log_weights.append(logged[order])
    return rows, log_weights


def _scaled(by: float) -> Callable[[FloatArray], FloatArray]:
    return lambda p: np.minimum(p * by, 1.0)


def corrupted(n_logs: int, n_events: int) -> list[Count]:
    """Return how often each kind of log is flagged; `n_events` are at most 1,000."""
    n = min(n_events, _MOST_EVENTS)
    kinds: dict[str, tuple[float, Callable[[FloatArray], FloatArray]]] = {
        "sound": (TEMPERATURE, _scaled(1.0)),
        "each propensity times 1.1": (TEMPERATURE, _scaled(1.1)),
        "each propensity times .9": (TEMPERATURE, _scaled(0.9)),
        "logged as if the temperature were a tenth higher": (1.1 * TEMPERATURE, _scaled(1.0)),
        "logged as if it were a tenth lower": (0.9 * TEMPERATURE, _scaled(1.0)),
    }
    counts = []
    for i, (what, (believed, change)) in enumerate(kinds.items()):
        flagged = 0
        for seed in range(n_logs):
            rows, log_weights = _log(np.random.default_rng([seed, i, 41]), n, believed=believed)
            changed = [replace(row, propensities=change(row.propensities)) for row in rows]
            flagged += any(finding.severity != "ok" for finding in propensity_findings(changed, log_weights))
        bars = {"at_most": 0.05} if what == "sound" else {"at_least": 0.95}
        counts.append(Count(f"{what}, {n:,} events", flagged, n_logs, **bars))
    return counts
