from statistics import NormalDist

import numpy as np
import pytest

from dwell.server.dashboard.asked import by_place, groups_of, mean_of, worst_first

from .seen_lists import seen


def test_queries_that_differ_in_case_and_spacing_are_one_and_the_most_asked_comes_first() -> None:
    newest_first = [seen(5, "other"), seen(4, "Reset  2FA"), seen(3, "reset 2fa"), seen(2, "alone"), seen(1, "other")]
    found = groups_of(newest_first)
    assert [(group.query, len(group.lists)) for group in found] == [("other", 2), ("Reset  2FA", 2), ("alone", 1)]
    assert found[1].newest.seq == 4


def test_an_interval_narrows_with_lists_and_widens_with_what_is_compared() -> None:
    found = mean_of([0.0, 1.0] * 10, 0.4)
    assert found is not None
    half = NormalDist().inv_cdf(0.975) * 0.5 / np.sqrt(20)  # the spread of its own, .5, is larger than that of all
    assert (found.value, found.n) == (0.5, 20)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))
    wider = mean_of([0.0, 1.0] * 10, 0.4, n_compared=40)
    assert wider is not None
    widening = NormalDist().inv_cdf(1 - 0.025 / 40) / NormalDist().inv_cdf(0.975)
    assert wider.high - wider.value == pytest.approx(half * widening)


def test_few_equal_rewards_do_not_look_certain() -> None:
    found = mean_of([0.0] * 5, 0.4)
    assert found is not None
    assert found.high > 0.2
    assert mean_of([], 0.4) is None


def test_the_worst_have_enough_lists_and_noise_is_rarely_called_low() -> None:
    rng = np.random.default_rng(5)
    n_low = 0
    for _ in range(200):
        lists = [seen(i, f"q{i % 40}", float(rng.random() < 0.4)) for i in range(400)]
        middle = float(np.mean([one.reward for one in lists]))  # type: ignore[misc]
        n_low += any(mean.high < middle for _, mean in worst_first(groups_of(lists), most=40))
    # all queries are alike: 2.5 % of such pages call one low, about; more than 15 of 200 has a chance of 1e-4
    assert n_low <= 15
    truly = [seen(i, "bad" if i % 4 == 0 else f"q{i % 10}", float(i % 4 > 1)) for i in range(400)]
    (group, mean), *_ = worst_first(groups_of(truly), most=3)
    assert group.query == "bad"
    assert mean.high < 0.5
    assert worst_first(groups_of([seen(i, "q", None) for i in range(9)]), most=3) == []


def test_ignored_means_that_several_lists_are_over_without_any_reaction() -> None:
    silent, loud, young = (
        [seen(i, "silent") for i in range(5)],
        [seen(i, "loud", signals={"click": 1} if i == 7 else {}) for i in range(5, 10)],
        [seen(i, "young", None) for i in range(10, 19)],
    )
    assert {g.query: g.is_ignored for g in groups_of([*silent, *loud, *young])} == {
        "silent": True, "loud": False, "young": False,
    }  # fmt: skip


def test_reactions_are_counted_by_place_among_lists_that_were_so_long() -> None:
    shown = [seen(1, praised=(1, 3)), seen(2, praised=(1,), n_shown=1), seen(3, n_shown=2)]
    found = by_place([*shown, seen(4, reward=None, praised=(2,))])
    assert [(at.place, at.n_shown, at.n_praised) for at in found] == [(1, 3, 2), (2, 2, 0), (3, 1, 1)]
    assert found[0].share == pytest.approx(2 / 3)
    assert by_place([]) == []
