"""Do the features say something, and nothing that they may not know? Constant ones, ranks, places, and leaks."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dwell.health.doctor.diagnosis import Checked, Finding, Looked, finding
from dwell.health.doctor.evidence import LEAST_EVENTS, Evidence, SeenEvent
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["auc_of_click", "features", "place_bases"]

_READ: Final = 2_000  # newest lists that are read
_LEAKS: Final = 0.98  # simulated readers of the tests: .6 to .9 for the feature that they click by
_LEAST_PAIRS: Final = 100
_LEAST_CLICKED: Final = 30
_LEAST_AT_RANK: Final = 20
_LEAST_RANKS: Final = 3
_SAME: Final = 1e-6  # relative: features are float32
_RANKING: Final = 0.9  # of the lists: then a column numbers the places
_BOTH: Final = 0.05
_LEAST_PLACES: Final = 3  # of two documents, any two different bits are places


class _Columns(NamedTuple):
    """The feature matrices of lists of at least two documents, one below the other.

    Attributes:
        values: float64 (n, f).
        starts: int64 (lists,), where each list begins.
        rank: int64 (n,), 0-based place of each document in the caller's own order.
        n_lists: Their number.
    """

    values: FloatArray
    starts: IntArray
    rank: IntArray
    n_lists: int


def features(evidence: Evidence) -> Checked:
    """Return which features tell nothing, and which tell what nobody knows when a list is served."""
    title = "Do the features tell anything, and nothing that they may not know?"
    names = evidence.feature_names
    events = [e for e in evidence.events if e.impression.feature_names == names and len(e.impression.documents) > 1]
    events = events[-_READ:]
    if len(events) < LEAST_EVENTS or not names:
        words = f"{len(events)} lists with these features so far: from {LEAST_EVENTS} on it can be told"
        return Checked(Looked("features", title, words, is_judged=False))
    columns = _stacked(events)
    auc = auc_of_click(events)
    leaks, told = [], ""
    if auc is not None:
        leaks = _leaking(auc, names, evidence.own_features)
        best = int(np.abs(auc - 0.5).argmax())
        told = f"; {names[best]!r} tells best what is clicked (AUC {auc[best]:.2f})"
    found = [*_mixed(events, names), *leaks, *_constant(columns, evidence), *_ranks(columns, evidence)]
    words = f"{len(names)} features over {columns.n_lists} lists, {len(found)} of them in doubt{told}"
    return Checked(Looked("features", title, words), tuple(found))


def _stacked(events: list[SeenEvent]) -> _Columns:
    sizes = [len(event.impression.documents) for event in events]
    return _Columns(
        np.concatenate([event.impression.features for event in events]).astype(np.float64),
        np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
        np.concatenate([event.impression.document_scores for event in events]),
        len(events),
    )


def _constant(columns: _Columns, evidence: Evidence) -> list[Finding]:
    high = np.maximum.reduceat(np.nan_to_num(columns.values), columns.starts)
    low = np.minimum.reduceat(np.nan_to_num(columns.values), columns.starts)
    is_flat = (high == low).all(axis=0)
    # what the loop makes itself begins with nothing to tell
    flat = [n for n, at in zip(evidence.feature_names, is_flat, strict=True) if at and n not in evidence.own_features]
    if not flat:
        return []
    message = f"{_named(flat)} the same for all candidates of each of {columns.n_lists} lists: no order can come of it"
    remedy = f"Retire what can not differ: dwell.open(..., drop_features={flat!r})."
    figures = {"n_constant": len(flat), "n_lists": columns.n_lists}
    return [finding("feature_constant", "notice", message, remedy, figures)]


def _ranks(columns: _Columns, evidence: Evidence) -> list[Finding]:
    """Return what is the same at each place of the caller's order, whatever stands there."""
    spread = np.zeros(columns.values.shape[1])
    means = []
    for rank in range(int(columns.rank.max()) + 1):
        here = columns.values[columns.rank == rank]
        if len(here) < _LEAST_AT_RANK:
            break
        low, high = here.min(axis=0), here.max(axis=0)
        spread = np.maximum(spread, (high - low) / np.maximum(np.abs(high), 1.0))
        means.append(high)
    if len(means) < _LEAST_RANKS:
        return []
    is_moving = np.ptp(np.array(means), axis=0) > _SAME
    found = [n for n, s, moves in zip(evidence.feature_names, spread, is_moving, strict=True) if s <= _SAME and moves]
    if not found:
        return []
    message = (
        f"{_named(found)} the same at each place of the caller's order over {columns.n_lists} lists: it says where a"
        " document stood, not what it is, and clicks on what stands high will praise it"
    )
    remedy = f"Retire it and give what the order was made of: dwell.open(..., drop_features={found!r})."
    return [finding("feature_is_rank", "warning", message, remedy, {"n_ranks": len(found), "n_lists": columns.n_lists})]


def _named(names: list[str]) -> str:
    return f"{names[0]!r} is" if len(names) == 1 else f"{', '.join(map(repr, names))} are"


def auc_of_click(events: list[SeenEvent]) -> FloatArray | None:
    """Return, per feature, how likely a praised document has more of it than one that was not, in the same list.

    Args:
        events: Lists with the same features.

    Returns:
        float64 (f,) in [0, 1], ties and missing values counting one half; None below 30 lists with both kinds
        or 100 pairs.
    """
    higher: FloatArray | None = None
    n_pairs = n_lists = 0
    for event in events:
        credit = event.document_rewards
        if credit is None:
            continue
        n = min(len(credit), len(event.impression.documents))
        praised = np.asarray(credit[:n]) > 0.0
        if praised.all() or not praised.any():
            continue
        x = event.impression.features[:n]
        apart = x[praised][:, None, :] - x[~praised][None, :, :]
        won = (0.5 + 0.5 * np.sign(np.nan_to_num(apart))).sum(axis=(0, 1), dtype=np.float64)
        higher = won if higher is None else higher + won
        n_pairs += int(praised.sum() * (~praised).sum())
        n_lists += 1
    if higher is None or n_pairs < _LEAST_PAIRS or n_lists < _LEAST_CLICKED:
        return None
    return np.asarray(higher / n_pairs, dtype=np.float64)


def _leaking(auc: FloatArray, names: tuple[str, ...], own: tuple[str, ...]) -> list[Finding]:
    # activation is worked out before the list is served, from what came earlier: it can not know
    told = {n: float(a) for n, a in zip(names, auc, strict=True) if max(a, 1.0 - a) >= _LEAKS and n not in own}
    if not told:
        return []
    name = max(told, key=lambda one: abs(told[one] - 0.5))
    message = (
        f"{name!r} tells clicks too well (AUC {told[name]:.3f} within lists): it seems to be made of the click, or of"
        " the place where the document was shown"
    )
    remedy = (
        f"Log it as it was before the list was shown, or retire it: dwell.open(..., drop_features={sorted(told)!r})."
    )
    return [finding("feature_leaks", "critical", message, remedy, {f"auc_{n}": round(a, 4) for n, a in told.items()})]


def place_bases(values: FloatArray) -> int | None:
    """Return from where a column numbers the places of one list, 0 or 1; None where it does not.

    Args:
        values: (n,) of one list, n >= 3, in any order.
    """
    ordered = np.sort(values)
    base = float(ordered[0])
    if base not in {0.0, 1.0} or not np.array_equal(ordered, base + np.arange(values.size)):
        return None
    return int(base)


def _mixed(events: list[SeenEvent], names: tuple[str, ...]) -> list[Finding]:
    """Return columns that count places from 0 in some lists and from 1 in others; a list has to be there as a whole."""
    whole = [
        event.impression
        for event in events
        if event.impression.n_candidates == len(event.impression.documents) >= _LEAST_PLACES
    ]
    if len(whole) < LEAST_EVENTS:
        return []
    columns = {name: [one.features[:, j].astype(np.float64) for one in whole] for j, name in enumerate(names)}
    external = [one for one in whole if one.policy == "external"]
    if external:
        columns["score"] = [one.scores[one.document_scores].astype(np.float64) for one in external]
    for name, lists in columns.items():
        bases = [place_bases(values) for values in lists]
        zeros, ones = bases.count(0), bases.count(1)
        if len(lists) < LEAST_EVENTS or zeros + ones < _RANKING * len(lists) or min(zeros, ones) < _BOTH * len(lists):
            continue
        message = (
            f"{name!r} counts places from 0 in {zeros} lists and from 1 in {ones}: two producers do not mean the same"
        )
        remedy = f"Number {name!r} from 1 everywhere, as log_retrieval does its ranks."
        return [finding("positions_mixed", "warning", message, remedy, {"n_from_0": zeros, "n_from_1": ones})]
    return []
