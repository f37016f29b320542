from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.errors import ReplayError, StorageError
from dwell.loop.replayed import Replayed
from dwell.loop.rows import event_row
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


def test_a_newer_version_of_what_has_no_features_is_counted_once() -> None:
    kept = replayed()
    impression, outcome = closed(1)
    bare = replace(impression, features=np.zeros((0, 0), dtype=np.float32), feature_names=())
    kept.admit(bare, outcome, NAMES)
    kept.admit(bare, replace(outcome, state="reopened", version=2), NAMES)
    assert kept.n_without_features == 1


def test_a_change_left_half_way_makes_the_rows_doubtful() -> None:
    kept = replayed()
    with kept.changing():
        pass
    with pytest.raises(StorageError), kept.changing(is_written=False):
        raise StorageError("refused: no fact has changed")
    assert not kept.is_doubtful
    for error, is_written in ((StorageError("too late"), True), (KeyboardInterrupt(), False)):
        with pytest.raises(type(error)), kept.changing(is_written=is_written):
            raise error
        assert kept.is_doubtful
        kept.start_over()
        assert not kept.is_doubtful


def test_starting_over_forgets_everything() -> None:
    kept = replayed(20, holdout=0.5)
    for seq in range(1, 11):
        kept.admit(*closed(seq), NAMES)
    kept.start_over()
    assert (len(kept), kept.buffer.size(), kept.trainable(), kept.held_out()) == (0, 0, [], [])
    kept.admit(*closed(3), NAMES)
    assert len(kept) == 1


def test_notes_name_the_segments_that_are_there_alone() -> None:
    kept = replayed(2)
    for seq, segment in enumerate(("gone", None, "there", None), start=1):
        impression, outcome = closed(seq)
        kept.admit(replace(impression, segment=segment), outcome, NAMES)
    assert sorted(kept.notes(5).segments.items()) == [(1, None), (2, "there")]
    assert kept.notes(5).epoch == 5
    assert kept.notes(5).token != kept.notes(5).token


_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "late", "drop", "prioritise"]),
        st.integers(0, 2**16),
        st.floats(0.0, 100.0),
    ),
    max_size=60,
)


class Model:
    """What a `Replayed` promises, in lists and dicts: seqs oldest first, and what is known of each."""

    def __init__(self, capacity: int, holdout: float) -> None:
        n_held = round(capacity * holdout)
        self.rooms = {False: max(capacity - n_held, 1), True: max(n_held, 1)}
        self.seqs: dict[bool, list[int]] = {False: [], True: []}
        self.known: dict[int, tuple[float, int, float]] = {}  # priority, version, reward

    def admit(self, seq: int, known: tuple[float, int, float], *, is_held_out: bool) -> list[int]:
        gone = []
        if seq not in self.known:
            self.seqs[is_held_out].append(seq)
            if len(self.seqs[is_held_out]) > self.rooms[is_held_out]:
                gone = [self.seqs[is_held_out].pop(0)]
        self.known[seq] = known
        for left in gone:
            del self.known[left]
        return gone

    def drop(self, seq: int) -> None:
        if self.known.pop(seq, None) is not None:
            for seqs in self.seqs.values():
                seqs[:] = [s for s in seqs if s != seq]


@given(_OPERATIONS, st.sampled_from([1, 3, 8]), st.sampled_from([0.0, 0.5]))
def test_ring_and_buffer_stay_in_step(operations: list[tuple[str, int, float]], capacity: int, holdout: float) -> None:
    kept, model = replayed(capacity, holdout), Model(capacity, holdout)
    versions: dict[int, int] = {}
    for name, number, value in operations:
        there = sorted(model.known)
        seq = len(versions) + 1 if name == "admit" or not there else there[number % len(there)]
        if name in {"admit", "late"} or not there:
            versions[seq] = versions.get(seq, 0) + 1
            reward = value / 100.0
            impression, outcome = closed(
                seq,
                version=versions[seq],
                priority=value,
                reward=reward,
                document_rewards=np.array([reward], dtype=np.float32),
            )
            # served in an order of their own: windows end in another one than seqs are given
            impression = replace(impression, served_at=float((seq * 7) % 11))
            is_held_out = event_row(impression, outcome, feature_names=NAMES, salt=b"s", holdout=holdout).is_held_out  # type: ignore[union-attr]
            gone = model.admit(seq, (value, versions[seq], reward), is_held_out=is_held_out)
            assert kept.admit(impression, outcome, NAMES) == gone
        elif name == "drop":
            model.drop(seq)
            kept.drop([seq, 10**6])
        else:
            model.known[seq] = (value, *model.known[seq][1:])
            kept.prioritise([seq, 10**6], [value, 1.0])
    _assert_in_step(kept, model)


def _assert_in_step(kept: Replayed, model: Model) -> None:
    assert kept.buffer.seqs().tolist() == model.seqs[False]
    assert kept.buffer.priorities().tolist() == [model.known[seq][0] for seq in model.seqs[False]]
    index = kept.rows.index("seq", "priority", "version", "reward", "is_held_out")
    found = dict(
        zip(index["seq"].tolist(), zip(*(v.tolist() for v in list(index.values())[1:4]), strict=True), strict=True)
    )
    assert found == model.known
    assert set(index["seq"][index["is_held_out"]].tolist()) == set(model.seqs[True])
    by_window = sorted(model.known, key=lambda seq: ((seq * 7) % 11, seq))
    assert [row.seq for row in kept.rows.in_close_order()] == by_window
    assert [row.seq for row in kept.trainable()] == [seq for seq in by_window if seq in model.seqs[False]]
    assert [row.seq for row in kept.held_out()] == [seq for seq in by_window if seq in model.seqs[True]]
    assert [row.seq for row in kept.trainable(after=3)] == [s for s in by_window if s in model.seqs[False] and s > 3]
    for row in kept.rows.rows(by_window):
        assert (row.version, row.rewards[0]) == (model.known[row.seq][1], np.float32(model.known[row.seq][2]))
    if model.seqs[False]:
        batch = kept.buffer.sample(5, rng=np.random.default_rng(0))
        read = kept.rows.read(batch.seqs, ["rewards"])["rewards"][:, 0]
        np.testing.assert_array_equal(read, [np.float32(model.known[seq][2]) for seq in batch.seqs.tolist()])
