"""Gather what health is judged from."""

from __future__ import annotations

from collections import Counter

import numpy as np

from dwell.health import HealthSnapshot
from dwell.loop.keep import ensure_rebuilt
from dwell.loop.state import LoopState

__all__ = ["health_snapshot"]

_STATES = ("open", "closed", "reopened", "not_shown", "evicted")


def health_snapshot(state: LoopState, now: float) -> HealthSnapshot:
    """Return one loop at one instant; nothing that is counted is touched."""
    if not state.is_rebuilt:
        with state.training:
            ensure_rebuilt(state)
    with state.store.snapshot() as reader:
        counts = reader.counts()
        decisions = reader.decisions()
    rows = state.replayed.rows.in_close_order()
    counters = dict(state.counters) | {"n_without_features": state.replayed.n_without_features}
    last = decisions[-1] if decisions else None
    return HealthSnapshot(
        now=now,
        capacity=state.limits.capacity,
        states={name: counts[name] for name in _STATES if counts.get(name)},
        served_at=np.array([row.served_at for row in rows]),
        rewards=np.array([float(np.clip(row.rewards.sum(), -1.0, 1.0)) for row in rows]),
        user_counts=Counter(row.user_hash for row in rows),
        segment_counts=Counter(
            {name: n for name, n in state.replayed.buffer.segment_counts().items() if name is not None}
        ),
        query_counts=Counter(row.query_hash for row in rows),
        counters=counters,
        n_signals=counts.get("signals", 0),
        live_version=state.live.version,
        n_promotions=sum(d.verdict == "promote" and d.kind in {"judged", "requested", "forced"} for d in decisions),
        last_verdict="" if last is None else f"{last.verdict}: {last.reasons[0]}",
    )
