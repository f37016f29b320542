"""Which examination is in force: assumed until the loop's own draws say otherwise, and then everywhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.reward.examination import Fitted, PositionBased
from dwell.reward.measuring import Measured, measure

Open = Callable[..., dwell.Loop]


def looks_everywhere(world: Any) -> None:
    """From here on readers look at every position alike."""

    def clicks(shown: list[str], candidates: list[dict[str, Any]]) -> list[str]:
        good = {c["id"]: c["good"] for c in candidates}
        return [d for d in shown if world.rng.random() < max(good[d] ** 2, 0.05)]

    world.clicks = clicks


def test_readers_who_look_as_assumed_change_nothing(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    for _ in range(3):
        world.visits(loop, 300)
        loop.train(now=world.now)
    assert loop._state.rules.examination == PositionBased(1.0)
    assert loop._state.band is not None


def test_readers_who_look_everywhere_are_noticed_and_every_exposure_follows(
    opened: Open, world: Any, anywhere: str
) -> None:
    looks_everywhere(world)
    loop = opened(anywhere, temperature=1.0)
    world.visits(loop, 900)
    loop.train(now=world.now)
    found = loop._state.rules.examination
    assert isinstance(found, Fitted)
    theta = found.theta(5)
    # 1/k would be .5, .33, .25, .2; readers look at all five alike
    assert np.abs(theta - 1.0).max() < 0.35
    rows = loop._state.replayed.rows.in_close_order()
    assert len(rows) == 900
    for row in rows[::100]:
        # whatever is drawn, the exposures of a list sum to the examination of its positions
        assert row.exposure.sum() == pytest.approx(theta.sum(), rel=1e-4)
    if anywhere == ":memory:":
        return
    before = [(row.event_id, row.exposure.tobytes()) for row in rows]
    loop.close()
    again = opened(anywhere, temperature=1.0, weights=None)
    again.close_events(now=world.now)
    assert again._state.rules.examination == found
    assert "taken up" in again._state.replayed.ring_report
    after = again._state.replayed.rows.in_close_order()
    assert [(row.event_id, row.exposure.tobytes()) for row in after] == before
    again.close()
    # another setting discards nothing: the same events, with the exposure that the assumption gives
    assumed = {"training": {"examination": "assumed", "target_steps": 5}}
    other = opened(anywhere, temperature=1.0, weights=None, config=assumed)
    other.close_events(now=world.now)
    rows = other._state.replayed.rows.in_close_order()
    assert [row.event_id for row in rows] == [event for event, _ in before]
    assert rows[0].exposure.sum() == pytest.approx((1.0 / np.arange(1.0, 6.0)).sum(), rel=1e-4)


def test_it_may_be_assumed_for_good(opened: Open, world: Any) -> None:
    looks_everywhere(world)
    assumed = {"training": {"examination": "assumed", "examination_eta": 0.5, "target_steps": 5}}
    loop = opened(temperature=1.0, config=assumed)
    world.visits(loop, 600)
    loop.train(now=world.now)
    assert loop._state.rules.examination == PositionBased(0.5)
    with pytest.raises(dwell.DwellError, match="examination"):
        opened(config={"training": {"examination": "guessed"}})


def test_one_account_does_not_set_the_examination(opened: Open, world: Any) -> None:
    """Half of all lists are one reader's, who clicks on whatever stands last."""
    loop = opened(temperature=1.0)
    as_before = world.clicks
    for i in range(1_200):
        candidates = world.candidates()
        is_hostile = i % 2 == 0
        served = loop.rank(
            f"query {i % 11}",
            candidates,
            k=5,
            user="account" if is_hostile else f"user-{i % 240}",
            event_id=f"event-{i:05d}",
            now=world.now,
        )
        for doc in [served.ids[-1]] if is_hostile else as_before(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
        world.now += 1.0
    world.now += world.window_s + 1.0
    loop.train(now=world.now)
    assert loop._state.rules.examination == PositionBased(1.0)


ETA = 1.6


def steeply(world: Any) -> None:
    """From here on readers click on what is good, and look at position k with the chance 1 / k^1.6."""

    def clicks(shown: list[str], candidates: list[dict[str, Any]]) -> list[str]:
        good = {c["id"]: c["good"] for c in candidates}
        relevance = {d: 1.0 / (1.0 + np.exp(-4.0 * (g - 0.3))) for d, g in good.items()}
        return [d for i, d in enumerate(shown) if world.rng.random() < relevance[d] * (i + 1) ** -ETA]

    world.clicks = clicks


def is_within(measured: Measured, k: int) -> bool:
    theta = np.arange(1, k + 1) ** -ETA
    return bool(((measured.low[:k] <= theta) & (theta <= measured.high[:k])).all())


def visits_of_three(loop: dwell.Loop, world: Any, n: int) -> None:
    """Serve many lists of three of eight documents to many users."""
    for _ in range(n):
        candidates = world.candidates()
        event = f"event-{world.n:05d}"
        served = loop.rank(
            f"query {world.n % 97}", candidates, k=3, user=f"user-{world.n % 300}", event_id=event, now=world.now
        )
        for doc in world.clicks(served.ids, candidates):
            loop.submit_feedback(event, "click", doc=doc, now=world.now + 1.0)
        world.n += 1
        world.now += 1.0
    world.now += world.window_s + 1.0


GOOD = {"good": 1.0, "bad": 0.0, "noise": 0.3}


def swapping(share: float) -> dict[str, Any]:
    return {"training": {"swap_share": share, "target_steps": 5}, "gate": {"min_events": 50, "min_users": 5}}


def test_swaps_measure_where_the_loop_draws_nothing(opened: Open, world: Any) -> None:
    steeply(world)
    loop = opened(temperature=0.0, weights=GOOD, config=swapping(0.2))
    visits_of_three(loop, world, 3_500)
    loop.train(now=world.now)
    measured = loop._state.measured
    assert measured is not None
    assert (measured.source, measured.reasons) == ("swaps", ("harvest: no click on a list of two or more",))
    assert is_within(measured, 3)
    found = loop._state.rules.examination
    assert isinstance(found, Fitted)
    assert found.source == "swaps"
    # its band reaches the gate
    band = loop._state.band
    assert band is not None
    assert (band.low.tolist(), band.high.tolist()) == (measured.low.tolist(), measured.high.tolist())
    # every list is learned from, with the exposure given its pair; those with a pair never judge
    replayed = loop._state.replayed
    rows = replayed.rows.in_close_order()
    of_pairs = [row for row in rows if row.swap_pair]
    assert 0.15 < len(of_pairs) / len(rows) < 0.25
    assert {row.seq for row in replayed.judging()} == {row.seq for row in rows if not row.swap_pair}
    assert not any(row.swap_pair for row in replayed.held_out())
    theta = found.theta(3)
    for row in of_pairs[::50]:
        above, below = row.exposure[row.swap_pair - 1 : row.swap_pair + 1]
        assert above == below == pytest.approx(theta[row.swap_pair - 1 : row.swap_pair + 1].mean(), rel=1e-6)
        assert row.exposure.sum() == pytest.approx(theta.sum(), rel=1e-6)
    visits_of_three(loop, world, 120)
    loop.train(now=world.now)
    standing = loop._state.standing
    assert standing is not None
    assert standing.judgement is not None
    later = {row.seq: row for row in replayed.rows.in_close_order(after=standing.proposal.after_seq)}
    assert set(standing.judgement.known) == {seq for seq, row in later.items() if not row.swap_pair}
    assert len(standing.judgement.known) < len(later)
    health = loop.health(now=world.now)
    assert health.examination is not None
    assert (health.examination.source, health.figures["examination_source"]) == ("swaps", "swaps")
    assert health.figures["examinations_measured"] == 1
    assert health.examination.is_monotone
    assert health.examination.rises == ()
    assert health.examination.values[:3] == tuple(theta.tolist())
    # rewards agree with the predictor and the examination in force, the last position within its interval
    low, high = health.examination.calibration_low[0], health.examination.calibration_high[0]
    assert low is not None
    assert high is not None
    assert low < 1.1
    assert high > 0.9


def lists_of(loop: dwell.Loop) -> list[tuple[Any, ...]]:
    with loop._state.store.snapshot() as reader:
        return [
            (i.event_id, i.served, i.propensities.tobytes(), i.documents, i.arm, i.swap_pair)
            for i in reader.impressions(reader.seqs())
        ]


@pytest.mark.parametrize("mode", ["log-only", "shadow", "live"])
def test_a_share_of_nothing_and_modes_that_serve_the_callers_order_swap_nothing(
    opened: Open, new_world: Any, mode: str
) -> None:
    found = []
    for share in (None, 0.0, 0.2):
        world = new_world()
        settings = {} if share is None else {"config": swapping(share)}
        loop = opened(mode=mode, seed=3, **settings)
        loop._state.identity = loop._state.identity._replace(secret=b"the same for each")
        world.visits(loop, 60)
        loop.close_events(now=world.now)
        found.append(lists_of(loop))
    assert found[0] == found[1]
    if mode != "live":
        assert found[1] == found[2]
        return
    chosen = [i for i, event in enumerate(found[2]) if event[4] == "swap"]
    assert 2 < len(chosen) < 30
    # streams of their own: whoever was not chosen was served the same bits
    assert all(a == b for i, (a, b) in enumerate(zip(found[1], found[2], strict=True)) if i not in chosen)


def test_a_retry_of_a_swapped_list_answers_the_same_after_a_restart_too(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", temperature=0.0, config=swapping(0.2))
    asked = [world.candidates() for _ in range(60)]
    served = [loop.rank("q", c, k=5, event_id=f"e{i}", now=world.now) for i, c in enumerate(asked)]
    assert sum((s.propensities < 1.0).any() for s in served) > 3

    def answers(of: dwell.Loop) -> list[tuple[list[str], bytes]]:
        again = [of.rank("q", c, k=5, event_id=f"e{i}", now=world.now) for i, c in enumerate(asked)]
        return [(s.ids, s.propensities.tobytes()) for s in again]

    first = [(s.ids, s.propensities.tobytes()) for s in served]
    assert answers(loop) == first
    loop.close()
    # another share, and the same lists: what was recorded is what was shown
    assert answers(opened("a.dwell", temperature=0.0, weights=None, config=swapping(0.0))) == first


def test_a_deferred_list_that_is_cut_between_the_pair_is_not_learned_from(opened: Open, world: Any) -> None:
    loop = opened(temperature=0.0, config=swapping(0.2))
    for i in range(80):
        served = loop.rank("q", world.candidates(), k=3, event_id=f"e{i:02d}", activate=False, now=world.now)
        loop.activate(f"e{i:02d}", shown=served.ids[:2], now=world.now)
    world.now += world.window_s + 1.0
    loop.close_events(now=world.now)
    rows = {row.event_id for row in loop._state.replayed.rows.in_close_order()}
    with loop._state.store.snapshot() as reader:
        pairs = {i.event_id: i.swap_pair for i in reader.impressions(reader.seqs())}
    assert {pairs[event] for event in rows} == {0, 1}
    assert set(pairs) - rows == {event for event, pair in pairs.items() if pair == 2} != set()


def test_where_nobody_draws_regression_em_widens_the_band_and_replaces_nothing(opened: Open, world: Any) -> None:
    steeply(world)
    loop = opened(mode="shadow", temperature=0.0, config=swapping(0.2))
    visits_of_three(loop, world, 1_200)
    loop.train(now=world.now)
    measured = loop._state.measured
    assert measured is not None
    assert measured.source == "regression_em"
    assert is_within(measured, 3)
    estimate = measured.examination.theta(3)
    assert np.abs(np.log(estimate) + ETA * np.log([1.0, 2.0, 3.0])).max() < 0.4
    # in force stays what was assumed, and all that the gate asks about it is asked still
    assert loop._state.rules.examination == PositionBased(1.0)
    band, assumed = loop._state.band, measure(PositionBased(1.0), len(measured.low))
    assert band is not None
    assert [end.tobytes() for end in band.more] == [assumed.low.tobytes(), assumed.high.tobytes()]
    health = loop.health(now=world.now)
    assert health.examination is not None
    assert (health.examination.source, health.examination.measured) == ("assumed", "regression_em")
    assert health.figures["examinations_measured"] == 0
