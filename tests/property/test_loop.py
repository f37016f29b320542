"""Whatever the order in which impressions and reactions arrive: the same final reward, bit for bit."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import dwell

PEPPER = b"a pepper of these tests"
WINDOW_S = 100.0
SERVED_AT = 1_000.0
CANDIDATES = [{"id": d, "x": float(i)} for i, d in enumerate("abcd")]

# (signal, document or the list, value): one of each way of adding up, and several that do not add up exactly in binary
reactions = st.one_of(
    st.tuples(st.sampled_from(["click", "copy", "purchase", "thumbs_down"]), st.sampled_from("abcd"), st.just(1.0)),
    st.tuples(st.just("dwell"), st.sampled_from("abcd"), st.floats(0.0, 80.0)),
    st.tuples(st.just("thumbs"), st.sampled_from("abcd"), st.floats(-1.0, 1.0)),
    st.tuples(st.sampled_from(["abandoned", "reformulated", "task_completed"]), st.none(), st.just(1.0)),
    st.tuples(st.just("reward"), st.none(), st.floats(-1.0, 1.0)),
)
moments = st.floats(SERVED_AT - 50.0, SERVED_AT + 90.0)
signals = st.lists(st.tuples(reactions, moments), max_size=6)


def opened() -> dwell.Loop:
    return dwell.open(
        ":memory:", features=["x"], weights={"x": 1.0}, pepper=PEPPER, attribution_window_s=WINDOW_S, temperature=0.0
    )


def final(loop: dwell.Loop) -> tuple[object, ...]:
    loop.close_events(now=SERVED_AT + 10_000.0)
    (e,) = loop.experiences()
    rewards = np.array(list(e.document_rewards.values()))
    return np.float64(e.reward).tobytes(), rewards.tobytes(), e.feedback_signals, e.document_signals


@settings(max_examples=60)
@given(given_signals=signals, order=st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_final_reward(given_signals: list[Any], order: Any) -> None:
    steps: list[Any] = ["impression", *given_signals, *given_signals[:2]]  # two are delivered twice

    def reward(arrival: list[Any]) -> tuple[object, ...]:
        with opened() as loop:
            for step in arrival:
                if step == "impression":
                    loop.rank("q", CANDIDATES, k=4, event_id="e", now=SERVED_AT)
                    continue
                (name, doc, value), at = step
                # received after the window would be over, so that only the order differs, not what is clamped
                loop.feedback("e", name, doc=doc, value=value, at=at, now=SERVED_AT + 95.0)
            return final(loop)

    shuffled = list(steps)
    order.shuffle(shuffled)
    assert reward(steps) == reward(shuffled)


@settings(max_examples=40)
@given(given_signals=signals, closes_after=st.integers(0, 6))
def test_late_signals_end_where_signals_in_time_do(given_signals: list[Any], closes_after: int) -> None:
    def reward(closes: int) -> tuple[object, ...]:
        with opened() as loop:
            loop.rank("q", CANDIDATES, k=4, event_id="e", now=SERVED_AT)
            for i, ((name, doc, value), at) in enumerate(given_signals):
                if i == closes:
                    loop.close_events(now=SERVED_AT + WINDOW_S)
                loop.feedback("e", name, doc=doc, value=value, at=at, now=SERVED_AT + 95.0)
            return final(loop)

    assert reward(closes_after) == reward(len(given_signals))


@settings(max_examples=60)
@given(
    features=st.lists(st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 5e-324, 1e-38]), min_size=1, max_size=12),
    k=st.integers(1, 20),
    temperature=st.sampled_from([0.0, 0.01, 0.3, 50.0]),
)
def test_every_list_is_a_ranking_of_what_was_given(features: list[float], k: int, temperature: float) -> None:
    with dwell.open(":memory:", features=["x"], weights={"x": -0.7}, pepper=PEPPER, temperature=temperature) as loop:
        ids = [f"d{i}" for i in range(len(features))]
        served = loop.rank("q", ids=ids, features=np.array(features)[:, None], k=k, event_id="e", now=1.0)
        assert served.fallback is None
        assert len(served.ids) == len(set(served.ids)) == min(k, len(ids))
        assert set(served.ids) <= set(ids)
        assert ((served.propensities > 0.0) & (served.propensities <= 1.0)).all()
        if len(served.ids) == len(ids):
            assert served.propensities[-1] == 1.0  # the last one that is left is certain
        (e,) = loop.experiences()
        assert [r["id"] for r in e.results_served] == served.ids
        assert e.propensities == served.propensities.tolist()


@settings(max_examples=30)
@given(
    moments=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=8),
    looks=st.lists(st.floats(0.0, 1.1e6), min_size=1, max_size=4),
)
def test_an_event_closes_at_the_first_look_after_its_own_window(moments: list[float], looks: list[float]) -> None:
    def micros(at: float) -> int:
        return round(at * 1e6)

    with opened() as loop:
        for i, at in enumerate(moments):
            loop.rank("q", CANDIDATES, event_id=f"e{i}", now=at)
        still_open = set(range(len(moments)))
        for look in looks:
            due = {i for i in still_open if micros(moments[i]) <= micros(look - WINDOW_S)}
            assert loop.close_events(now=look) == len(due)
            still_open -= due
        states = {e.event_id: e.state for e in loop.experiences()}
    assert states == {f"e{i}": "open" if i in still_open else "closed" for i in range(len(moments))}
