"""What the events in memory say of who looked: drawn lists, swapped pairs, and clicks with features."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.learning.space import space_for
from dwell.loop.event_rows import EventRows
from dwell.loop.state import LoopState
from dwell.records.arrays import BoolArray, FloatArray, IntArray
from dwell.reward.examination import HarvestSums, PositionBased
from dwell.reward.regression_em import ClickTable
from dwell.reward.swaps import swap_sums

__all__ = [
    "Looks",
    "Reading",
    "Usual",
    "click_table",
    "events_by_user",
    "looks_in",
    "looks_of",
    "reading_of",
    "usual_of",
]

_AT_ONCE: Final = 4_096  # lists summed together
_ROUNDING: Final = 1e-4  # of rewards kept as float32
_LEAST: Final = 1e-300  # a propensity that underflowed weighs nothing, and must not be divided by
_MOST_DOCUMENTS: Final = 20_000  # of a table, newest lists first: 200 rounds of EM on 8 columns take 0.6 s
_MOST_LISTS: Final = 20_480  # newest lists looked through for a table: a log of drawn ones has no need of it
_MOST_COLUMNS: Final = 16  # a round costs their square: with more, the predicted relevance stands for all of them


class Looks(NamedTuple):
    """Sums over the lists that tell who looked.

    Attributes:
        harvested: Over lists that Plackett-Luce drew.
        swaps: Over lists with a drawn pair, or None where there is none.
    """

    harvested: HarvestSums
    swaps: HarvestSums | None


class Usual(NamedTuple):
    """How many events of one user say who looked: no more than a usual user has.

    Attributes:
        drawn: Of lists without a pair.
        swapped: Of lists with a drawn pair.
    """

    drawn: int
    swapped: int


class Reading(NamedTuple):
    """How lists are read for who looked.

    Attributes:
        k: Positions.
        thetas: float64 (k,) each, the examinations by which praise of a whole list may have been shared out.
    """

    k: int
    thetas: tuple[FloatArray, ...]


def reading_of(state: LoopState) -> Reading:
    """Return how a loop's lists are read."""
    k = state.limits.max_results
    return Reading(k, (state.theta(), PositionBased(state.config.training.examination_eta).theta(k)))


def looks_of(state: LoopState) -> Looks:
    """Return what drawn lists and swapped pairs say, of each user no more of either than a usual one has."""
    rows = state.replayed.rows
    return looks_in(rows, reading_of(state), usual_of(events_by_user(rows)))


def events_by_user(rows: EventRows) -> tuple[IntArray, IntArray]:
    """Return how many events each named user has, of lists without a pair and of lists with one, int64 (u,) each."""
    index = rows.index("has_user", "user_hash", "swap_pair")
    is_swapped, is_known = index["swap_pair"] > 0, index["has_user"].astype(bool)
    drawn, swapped = (
        np.unique(index["user_hash"][is_known & is_meant], return_counts=True)[1].astype(np.int64)
        for is_meant in (~is_swapped, is_swapped)
    )
    return drawn, swapped


def usual_of(events: tuple[IntArray, IntArray]) -> Usual:
    """Return how many events of one user count, from those of all named users."""
    return Usual(*(_most_of(counts) for counts in events))


def looks_in(rows: EventRows, reading: Reading, usual: Usual) -> Looks:
    """Return what these rows say of who looked; those of parts with all events of their users add up."""
    index = rows.index("seq", "has_user", "user_hash", "swap_pair")
    is_swapped = index["swap_pair"] > 0
    drawn, swaps = HarvestSums.empty(reading.k), HarvestSums.empty(reading.k)
    for seqs in _chunks(_usual(index, ~is_swapped, usual.drawn)):
        shown = _shown(rows, reading, seqs)
        is_drawn = ~shown.is_deterministic
        if is_drawn.any() and shown.clicks.shape[1]:
            drawn = drawn.plus(shown.propensities[is_drawn], shown.clicks[is_drawn])
    for seqs in _chunks(_usual(index, is_swapped, usual.swapped)):
        shown = _shown(rows, reading, seqs)
        # a pair at the last position kept: what became of its lower document is not known
        pair = np.where(shown.swap_pair < shown.n_kept, shown.swap_pair, 0)
        swaps += swap_sums(pair, np.where(shown.is_there, shown.clicks, np.nan))
    return Looks(drawn, swaps if swaps.n_lists else None)


def click_table(state: LoopState) -> ClickTable | None:
    """Return clicks with features of lists that nobody drew, the newest ones; None where there is none."""
    index = state.replayed.rows.index("seq", "has_user", "user_hash", "swap_pair", "query_hash", "served_at")
    reading, usual = reading_of(state), usual_of(events_by_user(state.replayed.rows))
    seqs = _usual(index, index["swap_pair"] == 0, usual.drawn)
    place = np.argsort(index["seq"])
    place = place[np.searchsorted(index["seq"], seqs, sorter=place)]
    place = place[np.lexsort((seqs, index["served_at"][place]))[::-1]]
    clicks, positions, features, groups, n = [], [], [], [], 0
    for some in _chunks(place[:_MOST_LISTS]):
        shown = _shown(state.replayed.rows, reading, index["seq"][some].astype(np.int64))
        is_read = shown.is_there & (shown.is_deterministic & ~shown.is_shared)[:, None]
        is_read &= n + np.cumsum(is_read.sum(axis=1))[:, None] <= _MOST_DOCUMENTS
        lists = np.flatnonzero(is_read.any(axis=1))
        if not lists.size:
            continue
        rows, columns = np.nonzero(is_read[lists])
        part = some[lists]
        read = state.replayed.rows.raw(index["seq"][part].astype(np.int64), ["features"])["features"]
        who = np.where(index["has_user"][part], index["user_hash"][part], index["query_hash"][part])
        clicks.append(shown.clicks[is_read])
        positions.append(columns + 1)
        features.append(read[rows, columns])
        groups.append(who[rows])
        n += len(rows)
    if n == 0:
        return None
    at = np.concatenate(positions)
    found = _columns(state, np.concatenate(features))
    who = np.unique(np.concatenate(groups), return_inverse=True)[1]
    return None if found is None else ClickTable(np.concatenate(clicks), at, found, who)


class _Shown(NamedTuple):
    """Lists as they stand in the ring, cut to what is kept of them; each (b, k) or (b,)."""

    propensities: FloatArray
    clicks: FloatArray
    is_there: BoolArray
    is_shared: BoolArray
    is_deterministic: BoolArray
    n_kept: IntArray
    swap_pair: IntArray


def _shown(rows: EventRows, reading: Reading, seqs: IntArray) -> _Shown:
    k = reading.k
    names = ["propensities", "rewards", "n_kept", "is_deterministic", "swap_pair"]
    columns = rows.raw(seqs, names)
    propensities = columns["propensities"][:, :k].astype(np.float64)
    rewards = columns["rewards"][:, :k].astype(np.float64)
    n_kept = np.minimum(columns["n_kept"].astype(np.int64), rewards.shape[1])
    is_there = np.arange(rewards.shape[1]) < n_kept[:, None]
    is_shared = np.any([_is_shared_out(rewards, is_there, theta) for theta in reading.thetas], axis=0)
    # a click is a click: one purchase must not say twice as much of who looked
    clicks = ((rewards > 0.0) & ~is_shared[:, None] & is_there).astype(np.float64)
    return _Shown(
        propensities=np.where(is_there, np.maximum(propensities, _LEAST), np.nan),
        clicks=clicks,
        is_there=is_there,
        is_shared=is_shared,
        is_deterministic=columns["is_deterministic"].astype(bool),
        n_kept=n_kept,
        swap_pair=columns["swap_pair"].astype(np.int64),
    )


def _columns(state: LoopState, features: npt.NDArray[np.float32]) -> FloatArray | None:
    """Return what tells relevance of documents, float64 (m, f): features, or one prediction where they are many."""
    space = space_for(state.live, features[:1000])
    if space.size <= _MOST_COLUMNS:
        return space.phi(features).astype(np.float64)
    expected = state.expected
    if expected is None or expected.space.feature_names != state.feature_names:
        return None
    return expected.predictor.predict(expected.space.phi(features))[:, None]


def _chunks(seqs: IntArray) -> list[IntArray]:
    return [seqs[start : start + _AT_ONCE] for start in range(0, len(seqs), _AT_ONCE)]


def _usual(index: dict[str, npt.NDArray[Any]], is_meant: BoolArray, most: int) -> IntArray:
    seqs: IntArray = index["seq"][is_meant].astype(np.int64)
    return seqs[_up_to_the_usual(index["user_hash"][is_meant], index["has_user"][is_meant], most)]


def _most_of(counts: IntArray) -> int:
    """Return the events of a usual user, from those of all; 1 where there is none."""
    if not counts.size:
        return 1
    # the events' median user, where many come once; the mean, where one of them has most events
    of_events = np.sort(np.repeat(counts, counts))
    return max(1, min(int(of_events[of_events.size // 2]), int(np.ceil(counts.mean()))))


def _up_to_the_usual(users: npt.NDArray[np.uint64], is_known: BoolArray, most: int) -> BoolArray:
    """Return which events count: of one user no more than a usual user has, so that nobody alone sets theta.

    Examination is a ratio of clicks that are rare far down: a mean, or a cap above the usual, leaves room for whoever
    clicks there on purpose.
    """
    keep = np.ones(len(users), dtype=bool)
    known = np.flatnonzero(is_known)
    if not known.size:
        return keep
    _, inverse, counts = np.unique(users[known], return_inverse=True, return_counts=True)
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
