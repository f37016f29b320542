"""The doctor on twenty healthy loops: it says nothing.

Simulated visitors by Zipf's law search a fixed catalogue, look by three published click models, and click; the loop
trains as it goes, in several modes, temperatures and learners. Seeds are fixed: with others a check may be unlucky by
the rates that stand beside its constants, of which the largest is the health report's (none is a test at a level).
"""

from typing import Any

import numpy as np
import pytest

import dwell
from dwell.health.doctor import Diagnosis
from dwell.testing.users import CascadeUser, DbnUser, PositionBasedUser, Visitors

pytestmark = pytest.mark.statistical

START_AT = 1_700_000_000.0
FEATURES = ("bm25", "cosine", "fresh")
TRUTH = np.array([0.5, 0.9, 0.1])
N_QUERIES, N_DOCS, K = 40, 12, 6
ROUNDS, LISTS = 2, 60
USERS = (PositionBasedUser(), CascadeUser(continuation=0.5), DbnUser())
WAYS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.3},
    {"temperature": 0.5, "learner": "both"},
    {"temperature": 0.3, "weights": {"bm25": 1.0, "cosine": 0.2, "fresh": 0.0}},
    {"temperature": 1.0, "weights": {"bm25": 0.2, "cosine": 1.0, "fresh": 0.1}, "learner": "both"},
    {"temperature": 0.3, "mode": "canary", "weights": {"bm25": 1.0, "cosine": 0.1, "fresh": 0.3}},
)
CONFIG: dict[str, Any] = {
    "gate": {"min_events": 100, "min_users": 10},
    "training": {"target_steps": 20, "max_seconds": 60.0},
}


def lived(seed: int) -> Diagnosis:
    rng = np.random.default_rng([seed, 20])
    catalogue = rng.normal(size=(N_QUERIES, N_DOCS, len(FEATURES)))
    grades = 1.0 / (1.0 + np.exp(1.5 - 2.0 * catalogue @ TRUTH))
    visitors, user = Visitors(200, rng), USERS[seed % len(USERS)]
    now = START_AT
    how = WAYS[seed % len(WAYS)]
    with dwell.open(
        ":memory:", features=FEATURES, config=CONFIG, pepper=b"of this test", attribution_window_s=600.0, **how
    ) as loop:
        for turn in range(ROUNDS):
            for i in range(LISTS):
                q = int(rng.integers(N_QUERIES))
                served = loop.rank(
                    f"query {q}",
                    ids=[f"q{q}-d{i}" for i in range(N_DOCS)],
                    features=catalogue[q],
                    k=K,
                    user=visitors.next_visitor(rng),
                    segment=("docs", "news", "shop")[i % 3],
                    event_id=f"list-{seed}-{turn}-{i}",  # what is drawn for a list follows from its id
                    now=now,
                )
                wanted = np.array([grades[q, int(doc.rpartition("-d")[2])] for doc in served.ids])
                for at in np.flatnonzero(user.clicks(wanted, rng)).tolist():
                    loop.submit_feedback(served.event_id, "click", doc=served.ids[at], now=now + 5.0 * (at + 1))
                now += float(rng.exponential(30.0))
            now += 601.0
            loop.train(now=now)
        return loop.doctor(now=now)


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_loop_has_no_finding(seed: int) -> None:
    found = lived(seed)
    assert [(one.code, one.message) for one in found.findings] == []
    assert found.answer.startswith("Is it learning? Yes")
    assert {one.name for one in found.looked_at if one.is_judged} >= {"rewards", "exploration", "features", "crowd"}
