"""The buffer: how full and how old it is, how fast it turns over, and whether a few make up most of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from dwell.health.report import Check
from dwell.health.shares import Groups, effective_by_largest, effective_number, query_name
from dwell.health.snapshot import HealthSnapshot
from dwell.health.thresholds import MIN_JUDGED, RULES, few, judged, shown
from dwell.records.arrays import FloatArray

__all__ = ["buffer_checks", "effective_experiences"]

_FULL: Final = 0.99  # what leaves for want of room leaves one by one: a full buffer is never quite full for long
_MIN_SPAN_S: Final = 3600.0  # a rate per day from less than an hour is a guess
_DAY_S: Final = 86_400.0
_MIN_EFFECTIVE_OF: Final = 500
_UNSEEN_PART: Final = 0.5  # of a batch: what is new is learned from once, whoever it is from


def buffer_checks(snapshot: HealthSnapshot, groups: Mapping[str, Groups]) -> Iterator[Check]:
    """Yield the checks of the buffer.

    Args:
        snapshot: The loop.
        groups: As `shares_of` returns.
    """
    n = int(snapshot.rewards.size)
    yield from _room(snapshot, n)
    yield from _ages(snapshot, n)
    yield _effective(snapshot, n)
    for kind, words in (("user", "users"), ("query", "queries"), ("segment", "segments")):
        yield _diversity(f"effective_{words}", words, groups[kind])
    yield _segment(snapshot, groups["segment"], n)
    for kind in ("query", "user"):
        yield _dominance(kind, groups[kind], n, snapshot.salt if kind == "query" else b"")
    n_known = int(np.count_nonzero(snapshot.has_user))
    known = n_known / n if n >= MIN_JUDGED else None
    words = f"{n_known:,} of {n:,} events name a user" if n_known else "no event names a user"
    yield judged("users_unknown", known, words if n >= MIN_JUDGED else few(n))


def _room(snapshot: HealthSnapshot, n: int) -> Iterator[Check]:
    fill = n / snapshot.capacity
    yield judged("fill_ratio", fill, f"{n:,} of at most {snapshot.capacity:,} closed events are kept")
    words = f"the facts take {shown(snapshot.n_bytes, 'bytes')}"
    if snapshot.max_bytes:
        words += f" of at most {shown(snapshot.max_bytes, 'bytes')}"
    if snapshot.n_bytes:
        yield judged("store_bytes", snapshot.n_bytes, words)
    span_s = float(np.ptp(snapshot.served_at)) if n else 0.0
    if n < MIN_JUDGED or span_s < _MIN_SPAN_S:
        yield judged("turnovers_per_day", None, "less than an hour of events: no rate per day yet")
        return
    turnovers = n / span_s * _DAY_S / snapshot.capacity
    words = f"{n / span_s * _DAY_S:,.0f} closed events come in a day: {shown(turnovers, 'count')} buffers full"
    if 0.0 < turnovers < 1.0:
        words = f"{n / span_s * _DAY_S:,.0f} closed events come in a day: a buffer full in {1.0 / turnovers:,.0f} days"
    yield judged("turnovers_per_day", turnovers, words, is_chance=fill < _FULL)


def _ages(snapshot: HealthSnapshot, n: int) -> Iterator[Check]:
    if not n:
        for name in ("mean_age_hours", "oldest_age_hours"):
            yield judged(name, None, "nothing is closed yet")
        return
    hours = (snapshot.now - snapshot.served_at) / 3600.0
    mean, oldest, newest = float(hours.mean()), float(hours.max()), float(hours.min())
    yield judged("mean_age_hours", mean, f"events are {shown(mean, 'hours')} old in the mean")
    yield judged(
        "oldest_age_hours", oldest, f"the oldest is {shown(oldest, 'hours')} old, the newest {shown(newest, 'hours')}"
    )


def effective_experiences(snapshot: HealthSnapshot) -> float:
    """Return how many equally likely events learning's draws are worth, (sum of masses)^2 / sum of squares.

    The masses are those of the strategy in force: priority^alpha, rank^-alpha, 2^-(age / half-life), or all the same.
    A stratified sampler is taken for the recency within its strata.

    Source:
        Kish 1965, "Survey Sampling".
    """
    learned = ~snapshot.is_held_out
    n = int(np.count_nonzero(learned))
    if not n:
        return 0.0
    masses = np.ones(n)
    how = snapshot.drawing
    if how.strategy in {"priority", "rank"}:
        priorities: FloatArray = snapshot.priorities[learned]
        if how.strategy == "rank":
            masses = np.empty(n)
            masses[np.argsort(-priorities, kind="stable")] = np.arange(1.0, n + 1.0) ** -how.alpha
        elif priorities.max() > 0.0:
            masses = (priorities / priorities.max()) ** how.alpha * (priorities > 0.0)
    elif how.strategy in {"recency", "stratified"}:
        served = snapshot.served_at[learned]
        masses = np.exp2((served - served.max()) / how.half_life_s)
    return float(masses.sum() ** 2 / (masses @ masses))


def _effective(snapshot: HealthSnapshot, n: int) -> Check:
    if n < _MIN_EFFECTIVE_OF:
        return judged("effective_experiences", None, few(n, _MIN_EFFECTIVE_OF))
    effective = effective_experiences(snapshot)
    n_learned = int(np.count_nonzero(~snapshot.is_held_out))
    words = f"draws by {snapshot.drawing.strategy} are worth {effective:,.0f} equally likely events of {n_learned:,}"
    return judged("effective_experiences", effective, words)


def _diversity(name: str, words: str, found: Groups) -> Check:
    if not found.n:
        return judged(name, None, f"no event names a {words[:-1]}" if words != "queries" else "no event is closed")
    by_entropy, by_largest = effective_number(found.counts), effective_by_largest(found.counts)
    return judged(
        name,
        by_entropy,
        f"{found.counts.size:,} {words}, as diverse as {shown(by_entropy, 'count')} equal ones; by the largest alone "
        f"{shown(by_largest, 'count')}",
    )


def _dominance(kind: str, found: Groups, n: int, salt: bytes) -> Check:
    if n < MIN_JUDGED or found.counts.size < 2:  # a group alone has nothing to be compared with
        return judged(f"dominant_{kind}", None, few(n) if n < MIN_JUDGED else f"fewer than two: no {kind} to compare")
    name = query_name(int(found.codes[0]), salt)
    return judged(f"dominant_{kind}", found.largest_share, _makes_up(kind, name, found.largest_share))


def _makes_up(kind: str, name: str, share: float) -> str:
    return f"{kind} {name[:40]!r} makes up {share:.0%} of the experience"


def _segment(snapshot: HealthSnapshot, found: Groups, n: int) -> Check:
    """Return whether one segment decides what is learned: by its share of what is kept, or of what is drawn of it.

    With a quota of its own a segment may have that share. Sampling by strata gives each the same part of what is
    replayed, which is half of a batch; the other half is what is new.
    """
    if n < MIN_JUDGED or found.counts.size < 2 or found.n < MIN_JUDGED:
        return judged("dominant_segment", None, few(n) if n < MIN_JUDGED else "fewer than two segments to compare")
    name = str(snapshot.segments[int(found.codes[0])])
    share, words = found.largest_share, _makes_up("segment", name, found.largest_share)
    quotas = snapshot.drawing.quotas
    quota = 0.0 if isinstance(quotas, str) else quotas.get(name, 0.0)
    promised = quota + (1.0 - quota) / found.counts.size if quota else 0.0  # what nobody is promised is for all alike
    if snapshot.drawing.strategy == "stratified":
        share = _UNSEEN_PART * share + (1.0 - _UNSEEN_PART) / found.counts.size
        words += f", and {share:.0%} of what is learned from by strata"
    remedy = None
    if quotas != "none":
        words += ", with quotas"
        remedy = "The other segments have too few events to fill their quotas yet: sample stratified by segment."
    return judged("dominant_segment", share, words, limit=max(RULES["dominant_segment"].limit, promised), remedy=remedy)
