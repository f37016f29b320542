from itertools import permutations

import numpy as np
import pytest

from dwell.errors import DivergedError, LearningError, RecordError
from dwell.learning.linear import LinearRanker

NAMES = ("bm25", "cosine", "recency")
RESULTS = [
    {"id": "a", "rank": 1, "bm25": 1.0, "cosine": 0.2, "recency": 0.0},
    {"id": "b", "rank": 2, "bm25": 0.3, "cosine": 0.9, "recency": 0.5},
    {"id": "c", "rank": 3, "bm25": -0.4, "cosine": 0.1, "recency": 2.0},
]
WEIGHTS = {"bm25": 0.7, "cosine": -0.3, "recency": 0.2}


def probability(weights: dict[str, float], results: list[dict], temperature: float) -> float:
    """Plackett-Luce by its definition: a product of choices among those not yet placed."""
    strength = [np.exp(sum(weights[n] * r[n] for n in weights) / temperature) for r in results]
    return float(np.prod([strength[k] / sum(strength[k:]) for k in range(len(strength))]))


def test_scores_are_weighted_sums_and_rank_is_stable() -> None:
    ranker = LinearRanker({"bm25": 2.0, "cosine": 0.0})
    assert ranker.score(RESULTS).tolist() == pytest.approx([2.0, 0.6, -0.8])
    assert [r["id"] for r in ranker.rank(RESULTS[::-1])] == ["a", "b", "c"]
    assert [r["id"] for r in LinearRanker({"bm25": 0.0}).rank(RESULTS)] == ["a", "b", "c"]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_gradient_is_that_of_the_importance_weighted_reward(temperature: float, order: tuple[int, ...]) -> None:
    old = {"bm25": 0.1, "cosine": 0.4, "recency": -0.2}
    results = [RESULTS[i] for i in order]
    reward, step = -0.6, 1e-6

    def expected_reward(weights: dict[str, float]) -> float:
        return reward * probability(weights, results, temperature) / probability(old, results, temperature)

    ranker = LinearRanker(WEIGHTS, temperature=temperature, max_importance_weight=1e9)
    gradient = ranker.compute_gradient(query=[1.0], results=results, reward=reward, old_params=old)
    for name in NAMES:
        up, down = ({**WEIGHTS, name: WEIGHTS[name] + sign * step} for sign in (1, -1))
        slope = (expected_reward(up) - expected_reward(down)) / (2 * step)
        assert gradient[name] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_the_importance_weight_is_bounded() -> None:
    old = {"bm25": -8.0, "cosine": 0.0, "recency": 0.0}  # under these the served order was very unlikely
    ratio = probability(WEIGHTS, RESULTS, 1.0) / probability(old, RESULTS, 1.0)
    assert ratio > 10.0
    bounded, free = (LinearRanker(WEIGHTS, max_importance_weight=bound) for bound in (10.0, 1e12))
    for name in NAMES:
        full = free.compute_gradient([], RESULTS, 0.5, old)[name]
        assert bounded.compute_gradient([], RESULTS, 0.5, old)[name] == pytest.approx(full * 10.0 / ratio, rel=1e-9)


def test_without_old_params_there_is_nothing_to_weigh() -> None:
    ranker = LinearRanker(WEIGHTS)
    same = ranker.compute_gradient([], RESULTS, 0.5, WEIGHTS)
    assert ranker.compute_gradient([], RESULTS, 0.5, {}) == pytest.approx(same, rel=1e-12)
    assert ranker.compute_gradient([], RESULTS, 0.5, {"other": 3.0}) == pytest.approx(same, rel=1e-12)


def test_training_on_what_was_rewarded_makes_it_likelier_and_on_what_was_not_less() -> None:
    for reward, sign in ((1.0, 1), (-1.0, -1)):
        ranker = LinearRanker(dict.fromkeys(NAMES, 0.0))
        before = probability(ranker.params, RESULTS, 1.0)
        gradient = ranker.compute_gradient([], RESULTS, reward, ranker.params)
        ranker.update_params(gradient, learning_rate=0.1)
        assert sign * (probability(ranker.params, RESULTS, 1.0) - before) > 0.0


def test_the_step_is_proportional_to_the_learning_rate() -> None:
    one, half = LinearRanker(WEIGHTS), LinearRanker(WEIGHTS)
    gradient = one.compute_gradient([], RESULTS, 0.5, WEIGHTS)
    one.update_params(gradient, 0.5)
    half.update_params(gradient, learning_rate=0.25)
    for name in NAMES:
        assert one.params[name] - WEIGHTS[name] == pytest.approx(2 * (half.params[name] - WEIGHTS[name]))


def test_a_missing_feature_speaks_neither_for_nor_against() -> None:
    holed = [
        {**RESULTS[0]},
        {k: v for k, v in RESULTS[1].items() if k != "bm25"},
        {**RESULTS[2], "cosine": float("nan")},
    ]
    filled = [dict(r) for r in RESULTS]
    filled[1]["bm25"] = (1.0 - 0.4) / 2
    filled[2]["cosine"] = (0.2 + 0.9) / 2
    ranker = LinearRanker(WEIGHTS)
    expected = ranker.compute_gradient([], filled, 0.5, WEIGHTS)
    assert ranker.compute_gradient([], holed, 0.5, WEIGHTS) == pytest.approx(expected)
    without = ranker.compute_gradient([], [{"id": "a"}, {"id": "b"}], 0.5, WEIGHTS)
    assert without == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize("results", [[], RESULTS[:1]])
def test_a_list_without_an_alternative_teaches_nothing(results: list[dict]) -> None:
    assert LinearRanker(WEIGHTS).compute_gradient([], results, 1.0, WEIGHTS) == dict.fromkeys(NAMES, 0.0)


def test_params_are_a_copy() -> None:
    ranker = LinearRanker(WEIGHTS)
    ranker.params["bm25"] = 99.0
    assert ranker.params == WEIGHTS


def test_huge_scores_are_no_overflow() -> None:
    results = [{"bm25": 1e5}, {"bm25": -1e5}, {"bm25": 0.0}]
    gradient = LinearRanker({"bm25": 1.0}).compute_gradient([], results, 1.0, {})
    # -1e5 was placed before 0, all but impossible: the slope moves weight from 0 to -1e5
    assert gradient["bm25"] == pytest.approx(-1e5)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"weights": {}}, RecordError, "features"),
        ({"weights": {"bm25": float("nan")}}, RecordError, "bm25"),
        ({"weights": {"bm25": "1"}}, RecordError, "bm25"),
        ({"weights": WEIGHTS, "temperature": 0.0}, LearningError, "temperature"),
        ({"weights": WEIGHTS, "max_importance_weight": -1.0}, LearningError, "max_importance_weight"),
    ],
)
def test_malformed_settings_are_named(arguments: dict, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        LinearRanker(**arguments)


def test_malformed_calls_are_named_and_change_nothing() -> None:
    ranker = LinearRanker(WEIGHTS)
    with pytest.raises(RecordError, match="reward"):
        ranker.compute_gradient([], RESULTS, float("nan"), {})
    with pytest.raises(RecordError, match=r"old_params\.bm25"):
        ranker.compute_gradient([], RESULTS, 0.5, {"bm25": float("inf")})
    with pytest.raises(RecordError, match="learning_rate"):
        ranker.update_params(WEIGHTS, float("nan"))
    with pytest.raises(RecordError, match=r"gradient\.cosine"):
        ranker.update_params({"cosine": float("inf")}, 0.1)
    with pytest.raises(DivergedError, match="infinite"):
        ranker.update_params({"cosine": 1e308}, 1e10)
    with pytest.raises(DivergedError, match="not finite"):
        LinearRanker({"bm25": 1e300}).compute_gradient([], [{"bm25": 1e300}, {"bm25": 0.0}], 1.0, {})
    assert ranker.params == WEIGHTS
