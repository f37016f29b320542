"""How long from a log of 10,000 events to a decision, and does memory grow with the log? By the public calls alone.

    python benchmarks/log_to_decision.py [--quick] [--events 10000] [--candidates 20] [--features 8]

Half of the events are learned from, half judge the proposal: closing them all, learning and judging is what is timed,
CPU seconds of the process with all its threads. Users are simulated: position-based, examination 1/k.
docs/benchmarks.md describes how to read it.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

import dwell

BAR_S: Final = 10.0
N_SHOWN: Final = 10
START_AT: Final = 1_700_000_000.0
WINDOW_S: Final = 1_800.0


class Timed(NamedTuple):
    """CPU seconds of each part.

    Attributes:
        close: Signals to rewards, and the exposure of every event.
        learn: One proposal from the first half.
        judge: Its verdict on the second half.
        n_judged: Events behind that verdict.
        verdict: It, with its first reason.
    """

    close: float
    learn: float
    judge: float
    n_judged: int
    verdict: str

    @property
    def total(self) -> float:
        """All parts together."""
        return self.close + self.learn + self.judge


def serve(loop: dwell.Loop, first: int, n: int, at: float, asked: argparse.Namespace) -> float:
    """Serve lists and tell what simulated users clicked; return the instant after the last."""
    rng = np.random.default_rng([7, first])
    truth = np.random.default_rng(8).normal(size=asked.features)
    ids = [f"d{j}" for j in range(asked.candidates)]
    for i in range(first, first + n):
        x = rng.normal(size=(asked.candidates, asked.features)).astype(np.float32)
        served = loop.rank(f"q{i % 700}", ids=ids, features=x, k=N_SHOWN, user=f"u{i % 500}", event_id=f"e{i}", now=at)
        where = [int(doc[1:]) for doc in served.ids]
        chance = 1.0 / (1.0 + np.exp(1.5 - x[where] @ truth)) / np.arange(1, len(where) + 1)
        for j in np.flatnonzero(rng.random(len(where)) < chance).tolist():
            loop.submit_feedback(served.event_id, "click", doc=served.ids[j], now=at + 1.0)
        at += 1.0
    return at + 2.0 * WINDOW_S


def measure(asked: argparse.Namespace) -> Timed:
    """Return what each part of one log cost."""
    names = [f"f{i}" for i in range(asked.features)]
    start = np.random.default_rng(9).normal(size=asked.features)
    weights = dict(zip(names, start.tolist(), strict=True))
    half = asked.events // 2
    with dwell.open(":memory:", features=names, weights=weights, pepper=b"benchmark", strict=True) as loop:
        now = serve(loop, 0, half, START_AT, asked)
        began = time.process_time()
        loop.close_events(now=now)
        closed = time.process_time() - began
        began = time.process_time()
        loop.train(now=now)
        learned = time.process_time() - began
        now = serve(loop, half, asked.events - half, now, asked)
        began = time.process_time()
        loop.close_events(now=now)
        closed += time.process_time() - began
        proposed = loop.proposed
        began = time.process_time()
        decision = loop.train(steps=1, now=now).decision
        judged = time.process_time() - began
    if proposed is None or decision.proposed_version != proposed.version:
        raise RuntimeError("the proposal was not judged")
    return Timed(closed, learned, judged, decision.difference.n, f"{decision.verdict}: {decision.reasons[0]}")


def peak_of_training(asked: argparse.Namespace, n_events: int) -> float:
    """Return the peak of memory that one call of `train` takes on top, in MB, for a log of so many events."""
    names = [f"f{i}" for i in range(asked.features)]
    with dwell.open(":memory:", features=names, weights=dict.fromkeys(names, 1.0), pepper=b"benchmark") as loop:
        now = serve(loop, 0, n_events, START_AT, asked)
        loop.close_events(now=now)
        loop._state.replayed.trainable()  # noqa: SLF001 - decoded rows are a cache of its own, bounded by its own size
        tracemalloc.start()
        loop.train(now=now)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    return peak


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0, also where the bar is not met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: 600 events, judged by nobody")
    parser.add_argument("--events", type=int, help="events of the log (default 10,000)")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--features", type=int, default=8)
    asked = parser.parse_args(given)
    asked.events = asked.events or (600 if asked.quick else 10_000)
    found = measure(asked)
    is_full = asked.events >= 10_000
    verdict = "not judged" if not is_full else "met" if found.total < BAR_S else "**not met**"
    print("# From a log to a decision\n")
    print(
        f"dwell {dwell.__version__}, {asked.events:,} events, {asked.candidates} candidates, {asked.features} features,"
    )
    print(f"{N_SHOWN} shown; simulated users. CPU seconds of the whole process.\n")
    print("| close | learn | judge | together | under 10 s |")
    print("|---|---|---|---|---|")
    print(f"| {found.close:.2f} | {found.learn:.2f} | {found.judge:.2f} | {found.total:.2f} | {verdict} |")
    print(f"\n{found.verdict}\n")
    sizes = (asked.events // 4, asked.events // 2, asked.events)
    peaks = [f"{n:,}: {peak_of_training(asked, n):.1f}" for n in sizes]
    print(f"Peak of memory that a call of `train` takes on top, MB by events: {', '.join(peaks)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
