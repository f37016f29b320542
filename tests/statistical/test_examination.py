"""Examination where the truth is known: 10 of 15 documents, tau 0.3. Fixed seeds; `-s` prints what was measured."""

import numpy as np
import pytest

from dwell.records.arrays import FloatArray
from dwell.reward.examination import HarvestSums, PositionBased
from dwell.reward.measuring import _is_beyond_chance, is_materially_different, measure
from dwell.reward.position_fit import monotone_findings
from dwell.testing.users import CascadeUser, DbnUser, PositionBasedUser, SimulatedUser

K = 10


def a_log(user: SimulatedUser, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Propensities, clicks and relevance of n lists, every query new, by scores that know relevance with noise."""
    relevant = rng.beta(1, 2, (n, 15))
    scores = relevant + 0.3 * rng.normal(size=relevant.shape)
    logits = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True) / 0.3
    order = np.argsort(-(logits + rng.gumbel(size=logits.shape)), axis=1)
    weights = np.take_along_axis(np.exp(logits - logits.max(1, keepdims=True)), order, 1)
    propensities = (weights / np.cumsum(weights[:, ::-1], 1)[:, ::-1])[:, :K]
    shown = np.take_along_axis(relevant, order, 1)[:, :K]
    return propensities, user.clicks(shown, rng).astype(float), shown


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_error_and_bands_for_users_who_follow_the_model(eta: float) -> None:
    rng, theta = np.random.default_rng(11), PositionBased(eta).theta(K)
    errors, held = [], []
    for _ in range(25):
        p, c, _ = a_log(PositionBasedUser(eta), 5000, rng)
        found = measure(PositionBased(), K, harvested=HarvestSums.of(p, c))
        assert found.source == "harvest"
        errors.append(float(np.abs(found.examination.theta(K) - theta).mean()))
        held.append((found.low <= theta) & (theta <= found.high))
    coverage = float(np.mean(np.array(held)[:, 1:]))
    print(f"eta {eta}: mean error {np.mean(errors):.4f}, worst {max(errors):.4f}, coverage of bands {coverage:.3f}")
    assert max(errors) <= 0.06
    # positions of a run go together: 25 runs at 95 % have a standard error of at most 0.044; two of them below
    assert coverage >= 0.86


@pytest.mark.parametrize(("eta", "fewest", "most"), [(0.5, 0.9, 1.0), (1.0, 0.0, 0.05), (2.0, 0.9, 1.0)])
def test_a_loop_changes_only_for_users_who_differ(eta: float, fewest: float, most: float) -> None:
    rng, runs, changes = np.random.default_rng(12), 60, 0
    for _ in range(runs):
        p, c, _ = a_log(PositionBasedUser(eta), 2000, rng)
        sums, changed = HarvestSums.empty(K), False
        for start in range(0, 2000, 500):  # four looks
            sums = sums.plus(p[start : start + 500], c[start : start + 500])
            changed |= is_materially_different(PositionBased(), measure(PositionBased(), K, harvested=sums))
        changes += changed
    print(f"eta {eta}: changed in {changes} of {runs} runs of four looks")
    assert fewest <= changes / runs <= most


def test_the_theta_of_the_users_is_rejected_at_the_level_of_one_look() -> None:
    # nothing but `_is_beyond_chance` decides; at a true 1 % more than 9 of 300 are rejected with probability 1e-3, at
    # 30 % fewer than 10 with probability below 1e-20
    rng, theta = np.random.default_rng(14), PositionBased().theta(K)
    rejected = 0
    for _ in range(300):
        p, c, _ = a_log(PositionBasedUser(1.0), 1000, rng)
        rejected += _is_beyond_chance(HarvestSums.of(p, c), theta, np.zeros(K))
    print(f"the true theta rejected in {rejected} of 300 looks")
    assert rejected <= 9


def test_users_who_look_everywhere_alike_hardly_ever_rise() -> None:
    # the hardest null: all ten positions alike. Bonferroni at 1 %: more than 10 of 300 with probability 2e-4
    rng, found = np.random.default_rng(15), 0
    for _ in range(300):
        p, c, _ = a_log(PositionBasedUser(0.0), 500, rng)
        found += bool(monotone_findings(HarvestSums.of(p, c)))
    print(f"a rise found in {found} of 300 logs of users without position bias")
    assert found <= 10


@pytest.mark.parametrize("user", [CascadeUser(), CascadeUser(0.5), DbnUser(trust=0.0)])
def test_users_outside_the_model_have_their_average_examination_measured(user: SimulatedUser) -> None:
    p, c, shown = a_log(user, 5000, np.random.default_rng(13))
    # without trust bias attraction is 0.1 + 0.9 R, and P(click) / attraction is P(look)
    looked = (user.click_probabilities(shown) / (0.1 + 0.9 * shown)).mean(axis=0)
    found = HarvestSums.of(p, c).fitted().theta(K)
    error = float(np.abs(found - looked / looked[0]).mean())
    print(f"{user}: measured {np.round(found, 3)}, true {np.round(looked / looked[0], 3)}, mean error {error:.4f}")
    assert error <= 0.06
