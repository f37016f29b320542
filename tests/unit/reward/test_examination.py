import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from dwell.errors import ConfigError, EvaluationError
from dwell.reward.examination import MAX_POSITIONS, Examination, Fitted, PositionBased, harvest


@pytest.mark.parametrize("eta", [0, 0.5, 1, 2.0])
def test_the_position_based_model_is_a_power_of_the_rank(eta: float) -> None:
    model = PositionBased(eta)
    assert model.theta(5).tolist() == pytest.approx([1 / rank**eta for rank in range(1, 6)], rel=1e-15)
    assert model.is_assumed


def test_versions_name_the_numbers() -> None:
    assert PositionBased(1).version == PositionBased(1.0).version
    assert PositionBased(1.0).version != PositionBased(0.5).version
    first, second = Fitted((1.0, 0.5), (0.0, 0.1)), Fitted((1.0, 0.4), (0.0, 0.1))
    assert first.version != second.version
    assert not first.is_assumed


@pytest.mark.parametrize("eta", [-0.1, 4.1, math.nan, math.inf, True, "1"])
def test_an_eta_out_of_range_is_refused(eta: float) -> None:
    with pytest.raises(ConfigError) as caught:
        PositionBased(eta)
    assert caught.value.field == "eta"


@pytest.mark.parametrize("model", [PositionBased(), Fitted((1.0, 0.5), (0.0, 0.1))])
@pytest.mark.parametrize("k", [0, -1, MAX_POSITIONS + 1, True, 2.0, "3"])
def test_a_number_of_positions_out_of_range_is_refused(model: Examination, k: object) -> None:
    with pytest.raises(ConfigError) as caught:
        model.theta(k)
    assert caught.value.field == "k"


def test_a_table_goes_on_as_one_over_rank() -> None:
    table = Fitted((1.0, 0.6, 0.3), (0.0, 0.01, 0.02))
    assert table.theta(2).tolist() == [1.0, 0.6]
    np.testing.assert_allclose(table.theta(5), [1.0, 0.6, 0.3, 0.3 * 3 / 4, 0.3 * 3 / 5], rtol=1e-15)


@pytest.mark.parametrize(
    ("values", "se"),
    [
        ((), ()),
        ((0.9, 0.5), (0.0, 0.1)),
        ((1.0, 1.1), (0.0, 0.1)),
        ((1.0, 0.0), (0.0, 0.1)),
        ((1.0, math.nan), (0.0, 0.1)),
        ((1.0, 0.5), (0.0,)),
        ((1.0, 0.5), (0.0, -0.1)),
        ((1.0, 0.5), (0.0, math.inf)),
    ],
)
def test_a_malformed_table_is_refused(values: tuple[float, ...], se: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError):
        Fitted(values, se)


def every_draw_of_three() -> Iterator[tuple[tuple[int, ...], list[float], int]]:
    """All lists of a Plackett-Luce logger over weights 1, 2, 3: (order, propensities, times in 60 draws)."""
    weight = {0: 1, 1: 2, 2: 3}
    for order in itertools.permutations(weight):
        rest, propensities = 6, []
        for doc in order:
            propensities.append(weight[doc] / rest)
            rest -= weight[doc]
        yield order, propensities, round(60 * math.prod(propensities))


def test_harvesting_is_exact_in_expectation() -> None:
    theta, relevant = np.array([1.0, 0.5, 0.2]), np.array([0.9, 0.1, 0.4])
    propensities, credit = [], []
    for order, p, times in every_draw_of_three():
        propensities += [p] * times
        credit += [theta * relevant[list(order)]] * times
    assert len(propensities) == 60
    found = harvest(propensities, credit, pseudo_clicks=1e-12)
    np.testing.assert_allclose(found.values, theta, rtol=1e-10)
    assert found.n_lists == 60


def test_naive_click_rates_would_be_wrong_on_the_same_log() -> None:
    theta, relevant = np.array([1.0, 0.5, 0.2]), np.array([0.9, 0.1, 0.4])
    rates = sum(t / 60 * theta * relevant[list(order)] for order, _, t in every_draw_of_three())
    assert abs(rates[2] / rates[0] - theta[2]) > 0.1


def test_without_a_click_the_assumption_stands() -> None:
    found = harvest(np.full((4, 5), 0.5), np.zeros((4, 5)))
    np.testing.assert_allclose(found.values, [1 / rank for rank in range(1, 6)], rtol=1e-14)
    assert found.se == (0.0,) * 5


def test_a_deterministic_log_tells_nothing() -> None:
    found = harvest(np.ones((50, 3)), np.tile([1.0, 1.0, 1.0], (50, 1)))
    np.testing.assert_allclose(found.values, [1.0, 1 / 2, 1 / 3], rtol=1e-14)
    assert found.n_effective == (0.0, 0.0)


def test_pseudo_clicks_pull_by_their_number() -> None:
    # two equally likely documents: every list weighs 1; 70 clicks above, 60 below, 30 pseudo-clicks split 20 to 10
    clicks = np.zeros((100, 2))
    clicks[:70, 0] = 1.0
    clicks[:60, 1] = 1.0
    propensities = np.tile([0.5, 1.0], (100, 1))
    assert harvest(propensities, clicks, pseudo_clicks=30.0).values[1] == pytest.approx((60 + 10) / (70 + 20))


def test_the_standard_error_is_the_delta_method() -> None:
    rng = np.random.default_rng(5)
    clicks = (rng.random((200, 2)) < [0.6, 0.3]).astype(float)
    found = harvest(np.tile([0.5, 1.0], (200, 1)), clicks, pseudo_clicks=1e-9)
    above, below = clicks.T
    ratio = below.sum() / above.sum()
    assert found.se[1] == pytest.approx(math.sqrt(((below - ratio * above) ** 2).sum()) / above.sum(), rel=1e-6)


def test_a_short_list_counts_as_far_as_it_goes() -> None:
    long, short = [0.4, 0.5, 1.0], [0.5, 1.0, np.nan]
    clicks = [[1, 0, 1], [1, 1, np.nan]]
    both = harvest([long, short], clicks)
    alone = harvest([long], clicks[:1])
    assert both.values[2] / both.values[1] == pytest.approx(alone.values[2] / alone.values[1], rel=1e-14)
    assert both.values[1] != alone.values[1]


def test_a_ratio_above_one_is_capped() -> None:
    clicks = np.tile([0.0, 1.0], (500, 1))
    assert harvest(np.tile([0.5, 1.0], (500, 1)), clicks).values == (1.0, 1.0)


@pytest.mark.parametrize(
    ("propensities", "clicks", "options"),
    [
        ([0.5, 0.5], [1.0, 0.0], {}),
        ([[0.5, 0.5]], [[1.0]], {}),
        (np.ones((3, 0)), np.ones((3, 0)), {}),
        ([[0.0, 0.5]], [[1.0, 0.0]], {}),
        ([[1.1, 0.5]], [[1.0, 0.0]], {}),
        ([[np.nan, 0.5]], [[1.0, 0.0]], {}),
        ([[0.5, 0.5]], [[2.0, 0.0]], {}),
        ([[0.5, 0.5]], [[np.nan, 0.0]], {}),
        ([[0.5, 0.5]], [[1.0, 0.0]], {"pseudo_clicks": 0.0}),
        ([[0.5, 0.5]], [[1.0, 0.0]], {"pseudo_clicks": math.inf}),
    ],
)
def test_malformed_logs_are_refused(
    propensities: npt.ArrayLike, clicks: npt.ArrayLike, options: dict[str, float]
) -> None:
    with pytest.raises(EvaluationError) as caught:
        harvest(propensities, clicks, **options)
    assert caught.value.hint


def test_propensities_at_the_edge_of_floats_give_finite_numbers() -> None:
    tiny = np.nextafter(0.0, 1.0)
    found = harvest([[tiny, 1.0], [1.0, tiny], [tiny, tiny]], np.ones((3, 2)))
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.se).all()
