"""Gather what health is judged from."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from dwell.health import HealthSnapshot
from dwell.loop.keep import ensure_rebuilt
from dwell.loop.metering import stored_meter
from dwell.loop.position_health import examination_seen
from dwell.loop.state import LoopState
from dwell.replay.meter import RateMeter

__all__ = ["STATES", "health_snapshot"]

STATES = ("open", "closed", "reopened", "not_shown", "evicted")


def health_snapshot(state: LoopState, now: float) -> HealthSnapshot:
    """Return one loop at one instant; nothing that is counted is touched."""
    if not state.is_rebuilt:
        with state.training:
            ensure_rebuilt(state)
    with state.store.snapshot() as reader:
        counts = reader.counts()
        decisions = reader.decisions()
        metered = stored_meter(reader)
    rows = state.replayed.rows.index("seq", "served_at", "row_reward", "has_user", "user_hash", "query_hash")
    order = np.lexsort((rows["seq"], rows["served_at"]))
    counters = dict(state.counters) | {"n_without_features": state.replayed.n_without_features}
    last = decisions[-1] if decisions else None
    return HealthSnapshot(
        now=now,
        capacity=state.limits.capacity,
        states={name: counts[name] for name in STATES if counts.get(name)},
        served_at=rows["served_at"][order],
        rewards=rows["row_reward"][order],
        user_counts=_counted(rows["user_hash"][rows["has_user"]], n_unknown=int(np.count_nonzero(~rows["has_user"]))),
        segment_counts=Counter(
            {name: n for name, n in state.replayed.buffer.segment_counts().items() if name is not None}
        ),
        query_counts=_counted(rows["query_hash"]),
        counters=counters,
        n_signals=counts.get("signals", 0),
        live_version=state.live.version,
        n_promotions=sum(d.verdict == "promote" and d.kind in {"judged", "requested", "forced"} for d in decisions),
        last_verdict="" if last is None else f"{last.verdict}: {last.reasons[0]}",
        replay_ratio=0.0 if metered is None else RateMeter.from_state(metered.meter).replay_ratio,
        oldest_params_version=None if metered is None else metered.oldest_params_version,
        examination=examination_seen(state),
    )


def _counted(hashes: npt.NDArray[np.uint64], *, n_unknown: int = 0) -> Counter[object]:
    found, counts = np.unique(hashes, return_counts=True)
    counter: Counter[object] = Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    if n_unknown:
        counter[None] = n_unknown
    return counter
