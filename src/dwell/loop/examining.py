"""Which examination is in force: measured from the loop's own draws where that says enough, assumed until then.

It changes only where a measurement differs from it beyond chance and by an amount that matters, and only while no
proposal stands: what has been judged stays judged under one examination. A change computes the exposure of every event
in memory anew, from what was logged.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np

from dwell.config import Config
from dwell.loop.judge import Band
from dwell.loop.state import LoopState
from dwell.records.arrays import BoolArray, FloatArray, IntArray
from dwell.reward.examination import Examination, Fitted, HarvestSums, PositionBased
from dwell.reward.measuring import Measured, is_materially_different, measure
from dwell.storage import Reader

__all__ = ["band_of", "examination_in_force", "measured_now", "settle_examination"]

_EXAMINATION: Final = "examination"  # setting of the tenant
_AT_ONCE: Final = 4_096  # lists summed together
_ROUNDING: Final = 1e-4  # of rewards kept as float32
_LEAST: Final = 1e-300  # a propensity that underflowed weighs nothing, and must not be divided by


class _Kept(msgspec.Struct, frozen=True):
    values: list[float]
    se: list[float]
    n_lists: int
    n_effective: list[float]
    source: Literal["harvest", "swaps", "regression_em"]


def examination_in_force(reader: Reader, config: Config) -> Examination:
    """Return the examination that was measured here, or the assumed one where none was, or none is to be."""
    body = reader.setting(_EXAMINATION)
    if not body or config.training.examination == "assumed":
        return PositionBased(config.training.examination_eta)
    kept = msgspec.msgpack.decode(body, type=_Kept)
    return Fitted(tuple(kept.values), tuple(kept.se), kept.n_lists, tuple(kept.n_effective), kept.source)


def measured_now(state: LoopState) -> Measured:
    """Return the examination that the events in memory speak for, with its band; nothing changes."""
    assumed = PositionBased(state.config.training.examination_eta)
    k = state.limits.max_results
    if state.config.training.examination == "assumed":
        return measure(assumed, k)
    rows = state.replayed.rows
    index = rows.index("seq", "has_user", "user_hash")
    seqs: IntArray = index["seq"].astype(np.int64)
    seqs = seqs[_within_quota(index["user_hash"], index["has_user"])]
    sums = HarvestSums.empty(k)
    for start in range(0, len(seqs), _AT_ONCE):
        columns = rows.raw(seqs[start : start + _AT_ONCE], ["propensities", "rewards", "n_kept", "is_deterministic"])
        is_drawn = ~columns["is_deterministic"].astype(bool)
        propensities = columns["propensities"][is_drawn][:, :k].astype(np.float64)
        rewards = columns["rewards"][is_drawn][:, :k].astype(np.float64)
        is_there = np.arange(propensities.shape[1]) < columns["n_kept"][is_drawn][:, None]
        shared = _is_shared_out(rewards, is_there, state.theta()) | _is_shared_out(rewards, is_there, assumed.theta(k))
        # a click is a click: one purchase must not say twice as much of who looked
        clicks = ((rewards > 0.0) & ~shared[:, None]).astype(np.float64)
        propensities = np.where(is_there, np.maximum(propensities, _LEAST), np.nan)
        if len(propensities) and propensities.shape[1]:
            sums = sums.plus(propensities, np.where(is_there, clicks, 0.0))
    return measure(assumed, k, harvested=sums)


def _within_quota(users: np.ndarray[tuple[int, ...], np.dtype[np.uint64]], is_known: BoolArray) -> BoolArray:
    """Return which events count: of one user no more than a usual user has, so that nobody alone sets theta.

    Examination is a ratio of clicks that are rare far down: a mean, or a cap above the usual, leaves room for whoever
    clicks there on purpose.
    """
    keep = np.ones(len(users), dtype=bool)
    known = np.flatnonzero(is_known)
    if not known.size:
        return keep
    _, inverse, counts = np.unique(users[known], return_inverse=True, return_counts=True)
    # the events' median user, where many come once; the mean, where one of them has most events
    of_events = np.sort(np.repeat(counts, counts))
    most = max(1, min(int(of_events[of_events.size // 2]), int(np.ceil(counts.mean()))))
    order = np.argsort(inverse, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    nth = np.empty(known.size, dtype=np.int64)
    nth[order] = np.arange(known.size) - np.repeat(first, counts)
    keep[known] = nth < most
    return keep


def _is_shared_out(rewards: FloatArray, is_there: BoolArray, theta: FloatArray) -> BoolArray:
    """Return which lists have praise that was spread over them by an examination: it says nothing of who looked."""
    share = np.where(is_there, rewards / theta[: rewards.shape[1]], np.nan)
    low, high = np.nanmin(share, axis=1, initial=np.inf), np.nanmax(share, axis=1, initial=-np.inf)
    found: BoolArray = (is_there.sum(axis=1) > 1) & (low > 0.0) & (high - low <= _ROUNDING * high)
    return found


def band_of(state: LoopState) -> Band:
    """Return between what examination lies, measured once until a proposal is learned."""
    if state.band is None:
        measured = measured_now(state)
        state.band = Band(measured.low, measured.high)
    return state.band


def settle_examination(state: LoopState) -> None:
    """Take over a measured examination where it differs materially from the one in force; no proposal stands."""
    measured = measured_now(state)
    state.band = Band(measured.low, measured.high)
    if measured.is_assumed or not is_materially_different(state.rules.examination, measured):
        return
    found = measured.examination
    if not isinstance(found, Fitted):
        return
    body = msgspec.msgpack.encode(
        _Kept(list(found.values), list(found.se), found.n_lists, list(found.n_effective), found.source)
    )
    with state.replayed.changing():
        state.write(lambda tx: tx.put_setting(_EXAMINATION, body))
        state.rules = state.rules._replace(examination=found)
        state.replayed.expose_anew(found)
        if state.watched is not None:
            state.watched.judgement = None  # what has been judged is judged again: one sequence, one examination
    state.counters["examinations_measured"] += 1
