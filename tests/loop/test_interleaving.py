"""A share of users is shown lists that the proposal and the live params draft in turn, and their choice has a say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.records import Impression

Open = Callable[..., dwell.Loop]
GATE: dict[str, Any] = {"min_events": 50, "min_users": 5, "kind": "block", "block_events": 100_000}
MANY: dict[str, Any] = {
    "gate": {**GATE, "canary_method": "interleave"},
    "learner": {"step_size": 0.05},
    "training": {"target_steps": 20, "max_seconds": 60.0},
}


def impressions(loop: dwell.Loop) -> list[Impression]:
    with loop._state.store.snapshot() as reader:
        return reader.impressions(reader.seqs())


def drafts(loop: dwell.Loop) -> list[Impression]:
    return [one for one in impressions(loop) if one.arm == "interleave"]


def sent(loop: dwell.Loop, world: Any, n: int, wanted: Callable[[list[str], Impression], list[str]]) -> None:
    """Serve lists to users of their own, who click what they want of a list that was drafted, or else the first."""
    for _ in range(n):
        served = loop.rank(
            f"query {world.n % 11}", world.candidates(), k=5, user=f"user-{world.n}", event_id=f"event-{world.n:05d}",
            now=world.now,
        )  # fmt: skip
        loop._state.writer.flush()
        with loop._state.store.snapshot() as reader:
            event = reader.event(served.event_id)
            impression = reader.impressions([event.seq])[0]
        for doc in wanted(served.ids, impression) if impression.teams else served.ids[:1]:
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
        world.n += 1
        world.now += 1.0
    world.now += world.window_s + 1.0


def of_team(team: int) -> Callable[[list[str], Impression], list[str]]:
    return lambda ids, impression: [doc for doc, one in zip(ids, impression.teams, strict=True) if one == team]


def test_a_stable_share_of_users_sees_drafts_of_the_proposal_and_the_live_params(opened: Open, world: Any) -> None:
    loop = opened(mode="canary", canary_share=0.4, temperature=1.0, config=MANY)
    world.visits(loop, 120, n_users=200)
    assert not drafts(loop)  # nothing stands yet
    proposed = loop.train(now=world.now).proposed
    world.visits(loop, 300, n_users=200)
    found = drafts(loop)
    users = {one.user for one in found}
    after = [one for one in impressions(loop)[120:] if one.user in users]
    assert {one.arm for one in after} == {"interleave"}
    assert not any(one.arm == "canary" for one in impressions(loop))
    # 200 users at .4: 80, with a standard deviation of 7
    assert 52 <= len(users) <= 108
    for one in found:
        assert one.params_version == proposed.version
        assert one.is_deterministic
        assert not one.is_altered
        assert one.propensities.tolist() == [1.0] * 5
        assert len(one.teams) == len(one.served) == 5
        assert abs(sum(one.teams)) <= 1
    assert {team for one in found for team in one.teams} == {-1, 0, 1}


def test_a_draft_is_of_the_draws_that_each_would_have_shown(opened: Open, world: Any) -> None:
    """Without noise both orders are known: each document of a team is the best that its ranker had left."""
    loop = opened(mode="canary", canary_share=1.0, temperature=0.0, config=MANY)
    for _ in range(60):
        candidates = world.candidates()
        event_id = f"event-{world.n}"
        loop.rank("q", candidates, k=5, user=f"user-{world.n}", event_id=event_id, now=world.now)
        loop.submit_feedback(event_id, "click", doc=min(candidates, key=lambda c: c["bad"])["id"], now=world.now)
        world.n += 1
    world.now += 2.0 * world.window_s
    proposed = loop.train(now=world.now).proposed
    assert proposed.version > 0
    for _ in range(20):
        candidates = world.candidates()
        x = np.array([[c[name] for name in world.features] for c in candidates], dtype=np.float32)
        left = {
            +1: [candidates[i]["id"] for i in np.argsort(-proposed.score(x).astype(np.float32), kind="stable")],
            -1: [candidates[i]["id"] for i in np.argsort(-loop.params.score(x).astype(np.float32), kind="stable")],
        }
        served = loop.rank("q", candidates, k=5, user="u", now=world.now)
        loop._state.writer.flush()
        one = drafts(loop)[-1]
        assert list(one.served) == served.ids
        for doc, team in zip(one.served, one.teams, strict=True):
            if team == 0:
                assert left[1][0] == left[-1][0] == doc
            else:
                assert left[team][0] == doc
            for ranking in left.values():
                ranking.remove(doc)


def test_a_retry_shows_the_same_list(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, mode="canary", canary_share=1.0, temperature=1.0, config=MANY)
    world.visits(loop, 100)
    loop.train(now=world.now)
    candidates = world.candidates()
    first = loop.rank("q", candidates, k=5, user="u", event_id="again", now=world.now)
    loop._state.writer.flush()
    loop._state.recent.clear()  # from the facts, too
    for _ in range(2):
        second = loop.rank("q", candidates, k=5, user="u", event_id="again", now=world.now + 9.0)
        assert second.ids == first.ids
        assert second.params_version == first.params_version
        assert second.scores.tobytes() == first.scores.tobytes()
        assert second.propensities.tolist() == first.propensities.tolist() == [1.0] * 5
    assert sum(one.event_id == "again" for one in drafts(loop)) == 1


def test_what_users_leave_alone_is_rejected(opened: Open, world: Any) -> None:
    loop = opened(mode="canary", canary_share=0.5, temperature=1.0, config=MANY)
    world.visits(loop, 150, n_users=2_000)
    proposed = loop.train(now=world.now).proposed
    for _ in range(8):
        sent(loop, world, 60, of_team(-1))
        decision = loop.train(now=world.now).decision
        if decision.verdict != "hold":
            break
    assert decision.verdict == "reject"
    assert decision.proposed_version == proposed.version
    assert decision.reasons[0].startswith("interleaving_worse: mean credit -")
    assert decision.estimates["interleaving"].high < 0.0
    assert "canary" not in decision.estimates
    assert loop.params.version == 0
    assert decision in loop.history()
    # they have said what they had to say, and make room
    assert {e.state for e in loop.experiences() if e.params_version == proposed.version} <= {"evicted"}


def test_what_users_choose_is_told_and_promotes_nothing_by_itself(opened: Open, world: Any) -> None:
    loop = opened(mode="canary", canary_share=0.5, temperature=1.0, config=MANY)
    world.visits(loop, 150, n_users=2_000)
    loop.train(now=world.now)
    for _ in range(3):
        sent(loop, world, 50, of_team(+1))
        decision = loop.train(now=world.now).decision
    found = decision.estimates["interleaving"]
    assert decision.verdict == "hold"
    assert 0.0 < found.low <= found.value <= found.high
    # every user came once, so each of their lists counts whole
    assert found.n == found.effective_sample_size == len(drafts(loop))


def test_who_looks_at_positions_alone_decides_nothing(opened: Open, world: Any) -> None:
    loop = opened(mode="canary", canary_share=0.5, temperature=1.0, config=MANY)
    world.visits(loop, 150, n_users=2_000)
    loop.train(now=world.now)
    for _ in range(3):
        sent(loop, world, 50, lambda ids, _: ids[:1])
        decision = loop.train(now=world.now).decision
    found = decision.estimates["interleaving"]
    assert decision.verdict == "hold"
    # the coin says whose the first is: wrong with chance .05 at most, and the seed is fixed
    assert found.low <= 0.0 <= found.high


def test_drafts_are_neither_learned_from_nor_judged_off_policy(opened: Open, world: Any) -> None:
    loop = opened(mode="canary", canary_share=0.5, temperature=1.0, config=MANY)
    world.visits(loop, 120, n_users=2_000)
    loop.train(now=world.now)
    world.visits(loop, 120, n_users=2_000)
    report = loop.train(now=world.now)
    seqs = {one.seq for one in drafts(loop)}
    assert len(seqs) > 20
    rows = loop._state.replayed.rows
    assert not seqs & set(rows.seqs_in_close_order().tolist())
    assert not seqs & set(loop._state.replayed.buffer.seqs().tolist())
    standing = loop._state.standing
    assert standing is not None
    assert standing.judgement is not None
    assert not seqs & set(standing.judgement.known)
    assert seqs == set(standing.judgement.drafts)
    assert report.decision.difference.n == 120 - len(seqs)
    with loop._state.store.snapshot() as reader:
        outcomes = reader.outcomes(sorted(seqs))
    assert all(one.state == "closed" and one.exposure is None and one.document_rewards is not None for one in outcomes)


@pytest.mark.parametrize("mode", ["log-only", "shadow", "live"])
def test_no_other_mode_interleaves(opened: Open, world: Any, mode: str) -> None:
    loop = opened(mode=mode, canary_share=1.0, temperature=1.0, config=MANY)
    for _ in range(2):
        world.visits(loop, 80)
        decision = loop.train(now=world.now).decision
    assert not drafts(loop)
    assert all(one.teams == () for one in impressions(loop))
    assert "interleaving" not in decision.estimates


def test_a_canary_is_split_unless_it_is_told_to_interleave(opened: Open, world: Any) -> None:
    loop = opened(mode="canary", canary_share=1.0, temperature=1.0, config={**MANY, "gate": GATE})
    for _ in range(2):
        world.visits(loop, 80)
        loop.train(now=world.now)
    assert {one.arm for one in impressions(loop)} == {"live", "canary"}


def test_only_what_was_shown_is_credited(opened: Open, world: Any) -> None:
    """Cut lists keep their teams, what was pinned is nobody's, what others re-sorted or nobody showed says nothing."""
    loop = opened(mode="canary", canary_share=1.0, temperature=1.0, config=MANY)
    world.visits(loop, 100)
    loop.train(now=world.now)
    shown = {
        "cut": lambda ids: ids[:3],
        "pinned": lambda ids: ["an-advertisement", *ids],
        "left-out": lambda ids: [*ids[:1], *ids[2:]],
        "re-sorted": lambda ids: ids[::-1],
    }
    expected = {}
    for how, rendered in shown.items():
        name = how
        teams: dict[str, int] = {}
        while not {1, -1} <= set(teams.values()):  # those that are not drafted by both are never activated
            name += "."
            served = loop.rank("q", world.candidates(), k=5, user=name, event_id=name, activate=False, now=world.now)
            loop._state.writer.flush()
            teams = dict(zip(served.ids, drafts(loop)[-1].teams, strict=True))
        loop.activate(name, shown=rendered(served.ids), now=world.now)
        clicked = [doc for doc in rendered(served.ids) if teams.get(doc, 0) >= 0]
        for doc in clicked:
            loop.feedback(name, "click", doc=doc, now=world.now + 1.0)
        expected[name] = 1.0 if how != "re-sorted" and any(teams.get(doc) == 1 for doc in clicked) else 0.0
    # what is served as it is, and activated so, is a draft like any other
    served = loop.rank("q", world.candidates(), k=5, user="whole", event_id="whole", activate=False, now=world.now)
    loop.activate("whole", now=world.now)
    expected["whole"] = 0.0
    world.now += world.window_s + 1.0
    loop.train(now=world.now)
    judgement = loop._state.standing.judgement
    names = {one.seq: one.event_id for one in drafts(loop)}
    assert {names[seq]: draft.credit for seq, draft in judgement.drafts.items()} == expected
    assert set(judgement.drafts).isdisjoint(loop._state.replayed.rows.seqs_in_close_order().tolist())


def test_one_user_does_not_decide(opened: Open, world: Any) -> None:
    """A user who comes a hundred times counts for no more than three average ones."""
    loop = opened(mode="canary", canary_share=1.0, temperature=1.0, config=MANY)
    world.visits(loop, 100)
    loop.train(now=world.now)
    for i in range(90):
        event_id = f"loud-{i}"
        user = "loud" if i % 6 else f"quiet-{i}"
        served = loop.rank("q", world.candidates(), k=5, user=user, event_id=event_id, now=world.now)
        loop._state.writer.flush()
        for doc in of_team(-1)(served.ids, drafts(loop)[-1]) if user == "loud" else ():
            loop.submit_feedback(event_id, "click", doc=doc, now=world.now)
    world.now += world.window_s + 1.0
    decision = loop.train(now=world.now).decision
    found = decision.estimates["interleaving"]
    assert decision.verdict == "hold"
    # loud comes with every average at 1: three lists of his count, beside 15 who say nothing; capped ones add 0
    assert found.n == 90
    assert found.value >= -3.0 / 90.0


def test_the_same_is_said_by_who_opens_the_store_again(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", mode="canary", canary_share=0.5, temperature=1.0, config=MANY)
    world.visits(loop, 120, n_users=2_000)
    loop.train(now=world.now)
    for _ in range(2):
        world.visits(loop, 60, n_users=2_000)
        loop.train(now=world.now)
    late = drafts(loop)[0]
    loop.feedback(late.event_id, "click", doc=late.served[late.teams.index(1)], now=world.now)  # a late reward
    before = loop.train(now=world.now).decision
    loop.close()
    again = opened("a.dwell", mode="canary", canary_share=0.5, temperature=1.0, weights=None, config=MANY)
    after = again.train(now=world.now).decision
    assert after.estimates["interleaving"] == before.estimates["interleaving"]
    assert after.reasons == before.reasons
    # who leaves takes their lists with them
    n = after.estimates["interleaving"].n
    gone = sum(one.user == late.user for one in drafts(again))
    again.erase(f"user-{int(late.event_id.removeprefix('event-')) % 2_000}", now=world.now)
    assert again.train(now=world.now).decision.estimates["interleaving"].n == n - gone


MIXED = {"good": 0.3, "bad": 0.0, "noise": 1.0}  # what is live: mostly chance


@pytest.mark.parametrize(
    ("weights", "verdict"),
    [
        ({"good": 1.0, "bad": 0.0, "noise": 0.0}, "better"),
        ({"good": 0.0, "bad": 1.0, "noise": 0.0}, "worse"),
        ({"good": 0.3, "bad": 0.0, "noise": -1.0}, "equal"),  # other lists, as good as those of the live params
    ],
)
def test_simulated_readers_tell_better_from_worse(
    opened: Open, world: Any, weights: dict[str, float], verdict: str
) -> None:
    """A proposal of given weights stands in the place of the learned one; readers look from the top and click.

    Equal ones are taken for different with probability .05 at most, whatever the seed; this one is fixed.
    """
    loop = opened(mode="canary", canary_share=1.0, temperature=0.3, weights=MIXED, config=MANY)
    world.visits(loop, 60, n_users=2_000)
    loop.train(now=world.now)
    standing = loop._state.standing
    assert standing is not None
    given = standing.params
    standing.params = dwell.Params(version=given.version, weights=weights, temperature=0.3, parent=given.parent)
    for _ in range(4):
        world.visits(loop, 100, n_users=2_000)
        decision = loop.train(now=world.now).decision
        if decision.verdict == "reject":
            break
    found = decision.estimates["interleaving"]
    if verdict == "worse":
        assert decision.verdict == "reject"
        assert decision.reasons[0].startswith("interleaving_worse: ")
        assert found.high < 0.0
    else:
        assert decision.verdict == "hold"
        assert (found.low > 0.0) == (verdict == "better")
        assert found.high >= 0.0
