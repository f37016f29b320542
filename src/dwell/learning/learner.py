"""Move the weights: estimated relevance, a trust region, an objective's gradient, Adam, bounds.

One step takes a sample of lists, estimates the relevance of every document in them, withdraws credit at the edge of the
trust region, and follows the gradient of an objective through the standardised policy, pulled back towards the live
params. The objective is exchangeable; by default it is the expected list reward, by PL-Rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, TypedDict, get_args

import numpy as np

from dwell.errors import ConfigError, DivergedError, LearningError
from dwell.learning.adam import Adam, adam_step
from dwell.learning.estimates import (
    DEFAULT_RELEVANCE,
    Channel,
    RelevanceKind,
    position_based,
    relevance_of,
    utility_of,
)
from dwell.learning.pl_rank import Rankings, exposure_of, full_rankings, pl_rank_gradient
from dwell.learning.predictor import DEFAULT_RIDGE, Predictor
from dwell.learning.relevance import exposure_clip
from dwell.learning.trust import trust_radius, trusted_rewards
from dwell.ranking import policy_scores, score_spread
from dwell.ranking.policy import MIN_SPREAD
from dwell.records.adjustments import MAX_RANK
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
    "Terms",
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
    "score_slope",
    "spread_chain",
    "terms_of",
]

NegativeExamination = Literal["clicks", "shown"]

OBJECTIVE_NAMES: Final = ("lambda_loss", "pairwise", "pdgd", "pl_rank")  # `protocol.OBJECTIVES`, above, and PDGD
# A list whose scores hardly differ has a gradient of order 1 / spread: one with equal scores among 50 froze Adam for
# good, since its square stays in the second moment. Below this spread a list weighs less, in proportion. Simulated (the
# world of tests/statistical/test_gradient.py, 4 seeds), 10 % of such lists: from a cosine of .50 to the best weights to
# .52 without, .77 / .83 / .84 with .03 / .1 / .3; .85 where there are no such lists.
_FULL_SPREAD: Final = 0.3
_HALVINGS: Final = 30  # of an angle: beyond them it is no step at all
_POLE: Final = 1e-7  # sine of the angle to the opposite pole below which rounding alone would choose the direction
_TINY: Final = np.float32(1e-30)  # a float32 exponential draw can be 0: its log would be -inf
_UNIT: Final = 1e-6  # a start that was kept as float32 is at norm 1 to 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings:
    """What the learner may do.

    Attributes:
        objective: What is climbed: "pl_rank" (expected list reward), "lambda_loss" or "pairwise", or "pdgd", which
            learns on-line, from what the live params drew alone; docs/learners.md.
        relevance: Estimate of what a document is worth; docs/relevance.md has a card for each.
        trust_bias: Whether what is seen is also believed for its position: clicks are corrected by the affine model.
        trust_relevant: How often a relevant document that is looked at is clicked, in (0, 1]; read with `trust_bias`.
        trust_irrelevant: How often an irrelevant one at the first position is, in [0, trust_relevant); at position k it
            is 1 / min(k, 10) of that. Read with `trust_bias`.
        negative_weight: What a certain dislike costs, in certain clicks, in [0, 100].
        negative_examination: "clicks" (dislikes depend on the position as clicks do) or "shown" (whoever dislikes has
            read it, at whatever position).
        step_size: Adam's step, in (0, 1], in units of weights at norm 1.
        online_step_size: In the loop, the step per list of "pdgd", in (0, 1].
        n_samples: Rankings sampled per list and step, 1 to 1,024.
        l2: Pull towards the live params, >= 0.
        ridge: Ridge of the reward predictor, >= 0.
        max_step_norm: Largest distance of a proposal from the live params, both at norm 1, in (0, 2].
        max_weight: Bound on every weight at norm 1, in (0, 1]; one that is beyond it in the live params may not grow.
        segment_weights: Whether segments with enough events learn weights of their own; docs/learners.md.
        query_rank: Rank of the weights by the query's embedding, 0 (none) to 8; docs/learners.md.
    """

    objective: str = "pl_rank"
    relevance: RelevanceKind = DEFAULT_RELEVANCE
    trust_bias: bool = False
    trust_relevant: float = 0.98  # Vardasbi, Oosterhuis, de Rijke 2020, section 5: at the first position
    trust_irrelevant: float = 0.65  # the same: .65 / min(k, 10)
    negative_weight: float = 1.0
    negative_examination: NegativeExamination = "clicks"
    step_size: float = 0.003  # gated-loop study: Adam .003 did no harm from 500 to 10,000 events
    online_step_size: float = 0.1  # Oosterhuis and de Rijke 2018, section 5
    n_samples: int = 16
    l2: float = 0.01
    ridge: float = DEFAULT_RIDGE
    max_step_norm: float = 1.0  # 60 degrees on the unit sphere; docs/experiments.md has the distances seen
    max_weight: float = 1.0
    segment_weights: bool = False
    query_rank: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("step_size", 0.0, 1.0),
            ("online_step_size", 0.0, 1.0),
            ("n_samples", 0.0, 1024.0),
            ("max_step_norm", 0.0, 2.0),
            ("max_weight", 0.0, 1.0),
            ("trust_relevant", 0.0, 1.0),
        ):
            self._check(low < getattr(self, name) <= high, name, f"a learner setting is outside ({low:g}, {high:g}]")
        for name, choices in (
            ("objective", OBJECTIVE_NAMES),
            ("relevance", get_args(RelevanceKind)),
            ("negative_examination", get_args(NegativeExamination)),
        ):
            self._check(getattr(self, name) in choices, name, f"unknown {name}", f"Use one of {list(choices)}.")
        for name in ("l2", "ridge"):
            self._check(0.0 <= getattr(self, name) < np.inf, name, "a learner setting is negative or not finite")
        for name in ("trust_bias", "segment_weights"):
            self._check(isinstance(getattr(self, name), bool), name, "true or false is due here", "Use True.")
        rank: object = self.query_rank
        is_rank = isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank <= MAX_RANK
        self._check(is_rank, "query_rank", f"a rank is a whole number from 0 to {MAX_RANK}", "0 learns none.")
        for name in ("segment_weights", "query_rank"):
            is_plain = self.objective != "pdgd" or not getattr(self, name)
            self._check(is_plain, name, "pdgd learns one vector of weights", "Choose another learner.objective.")
        is_below = 0.0 <= self.trust_irrelevant < self.trust_relevant
        self._check(is_below, "trust_irrelevant", "an irrelevant document is clicked less often than a relevant one")
        self._check(0.0 <= self.negative_weight <= 100.0, "negative_weight", "a learner setting is outside [0, 100]")

    def _check(self, is_legal: bool, name: str, message: str, hint: str = "Correct the setting.") -> None:  # noqa: FBT001 - reads as a sentence
        if not is_legal:
            raise ConfigError(message, field=f"learner.{name}", value=getattr(self, name), hint=hint)


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
        objective: Estimated reward per list, above that of its mean document.
        withdrawn: Share of credit withdrawn by the trust region, in [0, 1].
    """

    gradient: FloatArray
    objective: float
    withdrawn: float


def score_slope(lists: Lists, scores: FloatArray, terms: Terms, rng: np.random.Generator) -> ScoreSlope:
    """Return the slope of the objective with respect to scores (b, d) of the policy being learned."""
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
    b, d = batch.is_document.shape
    noise = rng.standard_exponential((b, settings.n_samples, d), dtype=np.float32)
    noise = np.log(np.maximum(noise, _TINY, out=noise), out=noise)
    rankings = full_rankings(log_weights_of(scores, batch, temperature), noise)
    safe = full_rankings(log_weights_of(lists.safe_scores, batch, temperature), noise)
    exposure, safe_exposure = exposure_of(rankings, values), exposure_of(safe, values)
    trusted = trusted_rewards(credit, exposure, safe_exposure, eps=terms.eps)
    sampled = Sampled(batch, rankings, credit, trusted, exposure, safe_exposure, values, terms.eps)
    gradient = spread_chain(terms.objective(sampled), scores, batch, temperature)
    gradient *= _flatness_weight(scores, batch)[:, None]
    size = float(np.abs(credit).sum())
    return ScoreSlope(
        gradient,
        float((lists.weights * (credit * exposure).sum(axis=1)).mean()),
        1.0 - float(np.abs(trusted).sum()) / size if size > 0.0 else 0.0,
    )


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
    check_start(start)
    terms = terms_of(
        predictors, theta=theta, temperature=temperature, n_events=n_events, settings=settings, objective=objective
    )
    w = start.copy()
    adam = Adam(np.zeros_like(w), np.zeros_like(w))
    curves: dict[str, list[float]] = {"objective": [], "gradient_norm": [], "withdrawn": []}
    for lists in samples:
        check_lists(lists, adam.n_steps + 1)
        found = score_slope(lists, checked_scores(lists, w, adam.n_steps + 1), terms, rng)
        b = len(found.gradient)
        by_document = (lists.weights[:, None] * found.gradient).ravel()
        slope = by_document @ lists.phi.reshape(-1, w.size) / b - settings.l2 * (w - start)
        if not np.isfinite(slope).all():
            raise _diverged("the gradient is not finite", adam.n_steps + 1)
        adam, move = adam_step(adam, slope, settings.step_size)
        w = w + move
        curves["objective"].append(found.objective)
        curves["gradient_norm"].append(float(np.linalg.norm(slope)))
        curves["withdrawn"].append(found.withdrawn)
    vector, step_norm, was_bounded = bounded(w, start, settings)
    return Learned(vector, adam.n_steps, step_norm, was_bounded, curves)


def _flatness_weight(scores: FloatArray, batch: RowBatch) -> FloatArray:
    """Return what each list's gradient counts, (b,), in (0, 1]: less where its scores hardly differ."""
    spread = score_spread(np.where(batch.is_document, scores, 0.0), batch.stand_in)
    return np.minimum(np.maximum(spread, MIN_SPREAD) / _FULL_SPREAD, 1.0)


def bounded(w: FloatArray, start: FloatArray, settings: LearnerSettings) -> tuple[FloatArray, float, bool]:
    """Return w at norm 1, each weight and the distance from the start cut to what is allowed."""
    norm = float(np.linalg.norm(w))
    limit = np.maximum(settings.max_weight, np.abs(start))
    unit = _boxed(w / norm, start, limit) if norm > 0.0 else start
    distance = float(np.linalg.norm(unit - start))
    if distance <= settings.max_step_norm:
        return unit, distance, False
    # along the great circle: a chord of length c spans the angle 2 arcsin(c / 2)
    sideways = unit - (unit @ start) * start
    length = float(np.linalg.norm(sideways))
    if length < _POLE:
        return start, 0.0, True  # the opposite pole: no direction leads there more than another
    sideways /= length
    most = 2.0 * np.arcsin(settings.max_step_norm / 2.0)
    # an arc between two points inside the bounds may bulge out of them; boxed again, it may end too far: then halve
    angle = most
    for _ in range(_HALVINGS):
        cut = _boxed(np.cos(angle) * start + np.sin(angle) * sideways, start, limit)
        distance = float(np.linalg.norm(cut - start))
        if distance <= settings.max_step_norm * (1.0 + 1e-12):
            return cut, min(distance, settings.max_step_norm), True
        angle *= 0.5
    return start, 0.0, True


def _boxed(unit: FloatArray, start: FloatArray, limit: FloatArray) -> FloatArray:
    """Return a vector at norm 1 whose weights stay within their limits, the others scaled up to make good the norm.

    Since `start` has norm 1 within the same limits, there always is one.
    """
    is_cut = np.abs(unit) > limit
    if not is_cut.any():
        return unit
    result = unit.copy()
    for _ in range(unit.size):
        result[is_cut] = np.copysign(limit, unit)[is_cut]
        due = max(1.0 - float((result[is_cut] ** 2).sum()), 0.0) ** 0.5
        free = np.where(is_cut, 0.0, unit)
        if not free.any():
            free = np.where(is_cut, 0.0, start)
        size = float(np.linalg.norm(free))
        result = np.where(is_cut, result, free * (due / size) if size > 0.0 else 0.0)
        newly = (np.abs(result) > limit) & ~is_cut
        if not newly.any():
            break
        is_cut |= newly
    return result
