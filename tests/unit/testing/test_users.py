import itertools
from collections.abc import Callable

import numpy as np
import pytest

from dwell.errors import ConfigError, RecordError
from dwell.testing.users import CascadeUser, DbnUser, PositionBasedUser, SimulatedUser, Visitors, relevance

R = np.array([0.8, 0.0, 0.35, 1.0])  # probabilities of relevance in shown order
N_LISTS = 40_000


def attraction(noise: float = 0.1) -> list[float]:
    return [noise + (1 - noise) * r for r in R]


def by_coins(continues: Callable[[int, int], float], attracts: list[float]) -> list[float]:
    """Marginal click rates by enumeration of every outcome of every coin, as told in words by each model.

    `attracts[k]` is the chance of being attracted at k; `continues(k, clicked)` that of looking further.
    """
    n = len(attracts)
    rates = [0.0] * n
    for attracted, goes_on in itertools.product(itertools.product((0, 1), repeat=n), repeat=2):
        probability, looking = 1.0, True
        clicks = [0] * n
        for k in range(n):
            clicks[k] = int(looking and attracted[k])
            probability *= attracts[k] if attracted[k] else 1 - attracts[k]
            on = continues(k, attracted[k])
            probability *= on if goes_on[k] else 1 - on
            looking = looking and bool(goes_on[k])
        rates = [rate + probability * click for rate, click in zip(rates, clicks, strict=True)]
    return rates


def dbn_attraction(trust: float, noise: float = 0.1) -> list[float]:
    noises = [noise + (1 - noise) * trust / rank for rank in range(1, len(R) + 1)]
    return [n + (1 - n) * r for n, r in zip(noises, R, strict=True)]


CASES = [
    (PositionBasedUser(), [a / rank for rank, a in enumerate(attraction(), 1)]),
    (PositionBasedUser(eta=0.5, noise=0.0), [r / rank**0.5 for rank, r in enumerate(R, 1)]),
    (CascadeUser(), by_coins(lambda _, clicked: 0.0 if clicked else 1.0, attraction())),
    (CascadeUser(continuation=0.6), by_coins(lambda _, clicked: 0.6 if clicked else 1.0, attraction())),
    (DbnUser(), by_coins(lambda k, clicked: 0.9 * (1 - 0.7 * R[k] * clicked), dbn_attraction(0.2))),
    (
        DbnUser(patience=0.5, satisfaction=1.0, trust=0.0),
        by_coins(lambda k, clicked: 0.5 * (1 - R[k] * clicked), dbn_attraction(0.0)),
    ),
]


@pytest.mark.parametrize(("user", "rates"), CASES)
def test_click_probabilities_are_those_of_the_enumerated_model(user: SimulatedUser, rates: list[float]) -> None:
    np.testing.assert_allclose(user.click_probabilities(R), rates, rtol=1e-12)


@pytest.mark.parametrize(("user", "rates"), CASES)
def test_clicks_come_at_the_enumerated_rates(user: SimulatedUser, rates: list[float]) -> None:
    clicks = user.clicks(np.tile(R, (N_LISTS, 1)), np.random.default_rng(11))
    assert clicks.dtype == np.bool_
    rates = np.array(rates)
    # four positions, six cases: 4.5 standard errors are exceeded by chance in 1.6e-4 of the runs
    assert (np.abs(clicks.mean(axis=0) - rates) <= 4.5 * np.sqrt(rates * (1 - rates) / N_LISTS) + 1e-12).all()


def test_a_cascade_user_clicks_at_most_once() -> None:
    clicks = CascadeUser().clicks(np.tile(R, (500, 1)), np.random.default_rng(0))
    assert clicks.sum(axis=-1).max() == 1


def test_a_satisfied_dbn_user_sees_nothing_below() -> None:
    user = DbnUser(patience=1.0, satisfaction=1.0, trust=0.0, noise=0.0)
    clicks = user.clicks(np.array([[1.0, 1.0, 1.0]] * 50), np.random.default_rng(0))
    assert clicks.tolist() == [[True, False, False]] * 50


@pytest.mark.parametrize("user", [PositionBasedUser(), CascadeUser(), DbnUser()])
def test_one_list_many_lists_and_no_list(user: SimulatedUser) -> None:
    assert user.clicks(R, np.random.default_rng(0)).shape == (4,)
    assert user.clicks(np.tile(R, (3, 2, 1)), np.random.default_rng(0)).shape == (3, 2, 4)
    assert user.clicks(np.zeros(0), np.random.default_rng(0)).shape == (0,)


@pytest.mark.parametrize("user", [PositionBasedUser(), CascadeUser(), DbnUser()])
def test_the_same_generator_gives_the_same_clicks(user: SimulatedUser) -> None:
    lists = np.tile(R, (50, 1))
    first, again = (user.clicks(lists, np.random.default_rng(7)) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != user.clicks(lists, np.random.default_rng(8)).tolist()


def test_integer_grades_are_exponential_and_floats_are_probabilities() -> None:
    np.testing.assert_allclose(relevance(np.array([0, 1, 2, 3, 4])), [0, 1 / 15, 3 / 15, 7 / 15, 1], rtol=1e-15)
    assert relevance(np.array([0, 1]), 1).tolist() == [0.0, 1.0]
    assert relevance(np.array([0.0, 0.3, 1.0])).tolist() == [0.0, 0.3, 1.0]


@pytest.mark.parametrize("grades", [[5], [-1], [1.2], [-0.1], [np.nan], ["3"], [True]])
def test_grades_out_of_range_are_refused(grades: list[object]) -> None:
    with pytest.raises(RecordError) as caught:
        relevance(np.array(grades))
    assert caught.value.code == "grade"


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (PositionBasedUser, {"eta": -1.0}),
        (PositionBasedUser, {"noise": 1.1}),
        (PositionBasedUser, {"max_grade": 0}),
        (CascadeUser, {"continuation": 1.5}),
        (CascadeUser, {"noise": float("nan")}),
        (DbnUser, {"patience": -0.1}),
        (DbnUser, {"satisfaction": 2}),
        (DbnUser, {"trust": True}),
        (DbnUser, {"max_grade": 2.5}),
    ],
)
def test_settings_out_of_range_are_refused_by_name(kind: type, arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**arguments)
    assert caught.value.field == next(iter(arguments))


def test_a_crowd_is_stable_and_comes_at_its_shares() -> None:
    crowd, twin = (Visitors(5, np.random.default_rng(2)) for _ in range(2))
    assert crowd.ids == twin.ids
    assert crowd.shares.tolist() == twin.shares.tolist()
    harmonic = sum(1 / rank for rank in range(1, 6))
    np.testing.assert_allclose(sorted(crowd.shares)[::-1], [1 / rank / harmonic for rank in range(1, 6)], rtol=1e-12)
    rng, n = np.random.default_rng(3), 20_000
    came = [crowd.next_visitor(rng) for _ in range(n)]
    for visitor, share in zip(crowd.ids, crowd.shares, strict=True):
        # five visitors: 4.5 standard errors are exceeded by chance in 3.4e-5 of the runs
        assert abs(came.count(visitor) / n - share) <= 4.5 * np.sqrt(share * (1 - share) / n)


def test_a_crowd_without_skew_is_even_and_says_that_it_is_simulated() -> None:
    crowd = Visitors(4, np.random.default_rng(0), skew=0.0)
    np.testing.assert_allclose(crowd.shares, [0.25] * 4, rtol=1e-12)
    assert len(crowd) == len(set(crowd.ids)) == 4
    assert all(visitor.startswith("simulated") for visitor in crowd.ids)


@pytest.mark.parametrize(("n", "skew"), [(0, 1.0), (True, 1.0), (2.0, 1.0), (1_000_001, 1.0), (3, -1.0), (3, np.nan)])
def test_a_malformed_crowd_is_refused(n: int, skew: float) -> None:
    with pytest.raises(ConfigError):
        Visitors(n, np.random.default_rng(0), skew=skew)
