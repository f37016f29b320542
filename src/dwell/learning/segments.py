"""Weights of a segment, shrunk towards those of everyone: few events of its own hardly move it, many do.

    w_s = unit( w + n_s / (n_s + kappa) * (w_s_hat - w) )

w are the global weights, w_s_hat what the segment's own events teach on from there, n_s how many there are. kappa is
the number of events after which a segment counts half: the noise of one event over the variance between segments. It
is estimated from the segments themselves: each is learned twice, from two halves of its events; where the halves of a
segment agree more than segments do, they differ.

    noise   = mean over s of n_s |a_s - b_s|^2 / 4
    between = S / (S - 1) * mean over s of (a_s - mean a) . (b_s - mean b)        kappa = noise / between, or infinite

What all segments share cancels in the second line: it is the business of the global weights.

Source: James and Stein 1961; Efron and Morris 1973, "Stein's Estimation Rule and Its Competitors: An Empirical Bayes
Approach". Halves instead of a known variance, since a trained weight has none that could be written down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, Unpack

import numpy as np

from dwell.errors import LearningError
from dwell.learning.learner import Learned, LearnerCall, LearnerSettings, Lists, bounded, check_start, learn
from dwell.learning.predictor import Predictor
from dwell.learning.protocol import Learner
from dwell.records.arrays import FloatArray

__all__ = [
    "SegmentHalves",
    "SegmentLearner",
    "SegmentWeights",
    "check_bounds",
    "estimated_kappa",
    "learn_segments",
    "segment_share",
    "shrunk",
]

_ROUNDING: Final = 1e-9  # of weights at norm 1
_FEW: Final = 2  # the variance between segments needs two of them


class SegmentHalves(NamedTuple):
    """The events of one segment in two halves that share no query.

    Attributes:
        first: Samples of lists of one half.
        second: Of the other half.
        n_events: Effective number of events of both together.
    """

    first: Iterable[Lists]
    second: Iterable[Lists]
    n_events: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SegmentWeights:
    """One vector per segment, and the global one for all others.

    Attributes:
        overall: float64 (p,), the global weights at norm 1.
        vectors: Per segment code, float64 (p,), at norm 1.
        shares: Per segment code, how far it went towards its own weights, in [0, 1].
        kappa: Events after which a segment counts half; infinite where segments do not differ.
    """

    overall: FloatArray
    vectors: Mapping[int, FloatArray]
    shares: Mapping[int, float]
    kappa: float

    def vector_for(self, segment_code: int) -> FloatArray:
        """Return the weights of a segment, float64 (p,); the global ones for a segment that was never learned."""
        return self.vectors.get(segment_code, self.overall)


def segment_share(n_events: float, kappa: float) -> float:
    """Return how far a segment goes towards its own weights, n / (n + kappa), in [0, 1].

    Args:
        n_events: Effective number of its events, >= 0.
        kappa: Events after which it counts half, >= 0; may be infinite.

    Raises:
        LearningError: One of them is negative or not a number.
    """
    for name, value in (("n_events", n_events), ("kappa", kappa)):
        if not value >= 0.0:
            raise LearningError(
                "a number of events is negative or not a number",
                code="range",
                field=name,
                value=value,
                hint="Pass a number of events, 0 or more.",
            )
    if n_events == 0.0 or math.isinf(kappa):
        return 0.0
    return 1.0 if math.isinf(n_events) else n_events / (n_events + kappa)


def shrunk(
    own: FloatArray, overall: FloatArray, share: float, settings: LearnerSettings
) -> tuple[FloatArray, float, bool]:
    """Return weights between the global ones and a segment's own, as `bounded` does: (vector, distance, was bounded).

    Args:
        own: (p,) what the segment's events teach.
        overall: (p,) the global weights at norm 1.
        share: How far to go, in [0, 1].
        settings: The bounds, as around the global weights.
    """
    return bounded(overall + share * (own - overall), overall, settings)


def check_bounds(vector: FloatArray, today: FloatArray, settings: LearnerSettings, *, segment: str) -> None:
    """Refuse weights of a segment that went further than a proposal may.

    Args:
        vector: (p,) the segment's proposed weights.
        today: (p,) at norm 1, those that it has now.
        settings: `max_step_norm` and `max_weight`.
        segment: Its name, for the message.

    Raises:
        LearningError: Not finite, not at norm 1, too far from those of today, or a weight beyond its bound.
    """
    limit = np.maximum(settings.max_weight, np.abs(today))
    faults = (
        ("not finite", not np.isfinite(vector).all()),
        ("not at norm 1", not abs(float(np.linalg.norm(vector)) - 1.0) <= _ROUNDING),
        (
            "further from those of today than max_step_norm",
            float(np.linalg.norm(vector - today)) - settings.max_step_norm > _ROUNDING,
        ),
        ("beyond max_weight", bool((np.abs(vector) - limit > _ROUNDING).any())),
    )
    for words, is_fault in faults:
        if is_fault:
            raise LearningError(
                f"the weights of a segment are {words}",
                code="bounds",
                field=f"by_segment[{segment!r}]",
                value=vector.tolist(),
                hint="A learner promises its bounds: dwell.testing.learner_contract.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLearner:
    """Learns one segment from the global weights on and goes part of the way; a `Learner`.

    Attributes:
        kappa: Events after which a segment counts half, >= 0.
        learner: What learns.
    """

    kappa: float
    learner: Learner = learn

    def __call__(
        self,
        start: FloatArray,
        samples: Iterable[Lists],
        predictors: tuple[Predictor, Predictor],
        **call: Unpack[LearnerCall],
    ) -> Learned:
        """Return the weights of the segment whose events these are; `start` are the global ones.

        Args:
            start: (p,) the global weights at norm 1.
            samples: Samples of the segment's lists.
            predictors: The direct method, fitted to queries of fold 0 and of fold 1.
            call: See `LearnerCall`; `n_events` are the segment's: they set its share, the clip and the trust region.

        Raises:
            LearningError: As the learner does; or kappa is negative.
        """
        share = segment_share(call["n_events"], self.kappa)
        own = self.learner(start, samples, predictors, **call)
        vector, step_norm, was_bounded = shrunk(own.vector, start, share, call["settings"])
        return Learned(vector, own.n_steps, step_norm, own.was_bounded or was_bounded, own.curves)


def estimated_kappa(halves: Sequence[tuple[FloatArray, FloatArray]], n_events: Sequence[float]) -> float:
    """Return the events after which a segment counts half, in [0, inf]; infinite where segments are not seen to differ.

    Args:
        halves: Per segment, the weights learned from each half of its events, (p,) both.
        n_events: Per segment, the events of both halves together.

    Raises:
        LearningError: The two are not equally many.
    """
    if len(halves) != len(n_events):
        raise LearningError(
            "halves and numbers of events are not equally many",
            code="shape",
            field="n_events",
            value=len(n_events),
            hint="Give one number per segment.",
        )
    if len(halves) < _FEW:
        return math.inf
    a, b = np.array([first for first, _ in halves]), np.array([second for _, second in halves])
    s = len(halves)
    noise = float(np.mean(np.asarray(n_events) * ((a - b) ** 2).sum(axis=1))) / 4.0
    between = float(((a - a.mean(axis=0)) * (b - b.mean(axis=0))).sum()) / (s - 1)
    return noise / between if between > 0.0 else math.inf


def learn_segments(
    overall: FloatArray,
    segments: Mapping[int, SegmentHalves],
    predictors: tuple[Predictor, Predictor],
    *,
    theta: FloatArray,
    temperature: float,
    settings: LearnerSettings,
    rng: np.random.Generator,
    learner: Learner | None = None,
    kappa: float | None = None,
    starts: Mapping[int, FloatArray] = MappingProxyType({}),
) -> SegmentWeights:
    """Return weights per segment, each shrunk towards the global ones by as much as its events warrant.

    Args:
        overall: (p,) the global weights at norm 1, from which each segment is learned on.
        segments: Per segment code, its events.
        predictors: The direct method, fitted to queries of fold 0 and of fold 1.
        theta: (k,) examination per position.
        temperature: Exploration temperature of the policy being learned, > 0.
        settings: What the learner may do; the bounds are those around the global weights.
        rng: The only source of chance.
        learner: What learns each half; PL-Rank when not given.
        kappa: Events after which a segment counts half; estimated from the halves when not given.
        starts: Per segment code, (p,) at norm 1, from where it is learned on; the global weights for the others.

    Raises:
        LearningError: As the learner does.
    """
    check_start(overall)
    chosen = learner if learner is not None else learn
    codes = sorted(segments)

    def taught(code: int, samples: Iterable[Lists], n_events: float) -> FloatArray:
        return chosen(
            starts.get(code, overall),
            samples,
            predictors,
            theta=theta,
            temperature=temperature,
            n_events=n_events,
            settings=settings,
            rng=rng,
        ).vector

    sizes = [segments[code].n_events for code in codes]
    halves = [
        (taught(code, segments[code].first, n / 2.0), taught(code, segments[code].second, n / 2.0))
        for code, n in zip(codes, sizes, strict=True)
    ]
    weight = estimated_kappa(halves, sizes) if kappa is None else kappa
    shares = {code: segment_share(n, weight) for code, n in zip(codes, sizes, strict=True)}
    vectors = {
        code: shrunk(0.5 * (a + b), overall, shares[code], settings)[0]
        for code, (a, b) in zip(codes, halves, strict=True)
    }
    return SegmentWeights(overall=overall, vectors=vectors, shares=shares, kappa=weight)
