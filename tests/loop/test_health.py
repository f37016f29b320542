"""Health of real loops: a segment that dominates, quotas that clear it, what was drawn, and another process's word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.health import HealthReport
from dwell.loop.rows import query_hash
from dwell.loop.seed import buffer_health_report
from dwell.server.learner import _Tenant, _told_again

Open = Callable[..., dwell.Loop]

CAPACITY = 200
N_FAQ, N_OTHERS = 900, 150
QUICK: dict[str, Any] = {
    "gate": {"min_events": 50, "min_users": 5},
    "training": {"target_steps": 10, "max_seconds": 60.0},
}


def lived_with(loop: dwell.Loop, world: Any, *, event: str = "event") -> None:
    """Serve six lists of the query type "faq" for each of the three others, each event under an id of its own."""
    segments = ["faq"] * 6 + ["shop", "help", "docs"]
    for i in range(N_FAQ + N_OTHERS):
        candidates = world.candidates()
        served = loop.rank(
            f"query {i % 40}",
            candidates,
            k=5,
            user=f"user-{i % 60}",
            segment=segments[i % 7] if i % 7 < 6 else segments[6 + i // 7 % 3],
            event_id=f"{event}{i}",
            now=world.now,
        )
        for doc in world.clicks(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now)
        world.now += 1.0
    world.now += world.window_s + 1.0
    loop.close_events(world.now)


def codes(report: HealthReport) -> list[str]:
    return [alert.code for alert in report.alerts]


def opened_with(opened: Open, where: str | Path = ":memory:", **replay: Any) -> dwell.Loop:
    return opened(where, capacity=CAPACITY, holdout=0.0, config={**QUICK, "replay": replay})


def test_a_query_type_that_dominates_is_named_and_quotas_clear_it(opened: Open, new_world: type[Any]) -> None:
    without, world = opened_with(opened), new_world()
    lived_with(without, world)
    report = without.health(now=world.now)
    assert codes(report) == ["dominant_segment"]
    _check_that_no_guess_is_confirmed(report)
    # 6 of 7 lists, whatever the window
    assert "'faq' makes up 86%" in report.alerts[0].message
    assert "segment_quotas" in report.alerts[0].remedy
    assert "stratified" in report.alerts[0].remedy

    with_quotas, world = opened_with(opened, segment_quotas="equal"), new_world()
    lived_with(with_quotas, world)
    report = with_quotas.health(now=world.now)
    assert codes(report) == []
    # each other type came 50 times, all of which its quota of 50 keeps
    assert {share.name: share.n for share in report.shares["segment"]} == {
        "faq": 50,
        "shop": 50,
        "help": 50,
        "docs": 50,
    }


def _check_that_no_guess_is_confirmed(report: HealthReport) -> None:
    """A report tells nobody who has it and may not read queries whether what he guesses was asked."""
    names = [share.name for share in report.shares["query"]]
    assert len(set(names)) == len(names) >= 10
    guesses = {f"{query_hash(f'query {i}'):016x}" for i in range(40)}
    assert not [guess for guess in guesses if guess in repr(report)]
    dominant = report.check("dominant_query")
    assert dominant is not None
    assert names[0] in dominant.sentence  # the same name in all of its parts


def test_quotas_hold_when_a_store_is_opened_again(opened: Open, world: Any) -> None:
    loop = opened_with(opened, "a.dwell", segment_quotas="equal")
    lived_with(loop, world)
    due = loop.health(now=world.now).shares["segment"]
    loop.close()
    again = opened_with(opened, "a.dwell", segment_quotas="equal")
    assert again.health(now=world.now).shares["segment"] == due
    assert "taken up" in again._state.replayed.ring_report
    for i in range(300):  # the head type alone, which may not push the others out
        again.rank(f"q{i}", world.candidates(), k=5, user=f"u{i % 9}", segment="faq", now=world.now + i)
    again.close_events(world.now + 1_000.0)
    assert again.health(now=world.now + 1_000.0).shares["segment"] == due


def test_a_segment_may_have_what_a_quota_promises_it(opened: Open, world: Any) -> None:
    loop = opened_with(opened, segment_quotas={"faq": 0.9})
    lived_with(loop, world)
    report = loop.health(now=world.now)
    assert codes(report) == []
    # what is beyond the nine tenths is nobody's: the four types share it
    assert 0.9 <= report.shares["segment"][0].share <= 0.9 + 0.1 / 4


def seeds_own_monitoring(buffer: dwell.ReplayBuffer) -> dict[str, Any]:
    """Return what the founding document's report says of diversity and of what is wrong, by its own words."""
    experiences = list(buffer.buffer)
    users = {e.event_id.split("_")[0] for e in experiences}
    rewards = [e.reward for e in experiences]
    return {
        "size": len(experiences),
        "capacity_pct": len(experiences) / buffer.capacity,
        "avg_reward": sum(rewards) / len(rewards),
        "unique_contexts": len(users),
    }


def test_the_founding_documents_monitoring_would_not_have_seen_it(opened: Open, world: Any) -> None:
    loop = opened_with(opened)
    lived_with(loop, world, event="0190-")  # ids as UUIDs are: one per event, nothing in front of an underscore
    assert codes(loop.health(now=world.now)) == ["dominant_segment"]
    buffer = dwell.ReplayBuffer(capacity=CAPACITY)
    buffer.extend(list(loop.experiences(limit=CAPACITY)))
    seeds = seeds_own_monitoring(buffer)
    # as diverse as can be: 200 contexts of 200 events, and nothing in it names a query type
    assert (seeds["unique_contexts"], seeds["capacity_pct"]) == (CAPACITY, 1.0)
    assert not any("segment" in name or "alert" in name for name in seeds)
    ours = buffer_health_report(buffer, now=world.now)
    assert ours["alerts"] == ["dominated_by_segment"]
    assert ours["unique_contexts"] == 60  # users, whatever their events are called


def test_sampling_by_strata_counts_half_since_the_other_half_is_new(opened: Open, world: Any) -> None:
    loop = opened_with(opened, strategy="stratified")
    lived_with(loop, world)
    check = loop.health(now=world.now).check("dominant_segment")
    assert check is not None
    shares = loop.health(now=world.now).shares["segment"]
    assert check.value == pytest.approx(shares[0].share / 2 + 1 / 4 / 2)
    assert check.severity == "warning"  # 0.86 / 2 + 0.125 is above a half still
    assert "strata" in check.sentence


def test_what_was_drawn_is_told_by_this_process_and_by_the_next_one(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", config=QUICK)
    assert loop.health(now=world.now).check("batch_mean_age_hours") is None  # nothing was learned
    world.visits(loop, 400)
    loop.train(now=world.now)
    report = loop.health(now=world.now)
    check = report.check("batch_duplicates_ratio")
    assert check is not None
    assert check.value is not None
    assert 0.0 <= check.value < 1.0
    effective = report.check("batch_effective_users")
    assert effective is not None
    assert effective.value is not None
    assert 1.0 < effective.value <= 60.0  # users of the world
    loop.close()
    again = opened("a.dwell", config=QUICK)
    found = again.health(now=world.now)
    assert [s for s in found.sections if s.name == "batches"] == [s for s in report.sections if s.name == "batches"]


def test_signals_are_counted_of_the_newest_lists(opened: Open, world: Any) -> None:
    loop = opened()
    for i in range(150):
        served = loop.rank("q", world.candidates(), k=5, user=f"user-{i}", now=world.now)
        for delay_s in (2.0, 9.0) if i % 3 == 0 else ():
            loop.submit_feedback(served.event_id, "click", doc=served.ids[0], now=world.now + delay_s)
        world.now += 1.0
    world.now += world.window_s + 1.0
    loop.close_events(world.now)
    report = loop.health(now=world.now)
    told = {name: report.check(name) for name in ("coverage_ratio", "default_reward_ratio", "join_delay_median_s")}
    # two signals each, after 2 s and 9 s, for every third list: their median is half way
    due = {"coverage_ratio": 1 / 3, "default_reward_ratio": 2 / 3, "join_delay_median_s": 5.5}
    assert {name: check and check.value for name, check in told.items()} == pytest.approx(due)
    p90 = report.check("join_delay_p90_s")
    assert p90 is not None
    assert (p90.value, p90.threshold) == (pytest.approx(9.0), "at most 100 s")


def test_a_report_is_made_anew_when_something_has_changed_and_not_before(opened: Open, world: Any) -> None:
    loop = opened()
    world.visits(loop, 60)
    loop.close_events(world.now)
    of = _Tenant(loop, trained_at=0.0)
    first = _told_again(of)
    assert _told_again(of) is first
    assert of.health is not None
    of.health = of.health._replace(cost_s=0.0)
    assert _told_again(of) is first  # nothing has changed
    world.visit(loop)
    loop.when_recorded("nothing").result()  # all that was given before is on disk
    assert _told_again(of).figures["n_open"] == 1
    assert _told_again(of) is not first


def test_features_of_the_newest_lists_are_compared_with_those_before(opened: Open, world: Any) -> None:
    loop = opened()
    for scale, n in ((1.0, 1_500), (2.5, 200)):
        for _ in range(n):
            candidates = [{**c, "noise": c["noise"] * scale} for c in world.candidates()]
            loop.rank(f"query {world.n % 11}", candidates, k=5, user=f"user-{world.n % 60}", now=world.now)
            world.n += 1
            world.now += 1.0
    world.now += world.window_s + 1.0
    loop.close_events(world.now)
    report = loop.health(now=world.now)
    check = report.check("drifted_features")
    assert check is not None
    assert (check.value, check.severity) == (1.0, "warning")
    assert "noise" in check.sentence
    calm = report.check("feature_psi:good")
    assert calm is not None
    assert calm.value is not None
    assert calm.value < 0.25
    assert np.isfinite(calm.value)
