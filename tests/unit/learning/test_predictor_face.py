import numpy as np
import pytest

from dwell.errors import LearningError, RecordError
from dwell.learning.predictor_face import RewardPredictor
from dwell.records import Experience


def experience(i: int, embedding: list[float], params: dict[str, float], reward: float) -> Experience:
    return Experience(f"e{i}", 0.0, "q", embedding, [], params, {}, reward)


def random_experiences(n: int, seed: int) -> list[Experience]:
    rng = np.random.default_rng(seed)
    return [
        experience(
            i,
            rng.normal(size=3).tolist(),
            {"bm25": float(rng.normal()), "cosine": float(rng.normal())},
            float(rng.uniform(-1, 1)),
        )
        for i in range(n)
    ]


def test_before_any_learning_it_expects_nothing() -> None:
    assert RewardPredictor().predict([1.0, 2.0], {"bm25": 1.0}) == 0.0


def test_it_is_the_minimiser_of_the_ridge_objective() -> None:
    items, ridge = random_experiences(40, 0), 2.5
    predictor = RewardPredictor(ridge=ridge)
    predictor.fit(items)
    # independent oracle: least squares on the stacked system; the intercept's penalty is 1e-6
    x = np.array([[*e.query_embedding, e.ranking_params["bm25"], e.ranking_params["cosine"], 1.0] for e in items])
    y = np.array([e.reward for e in items])
    penalty = np.diag(np.sqrt([ridge] * 5 + [1e-6]))
    beta = np.linalg.lstsq(np.vstack([x, penalty]), np.concatenate([y, np.zeros(6)]), rcond=None)[0]
    for row, item in zip(x, items, strict=True):
        expected = float(np.clip(row @ beta, -1.0, 1.0))
        assert predictor.predict(item.query_embedding, item.ranking_params) == pytest.approx(expected, abs=1e-9)


def test_it_recovers_a_linear_reward() -> None:
    rng = np.random.default_rng(1)
    items = []
    for i in range(2000):
        u, w = rng.uniform(-0.5, 0.5, 2)
        items.append(experience(i, [float(u)], {"bm25": float(w)}, float(0.4 * u - 0.8 * w + 0.1)))
    predictor = RewardPredictor()
    predictor.learn(items)
    assert predictor.predict([0.3], {"bm25": -0.4}) == pytest.approx(0.12 + 0.32 + 0.1, abs=0.01)


def test_the_result_does_not_depend_on_order_or_portions() -> None:
    items = random_experiences(30, 2)
    whole, portions = RewardPredictor(), RewardPredictor()
    whole.learn(items)
    for start in (20, 10, 0):
        portions.learn(items[start : start + 10])
    assert portions.n_learned == whole.n_learned == 30
    at = ([0.1, -0.2, 0.3], {"bm25": 0.5, "cosine": 0.25})
    assert portions.predict(*at) == pytest.approx(whole.predict(*at), abs=1e-12)


def test_params_and_an_embedding_that_come_later_were_zero_before() -> None:
    early = [experience(i, [], {"bm25": i / 10}, i / 20) for i in range(10)]
    late = [experience(i, [0.5, i / 10], {"cosine": 1.0 - i / 10, "bm25": 0.2}, -i / 20) for i in range(10)]
    grown, padded = RewardPredictor(), RewardPredictor()
    grown.learn(early)
    assert grown.predict([9.0, 9.0], {"bm25": 0.5, "cosine": 9.0}) == grown.predict([], {"bm25": 0.5})
    grown.learn(late)
    padded.learn([experience(i, [0.0, 0.0], {"bm25": i / 10, "cosine": 0.0}, i / 20) for i in range(10)] + late)
    at = ([0.25, -0.5], {"bm25": 0.5, "cosine": 0.25})
    assert grown.predict(*at) == pytest.approx(padded.predict(*at), abs=1e-12)


def test_it_never_promises_more_than_a_reward_can_be() -> None:
    predictor = RewardPredictor(ridge=1e-6)
    predictor.learn([experience(i, [i / 10], {}, i / 10) for i in range(10)])
    assert predictor.predict([50.0], {}) == 1.0
    assert predictor.predict([-50.0], {}) == -1.0


def test_fit_forgets_what_was_learned() -> None:
    fresh, again = RewardPredictor(), RewardPredictor()
    again.learn(random_experiences(20, 3))
    items = random_experiences(20, 4)
    fresh.fit(items)
    again.fit(items)
    at = ([0.1, -0.2, 0.3], {"bm25": 0.5})
    assert again.predict(*at) == fresh.predict(*at)
    again.fit([])
    assert again.predict(*at) == 0.0


def test_what_does_not_fit_is_refused_and_nothing_is_learned() -> None:
    predictor = RewardPredictor()
    predictor.learn(random_experiences(5, 5))
    for call in (predictor.learn, predictor.fit):
        with pytest.raises(RecordError, match="embedding"):
            call([*random_experiences(2, 6), experience(9, [1.0], {}, 0.5)])
    with pytest.raises(RecordError, match="embedding"):
        predictor.predict([1.0], {})
    with pytest.raises(RecordError, match="bm25"):
        predictor.predict([1.0, 2.0, 3.0], {"bm25": float("nan")})
    assert predictor.n_learned == 5


@pytest.mark.parametrize("ridge", [0.0, -1.0])
def test_a_ridge_is_above_zero(ridge: float) -> None:
    with pytest.raises(LearningError, match="ridge"):
        RewardPredictor(ridge=ridge)
