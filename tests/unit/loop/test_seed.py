import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from dwell.errors import RecordError, ReplayError
from dwell.loop.seed import (
    add_experience_with_priority,
    buffer_health_report,
    compute_priority,
    temporal_weight,
    train_from_replay,
    train_with_temporal_weighting,
)
from dwell.records import Experience
from dwell.replay import ReplayBuffer

NOW = 1_700_000_000.0
WEEK_S = 168 * 3600.0


def experience(event_id: str = "e0", **changed: object) -> Experience:
    fields: dict[str, Any] = {
        "timestamp": NOW,
        "query": "q",
        "query_embedding": [0.5],
        "results_served": [{"id": "a"}],
        "ranking_params": {"bm25": 1.0},
        "feedback_signals": {},
        "reward": 0.5,
    }
    return Experience(event_id, **{**fields, **changed})


class Recorder:
    """A ranking model whose gradient is the reward: what it was given can be read back."""

    def __init__(self) -> None:
        self.rewards: list[float] = []
        self.rates: list[float] = []
        self.moved = 0.0

    def compute_gradient(self, *, reward: float, **context: object) -> float:
        assert set(context) == {"query", "results", "old_params"}
        self.rewards.append(reward)
        return reward

    def update_params(self, gradient: float, *, learning_rate: float) -> None:
        self.rates.append(learning_rate)
        self.moved += learning_rate * gradient


class Expecting:
    def __init__(self, predicted: float) -> None:
        self.predicted = predicted

    def predict(self, query_embedding: Sequence[float], ranking_params: Mapping[str, float]) -> float:
        assert (list(query_embedding), dict(ranking_params)) == ([0.5], {"bm25": 1.0})
        return self.predicted


# ---- priority


@pytest.mark.parametrize(
    ("reward", "predicted", "expected"),
    [(0.5, 0.5, 0.06), (1.0, -1.0, 2.11), (-0.4, 0.0, 0.45), (0.0, 0.0, 0.01)],
)
def test_a_priority_is_surprise_and_a_tenth_of_the_magnitude(reward: float, predicted: float, expected: float) -> None:
    assert compute_priority(experience(reward=reward), predicted) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("predicted", [0.25, np.float32(0.25), np.array(0.25)])
def test_an_experience_is_added_with_its_priority(predicted: float) -> None:
    buffer, item = ReplayBuffer(5), experience()
    add_experience_with_priority(buffer, item, Expecting(predicted))
    assert item.priority == buffer.get("e0").priority == pytest.approx(0.25 + 0.05 + 0.01)  # type: ignore[union-attr]


@pytest.mark.parametrize("predicted", [float("nan"), float("inf")])
def test_a_prediction_that_is_no_number_adds_nothing(predicted: float) -> None:
    buffer = ReplayBuffer(5)
    with pytest.raises(RecordError, match="predicted_reward"):
        add_experience_with_priority(buffer, experience(), Expecting(predicted))
    assert buffer.size() == 0


# ---- the temporal weight


def test_a_weight_halves_per_half_life() -> None:
    item = experience()
    assert temporal_weight(item, NOW) == 1.0
    assert temporal_weight(item, NOW + WEEK_S) == 0.5
    assert temporal_weight(item, NOW + 3 * WEEK_S) == 0.125
    assert temporal_weight(item, NOW + 7200, half_life_hours=1) == 0.25
    assert temporal_weight(item, NOW + 1800, 1) == pytest.approx(math.sqrt(0.5))


def test_the_future_weighs_no_more_than_the_present() -> None:
    assert temporal_weight(experience(timestamp=NOW + WEEK_S), NOW) == 1.0


@pytest.mark.parametrize("half_life", [0, -1.0])
def test_a_half_life_is_above_zero(half_life: float) -> None:
    with pytest.raises(ReplayError, match="half_life_hours"):
        temporal_weight(experience(), NOW, half_life)


# ---- training


def filled(n: int = 100, *, half_life_s: float | None = None, age_s: float = 0.0) -> ReplayBuffer:
    buffer = ReplayBuffer(n, alpha=1.0, half_life_s=half_life_s, seed=0)
    for i in range(n):
        buffer.add(experience(f"e{i}", reward=(i % 3 - 1) / 2, priority=1.0 + i % 4, timestamp=NOW - age_s))
    return buffer


def test_with_too_few_experiences_nothing_happens() -> None:
    model = Recorder()
    assert train_from_replay(filled(63), model) == 0
    assert train_from_replay(ReplayBuffer(5), model) == train_with_temporal_weighting(ReplayBuffer(5), model) == 0
    assert model.rates == []


def test_each_draw_makes_one_gradient_and_one_update_with_the_reward_as_it_is() -> None:
    buffer, model = filled(), Recorder()
    assert train_from_replay(buffer, model, batch_size=64, learning_rate=0.05, rng=np.random.default_rng(3)) == 64
    batch = buffer.sample(64, strategy="priority", rng=np.random.default_rng(3))
    assert len(set(batch.event_ids)) < 64  # repeats are among them
    assert model.rewards == [item.reward for item in batch.experiences]
    # P is in proportion to the priority at alpha 1, so the correction is its inverse, of mean 1
    inverse = np.array([1.0 / item.priority for item in batch.experiences])
    assert model.rates == pytest.approx((0.05 * inverse / inverse.mean()).tolist(), rel=1e-12)


def test_a_batch_one_half_life_old_moves_the_params_half_as_far() -> None:
    moved = []
    for age_s in (0.0, WEEK_S, 2 * WEEK_S):
        model = Recorder()
        buffer = filled(age_s=age_s)
        assert train_with_temporal_weighting(buffer, model, 64, now=NOW, rng=np.random.default_rng(1)) == 64
        moved.append(model.moved)
        assert sum(model.rates) == pytest.approx(64 * 0.01 * 2.0 ** (-age_s / WEEK_S), rel=1e-12)
    assert moved[0] != 0.0
    assert moved[1] == pytest.approx(moved[0] / 2, rel=1e-12)
    assert moved[2] == pytest.approx(moved[0] / 4, rel=1e-12)


def test_the_decay_acts_once_also_where_the_buffer_has_a_half_life() -> None:
    def mixed(half_life_s: float | None) -> Recorder:
        buffer = ReplayBuffer(10, alpha=1.0, half_life_s=half_life_s, seed=0)
        for i in range(10):
            buffer.add(experience(f"e{i}", timestamp=NOW - i * WEEK_S, priority=1.0 + i % 3))
        model = Recorder()
        train_with_temporal_weighting(buffer, model, 10, now=NOW, rng=np.random.default_rng(5))
        return model

    assert mixed(WEEK_S).rates == pytest.approx(mixed(None).rates, rel=1e-12)


def test_temporal_training_draws_as_many_as_there_are() -> None:
    model = Recorder()
    assert train_with_temporal_weighting(filled(7), model, now=NOW) == 7
    assert len(model.rates) == 7


def test_without_now_the_clock_is_read() -> None:
    model = Recorder()
    train_with_temporal_weighting(filled(10, age_s=NOW), model)  # served in 1970: more than 2,800 half-lives ago
    assert max(model.rates) < 1e-300


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": "64"}, {"now": float("nan")}])
def test_malformed_arguments_are_refused_before_the_model_is_called(bad: dict[str, Any]) -> None:
    for train in (train_from_replay, train_with_temporal_weighting):
        model = Recorder()
        with pytest.raises(RecordError):
            train(filled(), model, **bad)
        assert model.rates == []
    with pytest.raises(RecordError, match="learning_rate"):
        train_from_replay(filled(), Recorder(), learning_rate=float("inf"))


# ---- health


def test_an_empty_buffer_reports_just_that() -> None:
    assert buffer_health_report(ReplayBuffer(5)) == {"status": "empty"}


def test_the_report_says_what_is_kept() -> None:
    buffer = ReplayBuffer(8, alpha=1.0)
    ages_h = (0.0, 2.0, 10.0)
    for i, age_h in enumerate(ages_h):
        buffer.add(
            experience(
                f"e{i}",
                timestamp=NOW - 3600 * age_h,
                reward=(0.0, 0.5, 1.0)[i],
                user=("u1", "u1", "u2")[i],
                segment=("faq", None, "faq")[i],
                priority=(1.0, 1.0, 2.0)[i],
            )
        )
    report = buffer_health_report(buffer, now=NOW)
    assert report == {
        "status": "healthy",
        "size": 3,
        "capacity_pct": 3 / 8,
        "avg_reward": 0.5,
        "reward_std": 0.5,  # sample: sqrt((0.25 + 0 + 0.25) / 2)
        "avg_age_hours": 4.0,
        "unique_contexts": 2,
        "oldest_hours": 10.0,
        "newest_hours": 0.0,
        "n_users": 2,
        "n_without_user": 0,
        "n_future_timestamps": 0,
        "n_segments": 1,
        "max_segment_share": 2 / 3,
        "max_user_share": 2 / 3,
        "effective_priority_n": pytest.approx(16 / 6),  # (1 + 1 + 2)^2 / (1 + 1 + 4)
        "alerts": [],
    }


def test_one_experience_has_no_deviation() -> None:
    buffer = ReplayBuffer(8)
    buffer.add(experience())
    assert buffer_health_report(buffer, now=NOW)["reward_std"] == 0


def test_contexts_are_users_and_where_there_is_none_queries() -> None:
    buffer = ReplayBuffer(20)
    for i in range(6):
        buffer.add(experience(f"a_{i}", user=f"u{i % 2}", query=f"q{i}"))
        buffer.add(experience(f"b_{i}", query=f"q{i % 3}"))
    report = buffer_health_report(buffer, now=NOW)
    assert (report["unique_contexts"], report["n_users"], report["n_without_user"]) == (2 + 3, 2, 6)


def test_a_timestamp_in_the_future_counts_as_new_and_is_counted() -> None:
    buffer = ReplayBuffer(20)
    buffer.add(experience("e0", timestamp=NOW + 3600))
    buffer.add(experience("e1", timestamp=NOW - 3600))
    report = buffer_health_report(buffer, now=NOW)
    assert (report["newest_hours"], report["avg_age_hours"]) == (0.0, 0.5)
    assert (report["n_future_timestamps"], report["alerts"], report["status"]) == (1, ["future_timestamps"], "warning")


@pytest.mark.parametrize(("n_of_one", "is_alert"), [(10, False), (11, True)])
@pytest.mark.parametrize("group", ["segment", "user"])
def test_more_than_half_of_one_group_is_dominance(group: str, n_of_one: int, *, is_alert: bool) -> None:
    buffer = ReplayBuffer(50)
    for i in range(20):
        buffer.add(experience(f"e{i}", **{group: "one" if i < n_of_one else f"other{i}"}))
    report = buffer_health_report(buffer, now=NOW)
    assert report["alerts"] == ([f"dominated_by_{group}"] if is_alert else [])
    assert report["status"] == ("warning" if is_alert else "healthy")
    assert report[f"max_{group}_share"] == n_of_one / 20


def test_a_few_experiences_are_no_dominance() -> None:
    buffer = ReplayBuffer(50)
    buffer.extend(experience(f"e{i}", segment="one", user="one") for i in range(19))
    assert buffer_health_report(buffer, now=NOW)["alerts"] == []


def test_the_report_disturbs_nothing() -> None:
    one, two = filled(), filled()
    buffer_health_report(one, now=NOW)
    assert one.sample(50).event_ids == two.sample(50).event_ids
