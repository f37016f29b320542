"""Learning and judging through the public API: the standing proposal, promotion on evidence, and the way back."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import AlreadyLiveError, NothingToRollBackError, PromotionRefused
from dwell.records import Transform

Open = Callable[..., dwell.Loop]

BEST = {"good": 1.0, "bad": 0.0, "noise": 0.0}
WORST = {"good": -1.0, "bad": 0.0, "noise": 0.0}


def until_promoted(loop: dwell.Loop, world: Any, rounds: int = 12) -> list[dwell.TrainReport]:
    """Train until something is promoted; the world is simple enough for that to happen."""
    reports = []
    for _ in range(rounds):
        world.visits(loop, 120)
        reports.append(loop.train(now=world.now))
        if reports[-1].decision.verdict == "promote":
            return reports
    pytest.fail("nothing was promoted")


def bits(params: dwell.Params) -> object:
    knots = () if params.transform is None else tuple(k.tobytes() for k in params.transform.knots)
    return params.version, dict(params.weights), params.raw_score, knots, params.parent, params.origin


def test_a_proposal_stands_until_it_is_decided(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, temperature=1.0)
    reports = until_promoted(loop, world)
    first = reports[0].proposed
    assert reports[0].ended_by == "steps"
    assert [r.proposed.version for r in reports[:-1]] == [first.version] * (len(reports) - 1)
    assert [r.ended_by for r in reports[1:-1]] == ["standing"] * (len(reports) - 2)
    assert [bits(r.proposed) for r in reports[:-1]] == [bits(first)] * (len(reports) - 1)
    promoted = reports[-1]
    assert (promoted.live.version, promoted.decision.proposed_version) == (first.version, first.version)
    assert bits(promoted.live) == bits(first)
    # the next one was learned from the one that went live
    assert promoted.proposed.parent == first.version
    # looks are free: every judgement of one proposal may spend the same error
    judged = [d for d in loop.history() if d.kind == "judged" and d.proposed_version == first.version]
    assert len(judged) == len(reports)
    assert {d.alpha for d in judged} == {0.05 * 6.0 / np.pi**2}
    # every judgement stands on the events served since, all of them
    assert [d.difference.n for d in judged] == [120 * i for i in range(len(reports))]
    assert judged[-1].difference.low > 0.0


def test_a_decision_once_taken_stays_taken(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    until_promoted(loop, world)
    live, ledger = loop.params.version, len(loop.history())
    # a reader takes back everything that spoke for it, within the late window
    for e in list(loop.experiences())[-240:]:
        for doc in list(e.document_signals):
            assert loop.feedback(e.event_id, "reward", doc=doc, value=-1.0, now=world.now).status in {"joined", "late"}
    loop.close_events(now=world.now)
    assert (loop.params.version, len(loop.history())) == (live, ledger)


def test_a_late_reward_recomputes_the_sequence(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, temperature=1.0, holdout=0.0)
    world.visits(loop, 80)
    loop.train(now=world.now)
    world.visits(loop, 40)
    before = loop.train(now=world.now).decision
    event = f"event-{85:05d}"
    doc = next(e for e in loop.experiences() if e.event_id == event).results_served[0]["id"]
    assert loop.feedback(event, "reward", doc=doc, value=-1.0, now=world.now).status == "late"
    after = loop.train(now=world.now).decision
    assert after.difference.n == before.difference.n == 40
    assert after.difference.value != before.difference.value
    # the change is that of one event among 40: its slope times the change of its reward
    state = loop._state
    assert state.standing is not None
    assert state.standing.judgement is not None
    row = next(r for r in state.replayed.rows.in_close_order() if r.event_id == event)
    judged = state.standing.judgement.events[row.seq]
    old = next(e for e in loop.experiences() if e.event_id == event)
    had_click = old.document_signals[doc].get("click", 0.0)
    change = judged.slope[0] * (row.rewards[0] - 0.5 * had_click) / 40.0
    np.testing.assert_allclose(after.difference.value - before.difference.value, change, rtol=1e-6, atol=1e-12)


def test_only_a_replacement_spends_alpha(opened: Open, world: Any) -> None:
    config = {
        "gate": {"min_events": 50, "min_users": 5, "max_judged_events": 100, "futility_events": 100, "bound": 100.0},
        "training": {"target_steps": 5},
    }
    loop = opened(temperature=1.0, config=config)
    attempts = []
    for _ in range(5):
        world.visits(loop, 110)
        report = loop.train(now=world.now)
        attempts.append((report.proposed.version, report.decision.diagnostics["attempt"]))
    judged = [d for d in loop.history() if d.kind == "judged"]
    # after 110 of at most 100 events each is given up as undecided, and the next one has less to spend
    rejected = [d for d in judged if d.verdict == "reject"]
    assert [d.diagnostics["attempt"] for d in rejected] == list(range(1, len(rejected) + 1))
    assert len(rejected) >= 3
    for decision in judged:
        expected = 0.05 * 6.0 / (np.pi**2 * decision.diagnostics["attempt"] ** 2)
        assert decision.alpha == pytest.approx(expected, rel=1e-12)
    assert attempts[-1][0] > attempts[0][0]


def test_held_out_users_never_enter_the_buffer(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, holdout=0.5)
    world.visits(loop, 120, n_users=40)
    loop.close_events(now=world.now)
    replayed = loop._state.replayed
    held = {row.event_id for row in replayed.held_out()}
    buffer = {replayed.buffer.get(int(seq)).event_id for seq in replayed.buffer.seqs()}  # type: ignore[union-attr]
    assert held
    assert not held & buffer
    assert len(held) + len(buffer) == 120
    users = {e.event_id: e.user for e in loop.experiences()}
    # it is people who are held out, not lists
    assert not {users[e] for e in held} & {users[e] for e in buffer}
    drawn = replayed.buffer.sample(5_000, rng=np.random.default_rng(0))
    assert not held & set(drawn.event_ids)


UNDECIDED: dict[str, Any] = {
    "gate": {"alpha": 1e-6, "min_events": 5_000, "futility_events": 100_000, "bound": 100.0},
    "training": {"target_steps": 3},
}


def test_the_sequence_grows_when_judged_rows_are_evicted(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0, capacity=400, config=UNDECIDED)
    world.visits(loop, 100)
    first = loop.train(now=world.now)
    looks = []
    for _ in range(3):
        world.visits(loop, 300)
        looks.append(loop.train(now=world.now))
    assert len(loop._state.replayed) <= 400
    # a window of 400 would have judged 300, 400, 400
    assert [look.decision.difference.n for look in looks] == [300, 600, 900]
    assert {look.proposed.version for look in looks} == {first.proposed.version}


def test_a_part_of_a_sequence_is_never_bet_on(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", temperature=1.0, capacity=200, holdout=0.0, config=UNDECIDED)
    world.visits(loop, 60)
    first = loop.train(now=world.now).proposed.version
    world.visits(loop, 60)
    assert loop.train(now=world.now).decision.difference.n == 60
    loop.close()
    # what is all there goes on after a reopen
    loop = opened("a.dwell", temperature=1.0, capacity=200, holdout=0.0, config=UNDECIDED)
    world.visits(loop, 60)
    assert loop.train(now=world.now).decision.difference.n == 120
    world.visits(loop, 180)
    assert loop.train(now=world.now).decision.difference.n == 300
    loop.close()
    loop = opened("a.dwell", temperature=1.0, capacity=200, holdout=0.0, config=UNDECIDED)
    report = loop.train(now=world.now)
    found = next(d for d in reversed(loop.history()) if d.proposed_version == first)
    assert (found.verdict, found.kind) == ("reject", "judged")
    assert [reason.partition(":")[0] for reason in found.reasons] == ["undecided", "evidence_lost"]
    assert report.decision.reasons == found.reasons
    assert report.proposed.version > first  # the next one begins a sequence of its own
    assert report.live.version == 0


class TestPromote:
    def test_without_evidence_it_is_refused_and_recorded(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere)
        with pytest.raises(PromotionRefused, match="too_few_events") as error:
            loop.promote(dwell.Params(version=1, weights=BEST), now=world.now)
        decision = error.value.decision
        assert isinstance(decision, dwell.GateDecision)
        assert (decision.verdict, decision.kind) == ("hold", "requested")
        assert loop.params.version == 0
        assert [d.kind for d in loop.history()] == ["initial", "requested"]
        assert dict(loop.version(decision.proposed_version).weights) == BEST

    def test_force_is_recorded_as_forced(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere)
        live = loop.promote(dwell.Params(version=17, weights=BEST), force=True, now=world.now)
        assert (live.version, live.parent) == (1, 0)
        last = loop.history()[-1]
        assert (last.kind, last.verdict, last.proposed_version, last.safe_version) == ("forced", "promote", 1, 0)
        assert last.reasons[0].startswith("forced")
        assert last.reasons[1].startswith("too_few_events")  # what the gate said stays readable
        assert world.visit(loop).params_version == 1

    def test_on_evidence_it_goes_live(self, opened: Open, world: Any) -> None:
        loop = opened(temperature=1.0)
        world.visits(loop, 500)
        loop.close_events(now=world.now)
        looked_at = loop.evaluate(dwell.Params(version=1, weights=BEST))
        assert (looked_at.verdict, looked_at.kind, len(loop.history())) == ("promote", "evaluated", 1)
        assert loop.promote(dwell.Params(version=1, weights=BEST), now=world.now).version == 1
        assert [d.kind for d in loop.history()] == ["initial", "requested"]

    def test_a_planted_bad_proposal_is_rejected_by_evidence_and_promoted_with_the_gate_off(
        self, opened: Open, new_world: Any
    ) -> None:
        def judged(kind: str) -> tuple[dwell.Loop, dwell.GateDecision]:
            config = {"gate": {"kind": kind, "min_events": 50, "min_users": 5}}
            loop, world = opened(temperature=1.0, weights=BEST, config=config), new_world()
            world.visits(loop, 400)
            loop.close_events(now=world.now)
            return loop, loop.evaluate(dwell.Params(version=1, weights=WORST))

        guarded, decision = judged("anytime")
        assert decision.verdict == "reject"
        assert decision.reasons[0].startswith("worse")
        assert decision.difference.high < 0.0
        with pytest.raises(PromotionRefused):
            guarded.promote(dwell.Params(version=1, weights=WORST))
        assert guarded.params.version == 0
        unguarded, decision = judged("off")
        assert decision.reasons[0].startswith("gate_off")
        assert unguarded.promote(dwell.Params(version=1, weights=WORST)).version == 1

    def test_what_was_refused_does_not_go_live_under_a_stored_number(self, opened: Open, world: Any) -> None:
        loop = opened(temperature=1.0)
        world.visits(loop, 60)
        stored = loop.train(now=world.now).proposed
        assert stored.transform is not None
        assert stored.raw_score is not None
        upside_down = Transform(
            stored.transform.knots, tuple(-levels for levels in stored.transform.levels), stored.transform.kind
        )
        others = [
            replace(stored, transform=upside_down),
            replace(stored, transform=None, raw_score=None),
            replace(stored, raw_score=None),
            replace(stored, raw_score=replace(stored.raw_score, mean=stored.raw_score.mean + 1.0)),
            replace(stored, raw_score=replace(stored.raw_score, weights=(0.0, 0.0, 1.0))),
            replace(stored, origin="given"),
            replace(stored, weights={name: -weight for name, weight in stored.weights.items()}),
        ]
        features = world.rng.normal(size=(5, 3))
        for other in others:
            live = loop.promote(other, force=True, now=world.now)
            assert live.version > stored.version
            assert live.score(features).tobytes() == other.score(features).tobytes()
            assert bits(loop.version(stored.version)) == bits(stored)
        assert len({d.proposed_version for d in loop.history() if d.kind == "forced"}) == len(others)
        # the same bits are the same version, whatever its number is kept in
        assert loop.promote(replace(stored, created_at=0.0), force=True, now=world.now).version == stored.version

    def test_what_was_learned_is_judged_on_later_events_whatever_it_is_called(self, opened: Open, world: Any) -> None:
        loop = opened(temperature=1.0)
        world.visits(loop, 500)
        learned = loop.train(now=world.now).proposed
        assert loop.evaluate(learned).difference.n == 0
        turned = {name: weight + 0.1 for name, weight in learned.weights.items()}
        for disguised in (
            replace(learned, version=77),
            replace(learned, origin="given"),
            replace(learned, version=77, origin="given", transform=None, raw_score=None),
            replace(learned, version=0, weights=turned),
        ):
            assert loop.evaluate(disguised).reasons[0].startswith("too_few_events")
            with pytest.raises(PromotionRefused):
                loop.promote(disguised, now=world.now)
        # far from all that was learned, every event may speak
        away = {name: -weight for name, weight in learned.weights.items()}
        assert learned.raw_score is not None
        opposite = replace(learned.raw_score, coefficient=-learned.raw_score.coefficient)
        assert loop.evaluate(replace(learned, weights=away, raw_score=opposite)).difference.n == 500
        world.visits(loop, 50)
        loop.close_events(now=world.now)
        assert loop.evaluate(replace(learned, version=77, origin="given")).difference.n == 50

    def test_params_whose_scores_overflow_are_refused(self, opened: Open, world: Any) -> None:
        loop = opened(temperature=1.0)
        world.visits(loop, 30)
        learned = loop.train(now=world.now).proposed
        assert learned.raw_score is not None
        hostile = replace(learned.raw_score, weights=(1e308, 1e308, 1e308), coefficient=-1.0)
        away = {name: -weight for name, weight in learned.weights.items()}
        for act in (loop.evaluate, loop.promote):
            with pytest.raises(dwell.RecordError, match="not finite"):
                act(replace(learned, weights=away, raw_score=hostile))
            with pytest.raises(dwell.RecordError, match="outside"):
                act(replace(learned, raw_score=replace(hostile, coefficient=1e9)))

    def test_evaluate_moves_nothing(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere, temperature=1.0)
        world.visits(loop, 100)
        loop.train(now=world.now)
        before = (loop.params.version, loop.proposed, len(loop.history()))
        loop.evaluate(dwell.Params(version=1, weights=WORST))
        assert (loop.params.version, loop.proposed, len(loop.history())) == before

    def test_evaluate_sees_late_rewards(self, opened: Open, world: Any) -> None:
        loop = opened(temperature=1.0, holdout=0.0)
        world.visits(loop, 60)
        loop.close_events(now=world.now)
        params = dwell.Params(version=1, weights=BEST)
        before = loop.evaluate(params).difference.value
        for e in list(loop.experiences())[:20]:
            loop.feedback(e.event_id, "purchase", doc=e.results_served[0]["id"], now=world.now)
        assert loop.evaluate(params).difference.value != before


class TestRollback:
    def test_it_returns_the_exact_bytes(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere, temperature=1.0)
        until_promoted(loop, world)
        learned = bits(loop.params)
        features = np.random.default_rng(1).normal(size=(50, 3))
        scores = loop.params.score(features)
        loop.promote(dwell.Params(version=1, weights=WORST), force=True, now=world.now)
        back = loop.rollback(now=world.now)
        assert bits(back) == bits(loop.params) == learned
        assert back.score(features).tobytes() == scores.tobytes()

    def test_a_second_one_goes_on_back_and_never_forward(self, opened: Open) -> None:
        loop = opened()
        for weights in (BEST, WORST, BEST, WORST):
            loop.promote(dwell.Params(version=99, weights=weights), force=True)
        assert loop.params.version == 4
        versions = [loop.rollback().version for _ in range(4)]
        assert versions == [3, 2, 1, 0]
        with pytest.raises(NothingToRollBackError):
            loop.rollback()
        assert loop.rollback(to=2).version == 2
        assert loop.rollback().version == 0
        assert [d.kind for d in loop.history()] == ["initial", *["forced"] * 4, *["rollback"] * 6]

    @pytest.mark.parametrize("force", [True, False])
    def test_what_is_live_is_not_promoted_again(self, opened: Open, *, force: bool) -> None:
        loop = opened()
        live = loop.promote(dwell.Params(version=1, weights=BEST), force=True)
        ledger = loop.history()
        for same in (live, loop.version(1), dwell.Params(version=0, weights=BEST), dwell.Params(9, weights=BEST)):
            with pytest.raises(AlreadyLiveError, match="as version 1"):
                loop.promote(same, force=force)
        assert loop.history() == ledger
        assert loop.rollback().version == 0
        assert loop.promote(live, force=True).version == 1, "what was live before is not live"

    def test_a_version_may_have_been_live_more_than_once(self, opened: Open) -> None:
        loop = opened()
        first = loop.promote(dwell.Params(version=99, weights=BEST), force=True)
        loop.promote(dwell.Params(version=99, weights=WORST), force=True)
        loop.promote(first, force=True)
        assert [loop.rollback().version for _ in range(3)] == [2, 1, 0]

    @pytest.mark.parametrize("to", [0, 5])
    def test_a_version_that_is_live_or_unknown_is_refused(self, opened: Open, to: int) -> None:
        with pytest.raises(NothingToRollBackError):
            opened().rollback(to=to)

    def test_nothing_is_promoted_again_on_the_same_evidence(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere, temperature=1.0)
        world.visits(loop, 500)
        loop.close_events(now=world.now)
        best = dwell.Params(version=1, weights=BEST)
        live = loop.promote(best, now=world.now)
        loop.rollback(now=world.now)
        near = dwell.Params(version=1, weights={"good": 5.0, "bad": 0.1, "noise": 0.0})
        for again in (live, best, near):
            with pytest.raises(PromotionRefused) as error:
                loop.promote(again, now=world.now)
            assert "too_few_events" in str(error.value)
        # other evidence, asked for by hand at the error that is left
        world.visits(loop, 200)
        loop.close_events(now=world.now)
        decision = loop.evaluate(live)
        assert decision.difference.n == 200

    def test_train_starts_anew_from_what_is_live_again(self, opened: Open, world: Any) -> None:
        loop = opened(temperature=1.0)
        until_promoted(loop, world)
        rolled_back = loop.params.version
        loop.rollback(now=world.now)
        assert loop.proposed is None
        report = loop.train(now=world.now)
        assert report.live.version == 0
        assert report.proposed.version not in {0, rolled_back}
        assert report.decision.difference.n == 0  # only what is served from now on judges it


def test_the_ledger_is_append_only_and_readable_after_close(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, temperature=1.0)
    seen: list[list[tuple[str, int]]] = []
    world.visits(loop, 80)
    served = world.visit(loop)
    for act in (
        lambda: loop.train(now=world.now),
        lambda: loop.promote(dwell.Params(version=1, weights=BEST), force=True, now=world.now),
        lambda: loop.rollback(now=world.now),
        lambda: loop.train(now=world.now),
    ):
        act()
        seen.append([(d.kind, d.proposed_version) for d in loop.history()])
    for earlier, later in itertools.pairwise(seen):
        assert later[: len(earlier)] == earlier
    ledger, live = loop.history(), loop.params
    loop.close()
    loop.close()
    assert [(d.kind, d.reasons) for d in loop.history()] == [(d.kind, d.reasons) for d in ledger]
    assert loop.params is live
    assert len(served.ids) == 5
    loop.history().clear()  # a copy
    assert len(loop.history()) == len(ledger)


def test_train_says_so_where_there_is_nothing_to_learn_from(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    report = loop.train(now=world.now)
    assert (report.decision.verdict, report.n_steps, report.ended_by) == ("hold", 0, "no_events")
    assert report.decision.reasons[0].startswith("too_few_events")
    assert report.live is report.proposed


def test_steps_are_as_many_as_asked_for(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    world.visits(loop, 40)
    report = loop.train(steps=3, now=world.now)
    assert report.n_steps == 3
    assert {len(curve) for curve in report.curves.values()} == {3}


def test_train_ends_by_time(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0, config={"training": {"max_seconds": 0.001}})
    world.visits(loop, 60)
    report = loop.train(steps=200, now=world.now)
    assert report.ended_by == "time"
    assert report.n_steps < 200


def test_train_works_without_users_and_without_exploration(opened: Open, world: Any) -> None:
    loop = opened(temperature=0.0)
    for i in range(60):
        candidates = world.candidates()
        served = loop.rank(f"q{i}", candidates, k=4, event_id=f"e{i}", now=world.now)
        loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now)
    report = loop.train(now=world.now + world.window_s)
    assert report.n_steps > 0
    assert np.isfinite(report.proposed.vector).all()


def test_priorities_are_written_back(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, temperature=1.0, holdout=0.0)
    world.visits(loop, 60)
    loop.close_events(now=world.now)
    before = {e.event_id: e.priority for e in loop.experiences()}
    loop.train(now=world.now)
    after = {e.event_id: e.priority for e in loop.experiences()}
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name] != after[name]]
    assert len(changed) > 30
    in_memory = loop._state.replayed.buffer
    for name in changed:
        found = in_memory.get(name)
        assert found is not None
        assert found.priority == after[name]


def with_ratio(ratio: float) -> dict[str, Any]:
    return {"training": {"target_steps": 10, "max_seconds": 60.0}, "replay": {"max_ratio": ratio}}


def test_the_default_limit_on_replay_changes_nothing(opened: Open, new_world: Any) -> None:
    reports = []
    for ratio in (1_000.0, 1e9):  # the default, and a limit that nothing reaches
        world = new_world()
        loop = opened(temperature=1.0, config=with_ratio(ratio))
        world.visits(loop, 60)
        reports.append(loop.train(now=world.now))
    assert bits(reports[0].proposed) == bits(reports[1].proposed)
    assert reports[0].n_replayed == reports[1].n_replayed
    # half of each step is replayed: as many lists as there are unseen events, or a little more where steps round up
    assert reports[0].n_learned_from <= reports[0].n_replayed <= 2 * reports[0].n_learned_from


def test_replay_is_bounded_per_event_taken_in(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, temperature=1.0, config=with_ratio(0.25))
    world.visits(loop, 80)
    report = loop.train(now=world.now)
    # the least error buffer lets samples run one insert's worth or one list ahead: 1 - 0.25
    assert report.n_replayed == int(0.25 * report.n_learned_from + 0.75)
    assert report.n_steps == min(10, 2 * report.n_learned_from // 16)  # as many as without a limit
    assert loop.params.version < report.proposed.version


@pytest.mark.parametrize("is_restarted", [False, True], ids=["one process", "restarts"])
def test_the_limit_holds_over_trainings_and_restarts(opened: Open, world: Any, is_restarted: bool) -> None:  # noqa: FBT001
    how: dict[str, Any] = {"temperature": 1.0, "config": with_ratio(0.5), "holdout": 0.0}
    loop = opened("a.dwell", **how)
    n_replayed = 0
    for rounds in range(1, 4):
        world.visits(loop, 40)
        report = loop.train(now=world.now)
        loop.promote(report.proposed, force=True)  # so that the next call learns again
        n_replayed += report.n_replayed
        # 40 a round came in, at a half each; one list may run ahead
        assert n_replayed == int(0.5 * 40 * rounds + 0.5)
        if is_restarted:
            loop.close()
            loop = opened("a.dwell", **how)
    # with nothing new, nothing more is replayed
    assert loop.train(now=world.now, steps=5).n_replayed == 0


def test_a_late_reward_is_no_event_taken_in(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0, config=with_ratio(0.5), holdout=0.0)
    world.visits(loop, 40)
    loop.close_events(now=world.now)
    for e in list(loop.experiences()):
        loop.feedback(e.event_id, "reward", doc=e.results_served[0]["id"], value=0.5, now=world.now)
    assert loop.train(now=world.now).n_replayed == int(0.5 * 40 + 0.5)


def test_health_says_how_often_events_are_replayed_and_by_whom_the_oldest_was_served(
    opened: Open, world: Any, anywhere: str
) -> None:
    loop = opened(anywhere, temperature=1.0, config=with_ratio(0.5), holdout=0.0)
    served_by = loop.params.version
    assert loop.health(now=world.now).figures["replay_ratio"] == 0.0
    assert "oldest_params_version" not in loop.health(now=world.now).figures
    world.visits(loop, 40)
    loop.train(now=world.now)
    figures = loop.health(now=world.now).figures
    assert figures["replay_ratio"] == 20 / 40
    assert figures["oldest_params_version"] == served_by


def test_a_hold_without_news_is_in_the_ledger_once(opened: Open, world: Any) -> None:
    loop = opened()
    world.visits(loop, 120)
    loop.train(now=world.now)
    n_before = len(loop.history())
    held = [loop.train(now=world.now + i).decision for i in range(3)]
    assert {one.verdict for one in held} == {"hold"}
    assert len(loop.history()) == n_before
    world.visits(loop, 3)
    assert loop.train(now=world.now).decision.verdict == "hold"
    assert len(loop.history()) == n_before + 1, "three more events are news"
