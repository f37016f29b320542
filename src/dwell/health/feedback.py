"""Feedback: whether users answer, how soon, what it is worth, and whether that has changed lately."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from dwell.health.drift import MIN_ALL, drift_of, split_newest
from dwell.health.report import Check
from dwell.health.snapshot import HealthSnapshot
from dwell.health.thresholds import MIN_JUDGED, few, judged, shown

__all__ = ["DRIFT_ALPHA", "feedback_checks"]

DRIFT_ALPHA: Final = 1e-4  # a window of a tenth is new some fifty times between 1,000 and 100,000 events
_NO_REMEDY: Final = "Signals arrive, and none is worth anything: check the names sent against the reward preset."
_AGENTS_REMEDY: Final = "Agents speak, and no person: ask people. What agents say of themselves is in no reward."
_LITTLE: Final = 0.01
_OF_SIGNALS: Final = (
    "coverage_ratio",
    "default_reward_ratio",
    "agents_alone_ratio",
    "join_delay_median_s",
    "join_delay_p90_s",
)


def feedback_checks(snapshot: HealthSnapshot) -> Iterator[Check]:
    """Yield the checks of feedback that stand on what is kept; those of what is counted are in `counted`."""
    n = int(snapshot.rewards.size)
    is_enough = n >= MIN_JUDGED
    seen = snapshot.signals
    rewarded = float((snapshot.rewards != 0.0).mean()) if is_enough else None
    words = few(n)
    if rewarded is not None:
        words = f"{shown(rewarded, 'ratio')} of closed events have a reward"
        words = f"only {words}" if rewarded < _LITTLE else words
        words = words if rewarded else "no closed event has a reward: nothing can be learned"
    remedy = None
    if seen is not None and seen.n_answered + seen.n_agents > 0:
        remedy = _NO_REMEDY if seen.n_answered else _AGENTS_REMEDY
    yield judged("no_feedback", rewarded, words, remedy=remedy)
    yield judged("little_feedback", rewarded or None, words)
    yield from _signals(snapshot)
    if n:
        mean, sd = float(snapshot.rewards.mean()), float(snapshot.rewards.std())
        yield judged("mean_reward", mean, f"a list earns {mean:.3g} in the mean")
        yield judged("reward_sd", sd, f"rewards spread by {sd:.3g} around it")
    yield _drift(snapshot, n)


def _signals(snapshot: HealthSnapshot) -> Iterator[Check]:
    seen = snapshot.signals
    if seen is None or seen.n_lists < MIN_JUDGED:
        n = 0 if seen is None else seen.n_lists
        for name in _OF_SIGNALS:
            yield judged(name, None, few(n))
        return
    coverage = seen.n_answered / seen.n_lists
    words = f"{seen.n_answered:,} of the newest {seen.n_lists:,} closed lists have a signal"
    yield judged("coverage_ratio", coverage, words)
    silent = seen.n_lists - seen.n_answered
    yield judged("default_reward_ratio", silent / seen.n_lists, f"{silent:,} of them closed without one")
    spoken = seen.n_answered + seen.n_agents
    share = seen.n_agents / spoken if spoken >= MIN_JUDGED else None
    words = f"of {spoken:,} lists with a signal agents alone spoke of {seen.n_agents:,}"
    yield judged("agents_alone_ratio", share, words)
    if seen.delays_s.size < MIN_JUDGED:
        for name in ("join_delay_median_s", "join_delay_p90_s"):
            yield judged(name, None, f"{seen.delays_s.size} signals: too few to tell")
        return
    median, late = (float(value) for value in np.quantile(seen.delays_s, (0.5, 0.9)))
    yield judged("join_delay_median_s", median, f"half of the signals come within {shown(median, 's')} of serving")
    words = f"nine of ten come within {shown(late, 's')}; lists wait {shown(seen.window_s, 's')}"
    yield judged("join_delay_p90_s", late, words, limit=seen.window_s)


def _drift(snapshot: HealthSnapshot, n: int) -> Check:
    """Return whether the newest tenth of rewards is distributed as those before; a rise is what the loop is for."""
    windows = split_newest(snapshot.rewards)
    if windows is None:
        return judged("reward_drift", None, few(n, MIN_ALL))
    reference, newest = windows
    found = drift_of(reference, newest)
    words = (
        f"the newest {newest.size:,} lists earn {newest.mean():.3g} in the mean, those before {reference.mean():.3g}; "
        f"PSI {found.psi:.3g}, largest distance {found.ks:.3g}"
    )
    return judged("reward_drift", found.psi, words, is_chance=found.p_value >= DRIFT_ALPHA or found.change >= 0.0)
