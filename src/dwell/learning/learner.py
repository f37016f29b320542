"""Move the weights: estimated relevance, a trust region, an objective's gradient, Adam, bounds.

One step takes a sample of lists, estimates the relevance of every document in them, withdraws credit at the edge of the
trust region, and follows the gradient of an objective through the standardised policy, pulled back towards the live
params. The objective is exchangeable; by default it is the expected list reward, by PL-Rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, TypedDict

import numpy as np

from dwell.errors import DivergedError, LearningError
from dwell.learning.adam import Adam, adam_step
from dwell.learning.bounding import bounded
from dwell.learning.estimates import (
    DEFAULT_RELEVANCE,
    Channel,
    RelevanceKind,
    position_based,
    relevance_of,
    utility_of,
)
from dwell.learning.pl_rank import Rankings, exposure_of, full_rankings, pl_rank_gradient
from dwell.learning.predictor import Predictor
from dwell.learning.relevance import exposure_clip
from dwell.learning.settings import LearnerSettings, NegativeExamination
from dwell.learning.trust import trust_radius, trusted_rewards
from dwell.ranking import policy_scores, score_spread
from dwell.ranking.policy import MIN_SPREAD
from dwell.records.arrays import BoolArray, FloatArray, IntArray
from dwell.records.rows import RowBatch

__all__ = [
    "Learned",
    "LearnerCall",
    "LearnerSettings",
    "Lists",
    "NegativeExamination",
    "Objective",
    "Sampled",
    "ScoreSlope",
    "SlopeSums",
    "Terms",
    "Walk",
    "bounded",
    "check_lists",
    "check_start",
    "checked_scores",
    "cross_fitted",
    "estimated_relevance",
    "free_to_move",
    "learn",
    "list_reward",
    "log_weights_of",
    "position_values",
    "ranking_noise",
    "score_slope",
    "score_slope_under",
    "slope_sums",
    "spread_chain",
    "terms_of",
    "withdrawn_share",
]

# A list whose scores hardly differ has a gradient of order 1 / spread: one with equal scores among 50 froze Adam for
# good, since its square stays in the second moment. Below this spread a list weighs less, in proportion. Simulated (the
# world of tests/statistical/test_gradient.py, 4 seeds), 10 % of such lists: from a cosine of .50 to the best weights to
# .52 without, .77 / .83 / .84 with .03 / .1 / .3; .85 where there are no such lists.
_FULL_SPREAD: Final = 0.3
_TINY: Final = np.float32(1e-30)  # a float32 exponential draw can be 0: its log would be -inf
_UNIT: Final = 1e-6  # a start that was kept as float32 is at norm 1 to 1e-7


class Lists(NamedTuple):
    """A sample of lists to learn from.

    Attributes:
        batch: The events.
        phi: float64 (b, d, p), features in the learner's space.
        safe_scores: float64 (b, d), scores of the safe policy.
        weights: float64 (b,), sampling weights, mean 1.
        params_versions: int64 (b,), version that served each list, for learners that may only learn from their own
            lists; None where it is not told.
        praise: float64 (b, d), what positive credit of each document counts, in [0, 1]; None where all counts.
        channels: Praise and dislikes, each with a click model of its own; None where one model holds for both.
    """

    batch: RowBatch
    phi: FloatArray
    safe_scores: FloatArray
    weights: FloatArray
    params_versions: IntArray | None = None
    praise: FloatArray | None = None
    channels: tuple[Channel, Channel] | None = None


class LearnerCall(TypedDict):
    """What every learner is called with, by name, beside the start, the samples and the predictors.

    Attributes:
        theta: float64 (k,), examination per position.
        temperature: Exploration temperature of the policy being learned, > 0.
        n_events: Effective number of events behind the samples, >= 0.
        settings: What the learner may do.
        rng: The only source of chance.
    """

    theta: FloatArray
    temperature: float
    n_events: float
    settings: LearnerSettings
    rng: np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Where learning ended.

    Attributes:
        vector: float64 (p,), the proposed weights at norm 1.
        n_steps: Steps taken.
        step_norm: Distance from the live params, both at norm 1.
        was_bounded: Whether the distance was cut to the largest allowed.
        curves: Per step: "objective" (estimated reward per list, above that of its mean document), "gradient_norm",
            "withdrawn" (share of credit withdrawn by the trust region).
    """

    vector: FloatArray
    n_steps: int
    step_norm: float
    was_bounded: bool
    curves: dict[str, list[float]]


def position_values(batch: RowBatch, theta: FloatArray) -> FloatArray:
    """Return the examination of every rank of every list, (b, d), 0 beyond the end of the list as shown."""
    d = batch.is_document.shape[1]
    table = np.zeros(d)
    table[: min(d, theta.size)] = theta[:d]
    return np.where(np.arange(d)[None, :] < batch.n_shown[:, None], table[None, :], 0.0)


def log_weights_of(scores: FloatArray, batch: RowBatch, temperature: float) -> FloatArray:
    """Return Plackett-Luce log weights of the kept documents, each counted as often as it stands in for, (b, d)."""
    spread = score_spread(np.where(batch.is_document, scores, 0.0), batch.stand_in)
    masked = np.where(batch.is_document, scores, -np.inf)
    return policy_scores(masked, temperature, spread=spread) + batch.log_stand_in


def spread_chain(gradient: FloatArray, scores: FloatArray, batch: RowBatch, temperature: float) -> FloatArray:
    """Return dJ/ds from dJ/dz, (b, d), where z = s / (temperature * max(spread, 1e-9)) and the spread depends on s."""
    counts = batch.stand_in
    total = counts.sum(axis=1, keepdims=True)
    centred = np.where(batch.is_document, scores - (counts * scores).sum(axis=1, keepdims=True) / total, 0.0)
    spread = np.sqrt((counts * centred**2).sum(axis=1, keepdims=True) / total)
    safe = np.maximum(spread, MIN_SPREAD)
    direct = gradient / (temperature * safe)
    # z is unchanged when all scores move together, so scores may be centred before they meet the gradient
    through = (
        (gradient * centred).sum(axis=1, keepdims=True) / (temperature * safe**2) * counts * centred / (total * safe)
    )
    return np.where(batch.is_document, direct - np.where(spread > MIN_SPREAD, through, 0.0), 0.0)


def _centred(relevance: FloatArray, batch: RowBatch) -> FloatArray:
    """Return relevance less its mean per list: a baseline, since the exposure of a list sums to a constant."""
    counts = batch.stand_in
    mean = (counts * relevance).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
    return np.where(batch.is_document, relevance - mean, 0.0)


def cross_fitted(lists: Lists, predictors: tuple[Predictor, Predictor]) -> FloatArray:
    """Return cross-fitted predictions (b, d): each query is predicted by the fold that never saw it."""
    fold = (lists.batch.query_hash % np.uint64(2)).astype(np.int64)
    both = np.stack([predictors[1].predict(lists.phi), predictors[0].predict(lists.phi)])
    return np.where(lists.batch.is_document, both[fold, np.arange(len(fold))], 0.0)


class Sampled(NamedTuple):
    """What an objective sees of one sample of lists.

    Attributes:
        batch: The events.
        rankings: Sampled from the policy being learned.
        credit: float64 (b, d), estimated relevance less the mean of its list, 0 where there is no document.
        trusted: float64 (b, d), the same with credit withdrawn at the edge of the trust region.
        exposure: float64 (b, d), under the policy being learned.
        safe_exposure: float64 (b, d), under the safe policy, from the same noise.
        values: float64 (b, d), examination of each rank.
        eps: Size of the trust region.
    """

    batch: RowBatch
    rankings: Rankings
    credit: FloatArray
    trusted: FloatArray
    exposure: FloatArray
    safe_exposure: FloatArray
    values: FloatArray
    eps: float


# Returns dJ/dz, float64 (b, d), with respect to the log weights of the policy; it sums to 0 in each list, and asks no
# document to leave the trust region.
Objective: TypeAlias = Callable[[Sampled], FloatArray]


def list_reward(sampled: Sampled) -> FloatArray:
    """Return the gradient of the expected reward of each list, float64 (b, d): the objective by default."""
    return pl_rank_gradient(sampled.rankings, sampled.trusted, sampled.values)


def free_to_move(sampled: Sampled) -> tuple[BoolArray, BoolArray]:
    """Return which documents may still rise and which may still fall within the trust region, bool (b, d) each."""
    ones = np.ones_like(sampled.exposure)
    exposures = sampled.exposure, sampled.safe_exposure
    rise = trusted_rewards(ones, *exposures, eps=sampled.eps) > 0.0
    fall = trusted_rewards(-ones, *exposures, eps=sampled.eps) < 0.0
    return rise, fall


def estimated_relevance(
    lists: Lists,
    predictors: tuple[Predictor, Predictor],
    theta: FloatArray,
    *,
    clip: float,
    kind: RelevanceKind = DEFAULT_RELEVANCE,
    negative_weight: float = 1.0,
) -> FloatArray:
    """Return the estimated relevance of every document, cross-fitted, float64 (b, d), 0 where padded.

    Args:
        lists: A sample of lists.
        predictors: The direct method, fitted to queries of fold 0 and of fold 1; not read where lists have channels.
        theta: (k,) examination per position; not read where lists have channels.
        clip: Smallest exposure that is divided by.
        kind: The estimate.
        negative_weight: What a certain dislike costs in certain clicks; read where lists have channels.
    """
    if lists.channels is not None:
        return utility_of(lists.batch, *lists.channels, cost=negative_weight, clip=clip, kind=kind)
    return relevance_of(lists.batch, cross_fitted(lists, predictors), position_based(theta), clip=clip, kind=kind)


class Terms(NamedTuple):
    """What stays the same over the steps of one call.

    Attributes:
        predictors: The direct method, fitted to queries of fold 0 and of fold 1.
        theta: float64 (k,), examination per position.
        temperature: Of the policy being learned, > 0.
        clip: Smallest exposure that is divided by.
        eps: Size of the trust region.
        settings: What the learner may do.
        objective: What is climbed.
    """

    predictors: tuple[Predictor, Predictor]
    theta: FloatArray
    temperature: float
    clip: float
    eps: float
    settings: LearnerSettings
    objective: Objective


def terms_of(
    predictors: tuple[Predictor, Predictor],
    *,
    theta: FloatArray,
    temperature: float,
    n_events: float,
    settings: LearnerSettings,
    objective: Objective,
) -> Terms:
    """Return the terms of a call; the effective number of events sets the clip and the trust region."""
    if not 0.0 <= n_events < np.inf:
        raise LearningError(
            "the number of events is negative or not finite",
            code="n_events",
            field="n_events",
            value=n_events,
            hint="Pass the effective number of events behind the log.",
        )
    if not all(np.isfinite(predictor.beta).all() for predictor in predictors):
        raise _diverged("the predictors are not finite", 1)
    clip, eps = exposure_clip(n_events), trust_radius(n_events)
    return Terms(predictors, theta, temperature, clip, eps, settings, objective)


class ScoreSlope(NamedTuple):
    """How the objective changes with the scores of one sample.

    Attributes:
        gradient: float64 (b, d), dJ/ds, less of it where the scores of a list hardly differ.
        reward: Sum over lists of weight times estimated reward, above that of the list's mean document.
        credit: Sum of the absolute credit of all documents.
        trusted: The same of what the trust region left.
    """

    gradient: FloatArray
    reward: float
    credit: float
    trusted: float

    @property
    def objective(self) -> float:
        """Estimated reward per list, above that of its mean document."""
        return self.reward / len(self.gradient)

    @property
    def withdrawn(self) -> float:
        """Share of credit withdrawn by the trust region, in [0, 1]."""
        return withdrawn_share(self.credit, self.trusted)


def withdrawn_share(credit: float, trusted: float) -> float:
    """Return the share of credit withdrawn, in [0, 1], from sums of its absolute values before and after."""
    return 1.0 - trusted / credit if credit > 0.0 else 0.0


def ranking_noise(
    rng: np.random.Generator, n_lists: int, n_samples: int, n_documents: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the noise of a step's rankings, float32 (n_lists, n_samples, n_documents): log of exponential draws."""
    noise = rng.standard_exponential((n_lists, n_samples, n_documents), dtype=np.float32)
    return np.log(np.maximum(noise, _TINY, out=noise), out=noise)


def score_slope(lists: Lists, scores: FloatArray, terms: Terms, rng: np.random.Generator) -> ScoreSlope:
    """Return the slope of the objective with respect to scores (b, d) of the policy being learned."""
    noise = ranking_noise(rng, len(scores), terms.settings.n_samples, scores.shape[1])
    return score_slope_under(lists, scores, terms, noise)


def score_slope_under(
    lists: Lists, scores: FloatArray, terms: Terms, noise: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> ScoreSlope:
    """Return the same from the noise of the rankings, float32 (b, m, d), as `ranking_noise` draws it."""
    batch, temperature = lists.batch, terms.temperature
    values = position_values(batch, terms.theta)
    settings = terms.settings
    relevance = estimated_relevance(
        lists,
        terms.predictors,
        terms.theta,
        clip=terms.clip,
        kind=settings.relevance,
        negative_weight=settings.negative_weight,
    )
    credit = _centred(relevance, batch)
    if lists.praise is not None:
        credit = np.where(credit > 0.0, credit * lists.praise, credit)
    rankings = full_rankings(log_weights_of(scores, batch, temperature), noise)
    safe = full_rankings(log_weights_of(lists.safe_scores, batch, temperature), noise)
    exposure, safe_exposure = exposure_of(rankings, values), exposure_of(safe, values)
    trusted = trusted_rewards(credit, exposure, safe_exposure, eps=terms.eps)
    sampled = Sampled(batch, rankings, credit, trusted, exposure, safe_exposure, values, terms.eps)
    gradient = spread_chain(terms.objective(sampled), scores, batch, temperature)
    gradient *= _flatness_weight(scores, batch)[:, None]
    reward = float((lists.weights * (credit * exposure).sum(axis=1)).sum())
    return ScoreSlope(gradient, reward, float(np.abs(credit).sum()), float(np.abs(trusted).sum()))


class SlopeSums(NamedTuple):
    """What a part of a step's lists adds to the step; parts are added up in any division of the lists.

    Attributes:
        slope: float64 (p,), sum over lists of weight times dJ/dw.
        n_lists: How many.
        reward: As in `ScoreSlope`.
        credit: As in `ScoreSlope`.
        trusted: As in `ScoreSlope`.
    """

    slope: FloatArray
    n_lists: int
    reward: float
    credit: float
    trusted: float

    def plus(self, other: SlopeSums) -> SlopeSums:
        """Return the sums over the lists of both."""
        return SlopeSums(
            self.slope + other.slope,
            self.n_lists + other.n_lists,
            self.reward + other.reward,
            self.credit + other.credit,
            self.trusted + other.trusted,
        )


def slope_sums(
    lists: Lists, w: FloatArray, terms: Terms, noise: np.ndarray[tuple[int, ...], np.dtype[np.float32]], step: int
) -> SlopeSums:
    """Return what these lists add to a step at weights (p,).

    Args:
        lists: All of a step's, or some of them, with the weights that they have among all.
        w: (p,) weights at which the step begins.
        terms: What stays the same over the steps.
        noise: float32 (b, m, d), of these lists.
        step: Number of the step, from 1, for what is not finite.

    Raises:
        DivergedError: Something that a list says was not finite.
    """
    check_lists(lists, step)
    found = score_slope_under(lists, checked_scores(lists, w, step), terms, noise)
    by_document = (lists.weights[:, None] * found.gradient).ravel()
    slope = by_document @ lists.phi.reshape(-1, w.size)
    return SlopeSums(slope, len(found.gradient), found.reward, found.credit, found.trusted)


class Walk(NamedTuple):
    """Where learning stands between two steps.

    Attributes:
        start: float64 (p,), the live params at norm 1.
        w: float64 (p,), where it has come to.
        adam: Moments of the slopes so far.
        curves: See `Learned`; every step adds to them.
    """

    start: FloatArray
    w: FloatArray
    adam: Adam
    curves: dict[str, list[float]]

    @classmethod
    def begun(cls, start: FloatArray) -> Walk:
        """Return a walk before its first step.

        Raises:
            LearningError: The start is no finite vector at norm 1.
        """
        check_start(start)
        curves: dict[str, list[float]] = {"objective": [], "gradient_norm": [], "withdrawn": []}
        return cls(start, start.copy(), Adam(np.zeros_like(start), np.zeros_like(start)), curves)

    def stepped(self, sums: SlopeSums, settings: LearnerSettings) -> Walk:
        """Return the walk one step on, by the sums over all of its lists.

        Raises:
            DivergedError: The gradient is not finite.
        """
        slope = sums.slope / sums.n_lists - settings.l2 * (self.w - self.start)
        if not np.isfinite(slope).all():
            raise _diverged("the gradient is not finite", self.adam.n_steps + 1)
        adam, move = adam_step(self.adam, slope, settings.step_size)
        self.curves["objective"].append(sums.reward / sums.n_lists)
        self.curves["gradient_norm"].append(float(np.linalg.norm(slope)))
        self.curves["withdrawn"].append(withdrawn_share(sums.credit, sums.trusted))
        return self._replace(w=self.w + move, adam=adam)

    def ended(self, settings: LearnerSettings) -> Learned:
        """Return where it led, within the bounds."""
        vector, step_norm, was_bounded = bounded(self.w, self.start, settings)
        return Learned(vector, self.adam.n_steps, step_norm, was_bounded, self.curves)


def check_start(start: FloatArray) -> None:
    """Refuse a start that is no finite vector at norm 1.

    Raises:
        LearningError: code "start".
    """
    if start.ndim != 1 or not start.size or not abs(float(np.linalg.norm(start)) - 1.0) <= _UNIT:
        raise LearningError(
            "the start is no finite vector at norm 1",
            code="start",
            field="start",
            value=start.tolist(),
            hint="Pass the live params as Space.vector returns them.",
        )


def check_lists(lists: Lists, step: int) -> None:
    """Refuse a sample with a value that is not finite, where its gradient would not always show it.

    Raises:
        DivergedError: Names what is not finite, and the step.
    """
    batch = lists.batch
    for name, values in (
        ("rewards", batch.rewards),
        ("exposures", batch.exposure),
        ("sampling weights", lists.weights),
        ("safe scores", lists.safe_scores),
    ):
        if not np.isfinite(values).all():
            raise _diverged(f"{name} of a list are not finite", step)


def checked_scores(lists: Lists, w: FloatArray, step: int) -> FloatArray:
    """Return scores (b, d) of weights (p,), which a feature that is not finite never leaves finite.

    Raises:
        DivergedError: Names the step.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scores: FloatArray = lists.phi @ w
    if not np.isfinite(scores).all():
        raise _diverged("features of a list are not finite", step)
    return scores


def _diverged(message: str, step: int) -> DivergedError:
    return DivergedError(message, value=step, field="step", hint="Look for events with huge features.")


def learn(
    start: FloatArray,
    samples: Iterable[Lists],
    predictors: tuple[Predictor, Predictor],
    *,
    theta: FloatArray,
    temperature: float,
    n_events: float,
    settings: LearnerSettings,
    rng: np.random.Generator,
    objective: Objective = list_reward,
) -> Learned:
    """Return proposed weights after one step per sample.

    Args:
        start: (p,) the live params at norm 1.
        samples: One sample of lists per step.
        predictors: The direct method, fitted to queries of fold 0 and of fold 1.
        theta: (k,) examination per position.
        temperature: Exploration temperature of the policy being learned, > 0.
        n_events: Effective number of events behind the log: sets the clip and the trust region.
        settings: What the learner may do.
        rng: Source of the sampled rankings.
        objective: What is climbed; the expected list reward by default.

    Raises:
        LearningError: The start is no finite vector at norm 1, or the number of events is none.
        DivergedError: A gradient or something that a list says was not finite.
    """
    walk = Walk.begun(start)
    terms = terms_of(
        predictors, theta=theta, temperature=temperature, n_events=n_events, settings=settings, objective=objective
    )
    for lists in samples:
        noise = ranking_noise(rng, *_sizes(lists, settings))
        walk = walk.stepped(slope_sums(lists, walk.w, terms, noise, walk.adam.n_steps + 1), settings)
    return walk.ended(settings)


def _sizes(lists: Lists, settings: LearnerSettings) -> tuple[int, int, int]:
    b, d = lists.batch.is_document.shape
    return b, settings.n_samples, d


def _flatness_weight(scores: FloatArray, batch: RowBatch) -> FloatArray:
    """Return what each list's gradient counts, (b,), in (0, 1]: less where its scores hardly differ."""
    spread = score_spread(np.where(batch.is_document, scores, 0.0), batch.stand_in)
    return np.minimum(np.maximum(spread, MIN_SPREAD) / _FULL_SPREAD, 1.0)
