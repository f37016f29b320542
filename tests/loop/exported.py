"""A store with one of everything that an export may meet."""

from pathlib import Path
from typing import Any

import numpy as np

import dwell
from dwell.loop.recorded_events import RecordedEvent, recorded_events

PEPPER = b"a pepper of these tests"
START = 1_700_000_000.0
WINDOW_S = 100.0
HOSTILE = "=cmd|' /C calc'!A0\n\"q\", a:b #c %41 \u202e"
N_LISTS = 40


def made(path: Path) -> dwell.Loop:
    """Return a loop with 40 lists of five out of twelve candidates, and six special ones by their names.

    Those are `hostile`, `external`, `unseen`, `altered`, `deep`, of which not all was kept, and `open`.
    """
    how: dict[str, Any] = {"pepper": PEPPER, "attribution_window_s": WINDOW_S, "embedding_dim": 3, "max_candidates": 8}
    rng = np.random.default_rng(11)
    loop = dwell.open(path, features=["bm25", "cosine"], max_results=5, **how)
    now = START
    for i in range(N_LISTS // 2):
        visit(loop, rng, i, now + i, 2)
    loop.close()
    loop = dwell.open(path, features=["bm25", "cosine", "age =1"], max_results=5, **how)
    for i in range(N_LISTS // 2, N_LISTS):
        visit(loop, rng, i, now + i, 3)
    now += N_LISTS
    docs = [HOSTILE.strip(), "b c", "'d"]
    ids = loop.rank(HOSTILE, ids=[doc.replace("\n", " ").replace("\u202e", "") for doc in docs],
                    features=rng.random((3, 3)), user="eve", event_id="hostile", now=now).ids  # fmt: skip
    loop.feedback("hostile", "click", doc=ids[0], now=now + 1)
    loop.feedback("hostile", "click", doc=ids[1], now=now + 1)
    loop.feedback("hostile", "rating", doc=ids[1], value=0.25, now=now + 2)
    loop.feedback("hostile", "reformulated", now=now + 3)
    loop.log_retrieval("elsewhere", [{"id": "x", "rank": 1, "score": 2.0}, {"id": "y", "rank": 2}],
                       user="eve", event_id="external", now=now)  # fmt: skip
    for event, shown in (("unseen", None), ("altered", True)):
        served = loop.rank("later", ids=list("abcd"), features=rng.random((4, 3)), event_id=event, activate=False,
                           now=now)  # fmt: skip
        if shown:
            loop.activate(event, shown=served.ids[::-1], now=now)
    loop.rank("many", ids=[f"w{j}" for j in range(12)], features=rng.random((12, 3)), k=10, event_id="deep", now=now)
    loop.close_events(now=now + WINDOW_S + 1)
    loop.rank("just now", ids=list("ab"), features=rng.random((2, 3)), event_id="open", now=now + 500)
    loop.feedback("open", "click", doc="a", now=now + 501)
    return loop


def visit(loop: dwell.Loop, rng: np.random.Generator, i: int, now: float, f: int) -> None:
    """Serve five of twelve candidates, and click on one of the first two in every second list."""
    served = loop.rank(
        f"query {i % 7}",
        ids=[f"doc {j}" for j in rng.permutation(20)[:12]],
        features=np.round(rng.normal(size=(12, f)), 3),
        k=5,
        user=f"user-{i % 9}",
        segment="de" if i % 3 else None,
        query_embedding=rng.normal(size=3),
        event_id=f"e{i}",
        now=now,
    )
    if i % 2:
        loop.feedback(served.event_id, "click", doc=served.ids[i % 4 // 2], now=now + 1)


def events(loop: dwell.Loop) -> dict[str, RecordedEvent]:
    """Return all events by id."""
    return {event.impression.event_id: event for event in recorded_events(loop._state)}
