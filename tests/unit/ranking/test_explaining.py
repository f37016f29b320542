from itertools import combinations, permutations

import numpy as np
import pytest

from dwell.errors import RecordError
from dwell.ranking import contributions, kendall_tau, order_of, standardised_contributions
from dwell.records import Params
from dwell.records.adjustments import Adjustment, LowRank
from dwell.records.params import RawScore, Transform

NAMES = ("bm25", "cosine", "age")
MAP = Transform(
    knots=(np.array([0.0, 10.0]), np.array([0.0, 0.5, 1.0]), np.array([0.0, 100.0])),
    levels=(np.array([-1.0, 2.0]), np.array([-2.0, 0.0, 1.0]), np.array([1.0, -1.0])),
)
START = RawScore(weights=(1.0, 3.0, -0.1), mean=4.0, sd=2.0, coefficient=0.7)


def learned(**more: object) -> Params:
    return Params(
        version=4, weights=dict(zip(NAMES, (0.2, -0.4, 0.1), strict=True)), transform=MAP, raw_score=START,
        origin="learned", **more,  # type: ignore[arg-type]
    )  # fmt: skip


def some_features(seed: int, n: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.uniform(0.0, (12.0, 1.2, 120.0), size=(n, 3))
    found[0, 1] = np.nan  # it did not exist then
    return found


@pytest.mark.parametrize(
    "params",
    [
        Params(version=0, weights=dict.fromkeys(NAMES, 2.0)),
        Params(version=0, weights=dict.fromkeys(NAMES, 0.0), origin="caller-order"),
        Params(version=1, weights=dict.fromkeys(NAMES, 1.0), transform=MAP, origin="standardised"),
        learned(),
        learned(by_segment={"how": Adjustment({"age": 0.5}, coefficient=-0.3)}),
        learned(by_query=LowRank(np.arange(8.0).reshape(4, 2) / 10.0, np.arange(6.0).reshape(3, 2) / 5.0)),
    ],
)
def test_what_features_add_sums_to_the_score_but_for_the_starting_scores_mean(params: Params) -> None:
    asked = {"segment": "how", "query_embedding": np.array([1.0, -2.0, 0.5])}
    x = some_features(3)
    added = contributions(params, x, **asked)  # type: ignore[arg-type]
    scores = params.score(x, **asked)  # type: ignore[arg-type]
    apart = scores - added.sum(axis=1)
    assert added.shape == (7, 3)
    np.testing.assert_allclose(apart, apart[0], atol=1e-12)
    if params.raw_score is None:
        np.testing.assert_allclose(apart, 0.0, atol=1e-12)


def test_a_feature_that_has_no_weight_in_either_part_adds_nothing() -> None:
    start = RawScore(weights=(1.0, 0.0, 0.0), mean=0.0, sd=2.0, coefficient=0.5)
    params = Params(
        version=1, weights=dict(zip(NAMES, (0.0, 1.0, 0.0), strict=True)), transform=MAP, raw_score=start
    )  # fmt: skip
    added = contributions(params, np.array([[4.0, 0.5, 50.0], [8.0, 1.0, 0.0]]))
    np.testing.assert_allclose(added, [[0.5 * 4.0 / 2.0, 0.0, 0.0], [0.5 * 8.0 / 2.0, 1.0, 0.0]])


def test_features_of_another_number_are_refused_by_name() -> None:
    with pytest.raises(RecordError, match="another shape") as refused:
        contributions(learned(), np.ones((2, 4)))
    assert refused.value.field == "features"


def test_standardised_contributions_are_of_mean_0_and_sum_to_scores_of_spread_1() -> None:
    found = standardised_contributions(contributions(learned(), some_features(5)))
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-12)
    assert found.sum(axis=1).std() == pytest.approx(1.0)
    doubled = contributions(Params(version=0, weights=dict.fromkeys(NAMES, 2.0)), some_features(5))
    np.testing.assert_allclose(standardised_contributions(doubled), standardised_contributions(doubled / 2.0))


def test_of_equal_scores_the_callers_order_decides_and_no_spread_is_no_error() -> None:
    assert order_of(np.array([1.0, 2.0, 1.0, 2.0]), np.array([3, 2, 0, 1])).tolist() == [3, 1, 2, 0]
    assert (standardised_contributions(np.ones((4, 2))) == 0.0).all()
    assert standardised_contributions(np.ones((0, 2))).shape == (0, 2)


def test_tau_is_the_pairs_that_agree_less_those_that_do_not_over_all_of_them() -> None:
    first = np.array([2, 0, 3, 1])
    for second in permutations(range(4)):
        place = {doc: i for i, doc in enumerate(second)}
        signs = [1 if place[a] < place[b] else -1 for a, b in combinations(first.tolist(), 2)]
        assert kendall_tau(first, np.array(second)) == pytest.approx(sum(signs) / len(signs))
    assert kendall_tau(first, first) == 1.0
    assert kendall_tau(first, first[::-1]) == -1.0


@pytest.mark.parametrize("n", [0, 1])
def test_what_can_not_differ_is_alike(n: int) -> None:
    assert kendall_tau(np.arange(n), np.arange(n)) == 1.0
