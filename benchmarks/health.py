"""What health costs and how often it is wrong: a million experiences, healthy loops, planted shifts, exploration.

    python benchmarks/health.py [--quick] [--json FILE]

Users are simulated by the click models of `dwell.testing.users`. A false alarm is an alert for a loop in which nothing
was planted.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import dwell
from dwell.health import HealthReport, HealthSnapshot, report_health
from dwell.health.drift import drift_of, split_newest
from dwell.health.feedback import DRIFT_ALPHA
from dwell.health.ranking import exploration_cost
from dwell.health.snapshot import Drawing, ListsSeen, Scored
from dwell.health.thresholds import RULES
from dwell.records.arrays import FloatArray
from dwell.server.learner import _Tenant, _told_again
from dwell.testing.users import PositionBasedUser

N_EXPERIENCES: Final = 1_000_000
BAR_S: Final = 1.0
N_LISTS: Final = 1_000
N_DOCUMENTS: Final = 64
N_FEATURES: Final = 10
N_SEEDS: Final = 20
N_EVENTS: Final = 1_200
N_STREAMS: Final = 2_000
N_STREAM: Final = 2_000
FEATURES: Final = ("good", "bad", "noise")
START_S: Final = 1_700_000_000.0
WINDOW_S: Final = 100.0
SHARES: Final = (0.4, 0.3, 0.2, 0.1)  # of the query types: none makes up more than the others together


class Alarm(NamedTuple):
    """How often a kind of stream raised an alarm.

    Attributes:
        what: What was planted.
        share: Of streams with an alarm.
        n: Streams.
    """

    what: str
    share: float
    n: int


def snapshot(n: int, seed: int = 0) -> HealthSnapshot:
    """Return a loop of n closed events, a tenth as many users and queries of a power law, and full windows of lists."""
    rng = np.random.default_rng(seed)
    queries = (rng.pareto(1.0, n) * 100.0).astype(np.uint64) % np.uint64(max(n // 10, 1))
    return HealthSnapshot(
        now=START_S + 1.1 * n,
        capacity=n,
        states={"closed": n},
        served_at=START_S + np.sort(rng.random(n)) * n,
        rewards=np.where(rng.random(n) < 0.3, rng.random(n), 0.0),
        user_hashes=rng.integers(0, 2**63, max(n // 10, 1), dtype=np.uint64)[rng.integers(0, max(n // 10, 1), n)],
        has_user=rng.random(n) < 0.9,
        query_hashes=queries * np.uint64(2_654_435_761),
        segment_codes=rng.integers(0, 8, n).astype(np.int32),
        segments={code: f"segment {code}" for code in range(8)},
        is_held_out=rng.random(n) < 0.3,
        priorities=rng.random(n),
        counters={"impressions": n},
        n_signals=n // 3,
        live_version=3,
        n_promotions=3,
        last_verdict="hold: not_yet",
        drawing=Drawing("recency"),
        feature_names=tuple(f"feature_{j}" for j in range(N_FEATURES)),
        newest=_lists(rng),
        reference=_lists(rng),
        drawn=[Scored(rng.normal(size=N_DOCUMENTS), np.arange(10), 1.0) for _ in range(200)],
    )


def _lists(rng: np.random.Generator) -> ListsSeen:
    shape = (N_LISTS, N_DOCUMENTS)
    return ListsSeen(
        rng.normal(size=(*shape, N_FEATURES)).astype(np.float32),
        np.ones(shape),
        np.argsort(rng.random(shape), axis=1),
        np.full(N_LISTS, N_DOCUMENTS),
        np.full(N_LISTS, 10),
        np.zeros(N_LISTS, dtype=bool),
        np.full(N_LISTS, 3),
    )


def lived(seed: int, n: int) -> tuple[dwell.Loop, float]:
    """Return a loop that nothing was planted in, after n lists, and the instant at which all of them are closed."""
    rng, user, now = np.random.default_rng(seed), PositionBasedUser(), START_S
    loop = dwell.open(
        ":memory:",
        features=FEATURES,
        weights={"good": 0.3, "bad": 0.2, "noise": 0.5},
        attribution_window_s=WINDOW_S,
        pepper=b"benchmark",
        seed=seed,
    )
    ids = [f"d{i}" for i in range(8)]
    for i in range(n):
        now += float(rng.exponential(30.0))
        grades = rng.random(8) ** 3
        noise = 0.3 * rng.normal(size=(2, 8))
        features = np.stack([grades + noise[0], 1.0 - grades + noise[1], rng.normal(size=8)], axis=1)
        served = loop.rank(
            f"query {rng.zipf(1.5) % 50}",
            ids=ids,
            features=features,
            k=5,
            user=f"u{rng.integers(80)}",
            segment=f"segment {rng.choice(4, p=SHARES)}",
            event_id=f"event-{seed}-{i}",
            now=now,
        )
        shown = np.array([int(doc[1:]) for doc in served.ids])
        for place in np.flatnonzero(user.clicks(grades[shown], rng)):
            loop.submit_feedback(served.event_id, "click", doc=served.ids[place], now=now + float(rng.exponential(10)))
        if (i + 1) % 400 == 0:
            loop.train(now=now)
    loop.close_events(now + WINDOW_S + 1.0)
    return loop, now + WINDOW_S + 1.0


def speed(n: int, n_calls: int) -> dict[str, float]:
    """Return what reports cost, seconds of processor time: the median of some calls."""
    found: dict[str, float] = {}
    for size in (n // 10, n):
        given = snapshot(size)
        found[f"a report on {size:,} experiences in memory"] = _median(
            lambda given=given: report_health(given), n_calls
        )
    loop, now = lived(0, max(n // 100, 200))
    with loop:
        size = len(loop._state.replayed)  # noqa: SLF001 - the number of rows is no public figure
        found[f"Loop.health with {size:,} experiences, everything read"] = _median(lambda: loop.health(now), n_calls)
        of = _Tenant(loop, trained_at=0.0)
        _told_again(of)
        found["asked again, nothing has changed"] = _median(lambda: _told_again(of), n_calls)
    return found


def _median(call: Any, n_calls: int) -> float:  # noqa: ANN401 - whatever is timed
    seconds = []
    for _ in range(n_calls):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return float(np.median(seconds))


def healthy(n_seeds: int, n_events: int) -> Counter[str]:
    """Return the alerts of loops in which nothing was planted."""
    alerts: Counter[str] = Counter()
    for seed in range(n_seeds):
        loop, now = lived(seed, n_events)
        with loop:
            report: HealthReport = loop.health(now)
        alerts.update(alert.code for alert in report.alerts)
    return alerts


def is_alarm(rewards: FloatArray) -> bool:
    """Return whether the newest tenth of a stream is told as a fall."""
    windows = split_newest(rewards)
    if windows is None:
        return False
    found = drift_of(*windows)
    return found.psi > RULES["reward_drift"].limit and found.p_value < DRIFT_ALPHA and found.change < 0.0


def streams(n_streams: int, n: int) -> list[Alarm]:
    """Return how often the rewards of a stream raise an alarm: nothing changes, or the newest tenth earns less."""
    found = []
    for what, rate, late in (
        ("nothing: three of ten lists rewarded", 0.3, 0.3),
        ("nothing: one of twenty", 0.05, 0.05),
        ("three of ten, lately 0.15", 0.3, 0.15),
        ("three of ten, lately one of ten", 0.3, 0.1),
        ("three of ten, lately none", 0.3, 0.0),
    ):
        n_alarms = 0
        for seed in range(n_streams):
            rng = np.random.default_rng(seed)
            rates = np.where(np.arange(n) < n - n // 10, rate, late)
            n_alarms += is_alarm(np.where(rng.random(n) < rates, rng.random(n), 0.0))
        found.append(Alarm(what, n_alarms / n_streams, n_streams))
    return found


def exploring(n: int) -> list[tuple[int, int, float, float]]:
    """Return (candidates, shown, temperature, cost): what a list of normal scores gives up by being drawn."""
    rng, found = np.random.default_rng(0), []
    for n_candidates, k in ((10, 5), (50, 10)):
        for temperature in (0.1, 0.3, 1.0, 1e6):
            drawn = []
            for _ in range(n):
                scores = rng.normal(size=n_candidates)
                noisy = scores / (temperature * scores.std()) + rng.gumbel(size=n_candidates)
                drawn.append(Scored(scores, np.argsort(-noisy)[:k], float(scores.std())))
            found.append((n_candidates, k, temperature, float(exploration_cost(drawn).mean())))
    return found


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]


def main() -> int:
    """Measure, print, and return 0, also where a bar is not met: that is printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    asked = parser.parse_args()
    part = 10 if asked.quick else 1
    costs = speed(N_EXPERIENCES // part, 5)
    alerts = healthy(N_SEEDS // part, N_EVENTS)
    alarms, costs_sd = streams(N_STREAMS // part, N_STREAM), exploring(4_000 // part)
    print(f"# Health\n\nPython {platform.python_version()}, numpy {np.__version__}.\n")
    print("\n".join(table(("what", "ms of processor time"), [(what, f"{1e3 * s:.3g}") for what, s in costs.items()])))
    slowest_s = costs[f"a report on {N_EXPERIENCES // part:,} experiences in memory"]
    print(f"\nThe bar is {BAR_S:g} s for the largest: {'met' if slowest_s <= BAR_S else '**not met**'}.\n")
    words = ", ".join(f"{code} {n}" for code, n in alerts.items()) or "no alert"
    print(f"{N_SEEDS // part} healthy loops of {N_EVENTS:,} lists: {words}.\n")
    print(
        "\n".join(
            table(
                ("planted in the rewards", "alarms", "streams"),
                [(a.what, f"{a.share:.1%}", f"{a.n:,}") for a in alarms],
            )
        )
    )
    rows = [(str(n), str(k), "random" if t > 1e3 else f"{t:g}", f"{c:.2f}") for n, k, t, c in costs_sd]
    print("\n" + "\n".join(table(("candidates", "shown", "temperature", "score given up, sd"), rows)))
    if asked.json is not None:
        values = {
            "dwell": dwell.__version__,
            "seconds": costs,
            "alerts": dict(alerts),
            "alarms": [alarm._asdict() for alarm in alarms],
            "exploring": costs_sd,
        }
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
