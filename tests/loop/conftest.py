"""A small world around the public API: documents with one telling feature, readers who look from the top."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell

PEPPER = b"a pepper of these tests"
START = 1_700_000_000.0
WINDOW_S = 100.0


class World:
    """Queries of eight documents; `good` tells which ones are relevant, `bad` says the opposite, `noise` nothing."""

    features = ("good", "bad", "noise")
    now = START
    window_s = WINDOW_S

    def __init__(self, seed: int = 7) -> None:
        self.rng = np.random.default_rng(seed)
        self.n = 0

    def candidates(self, n: int = 8) -> list[dict[str, Any]]:
        """Return documents in an order that says nothing."""
        relevant = self.rng.permutation(np.linspace(0.0, 1.0, n))
        return [
            {"id": f"d{i}", "good": float(r), "bad": float(1.0 - r), "noise": float(self.rng.random())}
            for i, r in enumerate(relevant)
        ]

    def clicks(self, shown: list[str], candidates: list[dict[str, Any]]) -> list[str]:
        """Return what a reader clicks: P = (relevance, or .05) / position."""
        good = {c["id"]: c["good"] for c in candidates}
        return [d for i, d in enumerate(shown) if self.rng.random() < max(good[d] ** 2, 0.05) / (i + 1)]

    def visit(self, loop: dwell.Loop, *, n_users: int = 60) -> dwell.Served:
        """Serve one list and send what the reader clicked."""
        candidates = self.candidates()
        served = loop.rank(
            f"query {self.n % 11}",
            candidates,
            k=5,
            user=f"user-{self.n % n_users}",
            event_id=f"event-{self.n:05d}",
            now=self.now,
        )
        for doc in self.clicks(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=self.now + 1.0)
        self.n += 1
        self.now += 1.0
        return served

    def visits(self, loop: dwell.Loop, n: int, **how: Any) -> None:
        """Serve many lists and let their windows pass."""
        for _ in range(n):
            self.visit(loop, **how)
        self.now += self.window_s + 1.0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    return World


QUICK: dict[str, Any] = {
    "gate": {"min_events": 50, "min_users": 5},
    "training": {"target_steps": 20, "max_seconds": 60.0},
    "learner": {"step_size": 0.05},
}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., dwell.Loop]]:
    """Open loops with the settings of these tests; all are closed afterwards."""
    loops: list[dwell.Loop] = []

    def open_loop(where: str | Path = ":memory:", **how: Any) -> dwell.Loop:
        settings: dict[str, Any] = {
            "features": World.features,
            "weights": {"good": 0.1, "bad": 1.0, "noise": 0.5},
            "pepper": PEPPER,
            "attribution_window_s": WINDOW_S,
            "config": QUICK,
        }
        place = where if where == ":memory:" or str(where).startswith("postgresql://") else tmp_path / where
        loop = dwell.open(place, **{**settings, **how})
        loops.append(loop)
        return loop

    yield open_loop
    for loop in loops:
        loop.close()


@pytest.fixture(params=[":memory:", "a.dwell"])
def anywhere(request: pytest.FixtureRequest) -> str:
    """Where the loop keeps its facts: each test runs in memory and on disk."""
    return str(request.param)
