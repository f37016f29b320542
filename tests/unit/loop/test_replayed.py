from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dwell.errors import ReplayError
from dwell.loop.replayed import Replayed
from dwell.records import Experience, Impression
from dwell.storage import Outcome

NAMES = ("x",)


def no_experience(seq: int) -> Experience:
    raise ReplayError("not here", field="seq", value=seq)


def replayed(capacity: int = 10, holdout: float = 0.0) -> Replayed:
    return Replayed(
        capacity=capacity, holdout=holdout, salt=b"s", half_life_s=100.0, alpha=0.6, read_experience=no_experience
    )


def closed(seq: int, **changed: Any) -> tuple[Impression, Outcome]:
    impression = Impression(
        event_id=f"e{seq}",
        served_at=float(seq),
        query="q",
        mode="live",
        policy="params",
        params_version=0,
        temperature=0.3,
        is_deterministic=False,
        served=("a",),
        propensities=np.ones(1),
        n_candidates=1,
        scores=np.ones(1, dtype=np.float32),
        score_sd=0.0,
        documents=("a",),
        document_scores=np.zeros(1, dtype=np.int64),
        inclusion=np.ones(1),
        features=np.ones((1, 1), dtype=np.float32),
        feature_names=NAMES,
        user=changed.pop("user", f"u{seq}"),
        seq=seq,
    )
    outcome = Outcome(
        seq=seq,
        state="closed",
        version=1,
        reward=0.0,
        document_rewards=np.zeros(1, dtype=np.float32),
        exposure=np.ones(1, dtype=np.float32),
    )
    return impression, replace(outcome, **changed)


def test_the_oldest_leaves_and_is_named() -> None:
    kept = replayed(3)
    gone = [kept.admit(*closed(seq), NAMES) for seq in range(1, 6)]
    assert gone == [[], [], [], [1], [2]]
    assert sorted(row.seq for row in kept.trainable()) == [3, 4, 5]
    assert kept.buffer.size() == 3


def test_held_out_events_stand_beside_the_buffer_with_room_of_their_own() -> None:
    kept = replayed(20, holdout=0.5)
    gone = [seq for n in range(1, 101) for seq in kept.admit(*closed(n), NAMES)]
    held, trained = {r.seq for r in kept.held_out()}, {r.seq for r in kept.trainable()}
    assert (len(held), len(trained), len(kept)) == (10, 10, 20)
    assert not held & trained
    assert held | trained | set(gone) == set(range(1, 101))
    assert {int(seq) for seq in kept.buffer.seqs()} == trained
    # each side keeps its newest
    assert min(held) > max(seq for seq in gone if closed_is_held(seq))


def closed_is_held(seq: int) -> bool:
    kept = replayed(20, holdout=0.5)
    kept.admit(*closed(seq), NAMES)
    return bool(kept.held_out())


def test_a_newer_version_replaces_in_place() -> None:
    kept = replayed(3)
    for seq in (1, 2, 3):
        kept.admit(*closed(seq), NAMES)
    assert kept.admit(*closed(1, version=2, document_rewards=np.ones(1, dtype=np.float32)), NAMES) == []
    assert {r.seq: r.rewards[0] for r in kept.trainable()} == {1: 1.0, 2: 0.0, 3: 0.0}


def test_what_has_no_features_is_counted_and_left_out() -> None:
    kept = replayed()
    impression, outcome = closed(1)
    bare = replace(impression, features=np.zeros((0, 0), dtype=np.float32), feature_names=())
    assert kept.admit(bare, outcome, NAMES) == []
    assert (len(kept), kept.n_without_features) == (0, 1)


@pytest.mark.parametrize("holdout", [0.0, 0.9])
def test_dropped_events_are_gone_everywhere(holdout: float) -> None:
    kept = replayed(100, holdout=holdout)
    for seq in range(1, 11):
        kept.admit(*closed(seq), NAMES)
    kept.drop([2, 3, 99])
    left = {1, *range(4, 11)}
    assert {r.seq for r in kept.rows.in_close_order()} == left
    assert {r.seq for r in kept.held_out()} | {r.seq for r in kept.trainable()} == left
    assert {int(seq) for seq in kept.buffer.seqs()} == {r.seq for r in kept.trainable()}


def test_priorities_reach_the_sampler() -> None:
    kept = replayed()
    for seq in (1, 2):
        kept.admit(*closed(seq), NAMES)
    kept.prioritise([2, 77], [9.0, 1.0])
    assert dict(zip(kept.buffer.seqs().tolist(), kept.buffer.priorities().tolist(), strict=True)) == {1: 1.0, 2: 9.0}
