"""Whatever the order of arrival, and however often delivered: the same reward, bit for bit, inside its range."""

from dataclasses import replace
from typing import TypeAlias

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dwell.records import Signal
from dwell.records.arrays import FloatArray
from dwell.reward import (
    RewardPreset,
    RewardResult,
    SignalSpec,
    agents_word,
    compute_reward,
    credited_at,
    custom,
    join_status,
    named_by,
)
from dwell.reward.presets import PRESETS
from dwell.reward.provenance import AGENT_BOUND

World: TypeAlias = tuple[RewardPreset, list[Signal]]

DOCS = ("a", "b", "c", "d")
KINDS = ("earliest", "last", "sum", "mean", "max")
# one signal per way of aggregating, with weights and values that do not add up exactly in binary
AWKWARD = custom(
    {
        kind: SignalSpec(name=kind, weight=w, low=-1.0, aggregation=kind)
        for kind, w in zip(KINDS, (0.1, -0.7, 0.3, 0.9, -0.2), strict=True)
    },
    default_reward=-0.1,
)


def values_of(spec: SignalSpec) -> st.SearchStrategy[float]:
    edges = st.sampled_from([spec.low, spec.high, max(spec.low, -0.0), (spec.low + spec.high) / 3])
    return st.one_of(edges, st.floats(spec.low, spec.high))


@st.composite
def signals_for(draw: st.DrawFn, preset: RewardPreset) -> Signal:
    name = draw(st.sampled_from(sorted(preset.signals)))
    spec = preset.signals[name]
    docs = {"document": DOCS, "list": (None,), "either": (*DOCS, None)}[spec.scope]
    at = draw(st.one_of(st.sampled_from([0.0, 10.0, 10.0, 2_000.0]), st.floats(0.0, 1e6)))
    return Signal(
        event_id="e",
        name=name,
        doc=draw(st.sampled_from(docs)),
        value=draw(values_of(spec)),
        at=at,
        received_at=draw(st.floats(0.0, 1e6)),
        idempotency_key=draw(st.sampled_from([None, "k1", "k2"])),
    )


def agents(signals: list[Signal]) -> list[Signal]:
    """Return the same words from agents about their own work."""
    return [replace(signal, name=named_by(signal.name, "agent")) for signal in signals]


presets = st.sampled_from([*PRESETS.values(), AWKWARD])
worlds = presets.flatmap(lambda p: st.tuples(st.just(p), st.lists(signals_for(p), max_size=12)))
examinations = st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4).map(np.array)


def bits(result: RewardResult) -> tuple[object, ...]:
    return (
        np.float64(result.reward).tobytes(),
        result.document_rewards.tobytes(),
        {name: np.float64(value).tobytes() for name, value in result.signals.items()},
        {doc: {n: np.float64(v).tobytes() for n, v in found.items()} for doc, found in result.document_signals.items()},
        result.basis,
        result.ignored,
    )


@given(worlds, examinations, st.data())
def test_any_order_of_arrival_gives_the_same_bits(world: World, theta: FloatArray, data: st.DataObject) -> None:
    preset, signals = world
    again = data.draw(st.permutations(signals))
    assert bits(compute_reward(preset, DOCS, again, theta)) == bits(compute_reward(preset, DOCS, signals, theta))


@given(worlds, examinations, st.data())
def test_delivering_some_twice_in_any_order_changes_nothing(
    world: World, theta: FloatArray, data: st.DataObject
) -> None:
    preset, signals = world
    repeated = data.draw(st.lists(st.sampled_from(signals), max_size=6)) if signals else []
    again = data.draw(st.permutations([*signals, *repeated]))
    assert bits(compute_reward(preset, DOCS, again, theta)) == bits(compute_reward(preset, DOCS, signals, theta))


@given(worlds, examinations, st.integers(0, 12), st.data())
def test_closing_in_between_changes_nothing_in_the_end(
    world: World, theta: FloatArray, n_early: int, data: st.DataObject
) -> None:
    preset, signals = world
    arrivals = data.draw(st.permutations(signals))
    known, states = [], ["open"]
    for i, signal in enumerate(arrivals):
        if i == n_early:
            compute_reward(preset, DOCS, known, theta)
            states.append("closed")
        status = join_status(states[-1], 0.0, 1.0).status
        assert status == ("joined" if i < n_early else "late")
        known.append(signal)
    assert bits(compute_reward(preset, DOCS, known, theta)) == bits(compute_reward(preset, DOCS, signals, theta))


@given(world=worlds, theta=examinations, is_over=st.booleans())
def test_rewards_stay_in_range_and_junk_beside_praise_gains_nothing(
    world: World, theta: FloatArray, *, is_over: bool
) -> None:
    preset, signals = world
    result = compute_reward(preset, DOCS, signals, theta, is_window_over=is_over)
    assert -1.0 <= result.reward <= 1.0
    assert (np.abs(result.document_rewards) <= 1.0).all()
    assert result.ignored == {}
    counted = any(preset.signals[s.name].weight != 0.0 for s in signals)
    assert result.has_feedback == counted
    assert result.basis == ("feedback" if counted else "default" if is_over else "pending")
    named = {s.doc for s in signals if s.doc is not None}
    own = compute_reward(preset, DOCS, [s for s in signals if s.doc is not None], theta, is_window_over=False)
    if (own.document_rewards > 0.0).any():
        junk = [i for i, doc in enumerate(DOCS) if doc not in named]
        assert (result.document_rewards[junk] <= 0.0).all()


@given(worlds, examinations)
def test_document_rewards_add_up_to_the_list_where_nothing_was_clipped(world: World, theta: FloatArray) -> None:
    preset, signals = world
    result = compute_reward(preset, DOCS, signals, theta)
    if (np.abs(result.document_rewards) < 1.0).all() and abs(result.reward) < 1.0:
        assert abs(result.document_rewards.sum() - result.reward) < 1e-12


@given(st.floats(0.0, 1e10), st.floats(0.0, 1e10), st.floats(0.0, 1e10))
def test_the_credited_instant_is_never_before_the_served_time_nor_after_now(
    at: float, served_at: float, now: float
) -> None:
    found = credited_at(at, served_at, now)
    assert found.at >= served_at
    if now >= served_at:
        assert found.at <= now
    if not (found.is_skewed or found.is_future):
        assert found.at == at


two_worlds = presets.flatmap(
    lambda p: st.tuples(st.just(p), st.lists(signals_for(p), max_size=6), st.lists(signals_for(p), max_size=12))
)


@given(two_worlds, examinations, st.data())
def test_no_word_of_an_agent_is_in_a_reward(
    world: tuple[RewardPreset, list[Signal], list[Signal]], theta: FloatArray, data: st.DataObject
) -> None:
    preset, people, others = world
    is_over = data.draw(st.booleans())
    mixed = data.draw(st.permutations([*people, *agents(others)]))
    alone = compute_reward(preset, DOCS, people, theta, is_window_over=is_over)
    together = compute_reward(preset, DOCS, mixed, theta, is_window_over=is_over)
    # the reward, each document's, and what it rests on; what was said is told of all
    assert (bits(together)[:2], together.basis) == (bits(alone)[:2], alone.basis)
    assert alone.signals.items() <= together.signals.items()


@given(two_worlds, examinations, st.data())
def test_an_agents_word_is_bounded_silent_before_people_and_not_louder_when_repeated(
    world: tuple[RewardPreset, list[Signal], list[Signal]], theta: FloatArray, data: st.DataObject
) -> None:
    preset, people, others = world
    own = agents(others)
    word = agents_word(preset, DOCS, own, theta)
    assert (np.abs(word) <= AGENT_BOUND).all()
    have_spoken = any(preset.signals[signal.name].weight != 0.0 for signal in people)
    beside = agents_word(preset, DOCS, data.draw(st.permutations([*own, *people])), theta)
    assert beside.tobytes() == (np.zeros(len(DOCS)) if have_spoken else word).tobytes()
    # said again later, all of it, in the same order of time: the last word is what it was
    later = [replace(signal, at=signal.at + 2e6) for signal in own]
    again = agents_word(preset, DOCS, data.draw(st.permutations([*own, *later])), theta)
    assert again.tobytes() == word.tobytes()
