"""The face: events in any order, reading that touches nothing, bad inputs refused by name."""

import itertools
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.activation import FEATURES, LADDER_12, LADDER_14, NEVER_US, Activation, Prior
from dwell.errors import ConfigError, RecordError

T = 1_700_000_000_000_000
MINUTE = 60_000_000
DAY = 86_400_000_000


def kernel(age_us: float, decay: float = 0.5) -> float:
    """Return the kernel of the ladder by its definition."""
    terms = zip(LADDER_12.rates_per_s, LADDER_12.weights(decay).tolist(), strict=True)
    return sum(weight * math.exp(-rate * age_us / 1e6) for rate, weight in terms)


def test_it_is_public() -> None:
    assert dwell.Activation is Activation


def test_a_serve_adds_exposure_and_feedback_adds_reward_at_the_time_of_the_serve() -> None:
    memory = Activation()
    assert memory.serve(["a", "b"], T, event_id="e1") == "taken"
    now = T + 3 * DAY
    assert memory.masses(["a", "b", "new"], now) == pytest.approx(
        np.array([[0.0, kernel(3 * DAY)], [0.0, kernel(3 * DAY)], [0.0, 0.0]]), rel=1e-12
    )
    assert memory.feedback("e1", "a", 0.5) == "counted"
    assert memory.masses(["a"], now)[0] == pytest.approx([0.5 * kernel(3 * DAY), kernel(3 * DAY)], rel=1e-12)
    assert memory.feedback("e1", "b", -0.25) == "counted"
    assert memory.masses(["b"], now)[0] == pytest.approx([0.0, 1.25 * kernel(3 * DAY)], rel=1e-12)


def test_activation_is_the_log_of_reward_per_exposure_with_the_prior() -> None:
    memory = Activation(prior=Prior(base_rate=0.2, n_exposures=2.0, age_s=100.0))
    memory.serve(["a"], T, event_id="e1")
    memory.feedback("e1", "a", 1.0)
    total = 2.0 / math.sqrt(100.0)
    mass = kernel(MINUTE)
    expected = math.log(mass + 0.2 * total) - math.log(mass + total)
    assert memory.scores(["a"], T + MINUTE)[0] == pytest.approx(expected, abs=1e-12)
    assert memory.scores(["new"], T + MINUTE)[0] == pytest.approx(math.log(0.2), abs=1e-12)


def test_plain_accesses_are_act_r() -> None:
    ages_s = [90.0, 4_000.0, 3e6]
    for meaning, error in (("traces", 0.014), ("exact", 1e-9), ("petrov", 1e-9)):
        memory = Activation(meaning=meaning, channels="access")  # type: ignore[arg-type]
        for age_s in ages_s:
            memory.access(["a"], T - round(age_s * 1e6))
        expected = math.log(sum(age_s**-0.5 for age_s in ages_s))
        assert memory.scores(["a"], T)[0] == pytest.approx(expected, abs=error)
        assert memory.base_level(["a"], T)[0] == memory.scores(["a"], T)[0]
        assert memory.scores(["new"], T)[0] == -math.inf


def test_reading_touches_nothing_unless_asked() -> None:
    memory = Activation()
    memory.serve(["a"], T, event_id="e1")
    memory.take_changes()
    before = memory.masses(["a"], T + DAY)
    for _ in range(3):
        memory.scores(["a", "b"], T + MINUTE)
        memory.features(["a"], T + MINUTE)
        memory.explain("a", T + MINUTE, threshold=-5.0)
        memory.forget_date(["a"], -5.0)
        memory.draw(["a"], T, rng=np.random.default_rng(0))
    assert (memory.masses(["a"], T + DAY) == before).all()
    assert memory.take_changes() == ([], [])
    assert "b" not in memory
    memory.scores(["a"], T + MINUTE, touch=True)
    assert memory.masses(["a"], T + DAY)[0] == pytest.approx([0.0, kernel(DAY) + kernel(DAY - MINUTE)], rel=1e-12)


def test_known_events_have_no_second_effect() -> None:
    memory = Activation()
    memory.serve(["a"], T, event_id="e1")
    memory.feedback("e1", "a", 1.0)
    before = memory.masses(None, T)
    assert memory.serve(["a", "b"], T + 5, event_id="e1") == "duplicate"
    assert memory.feedback("e1", "a", 1.0) == "duplicate"
    assert (memory.masses(None, T) == before).all()
    assert memory.feedback("e1", "a", 0.25) == "counted"  # the same feedback id: replaced
    assert memory.masses(["a"], T)[0, 0] == pytest.approx(0.25 * kernel(0), rel=1e-12)
    memory.feedback("e1", "a", 0.9, feedback_id="another")  # at most one reward per exposure
    assert memory.masses(["a"], T)[0, 0] == pytest.approx(kernel(0), rel=1e-12)
    assert memory.feedback("e1", "b", 1.0) == "orphan"
    assert memory.feedback("e2", "a", 1.0) == "orphan"


def test_sessions_are_capped_by_served_time_whatever_the_order_and_retraction_restores_the_next() -> None:
    events = [(f"e{i}", T + i * MINUTE, 0.1 * (i + 1)) for i in range(5)]
    now = T + DAY
    first_two = sum(kernel(now - at) for _, at, _ in events[:2])
    for order in itertools.permutations(range(5)):
        memory = Activation(session_cap=2)
        for i in order:
            event_id, at, reward = events[i]
            memory.serve(["a"], at, event_id=event_id, session="s")
            memory.feedback(event_id, "a", reward)
        expected = sum(reward * kernel(now - at) for _, at, reward in events[:2])
        assert memory.masses(["a"], now)[0] == pytest.approx([expected, first_two], rel=1e-9)
        assert memory.retract("e0") == 2
        second_and_third = sum(kernel(now - at) for _, at, _ in events[1:3])
        assert memory.masses(["a"], now)[0, 1] == pytest.approx(second_and_third, rel=1e-9)
        assert memory.retract("e4") == 0


def test_other_sessions_and_other_items_have_caps_of_their_own() -> None:
    memory = Activation(session_cap=1)
    memory.serve(["a", "b"], T, event_id="e1", session="s")
    memory.serve(["a", "c"], T, event_id="e2", session="s")
    memory.serve(["a"], T, event_id="e3", session="t")
    memory.serve(["a"], T, event_id="e4")
    assert memory.masses(["a", "b", "c"], T)[:, 1] == pytest.approx(kernel(0) * np.array([3, 1, 1]), rel=1e-12)
    assert memory.feedback("e2", "a", 1.0) == "beyond_cap"
    assert memory.masses(["a"], T)[0, 0] == 0.0
    memory.retract("e1", ["a"])  # e2 counts now, with the reward that it had kept
    assert memory.masses(["a", "b"], T)[:, 0] == pytest.approx([kernel(0), 0.0], rel=1e-12)
    assert memory.masses(["b"], T)[0, 1] == pytest.approx(kernel(0), rel=1e-12)


def test_a_sealed_event_is_final_and_still_counts_under_the_cap() -> None:
    memory = Activation(session_cap=2)
    for i in range(2):
        memory.serve(["a"], T + i, event_id=f"e{i}", session="s")
    assert memory.seal(T + 1) == 1
    assert memory.serve(["a"], T + 2, event_id="e2", session="s") == "taken"
    assert memory.masses(["a"], T + 2)[0, 1] == pytest.approx(2 * kernel(0), rel=1e-6)
    assert memory.feedback("e0", "a", 1.0) == "orphan"
    assert memory.feedback("e1", "a", 1.0) == "counted"
    assert memory.feedback("e2", "a", 1.0) == "beyond_cap"
    assert memory.retract("e0") == 0
    assert memory.serve(["a"], T, event_id="late", session="s") == "late"
    assert memory.n_late == 1
    assert memory.n_open_events == 2


def test_open_events_are_bounded() -> None:
    memory = Activation(max_open_events=3)
    for i in range(10):
        memory.serve(["a"], T + i, event_id=f"e{i}")
    assert memory.n_open_events == 3
    assert memory.masses(["a"], T)[0, 1] == pytest.approx(10 * kernel(0), rel=1e-6)
    assert memory.feedback("e6", "a", 1.0) == "orphan"
    assert memory.feedback("e7", "a", 1.0) == "counted"


def test_merging_shards_is_seeing_all_their_events() -> None:
    def fed(events: list[tuple[str, int, str]]) -> Activation:
        memory = Activation(session_cap=2)
        for event_id, minutes, session in events:
            memory.serve(["a", event_id], T + minutes * MINUTE, event_id=event_id, session=session)
            memory.feedback(event_id, "a", 1.0 / (1 + minutes))
        return memory

    here = [("e1", 0, "s"), ("e2", 3, "s"), ("e3", 5, "t")]
    there = [("e4", 1, "s"), ("e5", 2, "s"), ("e6", 9, "u"), ("e1", 0, "s")]
    one, other, both = fed(here), fed(there), fed([*here, *there])
    untouched = other.masses(None, T + DAY)
    one.merge(other)
    items = ["a", *(f"e{i}" for i in range(1, 7))]
    assert one.masses(items, T + DAY) == pytest.approx(both.masses(items, T + DAY), rel=1e-9, abs=1e-15)
    assert (other.masses(None, T + DAY) == untouched).all()
    one.retract("e1")
    both.retract("e1")
    assert one.masses(items, T + DAY) == pytest.approx(both.masses(items, T + DAY), rel=1e-9, abs=1e-15)


def test_decay_is_changed_for_the_past_too() -> None:
    memory, from_the_start = Activation(decay=0.5), Activation(decay=0.8)
    for each in (memory, from_the_start):
        for i in range(5):
            each.access(["a"], T + i * DAY)
    memory.set_decay(0.8)
    assert memory.decay == 0.8
    assert (memory.scores(["a"], T + 9 * DAY) == from_the_start.scores(["a"], T + 9 * DAY)).all()
    assert memory.worth.day == pytest.approx((86_400 / 60) ** -0.8)


def test_the_date_of_forgetting_is_where_base_level_crosses_the_threshold() -> None:
    memory = Activation()
    memory.access(["a", "b", "pinned"], T)
    memory.access(["b"], T + DAY)
    memory.pin(["pinned"])
    found = memory.forget_date(["a", "b", "pinned", "new"], -7.0)
    assert found[2] == NEVER_US
    assert found[3] == 0
    for item, at in zip(["a", "b"], found[:2].tolist(), strict=True):
        assert memory.base_level([item], at)[0] < -7.0 <= memory.base_level([item], at - 1)[0]
    assert found[0] < found[1]
    assert memory.explain("a", T, threshold=-7.0).forget_us == found[0]
    assert memory.explain("pinned", T, threshold=-7.0).forget_us is None


def test_the_date_on_which_activation_falls_is_its_first_fall() -> None:
    memory = Activation()
    memory.serve(["used", "unused"], T, event_id="e1")
    memory.feedback("e1", "used", 1.0)
    high, low = memory.scores(["used", "unused"], T)
    used, unused = memory.forget_date(["used", "unused"], -1.0, of="activation").tolist()
    assert high > -1.0 > low
    assert memory.scores(["used"], used)[0] < -1.0 <= memory.scores(["used"], used - 1)[0]
    assert unused == T  # below from its event on, although it rises again as its exposure is forgotten
    assert memory.scores(["unused"], T + 900 * DAY)[0] > low
    assert memory.forget_date(["used"], -3.0, of="activation").tolist() == [NEVER_US]  # the prior stays above


def test_a_pin_has_a_floor_and_survives_the_rows() -> None:
    memory = Activation()
    memory.serve(["a", "b"], T, event_id="e1")
    memory.pin(["a"], floor=-1.0)
    memory.pin(["unseen"])
    assert memory.scores(["a"], T)[0] == -1.0
    assert memory.scores(["b"], T)[0] < -1.0
    assert memory.scores(None, T)[memory.items().index("a")] == -1.0
    copy = Activation()
    copy.load(memory.rows())
    assert copy.pinned() == {"a": -1.0, "unseen": None}
    assert memory.unpin(["a", "b"]) == 1
    assert memory.scores(["a"], T)[0] == memory.scores(["b"], T)[0]


def test_rows_hold_everything_but_open_events() -> None:
    memory = Activation()
    for i in range(4):
        memory.serve(["a", f"i{i}"], T + i * DAY, event_id=f"e{i}", session="s")
    memory.feedback("e1", "a", 1.0)
    rows = dict(memory.take_changes().rows)
    assert {len(row) for row in rows.values()} == {209}
    copy = Activation()
    assert copy.load(rows.items()) == 5
    assert (copy.masses(memory.items(), T + 9 * DAY) == memory.masses(memory.items(), T + 9 * DAY)).all()
    for i in range(4):
        said = {"a": 1.0} if i == 1 else {}
        copy.remember(["a", f"i{i}"], T + i * DAY, event_id=f"e{i}", session="s", feedback=said)
    for each in (memory, copy):
        each.retract("e1")
        each.feedback("e3", "a", 1.0)
    assert copy.masses(["a"], T + 9 * DAY) == pytest.approx(memory.masses(["a"], T + 9 * DAY), rel=1e-12)
    assert Activation(ladder=LADDER_14).items() == []
    with pytest.raises(RecordError, match="a row of joint-14 has 241 bytes"):
        Activation(ladder=LADDER_14).load(rows.items())


@pytest.mark.parametrize("meaning", ["traces", "exact"])
def test_a_history_in_one_call_is_its_events_one_by_one(meaning: Any) -> None:
    rng = np.random.default_rng(8)
    items = [f"item-{i}" for i in rng.integers(0, 6, 80)]
    at, rewards, exposures = T - rng.integers(0, 90 * DAY, 80), rng.random(80), 1.0 + rng.random(80)
    at_once, one_by_one = Activation(meaning=meaning), Activation(meaning=meaning)
    at_once.load_history(items, at, rewards, exposures)
    at_once.load_history([], np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
    for number, (item, instant) in enumerate(zip(items, at.tolist(), strict=True)):
        one_by_one.serve([item], instant, event_id=f"e{number}")
        one_by_one.feedback(f"e{number}", item, rewards[number])
        one_by_one.feedback(f"e{number}", item, 1.0 - exposures[number], feedback_id="against")
    names = sorted(set(items))
    assert at_once.masses(names, T) == pytest.approx(one_by_one.masses(names, T), rel=1e-11)


def test_what_is_forgotten_is_told_to_the_store() -> None:
    memory = Activation()
    memory.access(["a", "b"], T)
    memory.take_changes()
    assert memory.forget(["a", "unknown"]) == 1
    memory.access(["c"], T)
    changes = memory.take_changes()
    assert [item for item, _ in changes.rows] == ["c"]
    assert changes.removed == ["a"]
    assert memory.items() == ["c", "b"]
    assert len(memory.scores(None, T)) == 2


def test_the_future_is_put_at_now_and_counted() -> None:
    memory = Activation()
    memory.serve(["a"], T + DAY, event_id="e1", now=T)
    assert memory.n_future == 1
    assert memory.masses(["a"], T + MINUTE)[0, 1] == pytest.approx(kernel(MINUTE), rel=1e-12)
    assert memory.masses(["a"], T - DAY)[0, 1] == pytest.approx(kernel(0), rel=1e-12)  # no age is negative


def test_aware_datetimes_are_instants() -> None:
    utc, tokyo = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), timezone(timedelta(hours=9))
    microseconds = round(utc.timestamp()) * 1_000_000 - 321_099
    one, other = Activation(), Activation()
    one.access(["a"], microseconds)
    other.access(["a"], utc.astimezone(tokyo))
    assert (one.masses(["a"], utc) == other.masses(["a"], microseconds)).all()


def test_features_are_activation_evidence_and_age() -> None:
    memory = Activation()
    memory.serve(["a"], T, event_id="e1")
    found = memory.features(["a", "new"], T + DAY)
    assert FEATURES == ("act.activation", "act.evidence", "act.age_s")
    assert found[0] == pytest.approx([memory.scores(["a"], T + DAY)[0], math.log1p(kernel(DAY)), 86_400.0])
    assert found[1] == pytest.approx([math.log(0.1), 0.0, 0.0])


def test_an_explanation_adds_up() -> None:
    memory = Activation(decay=0.4)
    for i in range(6):
        memory.serve(["a"], T + i**3 * DAY, event_id=f"e{i}")
        memory.feedback(f"e{i}", "a", 0.5)
    told = memory.explain("a", T + 300 * DAY)
    reward, exposure = memory.masses(["a"], T + 300 * DAY)[0]
    assert sum(share.reward for share in told.timescales) == pytest.approx(1.0)
    assert sum(share.exposure for share in told.timescales) == pytest.approx(1.0)
    assert (told.reward_mass, told.exposure_mass) == (reward, exposure)
    rebuilt = math.log(told.reward_mass + told.prior_reward) - math.log(told.exposure_mass + told.prior_exposure)
    assert told.activation == pytest.approx(rebuilt, abs=1e-12)
    assert told.last_us == T + 125 * DAY
    assert memory.explain("new", T).prior_share == 1.0


def test_bounded_contributions_say_what_was_cut_off() -> None:
    memory = Activation()
    for i in range(50):
        memory.serve(["dull"], T + i, event_id=f"e{i}")
    found = memory.bounded(["dull", "new"], T, limit=1.0)
    assert found.values[0] == pytest.approx(math.log(0.1) - 1.0)
    assert found.n_clipped == 1
    assert found.held_back[0] == pytest.approx(memory.scores(["dull"], T)[0] - found.values[0])


@pytest.mark.parametrize("meaning", ["exact", "traces"])
def test_the_exact_meaning_knows_rewards_retraction_and_merging(meaning: Any) -> None:
    one, other = Activation(meaning=meaning), Activation(meaning=meaning)
    one.serve(["a"], T, event_id="e1")
    one.feedback("e1", "a", 0.5)
    other.serve(["a"], T - DAY, event_id="e2")
    one.merge(other)
    masses = [0.5 * 3_600**-0.5, 3_600**-0.5 + 90_000**-0.5]
    assert one.masses(["a"], T + 3_600_000_000)[0] == pytest.approx(masses, rel=0.014 if meaning == "traces" else 1e-12)
    one.retract("e1")
    assert one.masses(["a"], T)[0, 0] == 0.0


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda m: m.serve([], T, event_id="e"), "items"),
        (lambda m: m.serve("abc", T, event_id="e"), "items"),
        (lambda m: m.serve(["a", "a"], T, event_id="e"), "items"),
        (lambda m: m.serve(["a", 3], T, event_id="e"), "items[1]"),
        (lambda m: m.serve(["a\x00"], T, event_id="e"), "items[0]"),
        (lambda m: m.serve(["a"], 1.7e9, event_id="e"), "at"),
        (lambda m: m.serve(["a"], True, event_id="e"), "at"),
        (lambda m: m.serve(["a"], -1, event_id="e"), "at"),
        (lambda m: m.serve(["a"], T * 1000, event_id="e"), "at"),
        (lambda m: m.serve(["a"], datetime(2026, 1, 1), event_id="e"), "at"),
        (lambda m: m.serve(["a"], T, event_id="e", now="now"), "now"),
        (lambda m: m.serve(["a"], T, event_id="no spaces"), "event_id"),
        (lambda m: m.serve(["a"], T, event_id="e", session=""), "session"),
        (lambda m: m.serve(["a"], T, event_id="e", exposures=[0.5, 0.5]), "exposures"),
        (lambda m: m.serve(["a"], T, event_id="e", exposures=[math.nan]), "exposures[0]"),
        (lambda m: m.serve(["a"], T, event_id="e", exposures=[1.5]), "exposures[0]"),
        (lambda m: m.feedback("e", "a", 1.5), "reward"),
        (lambda m: m.feedback("e", "a", math.nan), "reward"),
        (lambda m: m.feedback("e", "a", True), "reward"),
        (lambda m: m.access(["a"], T, session="s"), "session"),
        (lambda m: m.scores(["a"], 0.5), "now"),
        (lambda m: m.scores([None], T), "items[0]"),
        (lambda m: m.scores(["a"], T, touch=1), "touch"),
        (lambda m: m.base_level(["a"], T, channel="clicks"), "channel"),
        (lambda m: m.forget_date(["a"], math.nan), "threshold"),
        (lambda m: m.forget_date(["a"], -5.0, of="reward"), "of"),
        (lambda m: m.pin(["a"], floor=math.inf), "floor"),
        (lambda m: m.set_decay(0.05), "decay"),
        (lambda m: m.set_decay(1.0), "decay"),
        (lambda m: m.bounded(["a"], T, limit=0.0), "limit"),
        (lambda m: m.load_history(["a"], np.array([1.5]), np.ones(1), np.ones(1)), "at_us"),
        (lambda m: m.load_history(["a"], np.array([-1]), np.ones(1), np.ones(1)), "at_us"),
        (lambda m: m.load_history(["a"], np.array([T]), np.full(1, 1.5), np.ones(1)), "rewards"),
        (lambda m: m.load_history(["a"], np.array([T]), np.ones(2), np.ones(1)), "rewards"),
        (lambda m: m.load_history(["a"], np.array([T]), np.ones(1), np.full(1, np.nan)), "exposures"),
        (lambda m: m.load_history(["a", None], np.array([T, T]), np.ones(2), np.ones(2)), "items[1]"),
        (lambda m: m.rows(["unknown"]), "items[0]"),
        (lambda m: m.load([("a", b"short")]), "a"),
        (lambda m: m.load([("a", b"\xff" * 209)]), "a"),
        (lambda m: m.merge(m), "other"),
        (lambda m: m.merge(Activation(meaning="exact")), "other.meaning"),
        (lambda m: m.merge(Activation(ladder=LADDER_14)), "other.ladder"),
        (lambda m: m.merge(Activation(session_cap=None)), "other.session_cap"),
    ],
)
def test_bad_inputs_are_refused_by_name_and_change_nothing(call: Any, field: str) -> None:
    memory = Activation()
    memory.access(["known"], T)
    before = memory.masses(None, T)
    with pytest.raises(RecordError) as refused:
        call(memory)
    assert refused.value.field == field
    assert refused.value.hint
    assert memory.items() == ["known"]
    assert (memory.masses(None, T) == before).all()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"decay": 0.95}, "decay"),
        ({"decay": "half"}, "decay"),
        ({"meaning": "soar"}, "meaning"),
        ({"channels": "clicks"}, "channels"),
        ({"meaning": "petrov"}, "channels"),
        ({"meaning": "petrov", "channels": "access", "n_recent": 0}, "n_recent"),
        ({"session_cap": 0}, "session_cap"),
        ({"session_cap": True}, "session_cap"),
        ({"max_open_events": 0}, "max_open_events"),
        ({"ladder": "joint-12"}, "ladder"),
        ({"prior": 0.1}, "prior"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Activation(**settings)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.feedback("e", "a", 1.0),
        lambda m: m.retract("e"),
        lambda m: m.serve(["a"], T, event_id="e", session="s"),
        lambda m: m.merge(Activation(meaning="petrov", channels="access")),
        lambda m: m.rows(),
        lambda m: m.take_changes(),
    ],
)
def test_the_hybrid_refuses_what_it_can_not_do(call: Any) -> None:
    memory = Activation(meaning="petrov", channels="access")
    with pytest.raises(RecordError) as refused:
        call(memory)
    assert refused.value.code == "meaning"
