"""Shrinkage: shares, the estimate of kappa from known variances, and where segments end."""

import math

import numpy as np
import pytest

from dwell.errors import LearningError
from dwell.learning.learner import LearnerSettings, learn
from dwell.learning.segments import (
    SegmentHalves,
    SegmentLearner,
    SegmentWeights,
    check_bounds,
    estimated_kappa,
    learn_segments,
    segment_share,
    shrunk,
)
from dwell.records.arrays import FloatArray
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors, lists_of

OVERALL = np.array([0.6, 0.8, 0.0])
OWN = np.array([0.0, 0.6, 0.8])
WORLD = LearnerWorld(truth=np.array([0.0, 0.6, 0.8]), theta=np.array([1.0, 0.5]), n_documents=4)


def test_a_segment_with_kappa_events_counts_half() -> None:
    assert segment_share(500.0, 500.0) == 0.5
    assert segment_share(100.0, 300.0) == 0.25
    assert segment_share(0.0, 0.0) == 0.0
    assert segment_share(1e6, math.inf) == 0.0
    assert segment_share(math.inf, 5.0) == 1.0


@pytest.mark.parametrize(("n_events", "kappa"), [(-1.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_a_number_of_events_below_zero_or_none_is_refused(n_events: float, kappa: float) -> None:
    with pytest.raises(LearningError):
        segment_share(n_events, kappa)


def test_the_ends_of_the_way_and_its_middle() -> None:
    settings = LearnerSettings(max_step_norm=2.0)
    np.testing.assert_allclose(shrunk(OWN, OVERALL, 0.0, settings)[0], OVERALL, rtol=1e-15)
    np.testing.assert_allclose(shrunk(OWN, OVERALL, 1.0, settings)[0], OWN, rtol=1e-15)
    middle = (OVERALL + OWN) / 2.0
    np.testing.assert_allclose(shrunk(OWN, OVERALL, 0.5, settings)[0], middle / np.linalg.norm(middle), rtol=1e-15)


def test_the_way_stays_within_the_bounds() -> None:
    settings = LearnerSettings(max_step_norm=0.1, max_weight=0.7)
    vector, distance, was_bounded = shrunk(OWN, OVERALL, 1.0, settings)
    assert was_bounded
    assert distance <= 0.1 + 1e-12
    assert np.linalg.norm(vector) == pytest.approx(1.0)


def drawn_halves(rng: np.random.Generator, between: float, noise: float, n: FloatArray, p: int = 4) -> list[tuple]:
    """Halves around weights that all segments share, with known variances per coordinate."""
    truths = 5.0 + rng.normal(size=(n.size, p)) * between**0.5
    sd = np.sqrt(noise / (n / 2.0))[:, None]
    return list(zip(*(truths + rng.normal(size=truths.shape) * sd for _ in range(2)), strict=True))


def test_kappa_is_the_noise_of_an_event_over_the_variance_between_segments() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(200, 2_000, size=4_000).astype(float)
    # 16,000 coordinates: the relative error of either variance is about 1 %; 5 % are five of them
    assert estimated_kappa(drawn_halves(rng, 0.02, 10.0, n), n) == pytest.approx(500.0, rel=0.05)


def test_kappa_is_not_deceived_by_what_all_segments_share() -> None:
    # no difference between segments: the sum of cross products is as often below 0 as above; what is above is small
    rng = np.random.default_rng(1)
    n = np.full(20, 500.0)
    found = np.array([estimated_kappa(drawn_halves(rng, 0.0, 10.0, n), n) for _ in range(200)])
    assert 0.35 < np.isinf(found).mean() < 0.65  # a binomial of 200 lies there but for 4e-5
    assert (500.0 / (500.0 + found[np.isfinite(found)])).max() < 0.5


def test_one_segment_tells_nothing_of_how_segments_differ() -> None:
    assert estimated_kappa([(OWN, OWN)], [100.0]) == math.inf
    assert estimated_kappa([], []) == math.inf
    with pytest.raises(LearningError, match="equally many"):
        estimated_kappa([(OWN, OWN)], [])


def halves(seed: int, n: int) -> SegmentHalves:
    rows = closed_events(WORLD, OVERALL, n, np.random.default_rng(seed))
    return SegmentHalves([lists_of(rows[: n // 2], OVERALL)] * 5, [lists_of(rows[n // 2 :], OVERALL)] * 5, float(n))


def learned(segments: dict[int, SegmentHalves], **changes: object) -> SegmentWeights:
    rows = closed_events(WORLD, OVERALL, 50, np.random.default_rng(9))
    arguments = {"theta": WORLD.theta, "temperature": 0.5, "settings": LearnerSettings(step_size=0.02), **changes}
    return learn_segments(
        OVERALL, segments, fitted_predictors(rows, WORLD.theta), rng=np.random.default_rng(0), **arguments
    )


def test_an_unknown_segment_has_the_global_weights() -> None:
    found = learned({3: halves(0, 100)}, kappa=100.0)
    assert found.vector_for(4) is found.overall
    assert found.vector_for(3) is not found.overall
    assert found.shares == {3: 0.5}


def test_without_segments_there_are_the_global_weights() -> None:
    found = learned({})
    assert found.vector_for(0).tolist() == OVERALL.tolist()
    assert found.kappa == math.inf


def test_each_segment_goes_as_far_as_its_events_warrant() -> None:
    found = learned({0: halves(0, 20), 1: halves(1, 400)}, kappa=100.0)
    assert found.shares == {0: 20.0 / 120.0, 1: 0.8}
    moved = {code: np.linalg.norm(found.vector_for(code) - OVERALL) for code in (0, 1)}
    assert 0.0 < moved[0] < moved[1]
    for code in (0, 1):
        assert np.linalg.norm(found.vector_for(code)) == pytest.approx(1.0)


def test_a_segment_learner_goes_its_share_of_what_the_learner_does() -> None:
    rows = closed_events(WORLD, OVERALL, 100, np.random.default_rng(2))
    arguments = {
        "theta": WORLD.theta,
        "temperature": 0.5,
        "n_events": 100.0,
        "settings": LearnerSettings(step_size=0.02),
    }
    given = OVERALL, [lists_of(rows, OVERALL)] * 10, fitted_predictors(rows, WORLD.theta)
    all_the_way = learn(*given, **arguments, rng=np.random.default_rng(0)).vector
    part = SegmentLearner(kappa=300.0)(*given, **arguments, rng=np.random.default_rng(0)).vector
    due = OVERALL + 0.25 * (all_the_way - OVERALL)
    np.testing.assert_allclose(part, due / np.linalg.norm(due), rtol=1e-12)


# ------------------------------------------------------------ bounds around what a segment has today


def turned(angle: float) -> FloatArray:
    """Weights at norm 1 that stand at an angle to `OVERALL`: their distance is the chord, 2 sin(angle / 2)."""
    return math.cos(angle) * OVERALL + math.sin(angle) * np.array([0.0, 0.0, 1.0])


def test_weights_of_a_segment_within_the_bounds_pass() -> None:
    settings = LearnerSettings(max_step_norm=0.5, max_weight=0.7)
    check_bounds(turned(2.0 * math.asin(0.25)), OVERALL, settings, segment="de")
    check_bounds(OVERALL, OVERALL, settings, segment="de")  # .8 stood there before: it may stay


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (turned(2.0 * math.asin(0.2501)), "max_step_norm"),
        (np.array([0.71, (1.0 - 0.71**2) ** 0.5, 0.0]), "max_weight"),
        (np.array([np.nan, 0.8, 0.0]), "not finite"),
        (1.01 * OVERALL, "norm 1"),
    ],
)
def test_weights_of_a_segment_beyond_a_bound_are_refused(vector: FloatArray, words: str) -> None:
    with pytest.raises(LearningError, match=words) as caught:
        check_bounds(vector, OVERALL, LearnerSettings(max_step_norm=0.5, max_weight=0.7), segment="de")
    assert (caught.value.code, caught.value.field) == ("bounds", "by_segment['de']")


def test_a_segment_is_learned_on_from_its_own_start() -> None:
    settings = LearnerSettings(step_size=0.01)
    call = {"theta": WORLD.theta, "temperature": 0.5, "settings": settings, "kappa": 0.0}
    nothing = SegmentHalves([], [], 100.0)  # without samples a learner stays where it is
    found = learn_segments(
        OVERALL,
        {1: nothing, 2: nothing},
        fitted_predictors(closed_events(WORLD, OVERALL, 20, np.random.default_rng(0)), WORLD.theta),
        rng=np.random.default_rng(0),
        starts={2: OWN},
        **call,  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(found.vector_for(1), OVERALL, rtol=1e-15)
    # 60 degrees at most from the global weights; OWN stands at cos = .48, 61.3 degrees
    angle = math.acos(float(found.vector_for(2) @ OVERALL))
    assert angle == pytest.approx(math.pi / 3.0)
