"""Estimators are merged, not gathered: over shards the gate reads what it would read on one machine."""

from collections.abc import Iterator
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.cluster import LocalShards
from dwell.cluster.evidence import Question
from dwell.cluster.judging import ShardedJudgement, evidence_over
from dwell.evaluation import Evidence, decide
from dwell.evaluation.prefix import PrefixRatios
from dwell.learning.predictor import Predictor
from dwell.loop.judge import Judgement, evidence_of
from dwell.loop.keep import take_in
from dwell.loop.standing import bench_of, known_versions, versions_of

from ..loop.conftest import World  # noqa: TID252 - tests are no installed package
from .worlds import opened, shards_of, visited

PROPOSED = dwell.Params(version=7, weights={"good": 1.0, "bad": 0.0, "noise": 0.1}, temperature=1.0)


class Segmented(World):
    """Two segments, some users who come often, some lists without a user."""

    def visit(self, loop: dwell.Loop, *, n_users: int = 40) -> dwell.Served:
        """Serve one list and send what was clicked."""
        candidates = self.candidates(5 + self.n % 6)
        served = loop.rank(
            f"query {self.n % 13}",
            candidates,
            k=4,
            user=None if self.n % 11 == 10 else f"user-{self.n % n_users if self.n % 4 else 0}",
            segment=("shoes", "hats")[self.n % 2],
            event_id=f"event-{self.n:05d}",
            now=self.now,
        )
        for doc in self.clicks(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=self.now + 1.0)
        self.n += 1
        self.now += 1.0
        return served


Life = tuple[dwell.Loop, World]


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    loop, world = opened(tmp_path / "a.dwell"), Segmented()
    visited(loop, world, 150)
    # another version serves from here on: exposure is averaged over both
    loop.promote(dwell.Params(version=1, weights={"good": 0.6, "bad": 0.4, "noise": 0.0}), force=True, now=world.now)
    visited(loop, world, 150)
    yield loop, world
    loop.close()


class Sides:
    """The same proposal judged on one machine and over shards, look after look."""

    def __init__(self, loop: dwell.Loop, shards: LocalShards, after: int) -> None:
        self.loop, self.shards, self.after = loop, shards, after
        state = loop._state
        rows = state.replayed.judging(after=after)
        predictor = Predictor(np.array([0.2, -0.1, 0.05, 0.0, 0.3]))
        bench = bench_of(
            state,
            PROPOSED,
            (predictor, predictor),
            rows,
            space_of=dwell.Params(version=0, weights={"good": 0.1, "bad": 1.0, "noise": 0.5}, origin="given"),
        )
        self.one = Judgement(bench, {})
        self.many = ShardedJudgement("7 against 1", Judgement(bench, {}))

    def look(self, most: int = 20_000) -> tuple[Evidence, Evidence, list[int]]:
        """Return what both know now, and who is missing."""
        state = self.loop._state
        take_in(state)
        self.shards.ask_all("follow")
        rows = state.replayed.judging(after=self.after)
        versions = versions_of(state, rows)
        one = evidence_of(
            self.one,
            rows,
            held_out=state.replayed.held_out()[-2_000:],
            versions=versions,
            attempt=2,
            most=most,
            segments=state.replayed.segment_names(),
        )
        question = Question.of(self.many.bench, key=self.many.key, proposed=PROPOSED)
        many, missing = evidence_over(
            self.shards,
            self.many,
            question,
            after=self.after,
            n_guards=2_000,
            known_versions=partial(known_versions, state),
            attempt=2,
            most=most,
        )
        return one, many, missing


def assert_alike(loop: dwell.Loop, one: Evidence, many: Evidence) -> None:
    for name in ("differences", "ends", "importance", "unsupported", "clipped", "forgone"):
        left, right = getattr(one.in_numbers(), name), getattr(many.in_numbers(), name)
        assert left.shape == right.shape
        np.testing.assert_allclose(right, left, rtol=1e-12, atol=1e-12, err_msg=name)
    prefixes = many.in_numbers().prefix or (), one.in_numbers().prefix or ()
    assert prefixes[0] == pytest.approx(prefixes[1], rel=1e-9)
    np.testing.assert_allclose(many.held_out, one.held_out, rtol=1e-12, atol=1e-12)
    assert many.weights is not None
    assert one.weights is not None
    assert many.weights.tolist() == one.weights.tolist()
    assert (many.users, many.n_users, many.n_effective_users) == (one.users, one.n_users, one.n_effective_users)
    assert list(many.segments) == list(one.segments)
    assert many.is_caller_ordered_only == one.is_caller_ordered_only
    assert [finding.code for finding in many.findings] == [finding.code for finding in one.findings]
    for left, right in zip(one.findings, many.findings, strict=True):
        assert right.value == pytest.approx(left.value, rel=1e-9, abs=1e-9), left.code
        assert (right.severity, right.threshold) == (left.severity, left.threshold)
    how: dict[str, Any] = {"proposed_version": 7, "safe_version": 1, "now": 5.0}
    settings = loop._state.config.gate
    mine, theirs = decide(many, settings, **how), decide(one, settings, **how)
    assert mine.verdict == theirs.verdict
    assert mine.reasons == theirs.reasons
    assert dict(mine.diagnostics) == pytest.approx(dict(theirs.diagnostics), rel=1e-9, abs=1e-9)
    assert mine.estimates.keys() == theirs.estimates.keys()
    for name, estimate in theirs.estimates.items():
        assert astuple(mine.estimates[name]) == pytest.approx(astuple(estimate), rel=1e-9, abs=1e-12), name
    assert astuple(mine.difference) == pytest.approx(astuple(theirs.difference), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n_shards", [1, 3])
def test_over_shards_the_gate_reads_what_it_reads_on_one_machine_look_after_look(life: Life, n_shards: int) -> None:
    loop, world = life
    with shards_of(loop, n_shards) as shards:
        sides = Sides(loop, shards, after=20)
        one, many, missing = sides.look()
        assert len(many.in_numbers().differences) == 280
        assert not missing
        assert "prefix" in decide(many, loop._state.config.gate, proposed_version=7, safe_version=1, now=5.0).estimates
        assert_alike(loop, one, many)
        # late rewards change what is known, new events come behind it, an erased user leaves
        for i in (50, 90, 170):
            event = next(e for e in loop.experiences() if e.event_id == f"event-{i:05d}")
            loop.feedback(event.event_id, "purchase", doc=event.results_served[-1]["id"], now=world.now)
        visited(loop, world, 40)
        one, again, missing = sides.look()
        assert not missing
        assert_alike(loop, one, again)
        before = many.in_numbers().differences
        assert ((again.in_numbers().differences[: len(before)] != before).sum()) == 3


def test_the_first_events_alone_judge_where_there_are_more(life: Life) -> None:
    loop, world = life
    with shards_of(loop, 3) as shards:
        sides = Sides(loop, shards, after=20)
        sides.look(most=100)
        visited(loop, world, 10)
        one, many, _ = sides.look(most=100)
        assert len(many.in_numbers().differences) == 100
        assert_alike(loop, one, many)


def test_a_shard_that_was_rebuilt_judges_what_it_judged_before(life: Life) -> None:
    loop, _ = life
    with shards_of(loop, 3) as shards:
        sides = Sides(loop, shards, after=20)
        sides.look()
        shards.ask("shard-1", "hydrate")
        one, many, missing = sides.look()
        assert not missing
        assert_alike(loop, one, many)


def test_events_that_nobody_can_judge_any_more_are_told(life: Life) -> None:
    loop, _ = life
    with shards_of(loop, 2) as shards:
        sides = Sides(loop, shards, after=20)
        sides.look()
        gone = list(sides.many.judgement.known)[:3]
        loop._state.write(lambda tx: tx.evict(gone))
        for name in shards.names:
            shards.ask(name, "hydrate")  # one that goes on knows them still
        assert sorted(sides.look()[2]) == sorted(gone)


def test_nothing_served_since_is_no_evidence(life: Life) -> None:
    loop, _ = life
    with shards_of(loop, 2) as shards:
        one, many, missing = Sides(loop, shards, after=10**6).look()
        assert not missing
        assert_alike(loop, one, many)
        assert many.in_numbers().differences.size == 0


def test_a_shard_that_was_rebuilt_between_the_two_rounds_says_the_same_in_the_second(life: Life) -> None:
    loop, _ = life
    with shards_of(loop, 1) as shards:
        sides = Sides(loop, shards, after=20)
        question = Question.of(sides.many.bench, key="7", proposed=PROPOSED)
        seqs = shards.ask("shard-0", "candidates", 20)[0]["seq"].copy()
        first = shards.ask("shard-0", "judge", question, seqs, {}, seqs)
        asked = question, first.seqs, {}, first.seqs, PrefixRatios.of(first.prefix), first.clicks
        second = shards.ask("shard-0", "judge_again", *asked)
        shards.ask("shard-0", "hydrate")
        again = shards.ask("shard-0", "judge_again", *asked)
        assert again.moments == second.moments
        assert second.moments.n > 0
        assert (again.clicks.hoped == second.clicks.hoped).all()
