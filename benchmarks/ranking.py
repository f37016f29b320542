"""What one ranking call costs: 100 candidates with 8 features, scored, drawn, and with their propensities.

    python benchmarks/ranking.py [--quick] [--json FILE]

Every figure is the median over many calls, the smallest beside it; a machine that does other things shows in the
distance between the two.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import dwell
from dwell.learning.transform import fit_transform
from dwell.ranking import draw_ranking, expected_exposure, named_generator, policy_scores
from dwell.records import Params
from dwell.records.params import RawScore

N_CANDIDATES: Final = 100
N_FEATURES: Final = 8
N_SHOWN: Final = 10
N_CALLS: Final = 2_000
N_QUICK_CALLS: Final = 200
TEMPERATURE: Final = 0.3
RANKING_BAR_S: Final = 60e-6
EXPOSURE_BAR_S: Final = 1e-3


class Cost(NamedTuple):
    """What a call takes.

    Attributes:
        what: What was called.
        median_s: Median.
        least_s: Smallest.
        at_most_s: The bar, or None.
    """

    what: str
    median_s: float
    least_s: float
    at_most_s: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the median keeps to the bar; None without one."""
        return None if self.at_most_s is None else self.median_s <= self.at_most_s


def measured(what: str, call: Callable[[int], object], n_calls: int, at_most_s: float | None = None) -> Cost:
    """Return what a call costs; it is given its number."""
    for i in range(min(n_calls, 50)):
        call(i)
    seconds = np.empty(n_calls)
    for i in range(n_calls):
        began = time.perf_counter()
        call(n_calls + i)
        seconds[i] = time.perf_counter() - began
    return Cost(what, float(np.median(seconds)), float(seconds.min()), at_most_s)


def _params(features: np.ndarray[Any, np.dtype[np.float32]], names: Sequence[str]) -> tuple[Params, Params]:
    """Return given weights, and a learned version with a transform of 64 knots and the starting score."""
    rng = np.random.default_rng(1)
    weights = dict(zip(names, rng.normal(size=len(names)).tolist(), strict=True))
    given = Params(version=0, weights=weights, temperature=TEMPERATURE)
    raw = given.score(features)
    learned = Params(
        version=1,
        weights=weights,
        temperature=TEMPERATURE,
        transform=fit_transform(features),
        raw_score=RawScore(tuple(weights.values()), float(raw.mean()), float(raw.std()), 1.0),
        origin="learned",
    )
    return given, learned


def measure(n_calls: int) -> list[Cost]:
    """Return the costs of the pieces of a ranking call, and of the whole."""
    rng = np.random.default_rng(0)
    names = [f"feature_{j}" for j in range(N_FEATURES)]
    # half of them with heavy tails, as counts and scores of text are
    rows = rng.normal(size=(1_000, N_FEATURES))
    rows[:, ::2] = np.exp(rows[:, ::2])
    features = rows.astype(np.float32)
    candidates = features[:N_CANDIDATES]
    given, learned = _params(features, names)
    drawing = np.random.default_rng(2)

    def drawn(params: Params) -> Callable[[int], object]:
        return lambda _: draw_ranking(params.score(candidates), TEMPERATURE, N_SHOWN, drawing)

    theta = 1.0 / np.arange(1, N_SHOWN + 1)
    z = policy_scores(given.score(candidates), TEMPERATURE)
    n_knots = min(knots.size for knots in learned.transform.knots) if learned.transform is not None else 0
    return [
        measured("score, draw, propensities: given weights", drawn(given), n_calls, RANKING_BAR_S),
        measured(f"the same, learned weights, {n_knots} knots", drawn(learned), n_calls, RANKING_BAR_S),
        measured("of it: score, learned weights", lambda _: learned.score(candidates), n_calls),
        measured("of it: draw and propensities", drawn_only(given.score(candidates), drawing), n_calls),
        measured("generator of one event", lambda i: named_generator(b"secret", "serve", 0, f"event-{i}"), n_calls),
        measured(
            "exposure at close, 200 draws", lambda _: expected_exposure(z, theta, drawing), n_calls, EXPOSURE_BAR_S
        ),
        *_whole_calls(candidates, names, n_calls),
    ]


def drawn_only(scores: np.ndarray[Any, np.dtype[np.float64]], rng: np.random.Generator) -> Callable[[int], object]:
    """Return a call that draws, its scores known."""
    return lambda _: draw_ranking(scores, TEMPERATURE, N_SHOWN, rng)


def _whole_calls(candidates: np.ndarray[Any, np.dtype[np.float32]], names: Sequence[str], n_calls: int) -> list[Cost]:
    """Return what `Loop.rank` costs: checks, serving, the record of it, and handing that to the writer."""
    ids = [f"doc-{i}" for i in range(len(candidates))]
    weights = dict.fromkeys(names, 1.0)
    rows = candidates.tolist()
    mappings = [{"id": doc, **dict(zip(names, row, strict=True))} for doc, row in zip(ids, rows, strict=True)]
    with dwell.open(":memory:", features=names, weights=weights, strict=True, pepper=b"benchmark") as loop:
        return [
            measured(
                "Loop.rank, ids and an array, whole",
                lambda i: loop.rank("a query", ids=ids, features=candidates, user=f"u{i % 500}", now=60.0 * i),
                n_calls,
            ),
            measured(
                "Loop.rank, mappings, whole",
                lambda i: loop.rank("a query", mappings, user=f"u{i % 500}", now=60.0 * i),
                n_calls,
            ),
        ]


def table(costs: Sequence[Cost]) -> list[str]:
    """Return the costs as a Markdown table."""
    words = {None: "", True: "met", False: "**not met**"}
    lines = ["| call | median, us | least, us | at most, us | |", "|---|---|---|---|---|"]
    for cost in costs:
        bar = "" if cost.at_most_s is None else f"{1e6 * cost.at_most_s:.0f}"
        lines.append(
            f"| {cost.what} | {1e6 * cost.median_s:.1f} | {1e6 * cost.least_s:.1f} | {bar} | {words[cost.is_met]} |"
        )
    return lines


def main() -> int:
    """Measure, print, and return 0, also where a bar is not met: that is printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{N_QUICK_CALLS} calls each, not {N_CALLS:,}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    asked = parser.parse_args()
    costs = measure(N_QUICK_CALLS if asked.quick else N_CALLS)
    head = f"{N_CANDIDATES} candidates, {N_FEATURES} features, {N_SHOWN} shown; Python {platform.python_version()}, "
    print("\n".join(["# The cost of a ranking call", "", f"{head}numpy {np.__version__}.", "", *table(costs)]))
    if asked.json is not None:
        values = {"dwell": dwell.__version__, "calls": [cost._asdict() | {"is_met": cost.is_met} for cost in costs]}
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
