"""How many lists until users have decided on a proposal: split into two arms, or shown what both draft?

    python benchmarks/online.py [--quick] [--runs 20] [--gain 0.05] [--json FILE]

Users are simulated, each comes once, and looks at position k with 1/k. docs/benchmarks.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

import dwell
from dwell.evaluation.interleaving import interleaved_credit, interleaving_verdict, team_draft
from dwell.evaluation.online import canary_verdict
from dwell.ranking import draw_ranking
from dwell.records.arrays import FloatArray, IntArray
from dwell.testing.users import PositionBasedUser
from study.judging_logs import TEMPERATURE, THETA, synthetic_field, with_gain
from study.judging_runs import direction

__all__ = ["Pool", "Run", "median_interval", "one_run", "pool_of", "table"]

SHARES: Final = (0.2, 0.5)
ALPHA: Final = 0.05 * 6.0 / np.pi**2  # what the gate spends on a first proposal
EVERY: Final = 100  # lists between two looks
MOST: Final = 20_000  # lists: the gate gives an undecided proposal up then
QUICK_MOST: Final = 600
N_DRAWS: Final = 24  # drafts a question
K: Final = THETA.size
USER: Final = PositionBasedUser()
CLICK: Final = 0.5  # the preset "search"


class Pool(NamedTuple):
    """What may be shown, by question and draw: click rates of each list, and the teams of the drafted ones.

    Attributes:
        live: float64 (q, d, k), click rates of the live params' lists.
        proposed: float64 (q, d, k), of the proposal's.
        drafted: float64 (q, d, k), of what both draft.
        team: int64 (q, d, k), 1 where the proposal drafted.
    """

    live: FloatArray
    proposed: FloatArray
    drafted: FloatArray
    team: IntArray


class Run(NamedTuple):
    """How long one proposal took.

    Attributes:
        share: Of users in the canary.
        split: Lists served until the split says "better", or None.
        interleaved: Lists served until interleaving does, or None.
    """

    share: float
    split: int | None
    interleaved: int | None


def pool_of(rng: np.random.Generator, *, gain: float, n_questions: int, n_draws: int) -> Pool:
    """Return lists of a proposal that gains that share of clicks, of the live params, and of both; drawn alike."""
    while True:
        field = synthetic_field(rng, n_questions=n_questions)
        proposal = with_gain(field, direction(field, rng), USER, gain)
        if proposal is not None:
            break
    shape = (n_questions, n_draws, K)
    found = Pool(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64))
    for q in range(n_questions):
        for d in range(n_draws):
            seed = int(rng.integers(2**63))
            by_live, by_proposed = (
                draw_ranking(scores, TEMPERATURE, K, np.random.default_rng(seed)).order
                for scores in (field.live[q], proposal[q])
            )
            order, team = team_draft(by_proposed, by_live, K, rng)
            for shown, ranking in ((found.live, by_live), (found.proposed, by_proposed), (found.drafted, order)):
                shown[q, d] = USER.click_probabilities(field.relevance[q][ranking])
            found.team[q, d] = team
    return found


def first_look(low: Callable[[int], float], most: int) -> int | None:
    """Return the first look at which the lower bound is above 0, in lists; bounds never fall."""
    looks = list(range(EVERY, most + 1, EVERY))
    if not looks or low(looks[-1]) <= 0.0:
        return None
    first, last = 0, len(looks) - 1
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if low(looks[middle]) > 0.0 else (middle + 1, last)
    return looks[first]


def one_run(pool: Pool, share: float, most: int, rng: np.random.Generator) -> Run:
    """Return how many lists each way takes to see the gain, all users counted, on the same proposal."""
    n_questions, n_draws, k = pool.live.shape
    which = rng.integers(n_questions, size=most), rng.integers(n_draws, size=most)
    in_canary = rng.random(most) < share
    uniform = rng.random((most, k))
    rates = np.where(in_canary[:, None], pool.proposed[which], pool.live[which])
    rewards = np.clip(CLICK * (uniform < rates).sum(axis=1), -1.0, 1.0)
    users = np.arange(most, dtype=np.uint64)
    team, clicks = pool.team[which][in_canary], (uniform < pool.drafted[which])[in_canary].astype(np.float64)
    credit = np.array([interleaved_credit(*one) for one in zip(team, clicks, strict=True)])
    n_drafted = np.cumsum(in_canary)

    def split(n: int) -> float:
        found = canary_verdict(users[:n], in_canary[:n], rewards[:n], share=share, alpha=ALPHA)
        return found.difference.low

    def interleaved(n: int) -> float:
        return interleaving_verdict(credit[: n_drafted[n - 1]], alpha=ALPHA).difference.low

    return Run(share, first_look(split, most), first_look(interleaved, most))


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and a 95 % interval of it from order statistics; inf stands for "longer than was looked".

    Source: David and Nagaraja 2003, "Order Statistics", 7.1: ranks by the binomial distribution.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    n = x.size
    chances = np.array([1.0])
    for _ in range(n):  # binomial of fair coins
        chances = 0.5 * np.convolve(chances, [1.0, 1.0])
    below = np.cumsum(chances)  # of at most i values below the median
    rank = int(np.searchsorted(below, 0.025))  # the largest rank that is missed with chance .025 at most
    if rank == 0:
        return float(x[(n - 1) // 2]), float(x[0]), float(x[-1])
    return float(x[(n - 1) // 2]), float(x[rank - 1]), float(x[n - rank])


def table(runs: Sequence[Run], most: int) -> list[str]:
    """Return Markdown lines, one per share."""

    def shown(value: float) -> str:
        return f"{value:,.0f}" if np.isfinite(value) else f"over {most:,}"

    lines = ["| share | split, lists | decided | interleaved, lists | decided | split / interleaved |"]
    lines += ["|---|---|---|---|---|---|"]
    for share in SHARES:
        mine = [one for one in runs if one.share == share]
        cells = []
        for stops in ([one.split for one in mine], [one.interleaved for one in mine]):
            middle, low, high = median_interval([np.inf if n is None else n for n in stops])
            cells += [
                f"{shown(middle)} ({shown(low)} to {shown(high)})",
                f"{sum(n is not None for n in stops)} of {len(mine)}",
            ]
        # an undecided split counts as what was looked at: the ratio is at least that
        ratios = [(one.split or most) / one.interleaved for one in mine if one.interleaved is not None]
        middle, low, high = median_interval(ratios) if ratios else (np.nan,) * 3
        least = "at least " if any(one.split is None for one in mine) else ""
        ratio = f"{least}{middle:.1f} ({low:.1f} to {high:.1f})" if ratios else ""
        lines.append(f"| {share:.0%} | {' | '.join(cells)} | {ratio} |")
    return lines


def main() -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: three proposals, 600 lists")
    parser.add_argument("--runs", type=int, default=20, help="proposals (default 20)")
    parser.add_argument("--gain", type=float, default=0.05, help="true gain in clicks (default 0.05)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    asked = parser.parse_args()
    n_runs, most = (3, QUICK_MOST) if asked.quick else (asked.runs, MOST)
    began = time.perf_counter()
    runs = []
    for seed in range(n_runs):
        rng = np.random.default_rng([seed, 51])
        pool = pool_of(rng, gain=asked.gain, n_questions=40, n_draws=4 if asked.quick else N_DRAWS)
        runs += [one_run(pool, share, most, rng) for share in SHARES]
    preamble = (
        "# A canary split, or interleaved",
        "",
        f"dwell {dwell.__version__}, Python {platform.python_version()}, numpy {np.__version__}.",
        f"{n_runs} proposals that gain {asked.gain:.1%} of clicks, position-based users who come once, 10 of 15 shown",
        f"at temperature {TEMPERATURE}, error {ALPHA:.3f}, a look every {EVERY} lists. Lists are all that is served;",
        "medians with 95 % intervals from order statistics.",
        "",
    )
    seconds = time.perf_counter() - began
    print("\n".join([*preamble, *table(runs, most), "", f"{seconds:.0f} s."]))
    if asked.json is not None:
        asked.json.write_text(json.dumps([one._asdict() for one in runs], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
