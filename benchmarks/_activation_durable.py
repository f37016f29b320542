"""What activation costs where it is kept: serves through the loop's writer into a file, rows written behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

import dwell
from dwell.activation import LADDER_12, LADDER_14, Activation
from dwell.loop.activity import Watch, follow_commit, with_activation
from dwell.loop.ingest import submit_impression
from dwell.loop.state import LoopState
from dwell.storage import EventState, Transaction, open_store
from dwell.testing.store_samples import sample_impression

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

ALONE: Final = "serve of 10 items, durable, activation alone"
FACTS: Final = "the same with the list itself, features of 10 candidates"
BARE: Final = "the list alone, no activation"
DURABLE_BAR: Final = 5_000.0  # serves a second, of activation
N_SERVES: Final = 20_000
N_QUICK_SERVES: Final = 2_000
N_ROUNDS: Final = 3
N_ITEMS: Final = 10_000
N_USERS: Final = 500
_AT_ONCE: Final = 2_000  # the writer's queue holds 10,000
_START: Final = 1_700_000_000.0


@contextlib.contextmanager
def _opened(folder: Path, learner: str) -> Iterator[LoopState]:
    with dwell.open(folder / "s.dwell", features=["x"], learner=learner, pepper="p" * 16) as loop:
        yield loop._state  # noqa: SLF001 - what is measured is what stands behind the public calls


def _events(n: int, number: int) -> list[EventState]:
    rng = np.random.default_rng(number)
    users = rng.integers(0, N_USERS, n)
    return [
        EventState(
            seq=i + 1,
            event_id=f"e{number}-{i}",
            state="open",
            version=0,
            served_at=_START + i / 100,
            closed_at=None,
            user=f"{users[i]:032x}",
            shown=tuple(f"item-{j}" for j in rng.choice(N_ITEMS, 10, replace=False)),
        )
        for i in range(n)
    ]


def _alone(state: LoopState, event: EventState) -> None:
    """Queue what an event adds, as `submit_impression` does with the list beside it."""

    def job(tx: Transaction, watch: Watch | None) -> None:
        if watch is not None:
            watch.expect(tx, event)
            watch.served(event)

    watched, settle = with_activation(state.activity, state.store, job)

    def done(written: Future[Any]) -> None:
        settle(written)
        follow_commit(state.activity, state.writer, time.monotonic())

    if state.writer is not None:
        state.writer.submit(watched, event_ids=(event.event_id,), is_awaited=False, then=done)


def per_second(name: str, n_serves: int, number: int) -> float:
    """Return how many serves a second reach the disk, the last one included, by one way of keeping them."""
    learner = "replay" if name == BARE else "both"
    with TemporaryDirectory() as folder, _opened(Path(folder), learner) as state:
        events = _events(n_serves, number)
        names = ("x", "act.activation", "act.evidence", "act.age_s") if learner == "both" else ("x",)
        sample = sample_impression("", k=10, n=10, f=len(names), feature_names=names)
        lists = [
            replace(sample, event_id=e.event_id, user=e.user, served_at=e.served_at, served=e.shown, documents=e.shown)
            for e in events
        ]
        begin = time.perf_counter()
        for i, (event, impression) in enumerate(zip(events, lists, strict=True)):
            if name == ALONE:
                _alone(state, event)
            elif not submit_impression(state, impression):
                raise RuntimeError("the queue was full: what was dropped is not durable")
            if state.writer is not None and i % _AT_ONCE == _AT_ONCE - 1:
                state.writer.flush()
        if state.writer is not None:
            state.writer.flush()
        return n_serves / (time.perf_counter() - begin)


def durable(n_serves: int, n_rounds: int) -> dict[str, FloatArray]:
    """Return serves a second of each way in each round; they take turns."""
    names = (ALONE, FACTS, BARE)
    found = [[per_second(name, n_serves, number) for name in names] for number in range(n_rounds)]
    return dict(zip(names, np.array(found).T, strict=True))


def bytes_in_store(n_items: int, n_rates: int) -> float:
    """Return the bytes an item takes in a store, in random order and with a date of forgetting."""
    memory = Activation(ladder=LADDER_12 if n_rates == LADDER_12.size else LADDER_14)
    rng = np.random.default_rng(5)
    items = [f"item-{i}" for i in rng.permutation(n_items)]
    memory.access(items, round(_START * 1e6))
    with TemporaryDirectory() as folder, contextlib.closing(open_store(str(Path(folder) / "s"))) as store:
        with store.snapshot() as reader:
            empty = reader.size_bytes()
        with store.transaction() as tx:
            rows = [(item, packed, 10**15 + int(rng.integers(10**15))) for item, packed in memory.rows()]
            tx.put_traces(rows, removed=[], applied=0)
        with store.snapshot() as reader:
            return (reader.size_bytes() - empty) / n_items
