"""Features: whether they differ within a list, are there, and are distributed as before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from dwell.health.drift import Drift, drift_of
from dwell.health.feedback import DRIFT_ALPHA
from dwell.health.report import Check
from dwell.health.snapshot import HealthSnapshot, ListsSeen
from dwell.health.thresholds import MIN_JUDGED, judged, shown
from dwell.records.arrays import BoolArray, FloatArray

__all__ = ["feature_checks", "list_means", "varying_share"]

MIN_WINDOW: Final = 200  # lists of either window: PSI over deciles is 0.09 by chance then, far below its limit
PSI_LIMIT: Final = 0.25
_TOLD: Final = 5  # names in a sentence


def list_means(lists: ListsSeen) -> FloatArray:
    """Return the mean of each feature over each list's candidates, float64 (b, f); NaN where it did not exist.

    Documents count 1 / their probability of being kept, so that it is the candidates' mean whatever was served of
    them: a promotion alone changes nothing here.
    """
    d = lists.features.shape[1]
    is_there = (np.arange(d) < lists.n_documents[:, None]) & (lists.inclusion > 0.0)
    weights = np.divide(1.0, lists.inclusion, out=np.zeros_like(lists.inclusion), where=is_there)
    sums = np.einsum("bd,bdf->bf", weights, np.where(is_there[..., None], lists.features, 0.0).astype(np.float64))
    with np.errstate(invalid="ignore"):
        means: FloatArray = sums / weights.sum(axis=1)[:, None]
    return means


def varying_share(lists: ListsSeen) -> FloatArray:
    """Return the share of lists, of those with two documents or more, in which each feature differs, float64 (f,)."""
    d = lists.features.shape[1]
    is_there = (np.arange(d) < lists.n_documents[:, None])[..., None]
    values = lists.features
    high = np.where(is_there, values, -np.inf).max(axis=1)
    low = np.where(is_there, values, np.inf).min(axis=1)
    is_counted = lists.n_documents >= 2
    if not is_counted.any():
        return np.zeros(values.shape[2])
    share: FloatArray = (high > low)[is_counted].mean(axis=0)
    return share


def feature_checks(snapshot: HealthSnapshot) -> Iterator[Check]:
    """Yield the checks of features; those that the loop makes itself move with time, and are not judged."""
    newest, names = snapshot.newest, snapshot.feature_names
    n = 0 if newest is None else len(newest.n_documents)
    if newest is None or n < MIN_JUDGED or not names:
        for name in ("constant_features", "missing_ratio", "drifted_features"):
            yield judged(name, None, f"{n} closed lists with features: too few to tell")
        return
    is_own = np.array([name in snapshot.own_features for name in names])
    constant = [names[j] for j in np.flatnonzero((varying_share(newest) == 0.0) & ~is_own)]
    words = f"all differ within lists, as the newest {n:,} say"
    if constant:
        words = f"the same for all candidates in each of the newest {n:,} lists: {_listed(constant)}"
    yield judged("constant_features", len(constant), words)
    d = newest.features.shape[1]
    is_there = np.arange(d) < newest.n_documents[:, None]
    missing = float(np.isnan(newest.features[is_there]).mean())
    yield judged("missing_ratio", missing, f"{shown(missing, 'ratio')} of the newest lists' values did not exist yet")
    yield from _drift(snapshot, newest, is_own)


def _drift(snapshot: HealthSnapshot, newest: ListsSeen, is_own: BoolArray) -> Iterator[Check]:
    reference, names = snapshot.reference, snapshot.feature_names
    n_before = 0 if reference is None else len(reference.n_documents)
    if reference is None or min(n_before, len(newest.n_documents)) < MIN_WINDOW:
        words = f"{n_before:,} lists before the newest ones: too few to compare, {MIN_WINDOW} are needed"
        yield judged("drifted_features", None, words)
        return
    before, lately = list_means(reference), list_means(newest)
    found: dict[str, Drift] = {}
    for j in np.flatnonzero(~is_own):
        values = [column[np.isfinite(column)] for column in (before[:, j], lately[:, j])]
        if min(len(column) for column in values) >= MIN_WINDOW:
            found[names[j]] = drift_of(*values)
    level = DRIFT_ALPHA / max(len(found), 1)
    drifted = {name: one.psi for name, one in found.items() if one.psi > PSI_LIMIT and one.p_value < level}
    words = f"the newest {len(newest.n_documents):,} lists have them as the {n_before:,} before"
    if drifted:
        order = sorted(drifted, key=lambda name: -drifted[name])
        words = f"{_listed([f'{name} (PSI {drifted[name]:.2g})' for name in order])} came otherwise lately"
    yield judged("drifted_features", len(drifted), words)
    for name, one in found.items():
        words = f"mean {one.change:+.3g}, PSI {one.psi:.2g}, largest distance {one.ks:.2g}"
        yield judged(f"feature_psi:{name}", one.psi, words)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more
