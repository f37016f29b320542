"""Pairwise differentiable gradient descent: learning on-line, from what the present weights have just served.

Of a list that was shown, every document down to one below the last reaction counts as looked at, and a document with
more reward is preferred to one with less:

    dJ = sum over preferred pairs i > j of  (c_i - c_j) rho_ij sigma_ij (dz_i - dz_j)
    sigma_ij = e^z_i e^z_j / (e^z_i + e^z_j)^2,     rho_ij = P(R*) / (P(R) + P(R*))

R is the list as shown, R* the same with i and j exchanged, P their probability under the policy that served. rho takes
back what the document that stood higher gained by it: the expected weight of a pair has the sign of the users'
preference between the two, and is 0 where there is none.

No propensity is divided by and no examination has to be known. In return it is valid for one policy alone, the one that
served: a list that an older version or somebody else served, or that a sampler drew, is refused.

Source: Oosterhuis and de Rijke 2018, "Differentiable Unbiased Online Learning to Rank", algorithm 1 and theorem 3.1.
Differences: z is divided by the spread of the list's scores, through which the gradient goes; rewards may be graded;
one step is taken for all lists that one version served, since after it they would be another version's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Unpack

import numpy as np

from dwell.errors import DivergedError, LearningError
from dwell.learning.learner import (
    Learned,
    LearnerCall,
    Lists,
    bounded,
    check_lists,
    check_start,
    checked_scores,
    log_weights_of,
    spread_chain,
)
from dwell.learning.predictor import Predictor
from dwell.records.arrays import BoolArray, FloatArray, IntArray
from dwell.records.rows import EventRow, RowBatch, stack_rows

__all__ = ["PdgdLearner", "is_drawn_by", "own_lists", "pdgd_gradient", "swap_shares"]

# Of log propensities. Scores are logged as float32: around 1,000 with a spread of 0.1 they are rounded by 3e-5, which
# at temperature 0.3 moves each log weight by 1e-3 and a difference of two by 2e-3.
_SAME: Final = 1e-2
_TINY: Final = 1e-300  # a denominator below it has underflowed


def own_lists(rows: Sequence[EventRow], phi: FloatArray, start: FloatArray, *, params_version: int) -> Lists:
    """Return rows as a sample to learn on-line from.

    Args:
        rows: Closed events in close order.
        phi: (b, d, p), features in the learner's space.
        start: (p,) the params in force.
        params_version: Their version.

    Raises:
        LearningError: code "off_policy": another version or the caller served one of them, or nothing was drawn.
    """
    for row in rows:
        if row.is_caller_ordered or row.is_deterministic:
            how = "was ordered by the caller" if row.is_caller_ordered else "was not drawn"
            raise _off_policy(f"event {row.event_id!r} {how}", "event", row.event_id)
        if row.swap_pair:
            raise _off_policy(f"event {row.event_id!r} had a pair swapped", "event", row.event_id)
        _check_version(row.params_version, params_version)
    versions = np.array([row.params_version for row in rows], dtype=np.int64)
    return Lists(stack_rows(rows), phi, phi @ start, np.ones(len(rows)), versions)


def _off_policy(message: str, field: str, value: object) -> LearningError:
    return LearningError(
        message,
        code="off_policy",
        field=field,
        value=value,
        hint="PDGD learns from what the present weights served, once: use an off-policy learner for a log.",
    )


def _check_version(served: int, present: int) -> None:
    if served != present:
        raise _off_policy(f"a list was served by version {served}, not by {present}", "params_version", served)


def swap_shares(log_weights: FloatArray, is_shown: IntArray) -> FloatArray:
    """Return rho of every pair of shown documents, P(R*) / (P(R) + P(R*)), float64 (b, k, k).

    Args:
        log_weights: (b, d) Plackett-Luce log weights, shown documents first and in the order shown; -inf for none.
        is_shown: (b, k) 1 where a position was shown, 0 beyond the end of the list.
    """
    b, k = is_shown.shape
    weight = np.exp(log_weights)
    remaining = np.maximum(np.cumsum(weight[:, ::-1], axis=1)[:, ::-1][:, :k], _TINY)
    own = weight[:, :k]
    gain = own[:, :, None] - own[:, None, :]  # what the set not yet placed gains when i is still in it instead of j
    places = np.arange(k)
    log_ratio = np.zeros((b, k, k))
    for m in range(1, k):
        # exchanging i above and j below changes who was left at the ranks below i down to j's
        is_between = (places[:, None] < m) & (m <= places[None, :])
        changed = np.maximum(remaining[:, m, None, None] + gain, _TINY)
        step = np.log(remaining[:, m])[:, None, None] - np.log(changed)
        log_ratio += np.where(is_between & (is_shown[:, m] > 0)[:, None, None], step, 0.0)
    log_ratio += np.swapaxes(log_ratio, 1, 2)  # the pair (j, i) is exchanged by the same swap
    found: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * log_ratio))
    return found


def pdgd_gradient(log_weights: FloatArray, batch: RowBatch) -> FloatArray:
    """Return the gradient of each list with respect to its log weights, float64 (b, d), summing to 0 in each.

    Args:
        log_weights: (b, d) of the policy that served, -inf where there is no document.
        batch: The lists, their served documents first and in served order.
    """
    k = batch.propensities.shape[1]
    places = np.arange(k)
    is_shown = places[None, :] < batch.n_kept[:, None]
    reward = np.where(is_shown, batch.rewards[:, :k], 0.0)
    last = np.where(reward != 0.0, places[None, :], -1).max(axis=1)
    is_seen = is_shown & (places[None, :] <= last[:, None] + 1) & (last >= 0)[:, None]
    preferred = np.maximum(reward[:, :, None] - reward[:, None, :], 0.0)
    preferred = np.where(is_seen[:, :, None] & is_seen[:, None, :], preferred, 0.0)
    z = np.where(is_shown, log_weights[:, :k], 0.0)
    apart = z[:, :, None] - z[:, None, :]
    both = 0.25 / np.cosh(np.minimum(np.abs(0.5 * apart), 350.0)) ** 2  # e^x / (1 + e^x)^2; cosh overflows at 710
    push = preferred * swap_shares(log_weights, is_shown.astype(np.int64)) * both
    found = np.zeros_like(log_weights)
    found[:, :k] = push.sum(axis=2) - push.sum(axis=1)
    return found


def _log_propensities(log_weights: FloatArray, k: int) -> FloatArray:
    """Return log P(document at rank i | those above it) for lists in served order, (b, k), 0 where none is."""
    remaining = np.logaddexp.accumulate(log_weights[:, ::-1], axis=1)[:, ::-1][:, :k]
    own = log_weights[:, :k]
    found: FloatArray = np.subtract(own, remaining, out=np.zeros_like(own), where=np.isfinite(own))
    return found


def is_drawn_by(batch: RowBatch, log_weights: FloatArray) -> BoolArray:
    """Return which lists have the propensities of these log weights, bool (b,), as far as it can be told.

    Args:
        batch: The lists, their served documents first and in served order.
        log_weights: (b, d) Plackett-Luce log weights, -inf where there is no document.
    """
    k = batch.propensities.shape[1]
    expected = _log_propensities(log_weights, k)
    # what stands for several candidates stands for ones whose scores are not kept: then the version has to do
    is_whole = (np.where(batch.is_document, batch.log_stand_in, 0.0) == 0.0).all(axis=1) & (
        batch.n_kept == batch.n_shown
    )
    is_told = is_whole[:, None] & (np.arange(k)[None, :] < batch.n_kept[:, None])
    apart = np.abs(np.where(is_told, expected - np.log(batch.propensities), 0.0))
    is_same: BoolArray = np.all(apart <= _SAME, axis=1)  # NaN is not the same
    return is_same


@dataclass(frozen=True, slots=True, kw_only=True)
class PdgdLearner:
    """Learns from lists that the start itself served; a `Learner`.

    Attributes:
        params_version: Version of the start.
    """

    params_version: int

    def __call__(
        self,
        start: FloatArray,
        samples: Iterable[Lists],
        predictors: tuple[Predictor, Predictor],
        **call: Unpack[LearnerCall],
    ) -> Learned:
        """Return the weights after one step uphill, `step_size` times the sum of the gradients of all lists, bounded.

        Args:
            start: (p,) the params in force at norm 1.
            samples: Lists that they served, each once, with `params_versions`.
            predictors: Not read.
            call: See `LearnerCall`. The temperature is that at which the lists were served; of the settings
                `step_size`, `max_step_norm` and `max_weight` are read; no examination has to be known.

        Raises:
            LearningError: code "off_policy": a list was not served by the start, or comes twice, or was drawn by a
                sampler that favours some; code "start": it is no finite vector at norm 1.
            DivergedError: Something was not finite.
        """
        del predictors
        temperature, settings = call["temperature"], call["settings"]
        check_start(start)
        total, seen, n_lists = np.zeros_like(start), set[int](), 0
        for lists in samples:
            check_lists(lists, 1)
            batch = lists.batch
            scores = checked_scores(lists, start, 1)
            log_weights = log_weights_of(scores, batch, temperature)
            self._check_own(lists, log_weights, seen)
            gradient = spread_chain(pdgd_gradient(log_weights, batch), scores, batch, temperature)
            total = total + np.einsum("bd,bdp->p", gradient, lists.phi, optimize=True)
            n_lists += len(gradient)
        if not np.isfinite(total).all():
            raise DivergedError("the gradient is not finite", field="step", value=1, hint="Look for huge features.")
        vector, step_norm, was_bounded = bounded(start + settings.step_size * total, start, settings)
        norms = [float(np.linalg.norm(total)) / n_lists] if n_lists else []
        return Learned(vector, len(norms), step_norm, was_bounded, {"gradient_norm": norms})

    def _check_own(self, lists: Lists, log_weights: FloatArray, seen: set[int]) -> None:
        """Refuse lists that the start did not serve, and note the others."""
        batch = lists.batch
        if lists.params_versions is None:
            raise _off_policy("it is not told which version served a list", "params_versions", None)
        for version in np.unique(lists.params_versions).tolist():
            _check_version(version, self.params_version)
        if (lists.weights != 1.0).any():
            raise _off_policy("lists have sampling weights: a sampler drew them", "weights", float(lists.weights.max()))
        for seq in batch.seqs.tolist():
            if seq in seen:
                raise _off_policy("a list comes twice: it is replayed", "seq", seq)
            seen.add(seq)
        is_same = is_drawn_by(batch, log_weights)
        if not is_same.all():
            at = int(np.flatnonzero(~is_same)[0])
            raise _off_policy("the propensities of a list are not those of the weights", "seq", int(batch.seqs[at]))
