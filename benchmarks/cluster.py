"""What it costs to draw over shards on Ray: batches a second over 1, 2 and 4 shards, beside the buffer of one process.

    python benchmarks/cluster.py [--quick] [--events N] [--json FILE]

Contestants take turns within each round. A figure is the median of the rounds; the interval behind it holds the median
of such rounds with at least 95 % (order statistics: Hahn and Meeker 1991, "Statistical Intervals", section 5.2). A
batch is a draw of 256 by recency with its sampling weights: the same events as the buffer draws where `as one` stands,
the same probabilities where `by shard` does. Experience does not travel either way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import binom

N_EVENTS: Final = 20_000
N_QUICK_EVENTS: Final = 500
N_ROUNDS: Final = 15
N_QUICK_ROUNDS: Final = 3
ROUND_S: Final = 0.4
BATCH: Final = 256
SHARDS: Final = (1, 2, 4)
HALF_LIFE_S: Final = 86_400.0
START: Final = 1_700_000_000.0


def fill(where: str, n_events: int) -> None:
    """Make a store of closed events, served over ten half-lives."""
    import dwell

    rng = np.random.default_rng(0)
    config = {"replay": {"half_life_s": HALF_LIFE_S}}
    with dwell.open(where, features=["bm25", "cosine"], config=config, durability="relaxed") as loop:
        ids = [f"d{j}" for j in range(20)]
        for i in range(n_events):
            features = rng.normal(size=(20, 2))
            at = START + 864_000.0 * i / n_events
            loop.rank(f"q{i % 997}", ids=ids, features=features, user=f"u{i % 4_999}", event_id=f"e{i}", now=at)
        loop.close_events(now=START + 900_000.0)


def rate(draw: Callable[[], object], round_s: float) -> float:
    """Return calls a second, over at least `round_s`."""
    n, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < round_s:
        draw()
        n += 1
    return n / taken


def interval(values: list[float]) -> tuple[float, float]:
    """Return the order statistics between which the median lies with at least 95 %, or all where that takes more."""
    ordered, n = sorted(values), len(values)
    k = max((k for k in range(n // 2 + 1) if 2.0 * binom.cdf(k - 1, n, 0.5) <= 0.05), default=0)
    return ordered[max(k - 1, 0)], ordered[n - max(k, 1)]


def contestants(ray: Any, loop: Any, where: str, address: str) -> dict[str, Callable[[], object]]:  # noqa: ANN401 - imported late
    """Return what draws a batch, by name; clusters are left running until Ray is stopped."""
    from dwell.cluster import LocalShards, ShardSampler
    from dwell.cluster.members import Members, shard_names
    from dwell.cluster.ray_recipe import recipe_for
    from dwell.cluster.ray_scaling import raised
    from dwell.cluster.ray_shards import RayShards
    from dwell.loop.keep import take_in
    from dwell.storage import open_store

    take_in(loop._state)  # noqa: SLF001 - it reads what is closed when it is first asked to learn
    buffer, rng = loop._state.replayed.buffer, np.random.default_rng(1)  # noqa: SLF001 - the buffer that a loop learns from
    found: dict[str, Callable[[], object]] = {
        "one buffer": lambda: buffer.sample(BATCH, strategy="recency", beta=0.4, rng=rng)
    }
    for n in SHARDS:
        recipe = recipe_for(loop, where, shard_names(n))
        store = open_store(where, role="admin")
        raised(ray, store, recipe, f"bench-{n}", Members(n, shard_names(n), address))
        store.close()
        local = LocalShards.made(recipe.spec)
        shards = RayShards(ray, recipe, f"bench-{n}")
        for place, over in (("here", local), ("on Ray", shards)):
            for order in ("as_one", "by_shard"):
                sampler = ShardSampler(over, "recency", half_life_s=HALF_LIFE_S, order=order)  # type: ignore[arg-type]
                name = f"{n} shard{'s' * (n > 1)} {place}, {order.replace('_', ' ')}"
                found[name] = lambda sampler=sampler: sampler.draw(BATCH, beta=0.4, rng=rng)
    return found


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--events", type=int)
    parser.add_argument("--json", metavar="FILE")
    asked, _ = parser.parse_known_args()
    n_events = asked.events or (N_QUICK_EVENTS if asked.quick else N_EVENTS)
    n_rounds, round_s = (N_QUICK_ROUNDS, ROUND_S / 10) if asked.quick else (N_ROUNDS, ROUND_S)
    try:
        from dwell.cluster.ray_engine import started

        with tempfile.TemporaryDirectory() as folder:
            where = str(Path(folder) / "bench.dwell")
            fill(where, n_events)
            with started(n_cpus=4) as (ray, address):
                found = measured(ray, where, address, n_rounds=n_rounds, round_s=round_s)
    except ImportError as error:
        print(f"passed over: {error}")
        return 0
    print(f"{n_events:,} closed events, batches of {BATCH}, {n_rounds} rounds of {round_s:g} s each\n")
    print("| contestant | batches a second | 95 % interval | times the buffer's cost |")
    print("|---|---|---|---|")
    base = statistics.median(found["one buffer"])
    for name, values in found.items():
        low, high = interval(values)
        median = statistics.median(values)
        print(f"| {name} | {median:,.0f} | {low:,.0f} to {high:,.0f} | {base / median:.1f} |")
    if asked.json:
        Path(asked.json).write_text(json.dumps({"n_events": n_events, "rates": found}), encoding="utf-8")
    return 0


def measured(ray: Any, where: str, address: str, *, n_rounds: int, round_s: float) -> dict[str, list[float]]:  # noqa: ANN401 - imported late
    """Return the rate of every contestant in every round."""
    import dwell

    with dwell.open(where, config={"replay": {"half_life_s": HALF_LIFE_S}}) as loop:
        racers = contestants(ray, loop, where, address)
        found: dict[str, list[float]] = {name: [] for name in racers}
        for draw in racers.values():
            draw()
        for i in range(n_rounds):
            for name in list(racers)[:: 1 if i % 2 else -1]:  # there and back: what warms up favours nobody
                found[name].append(rate(racers[name], round_s))
    return found


if __name__ == "__main__":
    sys.exit(main())
