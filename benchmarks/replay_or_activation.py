"""Replay, activation, or both: who serves better, in five simulated worlds that need one, the other, or both?

    python benchmarks/replay_or_activation.py [--quick] [--worlds features,items,mixed,churn,drift]
                                              [--seeds 3] [--queries 2000] [--step-size 0.003] [--json FILE]

Everything goes through the public calls: `dwell.open(":memory:", learner=...)`, `rank`, `feedback_many`, `train`. The
gate is off, so that learners are compared and not the gate: what a call of `train` proposes goes live. Items, tastes
and clicks are made up. Three loops meet the same requests and click thresholds; what they serve is their own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

# before numpy is imported: afterwards its threads are there
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the number of threads

import dwell  # noqa: E402 - the same
from _timing import Interval, verdict  # noqa: E402 - the same
from study.statistics import over_seeds  # noqa: E402 - the same

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

LEARNERS: Final = ("activation", "replay", "both")
N_ITEMS: Final = 300  # sizes as in the study before the project, whose logging was random
N_FEATURES: Final = 5
N_CANDIDATES: Final = 30
N_SHOWN: Final = 5
N_USERS: Final = 500
N_SEEDS: Final = 3  # with 2,000 queries it takes ten minutes of a core
N_QUERIES: Final = 2_000
N_QUICK_QUERIES: Final = 100
N_ROUNDS: Final = 16  # calls of `train`, evenly spread
LAST: Final = 0.1  # of the queries are the end, as many the beginning
BAR: Final = -0.01  # of "both" less the better one of the others
SECONDS_PER_QUERY: Final = 60.0
START_AT: Final = 1_700_000_000.0
WINDOW_S: Final = 300.0
CHURN_EVERY: Final = 4  # queries until an item is replaced
EXAMINED: Final = 1.0 / np.arange(1, N_SHOWN + 1)


class World(NamedTuple):
    """What makes an item liked, and how long.

    Attributes:
        name: Of the world.
        by_features: Share of the variance of taste that features tell, in [0, 1]; the rest is each item's own.
        is_churning: Whether a new item takes the place of one every few queries.
        is_drifting: Whether all tastes are drawn anew half-way.
    """

    name: str
    by_features: float
    is_churning: bool = False
    is_drifting: bool = False


WORLDS: Final = (
    World("features", 1.0),
    World("items", 0.0),
    World("mixed", 0.5),
    World("churn", 0.5, is_churning=True),
    World("drift", 0.5, is_drifting=True),
)


class Catalogue:
    """The items of a world as they are now: what a feature says of them, and how well they are liked.

    Args:
        world: Which.
        rng: Decides everything that is made up.
    """

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self._world, self._rng = world, rng
        self.features = rng.normal(size=(N_ITEMS, N_FEATURES))
        self.ids = [f"i{slot}" for slot in range(N_ITEMS)]
        self._n_replaced = 0
        self.draw_tastes()

    def draw_tastes(self) -> None:
        """Draw anew what people like in features, and what they like in each item for its own sake."""
        direction = self._rng.normal(size=N_FEATURES)
        self._direction = direction / np.linalg.norm(direction)
        self._own = self._rng.normal(size=N_ITEMS)

    def replace_one(self) -> None:
        """Put a new item in the place of one; nobody has seen it."""
        slot = int(self._rng.integers(N_ITEMS))
        self._n_replaced += 1
        self.ids[slot] = f"i{slot}-{self._n_replaced}"
        self.features[slot] = self._rng.normal(size=N_FEATURES)
        self._own[slot] = self._rng.normal()

    def liked(self, slots: IntArray) -> FloatArray:
        """Return how likely each of some items is clicked when looked at, (n,): a mean of .22 and a long upper tail."""
        share = self._world.by_features
        taste = share**0.5 * (self.features[slots] @ self._direction) + (1.0 - share) ** 0.5 * self._own[slots]
        return np.asarray(1.0 / (1.0 + np.exp(2.0 - 2.0 * taste)))


class Request(NamedTuple):
    """One query, the same for every loop.

    Attributes:
        ids: Candidates, in an order that says nothing.
        features: float64 (30, 5).
        liked: float64 (30,), P(click | looked at).
        looks: bool (5,), which positions are looked at.
        thresholds: float64 (5,): who is looked at is clicked where it is liked more than that.
        user: Who asks.
    """

    ids: list[str]
    features: FloatArray
    liked: FloatArray
    looks: np.ndarray[Any, np.dtype[np.bool_]]
    thresholds: FloatArray
    user: str


def requests(world: World, n_queries: int, seed: int) -> list[Request]:
    """Return the requests of a seed."""
    rng = np.random.default_rng([seed, [one.name for one in WORLDS].index(world.name)])
    catalogue, found = Catalogue(world, rng), []
    for number in range(n_queries):
        if world.is_churning and number and number % CHURN_EVERY == 0:
            catalogue.replace_one()
        if world.is_drifting and number == n_queries // 2:
            catalogue.draw_tastes()
        slots = rng.choice(N_ITEMS, size=N_CANDIDATES, replace=False)
        found.append(
            Request(
                [catalogue.ids[slot] for slot in slots],
                catalogue.features[slots],
                catalogue.liked(slots),
                rng.random(N_SHOWN) < EXAMINED,
                rng.random(N_SHOWN),
                f"u{int(rng.integers(N_USERS))}",
            )
        )
    return found


def rewarded(liked: FloatArray) -> float:
    """Return the expected clicks of a list, from how well its items are liked, in shown order."""
    return float(liked @ EXAMINED)


def served_by(
    learner: str, asked: Sequence[Request], *, seed: int, settings: Mapping[str, Any] | None = None
) -> FloatArray:
    """Return the expected clicks of each served list and of the best one, (2, n): users see the loop explore, too.

    Each commit is waited for: what the next list is ordered by must not depend on how fast the machine is.

    Args:
        learner: "replay", "activation" or "both".
        asked: The requests.
        seed: Of the loop's own draws.
        settings: Sections of the configuration, beside the gate that is off and training without a time limit.

    Raises:
        RuntimeError: A reaction did not join its event.
    """
    config = {"gate": {"kind": "off"}, "training": {"max_seconds": 1e6}, **(settings or {})}
    train_every = max(1, len(asked) // N_ROUNDS)
    found = np.empty((2, len(asked)))
    loop = dwell.open(
        ":memory:",
        features=[f"x{j}" for j in range(N_FEATURES)],
        learner=learner,
        seed=seed,
        config=config,
        attribution_window_s=WINDOW_S,
        pepper=b"benchmark",  # given, so that a run can be repeated
        strict=True,  # a fall-back would be measured as a ranking
    )
    with loop:
        for number, one in enumerate(asked):
            now, event_id = START_AT + SECONDS_PER_QUERY * number, f"e{number}"
            served = loop.rank(
                f"q{number}", ids=one.ids, features=one.features, k=N_SHOWN, user=one.user, event_id=event_id, now=now
            )
            liked = one.liked[[one.ids.index(doc) for doc in served.ids]]
            found[:, number] = rewarded(liked), rewarded(np.sort(one.liked)[::-1][:N_SHOWN])
            clicked = np.flatnonzero(one.looks & (one.thresholds < liked))
            said = [{"event_id": event_id, "signal": "click", "doc": served.ids[i]} for i in clicked]
            if said:
                answers = loop.feedback_many(said, now=now + 1.0)
                if any(answer.status != "joined" for answer in answers):
                    raise RuntimeError(f"a reaction to {event_id} did not join: {answers}")
            else:
                loop.history()  # waits for the commit
            if (number + 1) % train_every == 0:
                loop.train(now=now + 2.0)
    return found


def share(served: FloatArray, *, is_end: bool) -> float:
    """Return the clicks of the last, or the first, tenth of lists relative to those of the best lists."""
    n = max(1, round(LAST * served.shape[1]))
    part = served[:, -n:] if is_end else served[:, :n]
    return float(part[0].sum() / part[1].sum())


class Found(NamedTuple):
    """What came of one world.

    Attributes:
        world: Its name.
        first: Per learner, (seeds,) share of the best in the first tenth.
        last: Per learner, the same in the last tenth.
    """

    world: str
    first: dict[str, FloatArray]
    last: dict[str, FloatArray]

    def lead(self) -> Interval:
        """Return "both" less the better of the two others by its mean, paired by seed, in the last tenth."""
        better = max(("activation", "replay"), key=lambda name: float(self.last[name].mean()))
        return Interval(*over_seeds(self.last["both"] - self.last[better]))


def measured(
    worlds: Sequence[World],
    n_seeds: int,
    n_queries: int,
    say: Callable[[str], None] = lambda _: None,
    settings: Mapping[str, Any] | None = None,
) -> list[Found]:
    """Return what came of each world; `settings` as in `served_by`."""
    found = []
    for world in worlds:
        runs: dict[str, list[FloatArray]] = {learner: [] for learner in LEARNERS}
        for seed in range(n_seeds):
            asked = requests(world, n_queries, seed)
            for learner in LEARNERS:
                began = time.perf_counter()
                runs[learner].append(served_by(learner, asked, seed=seed, settings=settings))
                took = time.perf_counter() - began
                say(
                    f"{world.name}, seed {seed}, {learner}: {share(runs[learner][-1], is_end=True):.3f} in {took:.0f} s"
                )
        first = {name: np.array([share(one, is_end=False) for one in of]) for name, of in runs.items()}
        last = {name: np.array([share(one, is_end=True) for one in of]) for name, of in runs.items()}
        found.append(Found(world.name, first, last))
    return found


def table(found: Sequence[Found]) -> list[str]:
    """Return shares, differences and verdicts as a Markdown table."""
    lines = [
        f"| world | {' | '.join(LEARNERS)} | both less the better | at least {BAR:g} |",
        f"|---|{'---|' * len(LEARNERS)}---|---|",
    ]
    for one in found:
        cells = [f"{_told(one.last[name])} [{one.first[name].mean():.3f}]" for name in LEARNERS]
        lead = one.lead()
        lines.append(
            f"| {one.world} | {' | '.join(cells)} | {lead.value:+.3f} ({lead.low:+.3f} to {lead.high:+.3f}) "
            f"| {verdict(lead, BAR).replace('median', 'mean')} |"
        )
    return lines


def _told(values: FloatArray) -> str:
    found = over_seeds(values)
    return f"{found.value:.3f} +- {found.high - found.value:.3f}"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    names = [world.name for world in WORLDS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"a smoke test: 2 seeds, {N_QUICK_QUERIES} queries")
    parser.add_argument("--worlds", default=",".join(names), help=f"comma-separated, of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, help=f"number of seeds, at least 2 (default {N_SEEDS})")
    parser.add_argument("--queries", type=int, help=f"queries per run, at least 100 (default {N_QUERIES:,})")
    parser.add_argument("--step-size", type=float, help="learner.step_size of every loop (default: the setting's own)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    asked = parser.parse_args(given)
    asked.seeds = asked.seeds or (2 if asked.quick else N_SEEDS)
    asked.queries = asked.queries or (N_QUICK_QUERIES if asked.quick else N_QUERIES)
    unknown = set(asked.worlds.split(",")) - set(names)
    if unknown:
        parser.error(f"no such world: {min(unknown)}; there are {', '.join(names)}")
    if asked.seeds < 2 or asked.queries < 100:
        parser.error("--seeds are at least 2, --queries at least 100")
    asked.worlds = [world for world in WORLDS if world.name in asked.worlds.split(",")]
    return asked


def main() -> int:
    """Measure, print, and return 0, also where a bar is not met: that is printed."""
    asked, began = arguments(), time.perf_counter()
    print("# Replay or activation\n")
    print(f"dwell {dwell.__version__}, Python {platform.python_version()}, numpy {np.__version__}; simulated users.")
    print(f"{asked.queries:,} queries a minute apart, {asked.seeds} seeds, {N_ITEMS} items, {N_CANDIDATES} candidates,")
    print(
        f"{N_SHOWN} shown, {N_ROUNDS} calls of train, gate off, defaults otherwise. Expected clicks of what was served"
    )
    print(
        f"relative to the best list, in the last {LAST:.0%} of queries with the 95 % interval over seeds; in brackets"
    )
    print(f"the first {LAST:.0%}. {'A smoke test: it judges nothing.' if asked.quick else ''}\n")
    settings = {} if asked.step_size is None else {"learner": {"step_size": asked.step_size}}
    if settings:
        print(f"learner.step_size is {asked.step_size:g}.\n")
    found = measured(
        asked.worlds, asked.seeds, asked.queries, lambda line: print(line, file=sys.stderr, flush=True), settings
    )
    print("\n".join(table(found)))
    print(f"\n{time.perf_counter() - began:.0f} s.")
    if asked.json is not None:
        values = {
            one.world: {
                "first": {name: of.tolist() for name, of in one.first.items()},
                "last": {name: of.tolist() for name, of in one.last.items()},
            }
            for one in found
        }
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
