import numpy as np
import pytest
from scipy import optimize, stats

from dwell.errors import EvaluationError
from dwell.reward.examination import Fitted, HarvestSums, PositionBased
from dwell.reward.measuring import (
    _chi_square_tail,
    _is_beyond_chance,
    examination_after,
    is_materially_different,
    measure,
)
from dwell.reward.position_fit import calibration, monotone_findings
from dwell.reward.regression_em import ClickTable, regression_em
from dwell.reward.swaps import swap_sums


def coins(above: float, below: float, n: int = 2000) -> HarvestSums:
    rng = np.random.default_rng(4)
    return HarvestSums.of(np.tile([0.5, 1.0], (n, 1)), (rng.random((n, 2)) < [above, below]).astype(float))


def test_the_order_of_trust() -> None:
    good, poor = coins(0.6, 0.3), coins(0.6, 0.3, 20)
    swaps = swap_sums(np.ones(400, dtype=int), np.tile([[1.0, 0.0], [0.0, 1.0]], (200, 1)))
    assert measure(PositionBased(), 2, harvested=good, swaps=swaps).source == "harvest"
    second = measure(PositionBased(), 2, harvested=poor, swaps=swaps)
    assert second.source == "swaps"
    assert second.reasons == ("harvest: 20 effective lists at the weakest pair, below 100",)
    last = measure(PositionBased(), 3, harvested=poor)
    assert last.is_assumed
    np.testing.assert_allclose(last.low, [1, 2**-1.5, 3**-1.5])
    np.testing.assert_allclose(last.high, [1, 2**-0.5, 3**-0.5])


def em_table(n: int = 3_000, *, groups: bool = True) -> ClickTable:
    rng = np.random.default_rng(8)
    x, position = rng.normal(size=(3 * n, 1)), np.tile([1, 2, 3], n)
    clicks = rng.random(3 * n) < np.array([1.0, 0.33, 0.17])[position - 1] / (1 + np.exp(-x[:, 0]))
    return ClickTable(clicks, position, x, np.repeat(np.arange(n), 3) if groups else None)


def test_regression_em_comes_third_and_never_asks_less_than_the_assumption() -> None:
    found, assumed = measure(PositionBased(), 3, table=em_table()), measure(PositionBased(), 3)
    assert found.source == "regression_em"
    assert "no log can tell" in found.reasons[-1]
    # the band holds that of the assumption, whose own ends are asked about as well
    assert (found.low <= assumed.low).all()
    assert (found.high >= assumed.high).all()
    assert [end.tobytes() for end in found.ends[2:]] == [end.tobytes() for end in assumed.ends]
    few = measure(PositionBased(), 3, table=em_table(60))
    assert few.source == "assumed"
    assert any(reason.startswith("regression_em: a standard error of") for reason in few.reasons)
    swaps = swap_sums(np.ones(400, dtype=int), np.tile([[1.0, 0.0], [0.0, 1.0]], (200, 1)))
    assert measure(PositionBased(), 2, swaps=swaps, table=em_table()).source == "swaps"


def test_who_comes_often_counts_once_in_the_errors_of_regression_em() -> None:
    """Every list ten times under one group: the errors are those of one list each, not a root of ten smaller."""
    once = em_table(600)
    many = ClickTable(*(np.repeat(np.asarray(column), 10, axis=0) for column in once))
    repeated, alone = regression_em(many), regression_em(once)
    # the ridge of relevance weighs a tenth in the repeated table
    np.testing.assert_allclose(repeated.values, alone.values, rtol=0.02)
    np.testing.assert_allclose(repeated.se, alone.se, rtol=0.1)
    unaware = regression_em(many._replace(groups=None))
    np.testing.assert_allclose(np.array(unaware.se[1:]) * np.sqrt(10.0), alone.se[1:], rtol=0.15)
    with pytest.raises(EvaluationError, match="one group"):
        regression_em(once._replace(groups=np.zeros(1_800, dtype=int)))
    few = measure(PositionBased(), 3, table=once._replace(groups=np.arange(1_800) % 49))
    assert few.is_assumed
    assert "regression_em: 49 users and queries, below 50" in few.reasons
    for clicks in (np.zeros(1_800), np.tile([1.0, 0.0, 1.0], 600)):
        nobody = measure(PositionBased(), 3, table=once._replace(clicks=clicks))
        assert "regression_em: a position without a click" in nobody.reasons


@pytest.mark.parametrize("df", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("x", [0.01, 3.0, 25.0])
def test_the_tail_of_chi_square_is_that_of_scipy(df: int, x: float) -> None:
    assert _chi_square_tail(x, df) == pytest.approx(float(stats.chi2.sf(x, df)), rel=1e-10)


def test_only_what_is_certain_and_matters_replaces() -> None:
    far = measure(PositionBased(), 2, harvested=coins(0.4, 0.36))
    assert is_materially_different(PositionBased(), far)
    assert not is_materially_different(far.examination, far)
    assert not is_materially_different(PositionBased(), measure(PositionBased(), 2))
    near = measure(PositionBased(), 2, harvested=coins(0.4, 0.21, 200_000))  # beyond chance, and too small to matter
    assert not is_materially_different(PositionBased(), near)
    unsure = Fitted((1.0, 0.5), (0.0, 0.4))  # what is in force is itself not known well enough to say
    assert not is_materially_different(unsure, far)


def test_what_is_taken_over_was_measured_by_draws_or_swaps_and_differs() -> None:
    one = PositionBased()
    far = measure(one, 2, harvested=coins(0.4, 0.36))
    assert examination_after(one, far) is far.examination
    assert examination_after(far.examination, far) is far.examination
    assert examination_after(one, measure(one, 2)) is one
    assert examination_after(one, measure(one, 2, harvested=coins(0.4, 0.21, 200_000))) is one
    # theta falls as .33, .17: far from 1/k^0, and yet of regression-EM
    flat = PositionBased(0.0)
    fitted = measure(flat, 3, table=em_table())
    assert fitted.source == "regression_em"
    assert is_materially_different(flat, fitted)
    assert examination_after(flat, fitted) is flat


def test_one_look_errs_once_in_a_hundred() -> None:
    # beside a theta far off: how large a drift counts, for the one pair that there is
    sums = coins(0.4, 0.36)

    def z_at(ratio: float) -> float:
        """Standard errors of theta_2 U - L under theta = (1, ratio)."""
        to = np.array([ratio, -1.0])
        return abs(ratio * sums.upper[0] - sums.lower[0]) / np.sqrt(to @ sums.products @ to)

    z = stats.norm.isf(0.005)  # two-sided 1 %
    measured = float(sums.lower[0] / sums.upper[0])
    edge = optimize.brentq(lambda r: z_at(r) - z, 0.5 * measured, measured * 0.999)
    assert _is_beyond_chance(sums, np.array([1.0, edge * 0.999]), np.zeros(2))
    assert not _is_beyond_chance(sums, np.array([1.0, edge * 1.001]), np.zeros(2))


def test_a_lower_position_that_is_looked_at_more_is_found() -> None:
    (finding,) = monotone_findings(coins(0.2, 0.5))
    assert finding.code == "rises"
    assert "position 2 is looked at more than position 1" in finding.words
    assert monotone_findings(coins(0.3, 0.3)) == ()


def test_calibration_is_observed_over_expected() -> None:
    predicted, clicks = np.full((100, 2), 0.5), np.zeros((100, 2))
    clicks[:50, 0], clicks[:10, 1] = 1.0, 1.0
    found = calibration(PositionBased(), predicted, clicks)
    np.testing.assert_allclose(found.ratio, [50 / 50, 10 / 25])
    half = 1.959963984540054 * np.sqrt(100 * 0.1 * 0.9) / 25  # a binomial of 10 in 100, over 25 expected
    np.testing.assert_allclose(found.high[1] - found.ratio[1], half)
    with pytest.raises(EvaluationError):
        calibration(PositionBased(), predicted + 0.6, clicks)


def test_regression_em_finds_theta_where_its_relevance_model_is_right() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(12_000, 1))
    position = np.tile([1, 2, 3], 4000)
    theta = np.array([1.0, 0.6, 0.2])
    clicks = rng.random(12_000) < theta[position - 1] / (1 + np.exp(-x[:, 0]))
    found = regression_em(ClickTable(clicks, position, x))
    assert found.source == "regression_em"
    assert (np.abs(np.array(found.values) - theta)[1:] < 4 * np.array(found.se)[1:]).all()
    assert max(found.se) < 0.05


def test_regression_em_holds_the_first_position_at_one() -> None:
    # the scale is not identified; from a start at 1 EM leaves the first position there, so that g takes it
    clicks = np.concatenate([np.repeat([1.0, 0.0], [300, 700]), np.repeat([1.0, 0.0], [150, 850])])
    table = ClickTable(clicks, np.repeat([1, 2], 1000), np.zeros((2000, 1)))
    found = regression_em(table)
    assert found.values[0] == 1.0
    # a constant relevance: the ratio of click rates is the estimate of maximum likelihood
    assert found.values[1] == pytest.approx(150 / 300, abs=1e-3)
    # Fisher: log(p2 / p1) has the variance (1 - p1) / (n p1) + (1 - p2) / (n p2)
    assert found.se[1] == pytest.approx(0.5 * np.sqrt(0.7 / 300 + 0.85 / 150), rel=1e-2)


@pytest.mark.parametrize(
    "table",
    [
        ClickTable([1, 0], [1, 3], [[0.0], [1.0]]),
        ClickTable([0.5, 0], [1, 2], [[0.0], [1.0]]),
        ClickTable([1, 0], [0, 1], [[0.0], [1.0]]),
        ClickTable([1, 0], [1, 2], [[np.nan], [1.0]]),
        ClickTable([], [], []),
        ClickTable([1, 0], [1, 2], [[0.0], [1.0]], [0]),
        ClickTable([1, 0], [1, 2], [[0.0], [1.0]], [0.5, 1.0]),
    ],
)
def test_a_malformed_table_is_refused(table: ClickTable) -> None:
    with pytest.raises(EvaluationError):
        regression_em(table)
