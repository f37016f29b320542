"""Activation of any history: within its bound, the same in any order, and a function of the set of events alone."""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dwell.activation import LADDER_12, LADDER_14, NEVER_US, Activation, CapKey, Ladder, counted
from dwell.activation.exact import base_level

NOW = 1_700_000_000_000_000
OLDEST_US, YOUNGEST_US = 315_576_000_000_000, 60_000_000
CAP = 2

LADDER = st.sampled_from([LADDER_12, LADDER_14])
DECAY = st.floats(0.1, 0.9)
# ages as people forget: as many within an hour as within years
AGE_US = st.floats(math.log(YOUNGEST_US), math.log(OLDEST_US)).map(
    lambda log: min(max(round(math.exp(log)), YOUNGEST_US), OLDEST_US)
)
HISTORY = st.lists(AGE_US, min_size=1, max_size=40)


def remembered(ages_us: list[int], ladder: Ladder, decay: float) -> Activation:
    memory = Activation(channels="access", ladder=ladder, decay=decay)
    for age in ages_us:
        memory.access(["item"], NOW - age)
    return memory


def exactly(ages_us: list[int], decay: float) -> float:
    return base_level([age / 1e6 for age in ages_us], decay)


@given(ages=HISTORY, ladder=LADDER, decay=DECAY)
def test_traces_are_within_their_bound_for_any_history_and_decay(ages: list[int], ladder: Ladder, decay: float) -> None:
    found = remembered(ages, ladder, decay).scores(["item"], NOW)[0]
    assert abs(found - exactly(ages, decay)) <= ladder.bound_nats


@given(ages=HISTORY, ladder=LADDER, first=DECAY, second=DECAY)
def test_decay_is_retroactive(ages: list[int], ladder: Ladder, first: float, second: float) -> None:
    memory = remembered(ages, ladder, first)
    memory.set_decay(second)
    assert abs(memory.scores(["item"], NOW)[0] - exactly(ages, second)) <= ladder.bound_nats


@given(ages=HISTORY, other=HISTORY, ladder=LADDER, decay=DECAY, shuffled=st.randoms(use_true_random=False))
def test_order_merging_and_retraction(
    ages: list[int], other: list[int], ladder: Ladder, decay: float, shuffled: Any
) -> None:
    both = [*ages, *other]
    expected = remembered(both, ladder, decay).scores(["item"], NOW)[0]
    mixed = list(both)
    shuffled.shuffle(mixed)
    assert math.isclose(remembered(mixed, ladder, decay).scores(["item"], NOW)[0], expected, abs_tol=1e-9)
    merged = remembered(ages, ladder, decay)
    merged.merge(remembered(other, ladder, decay))
    assert math.isclose(merged.scores(["item"], NOW)[0], expected, abs_tol=1e-9)
    for number, age in enumerate(other):
        merged.access(["item"], NOW - age, event_id=f"e{number}")
    for number in range(len(other)):
        merged.retract(f"e{number}")
    assert math.isclose(merged.scores(["item"], NOW)[0], expected, abs_tol=1e-9)


@given(ages=HISTORY, ladder=LADDER, decay=DECAY, later=st.sets(AGE_US, min_size=1, max_size=5))
def test_base_level_only_falls_between_events(ages: list[int], ladder: Ladder, decay: float, later: set[int]) -> None:
    memory = remembered(ages, ladder, decay)
    levels = [memory.base_level(["item"], at)[0] for at in [NOW, *(NOW + step for step in sorted(later))]]
    # steps of a microsecond are below rounding
    assert all(a >= b for a, b in pairwise(levels))
    assert levels[0] > levels[-1]
    (date,) = memory.forget_date(["item"], levels[0] - 0.5).tolist()
    if date != NEVER_US:
        assert memory.base_level(["item"], date)[0] < levels[0] - 0.5
        assert memory.base_level(["item"], date - 1)[0] >= levels[0] - 0.5


@given(ages=st.lists(AGE_US.filter(lambda age: age < OLDEST_US // 100), min_size=1, max_size=40), decay=DECAY)
def test_another_unit_shifts_all_alike(ages: list[int], decay: float) -> None:
    shift = decay * math.log(100.0)
    assert math.isclose(exactly([100 * age for age in ages], decay), exactly(ages, decay) - shift, abs_tol=1e-9)
    one = remembered(ages, LADDER_12, decay).scores(["item"], NOW)[0]
    other = remembered([100 * age for age in ages], LADDER_12, decay).scores(["item"], NOW)[0]
    assert abs(other - (one - shift)) <= 2.0 * LADDER_12.bound_nats


class Did(NamedTuple):
    """One call: a serve, a feedback or a retraction of an event."""

    call: str
    event: int
    item: str
    reward: float


class World(NamedTuple):
    """Events as they are, whatever arrives of them when."""

    ages: list[int]
    sessions: list[str | None]
    items: list[list[str]]


ITEMS = ("a", "b", "c")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, list[Did]]:
    n = draw(st.integers(1, 6))
    events = range(n)
    world = World(
        ages=[draw(AGE_US) for _ in events],
        sessions=[draw(st.sampled_from([None, "s", "t"])) for _ in events],
        items=[draw(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3, unique=True)) for _ in events],
    )
    step = st.builds(
        Did,
        st.sampled_from(["serve", "serve", "feedback", "feedback", "retract"]),
        st.integers(0, n - 1),
        st.sampled_from(ITEMS),
        st.sampled_from([-1.0, -0.25, 0.5, 1.0]),
    )
    return world, draw(st.lists(step, max_size=30))


def naive(world: World, done: list[Did], now: int, decay: float) -> np.ndarray:
    """Return the exact masses by the set of events that is left, and by `counted`."""
    left: dict[int, dict[str, float]] = {}
    for did in done:
        if did.call == "serve":
            left.setdefault(did.event, dict.fromkeys(world.items[did.event], 0.0))
        elif did.call == "retract":
            left.pop(did.event, None)
        elif did.item in left.get(did.event, {}):
            left[did.event][did.item] = did.reward
    keys = [CapKey(item, world.sessions[e], NOW - world.ages[e], f"e{e}") for e, said in left.items() for item in said]
    masses = np.zeros((len(ITEMS), 2))
    for event_id, item in counted(keys, CAP):
        event = int(event_id[1:])
        kernel = ((now - NOW + world.ages[event]) / 1e6) ** -decay
        reward = left[event][item]
        masses[ITEMS.index(item)] += kernel * np.array([max(reward, 0.0), 1.0 + max(-reward, 0.0)])
    return masses


def played(world: World, done: list[Did], meaning: Any) -> Activation:
    memory = Activation(meaning=meaning, session_cap=CAP)
    for did in done:
        if did.call == "serve":
            at, session = NOW - world.ages[did.event], world.sessions[did.event]
            memory.serve(world.items[did.event], at, event_id=f"e{did.event}", session=session)
        elif did.call == "feedback":
            memory.feedback(f"e{did.event}", did.item, did.reward)
        else:
            memory.retract(f"e{did.event}")
    return memory


@given(case=worlds(), decay=DECAY)
@settings(max_examples=200)
def test_activation_is_a_function_of_the_set_of_events(case: tuple[World, list[Did]], decay: float) -> None:
    world, done = case
    expected = naive(world, done, NOW, decay)
    for meaning, error in (("exact", 1e-9), ("traces", LADDER_12.error_nats(decay) + 1e-4)):
        memory = played(world, done, meaning)
        memory.set_decay(decay)
        found = memory.masses(ITEMS, NOW)
        assert np.allclose(found, expected, rtol=error, atol=1e-12)


@given(case=worlds(), cut=st.integers(0, 30), decay=DECAY)
def test_two_shards_are_one(case: tuple[World, list[Did]], cut: int, decay: float) -> None:
    world, done = case
    # each event belongs to one shard; what is done to it is done there
    here = [did for did in done if did.event < cut % 6]
    there = [did for did in done if did.event >= cut % 6]
    expected = naive(world, done, NOW, decay)
    for meaning, error in (("exact", 1e-9), ("traces", LADDER_12.error_nats(decay) + 1e-4)):
        memory = played(world, here, meaning)
        memory.merge(played(world, there, meaning))
        memory.set_decay(decay)
        assert np.allclose(memory.masses(ITEMS, NOW), expected, rtol=error, atol=1e-12)


@given(case=worlds())
def test_a_copy_from_rows_goes_on_as_the_original(case: tuple[World, list[Did]]) -> None:
    world, done = case
    memory = played(world, done, "traces")
    copy = Activation(session_cap=CAP)
    copy.load(memory.rows())
    assert np.array_equal(copy.masses(ITEMS, NOW), memory.masses(ITEMS, NOW))
    assert dict(copy.rows()) == dict(memory.rows())
