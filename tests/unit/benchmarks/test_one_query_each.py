import numpy as np
import pytest

from study.one_query_each import HEADROOM, one_query_world, reward_of, run_queries


def test_the_best_weights_earn_three_per_cent_more() -> None:
    world = one_query_world(8, 0)
    best = reward_of(lambda x: x @ world.truth, world.truth)
    assert best / world.reward == pytest.approx(1.0 + HEADROOM, abs=5e-4)
    assert [np.linalg.norm(w) for w in (world.truth, world.start)] == pytest.approx([1.0, 1.0])


def test_a_reward_is_that_of_drawn_clicks() -> None:
    """A constant score shows documents in random order: (.1 + .9 mean relevance) times the sum of 1/k."""
    truth = one_query_world(8, 0).truth
    rng = np.random.default_rng(9)
    t = rng.normal(size=400_000)  # truth has norm 1 and features are standard normal: so is their product
    expected = float((0.1 + 0.9 / (1.0 + np.exp(2.0 - 1.2 * t))).mean() * (1.0 / np.arange(1, 11)).sum())
    # 4,000 queries with 15 documents each: a standard error below .003
    assert reward_of(lambda x: np.zeros(len(x)), truth) == pytest.approx(expected, abs=0.012)
    assert reward_of(lambda x: 3.0 * (x @ truth), truth) == pytest.approx(
        reward_of(lambda x: x @ truth, truth), abs=1e-9
    )


def test_a_run_tells_what_stood_after_each_call_and_what_is_proposed() -> None:
    trail = run_queries(8, 0, n_events=500)
    (drift,) = trail.loop
    assert (drift.n_events, drift.live, drift.version) == (500, 0.0, 0)
    assert trail.first_promotion is None
    # both are what one call of train proposes after the same 500 events
    assert trail.proposed == {500: drift.standing}
    assert drift.standing != 0.0
