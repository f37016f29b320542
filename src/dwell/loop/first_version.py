"""Equal weights in standardised units: what is served once the first lists have shown how the features spread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from dwell.errors import StorageError
from dwell.learning.space import equal_weights, natural_columns
from dwell.learning.transform import MAX_FITTING_ROWS, fit_transform
from dwell.loop.promote import live_job
from dwell.loop.state import LoopState
from dwell.loop.warm_up import is_warming_up
from dwell.records import Estimate, GateDecision, Params
from dwell.storage import Transaction

__all__ = ["write_first_version"]

_NOTHING = Estimate(0.0, -np.inf, np.inf, 0, 0.0)


def write_first_version(state: LoopState, now: float) -> None:
    """Put equal weights in force once enough lists were served; waits neither for the disk nor for a training.

    The version is served at once and written before any list that it orders: one queue holds both. Should the commit
    fail, the caller's order is served again. Where other processes serve as well, one of them may be first: then it is
    served once it is on disk.
    """
    if not is_warming_up(state) or len(state.warm_up) < state.config.training.first_version_events:
        return
    if state.writer is None or not state.training.acquire(blocking=False):
        return
    try:
        if is_warming_up(state) and not state.is_live_pending:
            _write(state, now)
    finally:
        state.training.release()


def _write(state: LoopState, now: float) -> None:
    live, features = state.live, state.warm_up[: state.config.training.first_version_events]
    rows = np.concatenate(features)
    step = max(1, len(rows) // MAX_FITTING_ROWS)
    with state.store.snapshot() as reader:
        version = max(reader.params_versions()) + 1
    transform = fit_transform(rows[::step][:MAX_FITTING_ROWS], natural=natural_columns(state.feature_names))
    first = equal_weights(state.feature_names, transform, parent=live, created_at=now)
    first = replace(first, version=version, temperature=state.temperature)
    decision = GateDecision(
        verdict="promote",
        reasons=[f"first_version: equal weights in standardised units, fitted to {len(features)} events"],
        difference=_NOTHING,
        proposed_version=first.version,
        safe_version=live.version,
        kind="initial",
        decided_at=now,
    )
    job = live_job(first, decision, expected=live.version)
    if state.store.role == "serving":
        _offer(state, job)
    else:
        _put_in_force(state, first, job)


def _offer(state: LoopState, job: Callable[[Transaction], None]) -> None:
    """Have a first version written unless another process was first, and serve whichever is on disk then."""

    def settle(_: Future[None]) -> None:
        with contextlib.suppress(StorageError):  # the next look finds it
            state.refresh(at_once=True)

    state.warm_up.clear()  # nothing is written again before as many lists have come
    if state.writer is not None:
        state.writer.submit(job, then=settle)


def _put_in_force(state: LoopState, first: Params, job: Callable[[Transaction], None]) -> None:
    before = state.swap(first, is_pending=True)

    def settle(done: Future[None]) -> None:
        state.swap(first if done.exception() is None else before)

    try:
        written = state.writer.submit(job) if state.writer else None
    except StorageError:
        state.swap(before)
        raise
    state.standing = state.watched = None
    if written is not None:
        written.add_done_callback(settle)
