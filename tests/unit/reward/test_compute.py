import numpy as np
import pytest

from dwell.errors import RecordError
from dwell.records import Signal
from dwell.records.arrays import FloatArray
from dwell.reward import PositionBased, RewardPreset, RewardResult, compute_reward, custom
from dwell.reward.presets import PRESETS
from dwell.reward.signals import SignalSpec

SHOWN = ("a", "b", "c")
THETA = np.array([1.0, 0.5, 0.25])
TOTAL = 1.0 + 0.5 + 0.25
SEARCH = PRESETS["search"]
W = {name: spec.weight for name, spec in SEARCH.signals.items()}


def signal(name: str, doc: str | None = None, value: float = 1.0, at: float = 10.0, key: str | None = None) -> Signal:
    return Signal(event_id="e", name=name, doc=doc, value=value, at=at, received_at=at, idempotency_key=key)


def reward_of(*signals: Signal, preset: RewardPreset = SEARCH, is_window_over: bool = True) -> RewardResult:
    return compute_reward(preset, SHOWN, signals, THETA, is_window_over=is_window_over)


def test_a_bare_click_is_half_a_success_and_dwell_adds_to_it() -> None:
    clicked = reward_of(signal("click", "b"))
    assert clicked.document_rewards.tolist() == [0.0, 0.5, 0.0]
    assert clicked.reward == 0.5
    read = reward_of(signal("click", "b"), signal("dwell", "b", 30.0))
    assert read.document_rewards[1] == W["click"] + W["dwell"] * 30.0 / 60.0
    bought = reward_of(signal("click", "b"), signal("dwell", "b", 600.0), signal("purchase", "b"))
    assert bought.document_rewards[1] == 1.0


def test_a_signal_credits_its_document_alone() -> None:
    result = reward_of(signal("click", "c"), signal("thumbs_down", "a"))
    assert result.document_rewards.tolist() == [-0.8, 0.0, 0.5]
    assert result.reward == pytest.approx(-0.8 + 0.5, abs=1e-15)


def test_praise_of_the_list_goes_to_what_was_used_and_junk_beside_it_gains_nothing() -> None:
    preset = custom({"click": 0.2, "copy": 0.1, "task_completed": 0.6})
    result = reward_of(signal("click", "a"), signal("copy", "c"), signal("task_completed"), preset=preset)
    expected = [0.2 + 0.6 * 0.2 / 0.3, 0.0, 0.1 + 0.6 * 0.1 / 0.3]
    np.testing.assert_allclose(result.document_rewards, expected, rtol=1e-15)
    assert result.reward == pytest.approx(0.9, rel=1e-15)


def test_praise_of_a_list_without_any_credit_is_shared_by_examination() -> None:
    result = reward_of(signal("task_completed"))
    np.testing.assert_allclose(result.document_rewards, THETA / TOTAL, rtol=1e-15)
    assert result.reward == 1.0


def test_blame_goes_to_what_was_looked_at_and_not_wanted() -> None:
    result = reward_of(signal("click", "a"), signal("reformulated"))
    expected = [0.5, -0.3 * 0.5 / 0.75, -0.3 * 0.25 / 0.75]
    np.testing.assert_allclose(result.document_rewards, expected, rtol=1e-15)
    assert result.reward == pytest.approx(0.5 - 0.3, rel=1e-15)


def test_blame_where_every_document_was_praised_is_shared_by_all() -> None:
    result = reward_of(*(signal("click", doc) for doc in SHOWN), signal("abandoned"))
    np.testing.assert_allclose(result.document_rewards, 0.5 - 0.4 * THETA / TOTAL, rtol=1e-15)


def test_list_credit_divided_by_exposure_tells_no_document_from_another() -> None:
    # two documents, the logger shows (a, b) with probability q, (b, a) otherwise; every list is praised
    q, theta = 0.8, np.array([1.0, 0.5])
    first = compute_reward(SEARCH, ("a", "b"), [signal("task_completed")], theta).document_rewards
    second = compute_reward(SEARCH, ("b", "a"), [signal("task_completed")], theta).document_rewards
    credit = {"a": q * first[0] + (1 - q) * second[1], "b": q * first[1] + (1 - q) * second[0]}
    exposure = {"a": q * theta[0] + (1 - q) * theta[1], "b": q * theta[1] + (1 - q) * theta[0]}
    assert credit["a"] / exposure["a"] == pytest.approx(credit["b"] / exposure["b"], rel=1e-14)


def test_three_kinds_of_nothing_are_three_things() -> None:
    preset = custom({"click": 0.5, "reward": 1.0}, default_reward=-0.35)
    pending = reward_of(preset=preset, is_window_over=False)
    assert (pending.basis, pending.has_feedback, pending.reward) == ("pending", False, 0.0)
    silent = reward_of(preset=preset)
    assert (silent.basis, silent.has_feedback, silent.reward) == ("default", False, -0.35)
    np.testing.assert_allclose(silent.document_rewards, -0.35 * THETA / TOTAL, rtol=1e-15)
    explicit = reward_of(signal("reward", value=0.0), preset=preset)
    assert (explicit.basis, explicit.has_feedback, explicit.reward) == ("feedback", True, 0.0)
    assert explicit.document_rewards.tolist() == [0.0, 0.0, 0.0]


def test_a_signal_in_an_open_window_counts_at_once() -> None:
    result = reward_of(signal("click", "a"), is_window_over=False)
    assert (result.basis, result.reward) == ("feedback", 0.5)


def test_being_seen_is_kept_and_is_no_feedback() -> None:
    result = reward_of(signal("impression", "a"), signal("view", "b"))
    assert result.basis == "default"
    assert result.document_signals == {"a": {"impression": 1.0}, "b": {"view": 1.0}}


def test_aggregation_is_per_signal_and_per_document() -> None:
    kinds = ("earliest", "last", "sum", "mean", "max")
    preset = custom({kind: SignalSpec(name=kind, weight=0.1, high=10.0, aggregation=kind) for kind in kinds})
    values = [(1.0, 4.0), (3.0, 2.0), (2.0, 6.0)]  # (at, value), out of order
    for kind, due in zip(kinds, (4.0, 2.0, 12.0, 4.0, 6.0), strict=True):
        result = reward_of(*(signal(kind, "a", v, at) for at, v in values), signal(kind, "b", 1.0, 9.0), preset=preset)
        assert result.document_signals == {"a": {kind: due}, "b": {kind: 1.0}}
        assert result.document_rewards[0] == 0.1 * min(due / 10.0, 1.0)
    whole = reward_of(signal("sum", "a", 2.0), signal("sum", "b", 3.0), signal("sum", None, 4.0), preset=preset)
    assert whole.signals == {"sum": 9.0}


def test_a_vote_may_be_changed() -> None:
    result = reward_of(signal("thumbs", "a", 1.0, at=1.0), signal("thumbs", "a", -1.0, at=2.0))
    assert result.document_rewards[0] == -0.8


def test_a_signal_delivered_twice_counts_once_and_two_signals_count_twice() -> None:
    once = signal("dwell", "a", 12.0)
    assert reward_of(once, once).document_signals["a"]["dwell"] == 12.0
    two = reward_of(signal("dwell", "a", 12.0, key="k1"), signal("dwell", "a", 12.0, key="k2"))
    assert two.document_signals["a"]["dwell"] == 24.0


def test_the_sign_of_a_zero_does_not_tell_who_came_first() -> None:
    arrivals = [signal("reward", "a", 0.0), signal("reward", "a", -0.0), signal("reward", None, -0.0)]
    for order in (arrivals, arrivals[::-1]):
        result = reward_of(*order)
        numbers = [
            result.reward,
            *result.document_rewards,
            *result.signals.values(),
            result.document_signals["a"]["reward"],
        ]
        assert not np.signbit(numbers).any()


def test_what_no_longer_counts_is_counted_as_ignored() -> None:
    result = reward_of(
        signal("click", "elsewhere"),
        signal("retired", "a"),
        signal("retired", "b"),
        signal("dwell", "a", -5.0),
        signal("reformulated", "a"),
    )
    assert result.ignored == {"not_served": 1, "unknown_signal": 2, "signal_range": 1, "signal_scope": 1}
    assert result.basis == "default"
    assert result.signals == {}


def test_rewards_are_clipped_per_document_and_for_the_list() -> None:
    result = reward_of(*(signal("purchase", doc) for doc in SHOWN), *(signal("click", doc) for doc in SHOWN))
    assert result.document_rewards.tolist() == [1.0, 1.0, 1.0]
    assert result.reward == 1.0
    bad = reward_of(*(signal("thumbs_down", doc) for doc in SHOWN), signal("rating", "a", 1.0))
    assert bad.document_rewards.tolist() == [-1.0, -0.8, -0.8]
    assert bad.reward == -1.0


def test_an_examination_of_nothing_shares_evenly() -> None:
    result = compute_reward(SEARCH, SHOWN, [signal("task_completed")], np.zeros(3))
    np.testing.assert_allclose(result.document_rewards, [1 / 3] * 3, rtol=1e-15)


def test_document_rewards_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        reward_of(signal("click", "a")).document_rewards[0] = 2.0


@pytest.mark.parametrize(
    ("shown", "theta", "code"),
    [
        ((), np.ones(0), "results_shape"),
        (("a", "a"), np.ones(2), "results_shape"),
        (("a", "b"), np.ones(3), "results_shape"),
        (("a", "b"), np.ones((2, 1)), "results_shape"),
        (("a", "b"), np.array([1.0, np.nan]), "range"),
        (("a", "b"), np.array([1.5, 0.5]), "range"),
        (("a", "b"), np.array([1.0, -0.1]), "range"),
    ],
)
def test_malformed_lists_are_refused(shown: tuple[str, ...], theta: FloatArray, code: str) -> None:
    with pytest.raises(RecordError) as caught:
        compute_reward(SEARCH, shown, [], theta)
    assert caught.value.code == code


def test_it_takes_what_the_examination_model_gives() -> None:
    result = compute_reward(SEARCH, SHOWN, [signal("task_completed")], PositionBased().theta(3))
    harmonic = 1 + 1 / 2 + 1 / 3
    np.testing.assert_allclose(result.document_rewards, [1 / harmonic, 1 / 2 / harmonic, 1 / 3 / harmonic], rtol=1e-14)
