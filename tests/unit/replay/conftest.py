"""One way to make an experience, so that each test names only what it is about."""

from collections.abc import Callable
from typing import Any

import pytest

from dwell.records import Experience


def make_experience(event_id: str = "e1", **changed: object) -> Experience:
    fields: dict[str, Any] = {
        "timestamp": 1_700_000_000.0,
        "query": "reset 2fa",
        "query_embedding": [0.25, -0.5],
        "results_served": [{"id": "kb-1", "rank": 1, "score": 0.5}],
        "ranking_params": {"bm25": 1.0},
        "feedback_signals": {"click": 1.0},
        "reward": 0.5,
        "priority": 1.0,
    }
    return Experience(event_id=event_id, **{**fields, **changed})


@pytest.fixture
def experience() -> Callable[..., Experience]:
    return make_experience
