"""What the tests of a loop's column ring share: a life that changes rows in every way, and all that is read of it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dwell
from dwell.loop.replayed import Replayed
from dwell.records.rows import EventRow

Open = Callable[..., dwell.Loop]
PEPPER = b"a pepper of these tests"
STRATEGIES = ("uniform", "priority", "rank", "recency", "stratified")
SEGMENTS = ("news", None, "shop")
TAKEN_UP = "taken up from its file"


def visits(
    loop: dwell.Loop, world: Any, n: int, *, has_embeddings: bool = False, n_users: int = 12, segment: str = "docs"
) -> None:
    """Serve lists of several segments and users, some deferred and shown later, some never; let windows pass."""
    for _ in range(n):
        i, candidates = world.n, world.candidates()
        vector = np.random.default_rng(i).normal(size=4) if has_embeddings and i % 3 else None
        served = loop.rank(
            f"query {i % 7}",
            candidates,
            k=5,
            user=f"user-{i % n_users}" if i % 5 else None,
            segment=(*SEGMENTS, segment)[i % 4],
            query_embedding=vector,
            event_id=f"event-{i:05d}",
            activate=i % 11 > 0,
            now=world.now,
        )
        if i % 22 == 0:
            loop.activate(served.event_id, shown=served.ids[:3] if i % 44 else served.ids[::-1], now=world.now)
        for doc in world.clicks(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
        world.n += 1
        world.now += 1.0
    world.now += world.window_s + 1.0


def late(loop: dwell.Loop, world: Any, first: int, last: int) -> int:
    """Click on the first document of events that are closed, and return how many reopened."""
    shown = {e.event_id: e.results_served for e in loop.experiences()}
    names = [f"event-{i:05d}" for i in range(first, last) if f"event-{i:05d}" in shown]
    answers = [
        loop.feedback(name, "click", doc=shown[name][0]["id"], idempotency_key="late", now=world.now) for name in names
    ]
    return sum(answer.status == "late" for answer in answers)


def lived(loop: dwell.Loop, world: Any, **how: Any) -> None:
    """Let a loop see all that changes rows: closing, learning, eviction, late rewards, erasure, and late ones last."""
    visits(loop, world, 60, **how)
    loop.train(now=world.now)
    visits(loop, world, 50, **how)
    loop.train(now=world.now)
    assert late(loop, world, 70, 90) > 5
    loop.log_retrieval("no features", [{"id": "a"}, {"id": "b"}], event_id="bare", now=world.now)
    assert loop.erase("user-7", now=world.now) > 3
    visits(loop, world, 20, **how)
    loop.train(now=world.now)
    assert late(loop, world, 110, 120) > 2


def bits(row: EventRow) -> list[Any]:
    # codes of segments count on from ring to ring; their names stand in the index
    values = (getattr(row, field.name) for field in dataclasses.fields(row) if field.name != "segment_code")
    return [(v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else repr(v) for v in values]


def seen(replayed: Replayed) -> dict[str, Any]:
    """Return everything that learning and judging read."""
    buffer, ring = replayed.buffer, replayed.buffer._in.ring
    index = [ring.row(slot)._replace(size_bytes=0) for slot in ring.slots_of_seqs(buffer.seqs()).tolist()]
    batches: dict[str, Any] = {}
    for strategy in STRATEGIES if len(buffer) else ():
        how: Any = {"strategy": strategy, "rng": np.random.default_rng(5), "beta": 0.7}
        batch = buffer.sample(8, **how)
        read = replayed.rows.read(batch.seqs, replayed.rows.names)
        batches[strategy] = (
            batch.seqs.tolist(),
            batch.sampling_probabilities.tobytes(),
            batch.sampling_weights.tobytes(),
            {name: (values.dtype.str, values.tobytes()) for name, values in read.items()},
        )
    columns = replayed.rows.index("seq", "priority", "reward", "row_reward", "version", "user_hash", "is_held_out")
    order = np.argsort(columns["seq"])
    return {
        "index": index,
        "batches": batches,
        "held out": replayed._held_out.seqs().tolist(),
        "trainable": [bits(row) for row in replayed.trainable()],
        "judging": [bits(row) for row in replayed.held_out()],
        "columns": {name: values[order].tobytes() for name, values in columns.items()},
        "segments": list(buffer.segment_counts().items()),  # their order decides ties in the report of health
        "without features": replayed.n_without_features,
    }


def told(loop: dwell.Loop, now: float) -> dict[str, Any]:
    """Return everything that a loop shows, the next two calls of train included."""
    loop.close_events(now=now)
    before = seen(loop._state.replayed)
    health = loop.health(now=now)
    reports = [loop.train(now=now) for _ in range(2)]
    said = [(repr(r.decision), r.curves, r.ended_by, r.n_steps, r.n_learned_from, repr(r.proposed)) for r in reports]
    return {"before": before, "health": repr(health), "train": said, "after": seen(loop._state.replayed)}


def copied(tmp_path: Path, name: str = "b.dwell", *, has_ring: bool = False) -> str:
    """Copy the closed store a.dwell, without its ring, and return the copy's name."""
    for path in tmp_path.glob("a.dwell*"):
        if has_ring or not path.name.endswith(".ring"):
            shutil.copy(path, tmp_path / path.name.replace("a.dwell", name))
    return name


def assert_same(opened: Open, now: float, tmp_path: Path, *, report: str, **how: Any) -> None:
    """Open the closed store a.dwell, and a copy that has no ring: report how the first came about; both are equal."""
    copy = copied(tmp_path)
    loop, rebuilt = opened("a.dwell", **how), opened(copy, **how)
    found, due = told(loop, now), told(rebuilt, now)
    assert report in loop._state.replayed.ring_report
    assert "made from" in rebuilt._state.replayed.ring_report
    for name, value in due.items():
        assert found[name] == value, name


def ring_of(tmp_path: Path) -> Path:
    (found,) = tmp_path.glob("a.dwell*.ring")
    return found


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 64]))
