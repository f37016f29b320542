"""Whether users look where they are taken to look: what health tells of the examination in force."""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.health import ExaminationSeen
from dwell.loop.examining import measured_lately
from dwell.loop.state import LoopState
from dwell.records.arrays import FloatArray
from dwell.reward.examination import Fitted
from dwell.reward.position_fit import Calibration, calibration, monotone_findings

__all__ = ["examination_seen"]

_NEWEST: Final = 2_000  # lists that calibration reads: an error of .05 for a position with 400 rewards, and 20 ms


def examination_seen(state: LoopState) -> ExaminationSeen:
    """Return the examination in force, what the events in memory say of it, and whether rewards agree with it.

    What the events say is measured anew once a tenth more of them are there; nothing that is in force changes.
    """
    measured = measured_lately(state)
    in_force = state.rules.examination
    theta = state.theta()
    findings = () if measured.sums is None else monotone_findings(measured.sums)
    fit = _calibration(state)
    return ExaminationSeen(
        source=in_force.source if isinstance(in_force, Fitted) else "assumed",
        version=in_force.version,
        values=tuple(theta.tolist()),
        is_monotone=bool((np.diff(theta) <= 0.0).all()),
        measured=measured.source,
        reasons=measured.reasons,
        low=tuple(measured.low.tolist()),
        high=tuple(measured.high.tolist()),
        calibration=_plain(fit.ratio),
        calibration_low=_plain(fit.low),
        calibration_high=_plain(fit.high),
        rises=tuple(finding.words for finding in findings),
        remedy=findings[0].remedy if findings else "",
    )


def _plain(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in values.tolist())


def _calibration(state: LoopState) -> Calibration:
    """Return observed over expected rewards of the newest lists; empty where there is no predictor, or no list."""
    expected = state.expected
    seqs = state.replayed.rows.seqs_in_close_order()[-_NEWEST:]
    rows = state.replayed.rows.rows(seqs.tolist())
    if expected is None or expected.space.feature_names != state.feature_names or not rows:
        return Calibration(np.zeros(0), np.zeros(0), np.zeros(0))
    features = np.concatenate([row.features[: row.n_kept] for row in rows])
    relevance = np.clip(expected.predictor.predict(expected.space.phi(features)), 0.0, 1.0)
    k = max(row.n_kept for row in rows)
    counts = np.array([row.n_kept for row in rows])
    is_shown = np.arange(k) < counts[:, None]
    predicted, seen = np.full((len(rows), k), np.nan), np.zeros((len(rows), k))
    predicted[is_shown] = relevance
    seen[is_shown] = np.clip(np.concatenate([row.rewards for row in rows]), 0.0, 1.0)
    return calibration(state.rules.examination, predicted, seen)
