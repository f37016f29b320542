"""Plain Python: a search by words that learns, from its visitors, that fresh entries are wanted.

    python plain.py

Nothing but `dwell` is needed. The visitors are simulated; what they want is written in `Visitor`, and the search is not
told. The store is a file in the current folder, as an application would have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import dwell

ROUNDS = (1_000, 600)  # visitors before each call of `train`; the first learns, the second judges
N_LAST = 300
START = 1_700_000_000.0  # an application leaves `now` out: then it is the clock's
STORE = Path("plain.dwell")


def search(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return eight entries with their numbers, best words first: what an engine would bring."""
    found = [{"id": f"kb-{i}", "words": rng.random(), "fresh": rng.random()} for i in rng.choice(500, 8, replace=False)]
    return sorted(found, key=lambda entry: -entry["words"])


class Visitor(NamedTuple):
    """Somebody made up, who wants two words of the text and, above all, what is fresh."""

    rng: np.random.Generator

    def clicked(self, served: list[str], candidates: list[dict[str, Any]]) -> list[str]:
        """Return what is clicked: place k is looked at with chance 1/k, and now and then anything is tried."""
        wanted = best_of(candidates)
        chances = [(0.9 if doc == wanted else 0.05) / place for place, doc in enumerate(served, start=1)]
        return [doc for doc, chance in zip(served, chances, strict=True) if self.rng.random() < chance]


def best_of(candidates: list[dict[str, Any]]) -> str:
    """Return the entry that these visitors want."""
    return str(max(candidates, key=lambda entry: entry["words"] + 2.0 * entry["fresh"])["id"])


def visits(loop: dwell.Loop, n: int, rng: np.random.Generator, now: float) -> float:
    """Let n visitors search, a minute apart; return how often what they wanted stood first."""
    visitor, n_first = Visitor(rng), 0
    for i in range(n):
        candidates, at = search(rng), now + 60.0 * i
        who, event_id = f"u-{rng.integers(300)}", f"visit-{at:.0f}"
        served = loop.rank("reset 2fa", candidates, k=5, user=who, event_id=event_id, now=at)
        for doc in visitor.clicked(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=at + 20.0)
        n_first += served.ids[0] == best_of(candidates)
    return n_first / n


def main() -> None:
    """Let visitors search, learn now and then, and tell how often what they wanted stood first."""
    rng, now, shares = np.random.default_rng(3), START, list[float]()
    with dwell.open(
        str(STORE),
        features=["words", "fresh"],
        weights={"words": 1.0, "fresh": 0.0},
        pepper=b"an example, the same each time",  # an application leaves it out: a secret is made beside the file
    ) as loop:
        for n in ROUNDS:
            shares.append(visits(loop, n, rng, now))
            now += 60.0 * n + 3_600.0  # the attribution windows pass
            decision = loop.train(now=now).decision
            print(f"{n} visitors: first {shares[-1]:.0%}, {decision.verdict}, {decision.reasons[0]}")
        shares.append(visits(loop, N_LAST, rng, now))
    print(f"result: what simulated visitors wanted stood first {shares[0]:.0%} of the time, then {shares[-1]:.0%}")


if __name__ == "__main__":
    main()
