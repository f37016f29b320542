"""A cluster and one machine, on stores with the same life, learn, judge and decide the same."""

import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.cluster import Checksum, LocalShards
from dwell.cluster.training import ShardTraining, spec_for
from dwell.errors import ConfigError
from dwell.loop import TrainReport

from ..loop.conftest import QUICK, World  # noqa: TID252 - tests are no installed package
from .worlds import opened

NAMES = ("shard-a", "shard-b", "shard-c")


class Machine:
    """One machine, or shards in its place, that lives through the same as another."""

    def __init__(self, where: Path, *, is_sharded: bool, **how: Any) -> None:
        self.where, self.how, self.world, self.is_sharded = where, how, World(), is_sharded
        self.open()

    def open(self) -> None:
        self.loop = opened(self.where, **self.how)
        if self.is_sharded:
            state = self.loop._state
            self.shards = LocalShards.made(spec_for(state, NAMES), store=state.store, are_pickled=True)
            self.training = ShardTraining(state, self.shards)

    def train(self) -> TrainReport:
        if not self.is_sharded:
            return self.loop.train(now=self.world.now)
        with self.loop._state.alone():
            return self.training.train(steps=None, now=self.world.now, clock=time.monotonic)

    def close(self) -> None:
        if self.is_sharded:
            self.shards.close()
        self.loop.close()


def lives(
    where: Path, rounds: int, *, visits: int = 100, is_opened_again: bool = False, **how: Any
) -> tuple[list[TrainReport], list[TrainReport]]:
    """Return what both report, round after round.

    Where events leave, one machine's slots follow from its history; opened again, it holds what the store holds in the
    order of taking up, as shards do: then both are opened again before they train.
    """
    found = []
    for is_sharded in (False, True):
        machine = Machine(where / f"{is_sharded}.dwell", is_sharded=is_sharded, **how)
        reports = []
        for round_ in range(rounds):
            machine.world.visits(machine.loop, visits)
            if is_opened_again:
                machine.loop.close_events(now=machine.world.now)
                if is_sharded:
                    machine.training.bring_up()
                machine.close()
                machine.open()
            reports.append(machine.train())
            if round_ == 1:  # a late reward for an event that may judge
                with machine.loop._state.store.snapshot() as reader:
                    (impression,) = reader.impressions([131])
                doc, now = impression.served[-1], machine.world.now
                assert machine.loop.feedback(impression.event_id, "purchase", doc=doc, now=now).status == "late"
            if is_opened_again and round_ == 1:
                assert machine.loop.erase("user-11") > 0
        machine.close()
        found.append(reports)
    return found[0], found[1]


def assert_alike(one: TrainReport, many: TrainReport) -> None:
    mine, theirs = many.decision, one.decision
    assert (mine.verdict, mine.kind, mine.reasons) == (theirs.verdict, theirs.kind, theirs.reasons)
    assert (mine.proposed_version, mine.safe_version) == (theirs.proposed_version, theirs.safe_version)
    assert astuple(mine.difference) == pytest.approx(astuple(theirs.difference), rel=1e-9, abs=1e-9)
    assert mine.estimates.keys() == theirs.estimates.keys()
    for name, estimate in theirs.estimates.items():
        assert astuple(mine.estimates[name]) == pytest.approx(astuple(estimate), rel=1e-7, abs=1e-9), name
    assert dict(mine.diagnostics) == pytest.approx(dict(theirs.diagnostics), rel=1e-7, abs=1e-9)
    for name in ("ended_by", "n_steps", "n_closed", "n_learned_from", "n_replayed", "left_out"):
        assert getattr(many, name) == getattr(one, name), name
    assert many.step_norm == pytest.approx(one.step_norm, abs=1e-9)
    for left, right in ((one.live, many.live), (one.proposed, many.proposed)):
        assert right.version == left.version
        assert right.vector == pytest.approx(left.vector, abs=1e-9)


def test_round_after_round_both_report_the_same(tmp_path: Path) -> None:
    one, many = lives(tmp_path, 6, visits=120)
    for left, right in zip(one, many, strict=True):
        assert_alike(left, right)
    # there was something to differ in: a proposal was learned, looked at again, and went live
    assert {report.ended_by for report in one} == {"steps", "standing"}
    assert any(report.decision.verdict == "promote" for report in one)


@pytest.mark.parametrize(
    "how",
    [
        {"capacity": 220, "config": {**QUICK, "replay": {"strategy": "priority"}}},
        {"mode": "shadow", "config": {**QUICK, "training": {**QUICK["training"], "examination": "assumed"}}},
    ],
)
def test_so_they_do_with_evictions_erasures_and_in_other_modes(tmp_path: Path, how: dict[str, Any]) -> None:
    one, many = lives(tmp_path, 3, is_opened_again=True, **how)
    for left, right in zip(one, many, strict=True):
        assert_alike(left, right)


def test_the_one_that_calls_holds_nothing_and_the_shards_hold_what_the_store_does(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a.dwell", is_sharded=True, capacity=100)
    machine.world.visits(machine.loop, 150)
    machine.train()
    state = machine.loop._state
    assert len(state.replayed) == 0
    facts = machine.shards.ask_all("facts").values()
    assert sum(one.n for one in facts) == machine.training.n_live == 70
    with state.store.snapshot() as reader:
        assert len(reader.seqs(states=("closed",))) == sum(one.n + one.n_held_out for one in facts) == 100
        assert all(one.epoch == reader.epoch() for one in facts), "priorities were written back in step with the store"
    held = sum(machine.shards.ask_all("checksum").values(), Checksum(0, 0))
    with LocalShards.made(spec_for(state, ("alone",)), store=state.store) as alone:
        assert sum(alone.ask_all("checksum").values(), Checksum(0, 0)) == held
    machine.close()
    # whoever opens the store afterwards has everything in its own memory again
    with opened(tmp_path / "a.dwell") as loop:
        loop.close_events(now=machine.world.now)
        assert len(loop._state.replayed) == 100


def test_a_mode_that_does_not_learn_says_so(tmp_path: Path) -> None:
    one, many = lives(tmp_path, 1, mode="log-only")
    assert_alike(one[0], many[0])
    assert "log_only" in many[0].decision.reasons[0]


def test_what_is_no_sum_is_refused_before_anything_happens(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell", config={"learner": {"segment_weights": True}}) as loop:
        spec = spec_for(loop._state, NAMES)
        with LocalShards.made(spec, store=loop._state.store) as shards, pytest.raises(ConfigError) as refusal:
            ShardTraining(loop._state, shards)
    assert refusal.value.field == "learner.segment_weights"
    assert dwell.Loop is type(loop)
