"""The same snapshot, recipe and seed give the same batches, whatever buffer, process and engine draws them."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dwell.errors import NotEnoughExperienceError, ReplayError, SnapshotErased
from dwell.records import Batch, ColumnSpec, Experience
from dwell.replay import BetaSchedule, Recipe, ReplayBuffer, Snapshot, batches, fingerprint

SPEC = ColumnSpec({"query_embedding": ((2,), np.dtype(np.float32))})
DAY_S = 86_400.0
N = 400

RECIPES: Mapping[str, Recipe] = {
    "uniform": Recipe(batch_size=32, n_batches=3),
    "priority": Recipe(strategy="priority", batch_size=32, n_batches=3, beta=BetaSchedule.schaul(3)),
    "rank": Recipe(strategy="rank", batch_size=32, n_batches=3, beta=0.5, normalisation="batch_max"),
    "recency": Recipe(strategy="recency", batch_size=32, n_batches=3),
    "by segment": Recipe(strategy="stratified", batch_size=32, n_batches=3, shares={"help": 3.0, None: 0.5}),
    "by user": Recipe(strategy="stratified", batch_size=32, n_batches=3, stratify_by="user"),
    "no repeats": Recipe(strategy="priority", batch_size=32, n_batches=3, replace=False),
    "few repeats": Recipe(strategy="rank", batch_size=32, n_batches=3, max_repeats=2, normalisation="none"),
    "of the buffer": Recipe(strategy="priority", batch_size=32, n_batches=3, normalisation="buffer_max"),
}


def made(i: int) -> Experience:
    """Return the i-th experience; every value follows from i."""
    return Experience(
        event_id=f"event-{i}",
        timestamp=1_700_000_000.0 + (i * 7919 % N) * 3_600.0,
        query="reset 2fa",
        query_embedding=[i / 8, -i / 4],
        results_served=[{"id": "kb-1", "rank": 1, "score": 0.5}],
        ranking_params={"bm25": 1.0},
        feedback_signals={},
        reward=(i % 9 - 4) / 4.0,
        priority=0.0 if i % 50 == 0 else 1.0 / (1 + i * 31 % N),
        user=None if i % 7 == 0 else f"user-{i * 13 % 17}",
        segment=(None, "help", "shop", "jobs")[i * i % 4 if i % 3 else 2],
    )


def filled(n: int = N) -> ReplayBuffer:
    buffer = ReplayBuffer(1_000, alpha=0.7, half_life_s=3 * DAY_S, columns=SPEC, seed=1)
    buffer.extend(made(i) for i in range(n))
    for i in range(0, n, 11):
        buffer.remove(f"event-{i}")
    return buffer


def filled_otherwise() -> ReplayBuffer:
    """Return the same experiences under the same seqs, after a history that left nothing else where it was."""
    buffer = ReplayBuffer(N + 3, alpha=0.2, half_life_s=3 * DAY_S, columns=SPEC, seed=99)
    for i in range(N):
        # first as somebody else, of another segment and at the end of the scale
        buffer.add(replace(made(i), priority=1e200 if i % 2 else 1e-200, segment=f"was-{i}", user=f"was-{i % 3}"))
        if i == N // 2:
            buffer.sample(64, strategy="priority")
            buffer.sample(64, strategy="stratified")
            for gone in range(0, N // 2, 22):
                buffer.remove(f"event-{gone}")
    for i in reversed(range(0, N, 11)):
        buffer.remove(f"event-{i}")
    for i in np.random.default_rng(3).permutation(N).tolist():
        if i % 11:
            buffer.add(made(i))
    buffer.alpha = 0.7
    buffer.sample(64, strategy="recency")
    return buffer


def bits(drawn: Batch) -> tuple[object, ...]:
    return (
        drawn.seqs.tobytes(),
        drawn.sampling_probabilities.tobytes(),
        drawn.sampling_weights.tobytes(),
        tuple((name, values.dtype.str, values.tobytes()) for name, values in drawn.columns.items()),
    )


def drawn_bits(snapshot: Snapshot, source: Any, recipe: Recipe, **how: Any) -> list[tuple[object, ...]]:
    return [bits(batch) for batch in batches(snapshot, recipe, 7, source, **how)]


class Kept:
    """Rows kept elsewhere."""

    names = ("query_embedding",)

    def __init__(self, seqs: Sequence[int]) -> None:
        self.seqs = set(seqs)

    def read(self, seqs: npt.NDArray[np.int64], names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        for seq in seqs.tolist():
            if seq not in self.seqs:
                raise ReplayError("not here", field="seqs", value=seq)
        # the seq of event i is i + 1: they were added in order
        rows = np.stack([(seqs - 1) / 8, -(seqs - 1) / 4], axis=1).astype(np.float32)
        return dict.fromkeys(names, rows)

    def experience(self, seq: int) -> Experience:
        return made(seq - 1)


@pytest.fixture(scope="module")
def buffer() -> ReplayBuffer:
    return filled()


@pytest.fixture(scope="module")
def snapshot(buffer: ReplayBuffer) -> Snapshot:
    return Snapshot.of(buffer)


# ---- the snapshot


def test_a_snapshot_holds_what_the_buffer_holds_in_order_of_seq(snapshot: Snapshot) -> None:
    there = [i for i in range(N) if i % 11]
    assert snapshot.seqs.tolist() == [i + 1 for i in there]
    assert snapshot.timestamps.tolist() == [made(i).timestamp for i in there]
    assert snapshot.priorities.tolist() == [made(i).priority for i in there]
    assert snapshot.rewards.tolist() == [made(i).reward for i in there]
    assert snapshot.versions.tolist() == [0] * len(there)
    assert snapshot.segments == (None, "help", "shop")  # a square is 0 or 1 modulo 4: nobody is in "jobs"
    assert [snapshot.segments[code] for code in snapshot.segment_codes] == [made(i).segment for i in there]
    assert (snapshot.alpha, snapshot.half_life_s) == (0.7, 3 * DAY_S)


def test_users_are_numbered_by_appearance_and_not_named(snapshot: Snapshot) -> None:
    users = [made(i).user for i in range(N) if i % 11]
    order = list(dict.fromkeys(user for user in users if user is not None))
    assert snapshot.user_codes.tolist() == [-1 if user is None else order.index(user) for user in users]
    assert b"user-" not in b"".join(array.tobytes() for array in snapshot.to_arrays().values())


def test_the_digest_depends_on_no_history(snapshot: Snapshot) -> None:
    other = filled_otherwise()
    assert other._in.ring.seqs.tolist() != filled()._in.ring.seqs.tolist()  # they do stand in other slots
    assert Snapshot.of(other).digest == snapshot.digest
    restored = ReplayBuffer.from_state(filled().to_state(), columns=SPEC)
    assert Snapshot.of(restored).digest == snapshot.digest


def test_everything_in_a_snapshot_is_in_its_digest(snapshot: Snapshot) -> None:
    plus_one = {
        name: getattr(snapshot, name) + np.eye(1, len(snapshot), len(snapshot) - 1, dtype=int)[0]
        for name in ("seqs", "versions", "timestamps", "priorities", "rewards")
    }
    changed: list[dict[str, Any]] = [{name: values} for name, values in plus_one.items()]
    changed += [{"alpha": 0.6}, {"half_life_s": None}, {"segments": (None, "help", "shoq")}]
    swapped = snapshot.segment_codes.copy()
    swapped[-1] = (swapped[-1] + 1) % 3
    changed += [{"segment_codes": swapped}, {"user_codes": np.full(len(snapshot), -1)}]
    digests = {replace(snapshot, **change).digest for change in changed} | {snapshot.digest}
    assert len(digests) == len(changed) + 1


def test_zero_has_one_sign(snapshot: Snapshot) -> None:
    negative = np.where(snapshot.priorities == 0.0, -0.0, snapshot.priorities)
    assert np.signbit(negative).any()
    assert replace(snapshot, priorities=negative).digest == snapshot.digest


def test_big_endian_arrays_are_the_same_snapshot(snapshot: Snapshot) -> None:
    big = {name: getattr(snapshot, name).astype(">f8") for name in ("timestamps", "priorities", "rewards")}
    assert replace(snapshot, seqs=snapshot.seqs.astype(">i8"), **big).digest == snapshot.digest


def test_a_snapshot_is_saved_without_pickle(snapshot: Snapshot, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **snapshot.to_arrays())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        found = Snapshot.from_arrays(arrays)
    assert found.digest == snapshot.digest
    assert (found.segments, found.half_life_s) == (snapshot.segments, snapshot.half_life_s)


def test_an_empty_buffer_has_a_snapshot_that_draws_nothing(tmp_path: Path) -> None:
    empty = Snapshot.of(ReplayBuffer(5))
    np.savez(tmp_path / "a.npz", **empty.to_arrays())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert Snapshot.from_arrays(arrays).digest == empty.digest
    with pytest.raises(NotEnoughExperienceError):
        list(batches(empty, Recipe(), 0, ReplayBuffer(5)))


@pytest.mark.parametrize("name", list(Snapshot.of(ReplayBuffer(2)).to_arrays()))
def test_a_damaged_snapshot_is_refused_by_name(name: str, snapshot: Snapshot) -> None:
    arrays = snapshot.to_arrays()
    with pytest.raises(ReplayError) as caught:
        Snapshot.from_arrays({key: values for key, values in arrays.items() if key != name})
    assert (caught.value.code, caught.value.field) == ("snapshot", f"snapshot.{name}")
    raw = bytearray(arrays[name].tobytes())
    raw[0] ^= 1
    flipped = np.frombuffer(bytes(raw), arrays[name].dtype).reshape(arrays[name].shape)
    with pytest.raises(ReplayError) as caught:
        Snapshot.from_arrays(arrays | {name: flipped})
    assert caught.value.code == "snapshot"


@pytest.mark.parametrize(
    "change",
    [
        {"seqs": [2, 1]},
        {"seqs": [0, 1]},
        {"seqs": [1, 1]},
        {"seqs": [1.0, 2.0]},
        {"priorities": [1.0, -1.0]},
        {"priorities": [1.0, float("nan")]},
        {"rewards": [0.0, float("inf")]},
        {"timestamps": [0.0]},
        {"segment_codes": [0, 1]},
        {"segments": ("b", "a"), "segment_codes": [0, 1]},
        {"user_codes": [1, 0]},
        {"alpha": 17.0},
        {"half_life_s": 0.0},
    ],
    ids=[f"case-{i}" for i in range(13)],
)
def test_columns_that_make_no_snapshot_are_refused(change: dict[str, Any]) -> None:
    two = ReplayBuffer(2)
    two.extend([made(1), replace(made(2), segment=made(1).segment, user=made(1).user)])
    whole = Snapshot.of(two)
    with pytest.raises(ReplayError) as caught:
        replace(whole, **{name: np.array(v) if isinstance(v, list) else v for name, v in change.items()})
    assert caught.value.code == "snapshot"


def test_a_snapshot_does_not_change_with_the_buffer() -> None:
    live = filled(60)
    before = Snapshot.of(live)
    digest, priorities = before.digest, before.priorities.copy()
    live.update_priorities(live.seqs(), np.arange(live.size(), dtype=float))
    live.clear()
    assert before.priorities.tolist() == priorities.tolist()
    assert Snapshot.of(live).digest != digest
    with pytest.raises(ValueError, match="read-only"):
        before.priorities[0] = 1.0
    with pytest.raises(FrozenInstanceError):
        before.alpha = 1.0  # type: ignore[misc]


# ---- the same batches


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_batches_from_a_restored_buffer_and_from_another_history(
    name: str, buffer: ReplayBuffer, snapshot: Snapshot
) -> None:
    expected = drawn_bits(snapshot, buffer, RECIPES[name])
    restored = ReplayBuffer.from_state(buffer.to_state(), columns=SPEC)
    other = filled_otherwise()
    assert drawn_bits(Snapshot.of(restored), restored, RECIPES[name]) == expected
    assert drawn_bits(Snapshot.of(other), other, RECIPES[name]) == expected
    # the batches differ from each other and with the seed
    assert len(set(expected)) == len(expected) == 3
    assert [bits(batch) for batch in batches(snapshot, RECIPES[name], 8, buffer)] != expected


def test_rows_may_come_from_whatever_keeps_them(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    names = ["query_embedding", "reward", "seq"]
    kept = Kept(snapshot.seqs.tolist())
    assert drawn_bits(snapshot, kept, RECIPES["priority"], columns=names) == drawn_bits(
        snapshot, buffer, RECIPES["priority"], columns=names
    )


CHILD = """
import json, sys
import numpy as np
from test_training_set import RECIPES, Kept, drawn_bits
from dwell.replay import Snapshot, fingerprint

with np.load(sys.argv[1], allow_pickle=False) as arrays:
    snapshot = Snapshot.from_arrays(arrays)
source = Kept(snapshot.seqs.tolist())
print(json.dumps({
    "hash": hash("a"),
    "digest": snapshot.digest,
    "batches": {
        name: repr(drawn_bits(snapshot, source, recipe, columns=["query_embedding"]))
        for name, recipe in RECIPES.items()
    },
    "fingerprints": {name: fingerprint(snapshot, recipe, 7) for name, recipe in RECIPES.items()},
}))
"""


def test_the_same_batches_after_a_restart_with_another_hash_seed(snapshot: Snapshot, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **snapshot.to_arrays())
    said = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path / "a.npz")],
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)]),
            },
            stdout=subprocess.PIPE,
            check=True,
        )
        said.append(json.loads(done.stdout))
    assert said[0].pop("hash") != said[1].pop("hash")
    assert said[0] == said[1]
    kept = Kept(snapshot.seqs.tolist())
    here = {
        "digest": snapshot.digest,
        "batches": {
            name: repr(drawn_bits(snapshot, kept, recipe, columns=["query_embedding"]))
            for name, recipe in RECIPES.items()
        },
        "fingerprints": {name: fingerprint(snapshot, recipe, 7) for name, recipe in RECIPES.items()},
    }
    assert said[0] == here


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="the extra `fast` is not installed")
@pytest.mark.parametrize("name", RECIPES)
def test_the_same_batches_by_the_other_engine(name: str, buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    recipe = RECIPES[name]
    assert drawn_bits(snapshot, buffer, recipe, engine="numba") == drawn_bits(snapshot, buffer, recipe)
    assert fingerprint(snapshot, recipe, 3, engine="numba") == fingerprint(snapshot, recipe, 3)


def test_a_run_goes_on_in_the_middle(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    recipe = RECIPES["priority"]
    assert drawn_bits(snapshot, buffer, recipe, first=1) == drawn_bits(snapshot, buffer, recipe)[1:]
    assert drawn_bits(snapshot, buffer, recipe, first=3) == []


def test_what_else_the_buffer_draws_plays_no_part(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    expected = drawn_bits(snapshot, buffer, RECIPES["rank"])
    state = buffer.to_state()["rng"]
    iterator = batches(snapshot, RECIPES["rank"], 7, buffer)
    found = []
    for batch in iterator:
        found.append(bits(batch))
        buffer.sample(8, strategy="priority")
    assert found == expected
    assert drawn_bits(snapshot, buffer, RECIPES["rank"]) == expected
    assert buffer.to_state()["rng"] != state  # it was the sample that moved it


def test_the_fingerprint_is_of_what_is_drawn(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    recipe = RECIPES["by segment"]
    other = replace(recipe, shares={"help": 30.0, None: 0.5})
    prints = [fingerprint(snapshot, recipe, 7), fingerprint(snapshot, recipe, 8), fingerprint(snapshot, other, 7)]
    assert len(set(prints)) == 3
    # beta changes the weights and no draw
    assert fingerprint(snapshot, replace(recipe, beta=0.1), 7) == prints[0]


# ---- the laws are those of the buffer


def test_probabilities_and_weights_are_those_of_the_law(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    recipe = replace(RECIPES["priority"], beta=0.5, normalisation="none")
    mass = snapshot.priorities**0.7
    target = np.exp2((snapshot.timestamps - snapshot.timestamps.max()) / (3 * DAY_S))
    for batch in batches(snapshot, recipe, 1, buffer, columns=["timestamp", "priority"]):
        at = snapshot.seqs.searchsorted(batch.seqs)
        law = mass[at] / mass.sum()
        np.testing.assert_allclose(batch.sampling_probabilities, law, rtol=1e-9)
        np.testing.assert_allclose(batch.sampling_weights, (target[at] / target.sum() / law) ** 0.5, rtol=1e-9)
        np.testing.assert_array_equal(batch.columns["timestamp"], snapshot.timestamps[at])
        assert list(batch.columns) == ["timestamp", "priority"]


def test_every_user_has_the_same_share(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    recipe = replace(RECIPES["by user"], batch_size=2**15, n_batches=1)
    (batch,) = batches(snapshot, recipe, 1, buffer, columns=[])
    user = snapshot.user_codes[snapshot.seqs.searchsorted(batch.seqs)]
    n_users = len(np.unique(snapshot.user_codes))  # those without one are a stratum, too
    shares = np.bincount(user + 1, minlength=n_users) / 2**15
    # five standard deviations of a share
    np.testing.assert_allclose(shares, 1 / n_users, atol=5 * (1 / n_users / 2**15) ** 0.5)


@pytest.mark.parametrize(
    ("how", "most"), [({}, 9), ({"max_repeats": 2}, 2), ({"replace": False}, 1)], ids=["free", "two", "once"]
)
def test_nobody_stands_in_a_batch_more_often_than_allowed(
    how: dict[str, Any], most: int, buffer: ReplayBuffer, snapshot: Snapshot
) -> None:
    recipe = Recipe(strategy="rank", batch_size=256, **how)
    (batch,) = batches(snapshot, recipe, 1, buffer, columns=[])
    found = int(np.unique(batch.seqs, return_counts=True)[1].max())
    # freely, rank 1 has 1 / sum(rank^-0.7) = 6 % of 256 places
    assert found == most if how else found > most


def test_beta_follows_its_schedule(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    flat = replace(RECIPES["priority"], n_batches=2, beta=BetaSchedule.linear(0.0, 1.0, 1))
    first, second = batches(snapshot, flat, 1, buffer, columns=[])
    assert set(first.sampling_weights.tolist()) == {1.0}
    assert len(set(second.sampling_weights.tolist())) > 1


def test_a_batch_names_its_events(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    batch = next(batches(snapshot, RECIPES["uniform"], 1, buffer))
    assert batch.event_ids == [f"event-{seq - 1}" for seq in batch.seqs.tolist()]
    assert [one.reward for one in batch.experiences] == [made(seq - 1).reward for seq in batch.seqs.tolist()]
    assert batch.columns["query_embedding"].shape == (32, 2)


# ---- never quietly another batch


def first_drawn(snapshot: Snapshot, source: Any, **how: Any) -> Iterator[Batch]:
    return batches(snapshot, RECIPES["uniform"], 7, source, **how)


def test_an_event_that_left_is_refused() -> None:
    live = filled()
    snapshot = Snapshot.of(live)
    drawn = next(first_drawn(snapshot, live)).seqs
    undrawn = np.setdiff1d(snapshot.seqs, fully_drawn(snapshot, live))[0]
    live.remove(int(undrawn))
    assert len(list(first_drawn(snapshot, live))) == 3  # it is not in any batch
    live.remove(int(drawn[5]))
    with pytest.raises(ReplayError) as caught:
        next(first_drawn(snapshot, live, columns=[]))
    assert (caught.value.code, caught.value.value) == ("gone", int(drawn[5]))


def fully_drawn(snapshot: Snapshot, live: ReplayBuffer) -> npt.NDArray[np.int64]:
    return np.concatenate([batch.seqs for batch in first_drawn(snapshot, live)])


def test_a_row_that_left_its_keeper_is_refused(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    drawn = next(first_drawn(snapshot, buffer)).seqs
    kept = Kept([seq for seq in snapshot.seqs.tolist() if seq != drawn[3]])
    with pytest.raises(ReplayError) as caught:
        next(first_drawn(snapshot, kept, columns=["query_embedding"]))
    assert (caught.value.code, caught.value.value) == ("gone", int(drawn[3]))


@pytest.mark.parametrize("how", ["late reward", "another event"])
def test_an_event_that_is_not_what_it_was_is_refused(how: str) -> None:
    live = filled()
    snapshot = Snapshot.of(live)
    seq = int(next(first_drawn(snapshot, live)).seqs[0])
    if how == "late reward":
        assert live.update_reward(seq, 1.0, version=1).updated == 1
    else:
        live.add(replace(made(seq - 1), timestamp=5.0))
    with pytest.raises(ReplayError) as caught:
        next(first_drawn(snapshot, live))
    assert caught.value.code == "changed"


def test_a_new_priority_is_no_change_of_the_event() -> None:
    live = filled()
    snapshot = Snapshot.of(live)
    expected = drawn_bits(snapshot, live, RECIPES["priority"], columns=["priority"])
    live.update_priorities(live.seqs(), np.ones(live.size()))
    assert drawn_bits(snapshot, live, RECIPES["priority"], columns=["priority"]) == expected


def test_an_erased_event_fails_the_whole_set_drawn_or_not() -> None:
    live = filled()
    snapshot = Snapshot.of(live)
    undrawn = int(np.setdiff1d(snapshot.seqs, fully_drawn(snapshot, live))[0])
    for erased in ({undrawn}, [undrawn, 10**9], np.array([undrawn])):
        with pytest.raises(SnapshotErased) as caught:
            first_drawn(snapshot, live, erased=erased)
        assert caught.value.value == undrawn
    assert len(list(first_drawn(snapshot, live, erased={10**9}))) == 3


def test_an_unknown_column_is_refused_before_anything_is_drawn(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    with pytest.raises(ReplayError) as caught:
        first_drawn(snapshot, Kept([]), columns=["price"])
    assert caught.value.code == "unknown_column"
    with pytest.raises(ReplayError) as caught:
        next(first_drawn(snapshot, buffer, columns=["price"]))
    assert caught.value.code == "unknown_column"


@pytest.mark.parametrize(
    ("field", "how"),
    [
        ("strategy", {"strategy": "best"}),
        ("batch_size", {"batch_size": 0}),
        ("n_batches", {"n_batches": 0}),
        ("beta", {"beta": 1.5}),
        ("replace", {"replace": 1}),
        ("max_repeats", {"max_repeats": 0}),
        ("max_repeats", {"replace": False, "max_repeats": 2}),
        ("normalisation", {"normalisation": "mean"}),
        ("normalisation", {"replace": False, "normalisation": "buffer_max"}),
        ("stratify_by", {"stratify_by": "query"}),
        ("shares", {"shares": {"help": -1.0}}),
        ("shares", {"stratify_by": "user", "shares": {"user-1": 1.0}}),
    ],
    ids=[f"case-{i}" for i in range(12)],
)
def test_a_recipe_that_can_not_be_followed_is_refused_by_name(field: str, how: dict[str, Any]) -> None:
    with pytest.raises(ReplayError) as caught:
        Recipe(**how)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "call",
    [lambda s, b: batches(s, Recipe(), -1, b), lambda s, _: fingerprint(s, Recipe(), 0.5)],
    ids=["negative", "fraction"],
)
def test_a_seed_is_a_whole_number(call: Callable[..., object], buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    with pytest.raises(ReplayError) as caught:
        call(snapshot, buffer)
    assert caught.value.field == "seed"


def test_recency_needs_the_half_life_of_the_snapshot(buffer: ReplayBuffer, snapshot: Snapshot) -> None:
    with pytest.raises(ReplayError) as caught:
        next(batches(replace(snapshot, half_life_s=None), RECIPES["recency"], 1, buffer))
    assert caught.value.field == "half_life_s"
