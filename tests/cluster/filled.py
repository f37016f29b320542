"""A store with closed events, and what one buffer over it would do: the oracle of everything that is sharded."""

from pathlib import Path

import numpy as np

import dwell

PEPPER = b"0123456789abcdef"  # given, so that every salt and secret is the same on each run
START = 1_700_000_000.0


def fill(where: str, n_events: int, *, first: int = 0, n_users: int = 40) -> None:
    """Serve lists, click where the cosine is high, and close the events; served times spread over ten half-lives."""
    rng = np.random.default_rng(first)
    config = {"replay": {"half_life_s": 3_600.0}}
    clicks = []
    with dwell.open(where, features=["bm25", "cosine"], config=config, pepper=PEPPER, durability="relaxed") as loop:
        for i in range(first, first + n_events):
            at = START + 36_000.0 * (i - first) / n_events
            candidates = [{"id": f"d{j}", "bm25": float(rng.normal()), "cosine": float(rng.normal())} for j in range(6)]
            cosine = {c["id"]: c["cosine"] for c in candidates}
            served = loop.rank(f"query {i % 9}", candidates, k=4, user=f"u{i % n_users}", event_id=f"e{i}", now=at)
            clicks += [
                {"event_id": served.event_id, "signal": "click", "doc": doc, "at": at + 5.0}
                for doc in served.ids
                if cosine[str(doc)] > 0.5
            ]
        loop.feedback_many(clicks, now=START + 40_000.0)
        loop.close_events(now=START + 50_000.0)


def place(folder: Path, n_events: int) -> str:
    """Return the path of a filled store in a folder."""
    where = str(folder / "search.dwell")
    fill(where, n_events)
    return where
