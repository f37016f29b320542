"""Agents that speak of their own work: what they say is kept and told, and never outvotes people."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.reward.provenance import AGENT_BOUND, MAX_AGENT_SIGNALS
from dwell.storage.protocol import MAX_SIGNALS_PER_EVENT

Open = Callable[..., dwell.Loop]
PEPPER = "a pepper of these tests"
START = 1_700_000_000.0
HOUR_S = 3_600.0


def served_list(loop: dwell.Loop, name: str = "e", *, now: float = START) -> list[str]:
    candidates = [{"id": d, "good": 1.0, "bad": 0.0, "noise": 0.0} for d in "abc"]
    return loop.rank("q", candidates, k=3, event_id=name, now=now).ids


def experience(loop: dwell.Loop) -> dwell.Experience:
    return next(loop.experiences())


def praise_itself(loop: dwell.Loop, served: dwell.Served, worst: str, now: float) -> None:
    """An agent that calls the worst document the best it ever saw, in several words, and all others useless."""
    words = [{"signal": name, "doc": worst} for name in ("agent_helpful", "agent_click", "agent_reward")]
    words += [{"signal": "agent_thumbs_down", "doc": doc} for doc in served.ids if doc != worst]
    loop.submit_feedback_many([{"event_id": served.event_id, **one} for one in words], now=now)


def test_a_word_counts_once_may_be_changed_and_is_in_no_reward(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere, holdout=0.0)
    top = served_list(loop)[0]
    said = [("agent_helpful", 1.0), ("agent_helpful", 1.0), ("agent_helpful", 0.0), ("agent_helpful", 1.0)]
    answers = [loop.feedback("e", name, doc=top, value=value, now=START + i) for i, (name, value) in enumerate(said)]
    assert [one.status for one in answers] == ["joined", "duplicate", "joined", "joined"]
    assert str(answers[1].reason).startswith("said_before")
    assert loop.feedback("e", "agent_unheard_of", doc=top, now=START).status == "rejected"
    loop.close_events(now=START + 1_000.0)
    closed = experience(loop)
    assert (closed.reward, closed.version, closed.feedback_signals) == (0.0, 1, {"agent_helpful": 1.0})
    # a late word changes no reward, so that nothing is computed again; a person's does
    assert loop.feedback("e", "agent_click", doc=top, now=START + 1_100.0).status == "late"
    assert (experience(loop).state, experience(loop).version) == ("closed", 1)
    assert loop.feedback("e", "click", doc=top, now=START + 1_200.0).status == "late"
    assert (experience(loop).state, experience(loop).reward) == ("reopened", 0.5)


def test_an_agent_that_talks_without_end_leaves_people_room(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    top = served_list(loop)[0]
    words = [{"event_id": "e", "signal": "agent_reward", "doc": top, "value": i / 1e4} for i in range(300)]
    found = [one.status for one in loop.feedback_many(words, now=START)]
    assert (found.count("joined"), found.count("rejected")) == (MAX_AGENT_SIGNALS, 300 - MAX_AGENT_SIGNALS)
    assert MAX_AGENT_SIGNALS < MAX_SIGNALS_PER_EVENT
    assert loop.feedback("e", "click", doc=top, now=START).status == "joined"


def run(
    opened: Open, new_world: Any, agent: Callable[..., None] | None, *, people: bool = True, n: int = 250
) -> dwell.Loop:
    """Serve 3 n lists to simulated people, and train after each third of them."""
    loop, world = opened(), new_world(11)
    for _ in range(3):
        for _ in range(n):
            candidates = world.candidates()
            served = loop.rank(
                f"query {world.n % 11}", candidates, k=5, user=f"user-{world.n % 60}",
                event_id=f"event-{world.n:05d}", now=world.now,
            )  # fmt: skip
            if agent is not None:
                good = {one["id"]: one["good"] for one in candidates}
                agent(loop, served, min(served.ids, key=good.__getitem__), world.now + 0.5)
            for doc in world.clicks(served.ids, candidates) if people else ():
                loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
            world.n += 1
            world.now += 1.0
        world.now += world.window_s + 1.0
        loop.train(now=world.now)
    return loop


def ledger(loop: dwell.Loop) -> list[Any]:
    return [
        (one.verdict, one.kind, one.proposed_version, one.safe_version, one.difference, one.reasons)
        for one in loop.history()
    ]


def test_an_agent_that_always_praises_itself_moves_no_param_where_people_disagree(opened: Open, new_world: Any) -> None:
    """Not less, or rarely: to the bit what is learned, judged and promoted is what it is without the agent."""
    without, beside = run(opened, new_world, None), run(opened, new_world, praise_itself)
    assert ledger(beside) == ledger(without)
    assert any(verdict == "promote" and kind == "judged" for verdict, kind, *_ in ledger(without))
    assert beside.params.weights == without.params.weights
    told = [sum(name.startswith("agent_") for name in one.feedback_signals) for one in beside.experiences()]
    assert min(told) > 0  # the agent did speak, of every list


def test_agents_alone_promote_nothing_and_health_says_so(opened: Open, new_world: Any) -> None:
    loop = run(opened, new_world, praise_itself, people=False, n=60)
    assert [one for one in loop.history() if one.verdict == "promote" and one.kind == "judged"] == []
    assert {one.reward for one in loop.experiences()} == {0.0}
    report = loop.health(now=START + 2_000.0)
    alone = report.check("agents_alone_ratio")
    assert alone is not None
    assert (alone.value, alone.severity) == (1.0, "warning")
    silent = next(one for one in report.alerts if one.code == "no_feedback")
    assert silent.remedy.startswith("Agents speak, and no person")


def reward_masses(loop: dwell.Loop, items: list[str], now: float) -> list[float]:
    loop.history()  # writes what is queued
    assert loop.activation is not None
    return [loop.activation.explain(item, now=now).reward_mass for item in items]


def test_activation_takes_it_weakly_until_a_person_speaks(tmp_path: Any) -> None:
    given = [{"id": doc, "x": 0.0} for doc in "ab"]
    with dwell.open(tmp_path / "a.dwell", features=["x"], learner="both", pepper=PEPPER, rewards="memory") as loop:
        for name in ("told", "once"):
            loop.rank("q", given, k=2, event_id=name, user=name, now=START)
        loop.feedback("once", "reward", doc="b", now=START + 60.0)
        loop.feedback("told", "agent_reward", doc="a", now=START + 60.0)
        now = START + 5 * HOUR_S
        by_agent, by_person = reward_masses(loop, ["a", "b"], now)
        assert by_agent == pytest.approx(AGENT_BOUND * by_person)
        assert by_person > 0.0
        loop.feedback("told", "agent_helpful", doc="a", now=START + 61.0)
        assert reward_masses(loop, ["a"], now)[0] == pytest.approx(0.8 * by_agent)
        # a person speaks of the other document: the list is people's now
        loop.feedback("told", "used", doc="b", now=START + 62.0)
        assert reward_masses(loop, ["a"], now)[0] == pytest.approx(0.0, abs=1e-12)
    with dwell.open(tmp_path / "a.dwell", learner="both", pepper=PEPPER, rewards="memory") as loop:
        assert reward_masses(loop, ["a", "b"], now) == pytest.approx([0.0, 1.5 * by_person], abs=1e-12)


def test_volume_does_not_outvote_people_in_activation(tmp_path: Any) -> None:
    """Praised by an agent at every showing stands below found helpful at one showing in three."""
    given = [{"id": doc, "x": 0.0} for doc in "ab"]
    with dwell.open(tmp_path / "a.dwell", features=["x"], learner="both", pepper=PEPPER, rewards="memory") as loop:
        for i in range(150):
            now = START + 3.0 * i
            for doc, name in (("a", "agent_reward"), ("b", "helpful")):
                event = f"{doc}{i}"
                loop.rank("q", [one for one in given if one["id"] == doc], k=1, event_id=event, user=event, now=now)
                if doc == "a" or i % 3 == 0:
                    loop.submit_feedback(event, name, doc=doc, now=now + 1.0)
        loop.history()
        assert loop.activation is not None
        agents, people = np.array(loop.activation.scores(["a", "b"], now=START + HOUR_S))
        assert agents < people


def test_the_class_stands_in_the_store(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    top = served_list(loop)[0]
    loop.feedback("e", "agent_helpful", doc=top, now=START + 1.0)
    shown = {one["id"]: one["signals"] for one in loop.inspect("e").story["served"]}
    assert [one["name"] for one in shown[top]] == ["agent_helpful"]
