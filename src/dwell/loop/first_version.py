"""Equal weights in standardised units: what is served once the first lists have shown how the features spread."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from dwell.errors import StorageError
from dwell.learning.space import equal_weights, natural_columns
from dwell.learning.transform import MAX_FITTING_ROWS, fit_transform
from dwell.loop.promote import live_job
from dwell.loop.state import LoopState
from dwell.loop.warm_up import is_warming_up
from dwell.records import Estimate, GateDecision

__all__ = ["write_first_version"]

_NOTHING = Estimate(0.0, -np.inf, np.inf, 0, 0.0)


def write_first_version(state: LoopState, now: float) -> None:
    """Put equal weights in force once enough lists were served; waits neither for the disk nor for a training.

    The version is served at once and written before any list that it orders: one queue holds both. Should the commit
    fail, the caller's order is served again.
    """
    if not is_warming_up(state) or len(state.warm_up) < state.config.training.first_version_events:
        return
    if state.writer is None or not state.training.acquire(blocking=False):
        return
    try:
        if is_warming_up(state):
            _write(state, now)
    finally:
        state.training.release()


def _write(state: LoopState, now: float) -> None:
    features = state.warm_up[: state.config.training.first_version_events]
    rows = np.concatenate(features)
    step = max(1, len(rows) // MAX_FITTING_ROWS)
    with state.store.snapshot() as reader:
        version = max(reader.params_versions()) + 1
    transform = fit_transform(rows[::step][:MAX_FITTING_ROWS], natural=natural_columns(state.feature_names))
    first = equal_weights(state.feature_names, transform, parent=state.live, created_at=now)
    first = replace(first, version=version, temperature=state.temperature)
    decision = GateDecision(
        verdict="promote",
        reasons=[f"first_version: equal weights in standardised units, fitted to {len(features)} events"],
        difference=_NOTHING,
        proposed_version=first.version,
        safe_version=state.live.version,
        kind="initial",
        decided_at=now,
    )
    before = state.swap(first, is_pending=True)

    def settle(done: Future[None]) -> None:
        state.swap(first if done.exception() is None else before)

    try:
        written = state.writer.submit(live_job(first, decision, expected=before.version)) if state.writer else None
    except StorageError:
        state.swap(before)
        raise
    state.standing = state.watched = None
    if written is not None:
        written.add_done_callback(settle)
