"""A memory among simulated users: of notes that match equally well, those that are of use come to stand first.

Eight topics have four notes each, which differ in one word that nobody asks for; one of the four is of use. Whoever
asks looks at place i with probability 1 / i, and says "used" of what is of use with probability 0.9, of the others with
0.1. Nothing of it is evidence about people.

False alarm: if nothing were learned each topic would have its useful note first with probability 1/4, and six or more
of eight with probability 0.0042.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import dwell.memory
from dwell.memory import Memory

pytestmark = pytest.mark.statistical

N_TOPICS = 8
N_NOTES = 4
N_SEARCHES = 240
N_USERS = 40
N_NEEDED = 6
NOW = 1_700_000_000.0
EVERY_S = 600.0


def n_first(memory: Memory, now: float) -> int:
    """Return how many topics have their useful note first, without drawing and without a trace."""
    found = [memory.search(f"topic{topic}", now=now, peek=True).items[0].id for topic in range(N_TOPICS)]
    return sum(item == f"{topic}-useful" for topic, item in enumerate(found))


def test_the_false_alarm_rate_is_what_is_stated() -> None:
    tail = sum(math.comb(N_TOPICS, n) * 0.25**n * 0.75 ** (N_TOPICS - n) for n in range(N_NEEDED, N_TOPICS + 1))
    assert tail == pytest.approx(0.0042, abs=5e-5)


def test_what_is_of_use_comes_to_stand_first() -> None:
    rng = np.random.default_rng(7)
    with dwell.memory.open(":memory:", pepper="simulated users, said so", seed=7) as memory:
        for topic in range(N_TOPICS):
            # the useful one stands last while all are equal: it was added first, and is the oldest
            for note in ["useful", *(f"{n}" for n in range(1, N_NOTES))]:
                memory.add(
                    f"topic{topic} note{topic}{note}", id=f"{topic}-{note}", now=NOW + N_NOTES * (note != "useful")
                )
        before = n_first(memory, NOW + 10.0)
        for i in range(N_SEARCHES):
            now = NOW + EVERY_S * (i + 1)
            topic = int(rng.integers(N_TOPICS))
            recall = memory.search(
                f"topic{topic}", user=f"user-{rng.integers(N_USERS)}", event_id=f"e{i}", now=now, k=N_NOTES
            )
            for place, item in enumerate(recall, start=1):
                is_seen = rng.random() < 1.0 / place
                if is_seen and rng.random() < (0.9 if item.id.endswith("useful") else 0.1):
                    memory.feedback(f"e{i}", "used", item=item.id, now=now + 1.0)
        after = n_first(memory, NOW + EVERY_S * (N_SEARCHES + 1))
    print(f"\nuseful note first in {before} of {N_TOPICS} topics before, {after} after {N_SEARCHES} simulated searches")
    assert before == 0
    assert after >= N_NEEDED
