"""Gather what health is judged from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from dwell.activation import FEATURES
from dwell.errors import ReplayError
from dwell.health import HealthSnapshot
from dwell.health.snapshot import Drawing, ListsSeen, Scored, SignalsSeen
from dwell.loop.archiving import PENDING, pending_erasures
from dwell.loop.keep import ensure_rebuilt
from dwell.loop.metering import stored_meter
from dwell.loop.position_health import examination_seen
from dwell.loop.row_codec import taken_up_us
from dwell.loop.state import LoopState
from dwell.records import GateDecision, Params
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.meter import RateMeter
from dwell.reward.provenance import is_agents
from dwell.storage import Reader

__all__ = ["STATES", "health_snapshot", "health_stamp"]

STATES: Final = ("open", "closed", "reopened", "not_shown", "evicted")
_INDEX: Final = (
    "seq", "served_at", "late_us", "row_reward", "has_user", "user_hash", "query_hash", "segment_code", "is_held_out",
    "priority",
)  # fmt: skip
_LISTS: Final = (
    "features", "inclusion", "caller_rank", "n_documents", "n_kept", "is_caller_ordered", "params_version",
)  # fmt: skip
_NEWEST: Final = 1_000  # lists of either window of features: 10 MB at 64 documents with 10 features
_SIGNALS: Final = 2_000  # lists whose signals are read
_DRAWN: Final = 200  # lists whose scores are read: each is a row of the store to decode
_VERSIONS: Final = 11  # ten steps of the live params
_TRIES: Final = 5  # between two looks at most a few lists leave
_MOVES: Final = frozenset({"initial", "judged", "requested", "forced", "rollback"})


def health_snapshot(state: LoopState, now: float) -> HealthSnapshot:
    """Return one loop at one instant; nothing that is counted is touched."""
    if not state.is_rebuilt:
        with state.training:
            ensure_rebuilt(state)
    columns = state.replayed.rows.index(*_INDEX)
    order = np.lexsort((columns["seq"], taken_up_us(columns)))
    columns = {name: values[order] for name, values in columns.items()}
    seqs = columns["seq"].astype(np.int64)
    newest, before = _windows(seqs)
    with state.store.snapshot() as reader:
        counts = reader.counts()
        decisions = reader.decisions()
        metered = stored_meter(reader)
        n_bytes = reader.size_bytes()
        n_pending = len(pending_erasures(reader))
        signals = _signals(reader, seqs[-_SIGNALS:], columns["served_at"][-_SIGNALS:], state.rules.attribution_window_s)
        drawn = _drawn(reader, seqs[-_DRAWN:])
    last = decisions[-1] if decisions else None
    settings = state.config.replay
    return HealthSnapshot(
        now=now,
        capacity=state.limits.capacity,
        states={name: counts[name] for name in STATES if counts.get(name)},
        served_at=columns["served_at"],
        rewards=columns["row_reward"],
        user_hashes=columns["user_hash"],
        has_user=columns["has_user"].astype(bool),
        query_hashes=columns["query_hash"],
        segment_codes=columns["segment_code"],
        segments=state.replayed.segment_names(),
        is_held_out=columns["is_held_out"].astype(bool),
        priorities=columns["priority"],
        counters=dict(state.counters) | {"n_without_features": state.replayed.n_without_features, PENDING: n_pending},
        n_signals=counts.get("signals", 0),
        live_version=state.live.version,
        n_promotions=sum(d.verdict == "promote" and d.kind in {"judged", "requested", "forced"} for d in decisions),
        last_verdict="" if last is None else f"{last.verdict}: {last.reasons[0]}",
        replay_ratio=0.0 if metered is None else RateMeter.from_state(metered.meter).replay_ratio,
        oldest_params_version=None if metered is None else metered.oldest_params_version,
        examination=examination_seen(state),
        drawing=Drawing(settings.strategy, settings.alpha, settings.half_life_s, settings.segment_quotas),
        n_bytes=n_bytes,
        max_bytes=state.limits.max_store_bytes,
        signals=signals,
        batches=None if metered is None else metered.batches,
        decisions=decisions,
        steps=_path(state, decisions),
        feature_names=state.feature_names,
        own_features=frozenset(FEATURES),
        newest=_lists(state, newest),
        reference=_lists(state, before),
        drawn=drawn,
        salt=state.identity.naming_salt,
    )


def health_stamp(state: LoopState) -> tuple[int, ...]:
    """Return numbers of which one differs whenever health may tell something else, its ages apart.

    The last one is the number of closed events in memory.
    """
    with state.store.snapshot() as reader:
        facts = (state.store.data_version(), reader.epoch(), reader.last_seq(), reader.live_version() or 0)
    return (*facts, sum(state.counters.values()), len(state.replayed))


def _windows(seqs: IntArray) -> tuple[IntArray, IntArray]:
    """Return the newest tenth of events, and as many spread over those before, each at most 1,000.

    Args:
        seqs: Of all events, oldest first.
    """
    n = len(seqs)
    n_newest = min(max(n // 10, min(n, 200)), _NEWEST)
    older = seqs[: n - n_newest]
    spread = np.unique(np.linspace(0, max(len(older) - 1, 0), min(len(older), _NEWEST)).astype(np.int64))
    return seqs[n - n_newest :], older[spread] if len(older) else older


def _lists(state: LoopState, seqs: IntArray) -> ListsSeen | None:
    if not len(seqs) or not state.feature_names:
        return None
    raw = _raw(state, seqs)
    if raw is None:
        return None
    return ListsSeen(**{**raw, "is_caller_ordered": raw["is_caller_ordered"].astype(bool)})


def _raw(state: LoopState, seqs: IntArray) -> dict[str, np.ndarray[Any, Any]] | None:
    """Return columns of those lists that are there still; None where others leave as fast as they are looked for."""
    rows = state.replayed.rows
    for _ in range(_TRIES):
        try:
            return rows.raw(seqs, _LISTS)
        except ReplayError:  # somebody learns or erases meanwhile, and no lock is held that ranking takes
            seqs = seqs[np.isin(seqs, rows.index("seq")["seq"])]
            if not len(seqs):
                break
    return None


def _signals(reader: Reader, seqs: IntArray, served_at: FloatArray, window_s: float) -> SignalsSeen:
    served = dict(zip(seqs.tolist(), served_at.tolist(), strict=True))
    found = reader.signals(list(served))
    people = {seq: [one for one in signals if not is_agents(one.name)] for seq, signals in found.items()}
    # a clock that is behind says that somebody acted before he saw: that is no time to a signal
    delays = [max(signal.at - served[seq], 0.0) for seq, signals in people.items() for signal in signals]
    n_answered = sum(map(bool, people.values()))
    n_agents = sum(map(bool, found.values())) - n_answered
    return SignalsSeen(len(served), n_answered, np.array(delays), window_s, n_agents)


def _drawn(reader: Reader, seqs: IntArray) -> list[Scored]:
    """Return scores and order of the lists that were drawn by a policy of its own."""
    found = []
    for impression in reader.impressions(seqs.tolist()):
        is_ours = impression.policy != "external" and impression.arm in {"live", "canary"}
        if impression.is_deterministic or not is_ours or not impression.is_policys:
            continue
        served, kept = impression.served, impression.documents
        n = next((i for i, (a, b) in enumerate(zip(served, kept, strict=False)) if a != b), min(len(served), len(kept)))
        found.append(Scored(impression.scores, impression.document_scores[:n], impression.score_sd))
    return found


def _path(state: LoopState, decisions: Sequence[GateDecision]) -> FloatArray:
    """Return the last versions that were live and can be compared: of one kind and as many weights as the live one."""
    versions = [d.proposed_version for d in decisions if d.kind in _MOVES and d.verdict == "promote"][-_VERSIONS:]
    live = state.live
    path: list[FloatArray] = []
    for version in versions:
        params = state.params(version)
        if params is None or not _is_alike(params, live):
            path.clear()  # what came before another kind of params can not be compared with what came after
        else:
            path.append(params.vector / params.norm())
    return np.array(path) if path else np.zeros((0, 0))


def _is_alike(params: Params, live: Params) -> bool:
    """Return whether the weights of two versions are of the same features in the same units."""
    is_one_space = (params.transform is None) == (live.transform is None)
    return is_one_space and params.feature_names == live.feature_names and params.norm() > 0.0
