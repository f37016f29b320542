"""The first lists of a loop that was given no weights: the caller's order, then equal weights in standardised units."""

from __future__ import annotations

import numpy as np

from dwell.learning.space import equal_weights
from dwell.learning.transform import MAX_FITTING_ROWS, fit_transform
from dwell.loop.promote import make_live
from dwell.loop.state import LoopState
from dwell.records import Estimate, GateDecision

__all__ = ["recall_warm_up", "warm_up"]

_NOTHING = Estimate(0.0, -np.inf, np.inf, 0, 0.0)


def _is_warming_up(state: LoopState) -> bool:
    return state.live.origin == "caller-order" and state.mode in {"live", "canary"} and bool(state.feature_names)


def recall_warm_up(state: LoopState) -> None:
    """Count again what an earlier run served in the caller's order."""
    if _is_warming_up(state):
        with state.store.snapshot() as reader:
            seqs = reader.seqs(limit=state.config.training.first_version_events)
            state.warm_up.extend(i.features for i in reader.impressions(seqs) if i.has_features)


def warm_up(state: LoopState, now: float) -> None:
    """Write the first version once enough lists were served; it costs one call a commit, and later ones nothing."""
    if state.n_served < state.config.training.first_version_events or not _is_warming_up(state):
        return
    with state.training:
        if not _is_warming_up(state):
            return
        if state.writer is not None:
            state.writer.flush()
        with state.store.snapshot() as reader:
            seqs = reader.seqs(limit=state.config.training.first_version_events)
            features = [i.features for i in reader.impressions(seqs) if i.has_features]
        if len(features) < state.config.training.first_version_events // 2:
            return
        rows = np.concatenate(features)
        step = max(1, len(rows) // MAX_FITTING_ROWS)
        params = equal_weights(
            state.feature_names, fit_transform(rows[::step][:MAX_FITTING_ROWS]), parent=state.live, created_at=now
        )
        decision = GateDecision(
            verdict="promote",
            reasons=[f"initial: equal weights in standardised units, fitted to {len(features)} events"],
            difference=_NOTHING,
            proposed_version=params.version,
            safe_version=state.live.version,
            kind="initial",
            decided_at=now,
        )
        make_live(state, params, decision, expected=state.live.version)
