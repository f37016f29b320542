"""Relevance of each (event, document) from biased feedback: six estimates behind one name, and how repeats add up.

Feedback on a document shown at rank k follows an affine model of position and trust,

    E[c | d, k] = alpha_k r_d + beta_k,        rho_d = E over rankings of the logging policy [ alpha_rank(d) 1[shown] ],

of which the position-based model is the case alpha = theta, beta = 0. Graded signals in [0, 1] follow it as clicks do.
Each estimate is a fraction: r = sum kappa numerator / sum kappa denominator over the events of a (query, document)
pair, with recency kappa in both, once. Disliking is a channel of its own with its own alpha, beta and rho, never a
click of -1: what is not looked at is not disliked either.

Source: Agarwal, Wang, Li, Bendersky, Najork 2019, "Addressing Trust Bias for Unbiased Learning-to-Rank" (the model);
Vardasbi, Oosterhuis, de Rijke 2020, "When Inverse Propensity Scoring does not Work" (the affine correction); Oosterhuis
and de Rijke 2021, "Unifying Online and Counterfactual Learning to Rank" (rho averaged over the logging policy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from dwell.errors import LearningError
from dwell.learning.relevance import examination_at
from dwell.records import checks
from dwell.records.arrays import FloatArray, HashArray
from dwell.records.rows import RowBatch

__all__ = [
    "DEFAULT_RELEVANCE",
    "Channel",
    "ClickModel",
    "Fractions",
    "Pairs",
    "RelevanceKind",
    "channels_of",
    "estimated_fractions",
    "pair_estimates",
    "position_based",
    "recency_weights",
    "relevance_of",
    "trusting",
    "utility_of",
]

RelevanceKind = Literal["naive", "ips", "clipped", "self_normalised", "direct", "doubly_robust"]

DEFAULT_RELEVANCE: Final[RelevanceKind] = "doubly_robust"
_TRUST_DEPTH: Final = 10.0  # Vardasbi, Oosterhuis, de Rijke 2020, section 5: trust falls no further below it


class ClickModel(NamedTuple):
    """How feedback depends on the position: E[c | d, k] = alpha_k r_d + beta_k, nothing beyond the tables.

    Attributes:
        alpha: float64 (k,), what relevance adds at each position, in (0, 1].
        beta: float64 (k,), feedback that comes without relevance, in [0, 1].
    """

    alpha: FloatArray
    beta: FloatArray


class Channel(NamedTuple):
    """One kind of feedback, with all that estimating it takes.

    Attributes:
        rewards: float64 (b, d), feedback per document, in [0, 1]; 0 for documents that were not served.
        exposure: float64 (b, d), E[alpha at the document's rank] under the logging policy, with this channel's alpha.
        predicted: float64 (b, d), the direct method's relevance, fitted to this channel and cross-fitted by query.
        clicks: This channel's model.
    """

    rewards: FloatArray
    exposure: FloatArray
    predicted: FloatArray
    clicks: ClickModel


class Fractions(NamedTuple):
    """Estimates whose sums are divided: one fraction per (event, document), 0 / 0 where nothing is said.

    Attributes:
        numerator: float64 (b, d).
        denominator: float64 (b, d), >= 0, 0 where padded.
    """

    numerator: FloatArray
    denominator: FloatArray


class Pairs(NamedTuple):
    """One estimate per (query, document), sorted by query, then document.

    Attributes:
        query_hash: uint64 (n,).
        document: uint64 (n,).
        relevance: float64 (n,), 0 where the denominators sum to 0.
        denominator: float64 (n,), sum of kappa * denominator.
    """

    query_hash: HashArray
    document: HashArray
    relevance: FloatArray
    denominator: FloatArray


def position_based(theta: FloatArray) -> ClickModel:
    """Return the model without trust bias: alpha is the examination theta (k,), beta is 0."""
    return ClickModel(theta, np.zeros_like(theta))


def trusting(theta: FloatArray, *, relevant: float, irrelevant: float) -> ClickModel:
    """Return the model of users who trust what stands high: a document that is looked at is clicked for its position.

    alpha_k = theta_k (e+ - e-_k) and beta_k = theta_k e-_k, with e-_k = irrelevant / min(k, 10). Nothing here estimates
    the two numbers: a log without a change of positions does not tell trust from relevance.

    Args:
        theta: (k,) examination.
        relevant: e+, how often a relevant document that is looked at is clicked, in (0, 1].
        irrelevant: e-_1, how often an irrelevant one at the first position is, in [0, relevant).

    Raises:
        LearningError: The two are not 0 <= irrelevant < relevant <= 1.

    Source:
        Agarwal, Wang, Li, Bendersky, Najork 2019 (the model); Vardasbi, Oosterhuis, de Rijke 2020, section 5 (how e-
        falls with the position).
    """
    if not 0.0 <= irrelevant < relevant <= 1.0:
        raise LearningError(
            "an irrelevant document is not clicked less often than a relevant one",
            field="irrelevant",
            value=(irrelevant, relevant),
            hint="Pass 0 <= irrelevant < relevant <= 1.",
        )
    mistaken = irrelevant / np.minimum(np.arange(1, theta.size + 1), _TRUST_DEPTH)
    return ClickModel(theta * (relevant - mistaken), theta * mistaken)


class _Seen(NamedTuple):
    """A batch as its click model sees it: (b, d) each, 0 where a document was not shown."""

    is_shown: FloatArray
    alpha: FloatArray
    corrected: FloatArray  # c - beta_k


def _seen(batch: RowBatch, clicks: ClickModel) -> _Seen:
    is_shown = (batch.position > 0) & batch.is_document
    corrected = batch.rewards - examination_at(batch.position, clicks.beta)
    alpha = examination_at(batch.position, clicks.alpha)
    return _Seen(is_shown.astype(np.float64), np.where(is_shown, alpha, 0.0), np.where(is_shown, corrected, 0.0))


def _naive(batch: RowBatch, _predicted: FloatArray, clicks: ClickModel, _clip: float) -> Fractions:
    shown = _seen(batch, clicks).is_shown
    return Fractions(batch.rewards * shown, shown)


def _ips(batch: RowBatch, _predicted: FloatArray, clicks: ClickModel, _clip: float) -> Fractions:
    seen = _seen(batch, clicks)
    if (seen.is_shown.astype(bool) & (batch.exposure <= 0.0)).any():
        raise LearningError(
            "a document was shown, and has no exposure",
            code="exposure",
            field="exposure",
            value=0.0,
            hint='Ask for "clipped" or "doubly_robust", or compute the exposure of the policy that served.',
        )
    safe = np.where(seen.is_shown > 0.0, batch.exposure, 1.0)
    return Fractions(seen.corrected / safe, batch.is_document.astype(np.float64))


def _clipped(batch: RowBatch, _predicted: FloatArray, clicks: ClickModel, clip: float) -> Fractions:
    corrected = _seen(batch, clicks).corrected
    return Fractions(corrected / np.maximum(batch.exposure, clip), batch.is_document.astype(np.float64))


def _self_normalised(batch: RowBatch, _predicted: FloatArray, clicks: ClickModel, clip: float) -> Fractions:
    seen, divisor = _seen(batch, clicks), np.maximum(batch.exposure, clip)
    return Fractions(seen.corrected / divisor, seen.alpha / divisor)


def _direct(batch: RowBatch, predicted: FloatArray, _clicks: ClickModel, _clip: float) -> Fractions:
    return Fractions(np.where(batch.is_document, predicted, 0.0), batch.is_document.astype(np.float64))


def _doubly_robust(batch: RowBatch, predicted: FloatArray, clicks: ClickModel, clip: float) -> Fractions:
    seen = _seen(batch, clicks)
    supported = predicted * np.minimum(1.0, batch.exposure / clip)
    residual = (seen.corrected - seen.alpha * predicted) / np.maximum(batch.exposure, clip)
    found = np.where(batch.is_document, supported + np.where(seen.is_shown > 0.0, residual, 0.0), 0.0)
    return Fractions(found, batch.is_document.astype(np.float64))


_Estimate: TypeAlias = Callable[[RowBatch, FloatArray, ClickModel, float], Fractions]

_ESTIMATES: Final[dict[RelevanceKind, _Estimate]] = {
    "naive": _naive,
    "ips": _ips,
    "clipped": _clipped,
    "self_normalised": _self_normalised,
    "direct": _direct,
    "doubly_robust": _doubly_robust,
}


def estimated_fractions(
    batch: RowBatch,
    predicted: FloatArray,
    clicks: ClickModel,
    *,
    clip: float,
    kind: RelevanceKind = DEFAULT_RELEVANCE,
) -> Fractions:
    """Return the fraction that each (event, document) adds to the estimate of its pair.

    Args:
        batch: Closed events; their exposure is E[alpha at the document's rank] of the policies that served them.
        predicted: (b, d) the direct method's relevance, cross-fitted by query; read by "direct" and "doubly_robust".
        clicks: The model of the feedback.
        clip: Smallest exposure that is divided by, in (0, 1]; not read by "naive", "ips" and "direct".
        kind: The estimate; docs/relevance.md has a card for each.

    Raises:
        LearningError: The kind is unknown, the clip is out of its range, shapes differ, a value is not finite, or (for
            "ips") a document was shown that has no exposure.
    """
    _check(batch, predicted, clicks, clip, kind)
    return _ESTIMATES[kind](batch, predicted, clicks, clip)


def relevance_of(
    batch: RowBatch,
    predicted: FloatArray,
    clicks: ClickModel,
    *,
    clip: float,
    kind: RelevanceKind = DEFAULT_RELEVANCE,
) -> FloatArray:
    """Return one relevance per (event, document), float64 (b, d), 0 where padded: what one event tells the learner.

    "self_normalised" divides by one number, the mean denominator of all documents of the batch: the pairs of a batch
    hardly repeat, and a document's own would undo the averaging over rankings. The others are `estimated_fractions`
    as they are, documents that were not shown included: "naive" takes these for irrelevant.

    Raises:
        LearningError: As `estimated_fractions`.
    """
    found = estimated_fractions(batch, predicted, clicks, clip=clip, kind=kind)
    if kind != "self_normalised":
        return found.numerator
    mean = float(found.denominator.sum()) / max(int(batch.is_document.sum()), 1)
    return found.numerator / mean if mean > 0.0 else found.numerator


def recency_weights(served_at: FloatArray, *, now: float, half_life_s: float) -> FloatArray:
    """Return kappa = 2^-(age / half-life), float64 (b,): 1 now, exactly 1/2 at an age of one half-life.

    Args:
        served_at: (b,) UTC epoch seconds.
        now: UTC epoch seconds; events after it count more than 1, in the same proportion.
        half_life_s: > 0.

    Raises:
        LearningError: A time is not finite, or the half-life is not above 0.
    """
    instants = np.asarray(served_at, dtype=np.float64)
    if not (np.isfinite(instants).all() and np.isfinite(now)):
        raise LearningError("a time is not finite", field="served_at", hint="Pass UTC epoch seconds.")
    half_life = checks.finite(half_life_s, "half_life_s")
    if half_life <= 0.0:
        raise LearningError("a half-life is above 0", field="half_life_s", value=half_life_s, hint="Pass seconds.")
    return np.exp2((instants - now) / half_life)


def pair_estimates(batch: RowBatch, documents: HashArray, found: Fractions, kappa: FloatArray) -> Pairs:
    """Return r = sum kappa numerator / sum kappa denominator for each (query, document) of the batch.

    Args:
        batch: Closed events.
        documents: uint64 (b, d), what a document is known by across events; not read where padded.
        found: From `estimated_fractions`, of this batch.
        kappa: (b,) weight per event, >= 0: from `recency_weights`, or ones.

    Raises:
        LearningError: Shapes differ, or a weight is negative or not finite.
    """
    if documents.shape != batch.is_document.shape or kappa.shape != batch.query_hash.shape:
        raise LearningError(
            "documents or weights are not one per document and one per event",
            field="documents",
            value=(documents.shape, kappa.shape),
            hint=f"Pass shapes {batch.is_document.shape} and {batch.query_hash.shape}.",
        )
    if not (np.isfinite(kappa).all() and (kappa >= 0.0).all()):
        raise LearningError("a weight is negative or not finite", field="kappa", hint="Pass recency_weights or ones.")
    at = batch.is_document
    queries = np.broadcast_to(batch.query_hash[:, None], at.shape)[at]
    keys, pair = np.unique(np.stack([queries, documents[at]], axis=1), axis=0, return_inverse=True)
    each = np.broadcast_to(kappa[:, None], at.shape)[at]
    pair = pair.reshape(-1)
    above = np.bincount(pair, each * found.numerator[at], minlength=len(keys)).astype(np.float64)
    below = np.bincount(pair, each * found.denominator[at], minlength=len(keys)).astype(np.float64)
    relevance = np.divide(above, below, out=np.zeros_like(above), where=below > 0.0)
    return Pairs(keys[:, 0], keys[:, 1], relevance, below)


def channels_of(rewards: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return rewards in [-1, 1] as a positive and a negative channel, both in [0, 1], of the same shape.

    A reward that already is the sum of a click and a dislike can not be split again: what remains is its sign's
    channel. Two rewards per served document in the row keep both.
    """
    return np.maximum(rewards, 0.0), np.maximum(-rewards, 0.0)


def utility_of(
    batch: RowBatch,
    positive: Channel,
    negative: Channel,
    *,
    cost: float,
    clip: float,
    kind: RelevanceKind = DEFAULT_RELEVANCE,
) -> FloatArray:
    """Return utility = positive - cost * negative per (event, document), each channel estimated on its own, (b, d).

    Args:
        batch: Closed events; rewards and exposure are taken from the channels.
        positive: Clicks, dwell, copies.
        negative: Dislikes, with their own examination.
        cost: What a certain dislike costs, in certain clicks, >= 0.
        clip: Smallest exposure that is divided by.
        kind: The estimate of both.

    Raises:
        LearningError: The cost is negative or not finite, or as `estimated_fractions`.
    """
    if not 0.0 <= cost < np.inf:
        raise LearningError("a cost is negative or not finite", field="cost", value=cost, hint="Pass 1.0.")
    likes, dislikes = (
        relevance_of(
            replace(batch, rewards=one.rewards, exposure=one.exposure), one.predicted, one.clicks, clip=clip, kind=kind
        )
        for one in (positive, negative)
    )
    return likes - cost * dislikes


def _check(batch: RowBatch, predicted: FloatArray, clicks: ClickModel, clip: float, kind: str) -> None:
    if kind not in _ESTIMATES:
        known = ", ".join(_ESTIMATES)
        raise LearningError("an unknown estimate of relevance", field="kind", value=kind, hint=f"Pass one of: {known}.")
    if isinstance(clip, bool) or not 0.0 < clip <= 1.0:
        raise LearningError("a clip is outside (0, 1]", field="clip", value=clip, hint="Pass exposure_clip(n).")
    shape = batch.is_document.shape
    for name, values in (("predicted", predicted), ("exposure", batch.exposure), ("rewards", batch.rewards)):
        if values.shape != shape or not np.isfinite(values).all():
            raise LearningError(
                f"{name} is not one finite number per document",
                field=name,
                value=values.shape,
                hint=f"Pass shape {shape}.",
            )
    alpha, beta = clicks
    if alpha.ndim != 1 or alpha.shape != beta.shape or not (np.isfinite(alpha).all() and np.isfinite(beta).all()):
        raise LearningError(
            "a click model is no pair of finite tables of one length",
            field="clicks",
            value=(alpha.shape, beta.shape),
            hint="Pass position_based(theta).",
        )
