"""The estimators on real clicks: the small Open Bandit Dataset that ships with obp, and obp's own figures beside ours.

    python benchmarks/open_bandit.py [--quick] [--logs 400] [--json FILE]

Two policies served the same shop at the same time: uniform draws, and Thompson sampling that went on learning. So one
log can be asked what the other policy would have earned, and the other log knows. Without obp this says so and ends
with 0.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from _open_bandit import (
    CAMPAIGNS,
    ESTIMATORS,
    Asked,
    Rows,
    as_served,
    asked,
    obp_value,
    prior_of,
    rows_of,
    simulated_rows,
    thompson,
    uniform,
)
from _open_bandit_obp import Obp, obp_folder, obp_or_none
from dwell.evaluation.estimators import merged
from dwell.records import Estimate

SEED: Final = 12_345
N_SHARDS: Final = 10
OBP_BAR: Final = 1e-9
SHARD_BAR: Final = 1e-12
Z_95: Final = 1.959963984540054
N_LOGS: Final = 400
QUICK_LOGS: Final = 20
# of 400 intervals at 95 %, fewer than 368 cover with probability 0.4 %: a rate below 92 % is hardly an accident
COVERED_BAR: Final = 0.92
PRIOR_ROWS: Final = 100.0
UNBIASED: Final = ("replay", "IPS", "SNIPS", "DR", "SNDR")  # the others' intervals are about what they tend to
QUESTIONS: Final = (
    ("prior", "Thompson sampling from its prior, asked of the uniform log"),
    ("served", "Thompson sampling as it served, asked of the uniform log"),
    ("uniform", "uniform draws, asked of the log of Thompson sampling"),
)


class Answer(NamedTuple):
    """One estimator's answer to one question.

    Attributes:
        question: "prior", "served" or "uniform".
        campaign: "all", "men" or "women".
        estimator: Its name.
        estimate: Ours.
        truth: Mean click of the other policy's own log, with its interval.
        from_obp: Distance to obp's figure, or None where it has none.
        from_shards: Distance between the log at once and ten parts of it.
    """

    question: str
    campaign: str
    estimator: str
    estimate: Estimate
    truth: Estimate
    from_obp: float | None
    from_shards: float

    @property
    def is_covered(self) -> bool:
        """Whether the interval holds the mean of the other log."""
        return self.estimate.low <= self.truth.value <= self.estimate.high

    @property
    def is_within_both(self) -> bool:
        """Whether the two differ by no more than the error of both explains."""
        mine, other = ((e.high - e.low) / 2.0 for e in (self.estimate, self.truth))
        return abs(self.estimate.value - self.truth.value) <= math.hypot(mine, other)


class Coverage(NamedTuple):
    """How often intervals covered in simulated logs of which the truth is known, and on which side they missed.

    Attributes:
        covered: Share of the intervals that hold the truth, unbounded ones included.
        missed_below: Share of those that end below it.
        missed_above: Share of those that begin above it.
        unbounded: Share that says nothing, because no row that counts was clicked.
    """

    covered: float
    missed_below: float
    missed_above: float
    unbounded: float


def on_policy(rows: Rows) -> Estimate:
    """Return the mean click of a log with its 95 % interval."""
    n, mean = rows.clicks.size, float(rows.clicks.mean())
    half = Z_95 * float(rows.clicks.std(ddof=1)) / np.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, float(n))


def questions(folder: Path) -> Iterator[tuple[str, str, Asked, Rows]]:
    """Yield (question, campaign, what is asked, the log that knows)."""
    text = (folder / "policy" / "conf" / "prior_bts.yaml").read_text(encoding="utf-8")
    for campaign in CAMPAIGNS:
        rng = np.random.default_rng(SEED)
        drawn, learned = (rows_of(folder, name, campaign) for name in ("random", "bts"))
        prior = thompson(*prior_of(text, campaign), rng)
        yield "prior", campaign, asked(drawn, prior, rng), learned
        yield "served", campaign, asked(drawn, as_served(learned, len(prior)), rng), learned
        yield "uniform", campaign, asked(learned, uniform(len(prior)), rng), drawn


def answers(question: str, campaign: str, q: Asked, known: Rows, obp: Obp) -> Iterator[Answer]:
    """Yield every estimator's answer. Replay needs a uniform log, so it is left out where there is none."""
    n = q.rows.items.size
    for name, estimator in ESTIMATORS.items():
        if name == "replay" and question == "uniform":
            continue
        whole = estimator(q).estimate()
        parts = merged(estimator(q.part(slice(i * n // N_SHARDS, (i + 1) * n // N_SHARDS))) for i in range(N_SHARDS))
        theirs = obp_value(obp, name, q)
        yield Answer(
            question,
            campaign,
            name,
            whole,
            on_policy(known),
            None if theirs is None else abs(whole.value - theirs),
            abs(whole.value - parts.estimate().value),
        )


def coverage(q: Asked, both: Sequence[Rows], n_logs: int, rng: np.random.Generator) -> dict[str, Coverage]:
    """Return how often each interval covers on logs like this one, with click rates that are known.

    The rates are those of both logs, item by item and position by position, shrunk to their mean as if by 100 rows.
    """
    rates = _rates(both, len(q.policy))
    truth = float((q.policy * rates).sum(axis=0).mean())
    n = q.rows.items.size
    logging = uniform(len(q.policy))
    counts = {name: np.zeros(3) for name in ESTIMATORS}
    for _ in range(n_logs):
        again = asked(simulated_rows(rates, logging, n, rng), q.policy, rng)
        for name, estimator in ESTIMATORS.items():
            found = estimator(again).estimate()
            counts[name] += [found.high < truth, found.low > truth, math.isinf(found.high)]
    shares = {name: (count / n_logs).tolist() for name, count in counts.items()}
    return {name: Coverage(1.0 - below - above, below, above, none) for name, (below, above, none) in shares.items()}


def _rates(both: Sequence[Rows], n_items: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    clicks, shown = np.zeros((n_items, 3)), np.zeros((n_items, 3))
    for rows in both:
        np.add.at(clicks, (rows.items, rows.positions), rows.clicks)
        np.add.at(shown, (rows.items, rows.positions), 1.0)
    rates: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = (clicks + PRIOR_ROWS * clicks.sum() / shown.sum()) / (
        shown + PRIOR_ROWS
    )
    return rates


def said(is_met: bool) -> str:  # noqa: FBT001 - one word for one bool
    """Return how a promise is reported."""
    return "met" if is_met else "**not met**"


def table(question: str, title: str, found: Sequence[Answer]) -> list[str]:
    """Return one question's answers, clicks in percent, a bold one where the interval misses the other log's mean."""
    mine = [answer for answer in found if answer.question == question]
    lines = [f"### {title[0].upper()}{title[1:]}", "", "| clicks in % | " + " | ".join(CAMPAIGNS) + " |"]
    lines.append("|---|" + "---|" * len(CAMPAIGNS))
    truths = {answer.campaign: answer.truth for answer in mine}
    lines.append("| the other log | " + " | ".join(_interval(truths[c]) for c in CAMPAIGNS) + " |")
    for name in dict.fromkeys(answer.estimator for answer in mine):
        row = {answer.campaign: answer for answer in mine if answer.estimator == name}
        lines.append(f"| {name} | " + " | ".join(_cell(row[c]) for c in CAMPAIGNS) + " |")
    sizes = {a.campaign: a.estimate.effective_sample_size for a in mine if a.estimator == "IPS"}
    lines.append("| effective sample size of IPS | " + " | ".join(f"{sizes[c]:,.0f}" for c in CAMPAIGNS) + " |")
    return lines


def _interval(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.2f} [{100 * estimate.low:.2f}, {100 * estimate.high:.2f}]"


def _cell(answer: Answer) -> str:
    text = _interval(answer.estimate)
    return text if answer.is_covered else f"**{text}**"


def covered_table(found: dict[str, dict[str, Coverage]]) -> list[str]:
    """Return what the simulations say: coverage in percent, and the misses on either side."""
    lines = ["| covers in % (ends below, begins above, unbounded) | " + " | ".join(found) + " | 95 % |"]
    lines.append("|---|" + "---|" * (len(found) + 1))
    for name in ESTIMATORS:
        each = [found[campaign][name] for campaign in found]
        parts = [(c.missed_below, c.missed_above, c.unbounded) for c in each]
        cells = [
            f"{100 * c.covered:.1f} ({', '.join(f'{100 * share:.1f}' for share in part)})"
            for c, part in zip(each, parts, strict=True)
        ]
        verdict = said(min(c.covered for c in each) >= COVERED_BAR) if name in UNBIASED else "not promised"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {verdict} |")
    return lines


def report(found: Sequence[Answer], covered: dict[str, dict[str, Coverage]], deviations: dict[str, float]) -> str:
    """Return everything as Markdown."""
    theirs = [answer.from_obp for answer in found if answer.from_obp is not None]
    shards = max(answer.from_shards for answer in found)
    lines = ["## Open Bandit Dataset, 10,000 rows per log", ""]
    lines.append(
        f"* the same as obp to {OBP_BAR:g}: largest difference {max(theirs):.1e} in {len(theirs)} figures:"
        f" {said(max(theirs) <= OBP_BAR)}"
    )
    lines.append(
        f"* {N_SHARDS} shards add up to the whole, to {SHARD_BAR:g}: largest difference {shards:.1e}:"
        f" {said(shards <= SHARD_BAR)}"
    )
    for question, title in QUESTIONS:
        mine = [answer for answer in found if answer.question == question]
        lines.append(
            f"* {title}: {sum(a.is_covered for a in mine)} of {len(mine)} intervals hold the other log's mean;"
            f" {sum(a.is_within_both for a in mine)} of {len(mine)} differ by no more than the error of both"
        )
    off = ", ".join(f"{campaign} {value:.3f}" for campaign, value in deviations.items())
    lines += [f"* mean difference between the prior's probabilities and the logged ones: {off}", ""]
    for question, title in QUESTIONS:
        lines += [*table(question, title, found), ""]
    lines += ["### Coverage on simulated logs of 10,000 rows, target: Thompson sampling as it served", ""]
    return "\n".join([*lines, *covered_table(covered)])


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"a smoke test: {QUICK_LOGS} simulated logs")
    parser.add_argument("--logs", type=int, default=None, help=f"simulated logs per campaign (default {N_LOGS})")
    parser.add_argument("--json", type=Path, default=None, help="write every figure to this file")
    found = parser.parse_args(given)
    if found.logs is None:
        found.logs = QUICK_LOGS if found.quick else N_LOGS
    if found.logs < 1:
        parser.error("--logs: at least 1")
    return found


def main() -> int:
    """Measure, print, and return 0."""
    asked_for = arguments()
    folder, obp = obp_folder(), obp_or_none()
    if folder is None or obp is None:
        print("skipped: obp, and with it the data, is not installed (pip install --no-deps obp==0.4.1)")
        return 0
    found: list[Answer] = []
    covered: dict[str, dict[str, Coverage]] = {}
    deviations: dict[str, float] = {}
    for question, campaign, q, known in questions(folder):
        found += answers(question, campaign, q, known, obp)
        if question == "prior":
            drawn = q.policy[known.items, known.positions]
            deviations[campaign] = float(np.abs(drawn - known.propensities).mean())
        if question == "served":
            rng = np.random.default_rng(SEED)
            covered[campaign] = coverage(q, [q.rows, known], asked_for.logs, rng)
    print(report(found, covered, deviations))
    if asked_for.json is not None:
        values = {
            "answers": [{**a._asdict(), "estimate": _plain(a.estimate), "truth": _plain(a.truth)} for a in found],
            "coverage": {c: {name: v._asdict() for name, v in each.items()} for c, each in covered.items()},
            "deviations": deviations,
        }
        asked_for.json.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return 0


def _plain(estimate: Estimate) -> dict[str, float]:
    return {name: getattr(estimate, name) for name in ("value", "low", "high", "n", "effective_sample_size")}


if __name__ == "__main__":
    sys.exit(main())
