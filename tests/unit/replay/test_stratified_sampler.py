"""Strata by segment and by user, with shares, against the formula."""

import numpy as np
import pytest

from dwell.errors import NotEnoughExperienceError, ReplayError
from dwell.records import Experience
from dwell.replay import ReplayBuffer
from dwell.replay.laws import MAX_STRATA_LAWS

HALF_LIFE_S = 100.0
USERS = [None, "u1", "u1", "u2", "u2", "u2", "u3"]
SEGMENTS = ["a", "a", "b", None, "a", "b", "a"]


def made(half_life_s: float | None = None) -> ReplayBuffer:
    buffer = ReplayBuffer(50, half_life_s=half_life_s, seed=0)
    for i in range(21):
        buffer.add(
            Experience(f"e{i}", 1e9 + 30.0 * i, "", [], [], {}, {}, 0.0, user=USERS[i % 7], segment=SEGMENTS[i % 7])
        )
    for i in (2, 9, 13):
        buffer.remove(f"e{i}")
    return buffer


def expected_law(buffer: ReplayBuffer, by: str, shares: dict[str | None, float]) -> dict[str, float]:
    items = list(buffer)
    recency = {
        item.event_id: 1.0
        if buffer.half_life_s is None
        else 2.0 ** ((item.timestamp - items[-1].timestamp) / buffer.half_life_s)
        for item in items
    }
    names = {getattr(item, by) for item in items}
    whole = sum(shares.get(name, 1.0) for name in names)
    law = {}
    for name in names:
        members = [item.event_id for item in items if getattr(item, by) == name]
        total = sum(recency[member] for member in members)
        for member in members:
            law[member] = shares.get(name, 1.0) / whole * recency[member] / total
    return law


@pytest.mark.parametrize("half_life_s", [None, HALF_LIFE_S], ids=["uniform", "recent"])
@pytest.mark.parametrize("by", ["segment", "user"])
@pytest.mark.parametrize("shares", [None, {"u2": 3.0, None: 0.5, "a": 2.0, "absent": 9.0}], ids=["alike", "shares"])
def test_the_law_is_that_of_the_formula(
    by: str, shares: dict[str | None, float] | None, half_life_s: float | None
) -> None:
    buffer = made(half_life_s)
    law = expected_law(buffer, by, shares or {})
    batch = buffer.sample(20_000, strategy="stratified", stratify_by=by, shares=shares)  # type: ignore[arg-type]
    names = batch.event_ids
    assert batch.sampling_probabilities == pytest.approx([law[name] for name in names], rel=1e-12)
    found = {name: names.count(name) / 2e4 for name in law}
    assert sum(law.values()) == pytest.approx(1.0)
    # 5 standard errors of a share of 20,000 independent draws
    assert all(abs(found[name] - p) < 5 * np.sqrt(p * (1 - p) / 2e4) for name, p in law.items())


@pytest.mark.parametrize("by", ["segment", "user"])
def test_under_a_cap_the_expected_counts_are_reported(by: str) -> None:
    buffer = made(HALF_LIFE_S)
    law = expected_law(buffer, by, {})
    counts = dict.fromkeys(law, 0)
    reported: dict[str, float] = {}
    for _ in range(400):
        batch = buffer.sample(20, strategy="stratified", stratify_by=by, max_repeats=3)  # type: ignore[arg-type]
        for name, p in zip(batch.event_ids, batch.sampling_probabilities.tolist(), strict=True):
            counts[name] += 1
            reported[name] = p
    assert all(counts[name] <= 3 * 400 for name in law)
    # min(cap, lambda * p): lambda is the same for all below the cap
    open_ = [name for name in reported if reported[name] * 20 < 3 - 1e-9]
    scales = [reported[name] / law[name] for name in open_]
    assert scales == pytest.approx([scales[0]] * len(scales), rel=1e-9)
    assert all(abs(counts[name] / 400 - 20 * reported[name]) < 5 * 0.5 / np.sqrt(400) for name in open_)


def test_the_layout_follows_every_kind_of_change() -> None:
    buffer = made()
    buffer.sample(1, strategy="stratified", stratify_by="user")
    buffer.remove_user("u2")
    buffer.add(Experience("new", 1e9, "", [], [], {}, {}, 0.0, user="u9"))
    buffer.add(Experience("e0", 1e9, "", [], [], {}, {}, 0.0, user="u1"))  # replaced in place: another stratum
    law = expected_law(buffer, "user", {})
    batch = buffer.sample(500, strategy="stratified", stratify_by="user")
    assert batch.sampling_probabilities == pytest.approx([law[name] for name in batch.event_ids], rel=1e-12)
    assert "new" in batch.event_ids


def test_many_different_shares_do_not_fill_the_memory() -> None:
    buffer = made()
    for i in range(50):
        buffer.sample(2, strategy="stratified", shares={"a": 1.0 + i})
    assert len(buffer._in.laws._strata) == MAX_STRATA_LAWS


@pytest.mark.parametrize("shares", [{"a": 0.0}, {"a": -1.0}, {"a": float("nan")}, {"a": True}, {3: 1.0}, [1.0], "a"])
def test_shares_that_are_none_are_refused(shares: object) -> None:
    with pytest.raises(ReplayError, match="shares"):
        made().sample(2, strategy="stratified", shares=shares)  # type: ignore[arg-type]


def test_another_kind_of_stratum_is_refused_and_too_many_are_named() -> None:
    with pytest.raises(ReplayError, match="stratify_by"):
        made().sample(2, strategy="stratified", stratify_by="query")  # type: ignore[arg-type]
    with pytest.raises(NotEnoughExperienceError, match="18 distinct"):
        made().sample(19, strategy="stratified", replace=False)
