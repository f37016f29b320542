"""Whether users look where they are taken to look: what health tells of the examination in force."""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.health import ExaminationSeen
from dwell.loop.state import LoopState
from dwell.records.arrays import FloatArray
from dwell.reward.examination import Fitted
from dwell.reward.position_fit import calibration, monotone_findings

__all__ = ["calibrate", "examination_seen"]

_NEWEST: Final = 2_000  # lists that calibration reads: an error of .05 for a position with 400 rewards, and 20 ms


def examination_seen(state: LoopState) -> ExaminationSeen:
    """Return the examination in force, what was measured last, and whether rewards agree with it; no row is read."""
    measured, fit = state.measured, state.calibrated
    in_force = state.rules.examination
    theta = state.theta()
    findings = () if measured is None or measured.sums is None else monotone_findings(measured.sums)
    return ExaminationSeen(
        source=in_force.source if isinstance(in_force, Fitted) else "assumed",
        version=in_force.version,
        values=tuple(theta.tolist()),
        is_monotone=bool((np.diff(theta) <= 0.0).all()),
        measured="" if measured is None else measured.source,
        reasons=() if measured is None else measured.reasons,
        low=() if measured is None else tuple(measured.low.tolist()),
        high=() if measured is None else tuple(measured.high.tolist()),
        calibration=() if fit is None else _plain(fit.ratio),
        calibration_low=() if fit is None else _plain(fit.low),
        calibration_high=() if fit is None else _plain(fit.high),
        rises=tuple(finding.words for finding in findings),
        remedy=findings[0].remedy if findings else "",
    )


def _plain(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in values.tolist())


def calibrate(state: LoopState) -> None:
    """Note observed over expected rewards of the newest lists, where there is a predictor to expect them by.

    The predictor was fitted before the newest events closed. Nothing but health reads this.
    """
    expected = state.expected
    if expected is None or expected.space.feature_names != state.feature_names:
        return
    seqs = state.replayed.rows.seqs_in_close_order()[-_NEWEST:]
    rows = state.replayed.rows.rows(seqs.tolist())
    if not rows:
        return
    features = np.concatenate([row.features[: row.n_kept] for row in rows])
    relevance = np.clip(expected.predictor.predict(expected.space.phi(features)), 0.0, 1.0)
    k = max(row.n_kept for row in rows)
    counts = np.array([row.n_kept for row in rows])
    is_shown = np.arange(k) < counts[:, None]
    predicted, seen = np.full((len(rows), k), np.nan), np.zeros((len(rows), k))
    predicted[is_shown] = relevance
    seen[is_shown] = np.clip(np.concatenate([row.rewards for row in rows]), 0.0, 1.0)
    state.calibrated = calibration(state.rules.examination, predicted, seen)
