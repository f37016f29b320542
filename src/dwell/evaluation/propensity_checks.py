"""Are the logged propensities those of the draws? Checks of a log of Plackett-Luce draws.

Three of them need its log weights:

    derived    log p_logged - log p(z) is 0 up to rounding, where all candidates were kept
    surprise   the mean of -log p(chosen) minus its entropy, over its standard error, where p(z) is the claimed law
    weight     the mean of pi(chosen) / p_logged is 1, pi being sharper than the logging policy: its weights are bounded

The first sees any wrong number, the second draws that do not follow the law, the third wrong numbers by what they do to
an estimate. Sums over the steps of one list are martingales, so lists are the independent values.

The fourth needs propensities alone. Given which two documents stand at positions k and k+1 and everything else, the
served order had a chance q that follows from the two propensities (`reward.examination` has the formula), and the other
order 1 - q. Choose one of the two orders by what was known before the draw: whether it was served, minus its chance, is
0 in expectation.

Source: Plackett 1975; Owen 2013, section 9.3 (weights average 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from dwell.errors import EvaluationError
from dwell.evaluation.diagnostics import MAX_Z, Finding, graded, mean_weight, z_of_mean
from dwell.records.arrays import BoolArray, FloatArray
from dwell.records.rows import EventRow

__all__ = [
    "ListFigures",
    "findings_from",
    "list_figures",
    "pair_figures",
    "pair_finding",
    "pair_order_finding",
    "propensity_findings",
]

_TOLERANCE: Final = 1e-3  # log ratio; float32 scores of 1e3 spreads are exact to 1e3 * 6e-8 / tau .1 = 6e-4
_MAX_WRONG: Final = 0.01  # of the lists: from here the log is not that of its policy
_SHARPER: Final = (
    1.5  # power of the target: its weight is at most sum exp(z) / sum exp(1.5 z), z <= 0 with its peak at 0
)
_FEW: Final = 2
_REMEDY: Final = (
    "Check that the temperature, the params version and the order on record are those that served, and that nothing"
    " re-sorts lists after ranking; leave these events out until then."
)


class _Steps(NamedTuple):
    """Every step of every list, padded to (n, k).

    Attributes:
        is_step: bool (n, k).
        logged: float64, log of the logged propensity.
        derived: float64, log of the probability under the log weights.
        surprise: float64, -derived minus its expectation.
        sharper: float64, log of the probability under the sharper target.
        is_complete: bool (n,), whether every candidate was kept.
    """

    is_step: BoolArray
    logged: FloatArray
    derived: FloatArray
    surprise: FloatArray
    sharper: FloatArray
    is_complete: BoolArray


def _log_tails(values: FloatArray) -> FloatArray:
    """Return the log of the sum of exp over this and all later places, (n, d); sums themselves would underflow."""
    summed: FloatArray = np.logaddexp.accumulate(values[:, ::-1], axis=1)[:, ::-1]
    return summed


def _steps(rows: Sequence[EventRow], log_weights: Sequence[FloatArray]) -> _Steps:
    sizes = np.array([len(row.inclusion) for row in rows])
    kept = np.array([row.n_kept for row in rows])
    d, k = int(sizes.max()), int(kept.max())
    is_document = np.arange(d) < sizes[:, None]
    is_step = np.arange(k) < kept[:, None]
    z = np.full(is_document.shape, -np.inf)
    z[is_document] = np.concatenate(log_weights)
    inclusion = np.ones(is_document.shape)
    inclusion[is_document] = np.concatenate([row.inclusion for row in rows])
    logged = np.zeros(is_step.shape)
    logged[is_step] = np.log(np.concatenate([row.propensities for row in rows]))
    z = z - z.max(axis=1, keepdims=True)
    flat = np.where(is_document, z, 0.0)
    log_mass = z - np.log(inclusion)
    log_total = np.where(is_step, _log_tails(log_mass)[:, :k], 0.0)
    derived = flat[:, :k] - log_total
    law = [np.exp(log_mass[:, at:] - log_total[:, at : at + 1]) for at in range(k)]
    expected = np.stack([(law[at] * flat[:, at:]).sum(axis=1) for at in range(k)], axis=1) - log_total
    log_sharp = np.where(is_step, _log_tails(_SHARPER * z - np.log(inclusion))[:, :k], 0.0)
    sharper = _SHARPER * flat[:, :k] - log_sharp
    return _Steps(
        is_step=is_step,
        logged=logged,
        derived=np.where(is_step, derived, 0.0),
        surprise=np.where(is_step, expected - derived, 0.0),
        sharper=np.where(is_step, sharper, 0.0),
        is_complete=(inclusion == 1.0).all(axis=1),
    )


class ListFigures(NamedTuple):
    """What each list says of its propensities, in numbers; those of parts of a log are put together.

    Attributes:
        off: float64 (n,), largest distance of a logged propensity from the derived one, in logarithms.
        surprise: float64 (n,), of the list, minus its expectation.
        weight: float64 (n,), mean importance weight of a sharper target.
        is_complete: bool (n,), whether every candidate was kept.
    """

    off: FloatArray
    surprise: FloatArray
    weight: FloatArray
    is_complete: BoolArray


def list_figures(rows: Sequence[EventRow], log_weights: Sequence[FloatArray]) -> ListFigures:
    """Return the numbers of events that were drawn, each with at least one served document.

    Args:
        rows: See `propensity_findings`.
        log_weights: See there.

    Raises:
        EvaluationError: See there.
    """
    if not rows:
        return ListFigures(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
    for row, z in zip(rows, log_weights, strict=True):
        if z.shape != row.inclusion.shape or row.propensities.shape != (row.n_kept,):
            raise EvaluationError(
                "an event needs a log weight a document and a propensity a kept one", field="log_weights", value=z.shape
            )
    propensities = np.concatenate([row.propensities for row in rows])
    is_finite = np.isfinite(np.concatenate(log_weights)).all()
    if not (is_finite and (propensities > 0.0).all() and (propensities <= 1.0).all()):
        raise EvaluationError("log weights are finite and propensities lie in (0, 1]", field="propensities")
    steps = _steps(rows, log_weights)
    ratio = np.where(steps.is_step, np.exp(np.minimum(steps.sharper - steps.logged, 50.0)), 0.0)  # its square is finite
    return ListFigures(
        off=np.abs(np.where(steps.is_step, steps.logged - steps.derived, 0.0)).max(axis=1),
        surprise=steps.surprise.sum(axis=1),
        weight=ratio.sum(axis=1) / steps.is_step.sum(axis=1),
        is_complete=steps.is_complete,
    )


def _derived_finding(figures: ListFigures) -> Finding:
    wrong = float((figures.off[figures.is_complete] > _TOLERANCE).mean())
    return graded(
        "propensity_derived",
        "ok" if wrong == 0.0 else "warn" if wrong <= _MAX_WRONG else "fail",
        wrong,
        _MAX_WRONG,
        f"{wrong:.1%} of {int(figures.is_complete.sum())} lists carry propensities that their scores do not give",
        _REMEDY,
    )


def _surprise_finding(figures: ListFigures) -> Finding:
    z = z_of_mean(figures.surprise, 0.0)
    return graded(
        "propensity_surprise",
        "ok" if abs(z) <= MAX_Z else "fail",
        z,
        MAX_Z,
        f"the lists are {z:+.1f} standard errors more surprising than draws of the policy",
        _REMEDY,
    )


def findings_from(figures: ListFigures) -> tuple[Finding, ...]:
    """Return what `propensity_findings` does, from the numbers of all lists, each drawn."""
    if len(figures.off) < _FEW:
        return ()
    found = [_surprise_finding(figures), mean_weight(figures.weight)]
    return (_derived_finding(figures), *found) if figures.is_complete.any() else tuple(found)


def propensity_findings(rows: Sequence[EventRow], log_weights: Sequence[FloatArray]) -> tuple[Finding, ...]:
    """Return what is wrong with the propensities of a log; deterministic and caller-ordered events are left out.

    Of sound logs, 0.54 % raise a flag by chance (two z-tests at three standard errors); the first check never does.

    Args:
        rows: Events of independent draws.
        log_weights: Per event, (l,) Plackett-Luce log weights of the logging policy for its documents, as
            `ranking.policy_scores` returns them for the spread of all candidates.

    Returns:
        `propensity_derived` where an event kept all its candidates, then `propensity_surprise` and `mean_weight`; empty
        where fewer than two events were drawn.

    Raises:
        EvaluationError: Not one finite log weight a document, or a propensity outside (0, 1].
    """
    if len(rows) != len(log_weights):
        raise EvaluationError("each event needs its log weights", field="log_weights", value=len(log_weights))
    drawn = [
        (row, z)
        for row, z in zip(rows, log_weights, strict=True)
        if not (row.is_deterministic or row.is_caller_ordered) and row.n_kept
    ]
    if len(drawn) < _FEW:
        return ()
    return findings_from(list_figures([row for row, _ in drawn], [z for _, z in drawn]))


def _ragged(values: Sequence[FloatArray], field: str, lengths: list[int]) -> FloatArray:
    """Return lists padded with NaN to the longest, (n, k)."""
    if [np.shape(value) for value in values] != [(n,) for n in lengths]:
        raise EvaluationError("each list needs one number a document", field=field, value=len(values))
    joined = np.concatenate(values).astype(np.float64)
    if not np.isfinite(joined).all():
        raise EvaluationError("a number is not finite", field=field)
    padded = np.full((len(lengths), max(lengths)), np.nan)
    padded[np.arange(max(lengths)) < np.array(lengths)[:, None]] = joined
    return padded


def pair_order_finding(
    propensities: Sequence[FloatArray], orientation: Sequence[FloatArray] | None = None
) -> Finding | None:
    """Return whether adjacent documents stood in the order that their propensities say, as often as they say.

    Without orientation, the order that the propensities call likelier is counted. That sees propensities that are too
    high, too low or too sure, and not those of another list, which agree among themselves. With a score that goes with
    the policy's, it sees those too. An orientation that has nothing to do with the policy (a hash) sees nothing.
    Of sound logs, 0.27 % are flagged.

    Args:
        propensities: Per list, (k,) P(document i | those above it) of a Plackett-Luce draw, in (0, 1], as shown; leave
            out lists in an order of the caller's own. A deterministic list, all 1, counts 0.
        orientation: Per list, (k,) a number for each document in shown order, known before the draw: the order that
            puts the higher one first is counted, ties count 0. None: the likelier order.

    Returns:
        `pair_order`, positive where the counted order was served too often; None below two lists of two documents.

    Raises:
        EvaluationError: A propensity outside (0, 1], or an orientation that does not fit the lists.
    """
    values = pair_figures(propensities, orientation)
    return pair_finding(values[~np.isnan(values)], is_oriented=orientation is not None)


def pair_figures(propensities: Sequence[FloatArray], orientation: Sequence[FloatArray] | None = None) -> FloatArray:
    """Return for each list how much more of its pairs stand in the counted order than are due, float64 (n,).

    NaN where a list has fewer than two documents.

    Raises:
        EvaluationError: As `pair_order_finding`.
    """
    lengths = [np.size(p) for p in propensities]
    if orientation is not None and len(orientation) != len(lengths):
        raise EvaluationError("each list needs its orientation", field="orientation", value=len(orientation))
    if not lengths:
        return np.zeros(0)
    p = _ragged(propensities, "propensities", lengths)
    if (p <= 0.0).any() or (p > 1.0).any():
        raise EvaluationError("propensities lie in (0, 1]", field="propensities")
    higher = None if orientation is None else _ragged(orientation, "orientation", lengths)
    can_tell = np.array(lengths) >= _FEW
    found = np.full(len(lengths), np.nan)
    if not can_tell.any():
        return found
    first, second = p[can_tell, :-1], p[can_tell, 1:]
    swapped, served = 1.0 - first, (1.0 - second) + first * second  # as in reward.examination: (1 - q) / q
    missing = swapped / (served + swapped)  # 1 - q
    side = np.sign(0.5 - missing) if higher is None else np.sign(-np.diff(higher[can_tell], axis=1))
    found[can_tell] = np.nan_to_num(side * missing).sum(axis=1)
    return found


def pair_finding(values: FloatArray, *, is_oriented: bool = False) -> Finding | None:
    """Return what `pair_order_finding` does, from the numbers (n,) of all lists that can tell."""
    if len(values) < _FEW:
        return None
    z = z_of_mean(values, 0.0)
    return graded(
        "pair_order",
        "ok" if abs(z) <= MAX_Z else "fail",
        z,
        MAX_Z,
        f"neighbours stand in the {'given' if is_oriented else 'likelier'} order {z:+.1f} standard errors too often",
        _REMEDY,
    )
