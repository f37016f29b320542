"""Estimates of relevance by enumeration of a small world, and sampled training against a full pass."""

import itertools

import numpy as np
import pytest

from dwell.learning.estimates import ClickModel, RelevanceKind, estimated_fractions, position_based
from dwell.learning.pl_rank import full_rankings, pl_rank_gradient
from dwell.ranking import conditional_propensities
from dwell.records import Experience
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, stack_rows
from dwell.replay import ReplayBuffer, Strategy

pytestmark = pytest.mark.statistical

TRUE = np.array([0.9, 0.2, 0.5, 0.05])
Z = np.array([0.0, -0.5, -1.0, -1.5])
PBM = position_based(np.array([1.0, 0.4]))
TRUST = ClickModel(np.array([0.7, 0.3]), np.array([0.25, 0.05]))
WRONG = np.array([0.3, -0.4, 1.0, 0.6])


def expected(
    kind: RelevanceKind, clicks: ClickModel, assumed: ClickModel, predicted: FloatArray, clip: float
) -> FloatArray:
    """E numerator / E denominator per document: all rankings of the top two, all patterns of clicks."""
    tops = list(itertools.permutations(range(4), 2))
    orders = [np.array([*top, *(d for d in range(4) if d not in top)]) for top in tops]
    chances = [float(conditional_propensities(Z, order, 2).prod()) for order in orders]
    exposure = np.zeros(4)
    for order, p in zip(orders, chances, strict=True):
        exposure[order[:2]] += p * assumed.alpha
    above, below = np.zeros(4), np.zeros(4)
    for order, p in zip(orders, chances, strict=True):
        rate = clicks.alpha * TRUE[order[:2]] + clicks.beta
        for came in itertools.product((0.0, 1.0), repeat=2):
            weight = p * float(np.prod(np.where(came, rate, 1.0 - rate)))
            batch = stack_rows([event(came, exposure[order])])
            found = estimated_fractions(batch, predicted[order][None], assumed, clip=clip, kind=kind)
            above[order] += weight * found.numerator[0]
            below[order] += weight * found.denominator[0]
    return above / below


def event(rewards: tuple[float, ...], exposure: FloatArray) -> EventRow:
    n, kept = exposure.size, len(rewards)
    return EventRow(
        seq=1,
        event_id="e",
        query_hash=0,
        user_hash=None,
        served_at=0.0,
        features=np.zeros((n, 1), dtype=np.float32),
        inclusion=np.ones(n),
        exposure=exposure,
        n_kept=kept,
        n_shown=kept,
        rewards=np.array(rewards),
        propensities=np.ones(kept),
        caller_rank=np.arange(float(n)),
        params_version=1,
        temperature=1.0,
        is_held_out=False,
        is_deterministic=False,
        is_caller_ordered=False,
        version=1,
    )


@pytest.mark.parametrize("clicks", [PBM, TRUST], ids=["position", "trust"])
@pytest.mark.parametrize("kind", ["ips", "clipped", "self_normalised", "doubly_robust"])
def test_estimates_are_unbiased_where_there_is_support(kind: RelevanceKind, clicks: ClickModel) -> None:
    np.testing.assert_allclose(expected(kind, clicks, clicks, WRONG, 0.01), TRUE, atol=1e-12)


@pytest.mark.parametrize("clicks", [PBM, TRUST], ids=["position", "trust"])
def test_the_direct_method_is_as_right_as_its_prediction(clicks: ClickModel) -> None:
    np.testing.assert_allclose(expected("direct", clicks, clicks, WRONG, 0.01), WRONG, atol=1e-12)


@pytest.mark.parametrize("clicks", [PBM, TRUST], ids=["position", "trust"])
def test_naive_is_biased_and_position_alone_does_not_correct_trust(clicks: ClickModel) -> None:
    assert np.abs(expected("naive", clicks, clicks, WRONG, 0.01) - TRUE).max() > 0.1
    assert np.abs(expected("ips", TRUST, position_based(TRUST.alpha), WRONG, 0.01) - TRUE).max() > 0.1


def test_a_clip_shrinks_clipped_and_leaves_the_self_normalised_ratio() -> None:
    # the clip multiplies both expectations of a document by rho / clip: it cancels in the ratio only
    np.testing.assert_allclose(expected("self_normalised", TRUST, TRUST, WRONG, 0.9), TRUE, atol=1e-12)
    assert (expected("clipped", TRUST, TRUST, WRONG, 0.9) < TRUE - 0.01).all()


@pytest.mark.parametrize(
    ("strategy", "half_life"), [("priority", None), ("priority", 20.0), ("recency", 20.0), ("uniform", 20.0)]
)
def test_a_weighted_sample_matches_a_full_pass_in_expectation(strategy: Strategy, half_life: float | None) -> None:
    # 3,000 batches of 16; five standard errors per coordinate: 6e-7 each. Rewards grow with time and priority
    rng, n, n_batches = np.random.default_rng(5), 60, 3_000
    rewards = np.zeros((n, 5))
    rewards[:, 0] = np.linspace(0.1, 2.0, n)
    values = np.tile([1.0, 0.5, 0.3, 0.0, 0.0], (n, 1))
    noise = np.log(rng.standard_exponential((n, 64, 5), dtype=np.float32))
    gradient = pl_rank_gradient(full_rankings(np.zeros((n, 5)), noise), rewards, values)
    buffer = ReplayBuffer(n, half_life_s=half_life)
    for i in range(n):
        buffer.add(Experience(f"e{i}", float(i), "q", [], ["d"], {}, {}, 0.5, priority=0.05 + i / n))
    kappa = np.ones(n) if half_life is None else 2.0 ** (-np.arange(float(n))[::-1] / half_life)
    full = (kappa[:, None] * gradient).sum(axis=0) / kappa.sum()
    weighted, plain = np.empty((n_batches, 5)), np.empty((n_batches, 5))
    for i in range(n_batches):
        batch = buffer.sample(16, strategy=strategy, normalisation="none", rng=rng)
        drawn = gradient[[int(event_id[1:]) for event_id in batch.event_ids]]
        weighted[i] = (batch.sampling_weights[:, None] * drawn).mean(axis=0)
        plain[i] = drawn.mean(axis=0)
        if strategy == "recency":  # the draw already is the target: a decay is not applied twice
            np.testing.assert_allclose(batch.sampling_weights, 1.0, rtol=1e-9)
    assert (errors_apart(weighted, full) < 5.0).all()
    if strategy != "recency":
        assert errors_apart(plain, full).max() > 10.0


def errors_apart(found: FloatArray, expected: FloatArray) -> FloatArray:
    """How many standard errors the mean over batches is from what is expected, per coordinate."""
    return np.abs(found.mean(axis=0) - expected) / (found.std(axis=0, ddof=1) / np.sqrt(len(found)))
