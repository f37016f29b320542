"""What was measured, as Markdown for people and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from study.baselines import Literal
from study.simulation import Checkpoint, Run
from study.statistics import Comparison, Interval, compared, over_seeds
from study.worlds import FloatArray, World

__all__ = ["Bar", "Study", "as_values", "bar_lines", "bars_of", "literal_choice", "markdown", "promotions_of"]

LOGGING: Final = "logging policy"
LITERAL: Final = "founding document's trainer, literal"
DWELL: Final = "dwell (gated, defaults)"
UNGATED: Final = "dwell, ungated"
LINEAR: Final = "linear, full labels"
TREES: Final = "LambdaMART, full labels"
_WITHOUT_CHANCE: Final = frozenset({LOGGING, LINEAR, TREES})  # the same in every seed

CURVE_AT: Final = (1_000, 2_000, 3_000, 5_000, 10_000)
FULL_EVENTS: Final = 10_000
FULL_SEEDS: Final = 5
_BOOTSTRAP_SEED: Final = 5
_TIE: Final = 1e-12


class Study(NamedTuple):
    """Everything measured on one set; sequences are by seed.

    Attributes:
        world: The set.
        n_events: Events per run.
        gated: Runs with the default gate.
        ungated: Runs in which each retrain goes live.
        literal: The founding document's trainer.
        linear: float64 (q,), nDCG@10 per test question.
        trees: float64 (q,).
    """

    world: World
    n_events: int
    gated: Sequence[Run]
    ungated: Sequence[Run]
    literal: Sequence[Literal]
    linear: FloatArray
    trees: FloatArray

    @property
    def is_full(self) -> bool:
        """Whether the bars apply: 10,000 events, 5 seeds."""
        return self.n_events >= FULL_EVENTS and len(self.gated) >= FULL_SEEDS

    @property
    def logging(self) -> FloatArray:
        """The starting ranker's figures, float64 (q,)."""
        return self.gated[0].checkpoints[0].test


class Promotion(NamedTuple):
    """A change of the live params by `train`.

    Attributes:
        n_events: Events served before it.
        test: Change of mean nDCG@10 on the test questions.
        train: The same on the questions that users ask.
    """

    n_events: int
    test: float
    train: float


class Bar(NamedTuple):
    """Something promised.

    Attributes:
        promise: In words.
        value: Measured.
        least: What it must reach.
        is_met: None where this run is too short to tell.
    """

    promise: str
    value: float
    least: float
    is_met: bool | None


def promotions_of(checkpoints: Sequence[Checkpoint]) -> list[Promotion]:
    """Return what went live, in order, with what it changed."""
    return [
        Promotion(after.n_events, float(after.test.mean() - before.test.mean()), after.train - before.train)
        for before, after in pairwise(checkpoints)
        if after.version != before.version
    ]


def literal_choice(found: Sequence[Literal]) -> tuple[tuple[float, int], FloatArray]:
    """Return the (learning rate, passes) with the best mean over seeds on the test questions, and (s, q) figures."""
    best = max(found[0].test, key=lambda key: float(np.mean([one.test[key] for one in found])))
    return best, np.stack([one.test[best] for one in found])


def _last(runs: Sequence[Run]) -> FloatArray:
    return np.stack([run.checkpoints[-1].test for run in runs])


def _figures(study: Study) -> dict[str, FloatArray]:
    """Return nDCG@10 per ranker, float64 (s, q) or (1, q)."""
    return {
        LOGGING: study.logging[None, :],
        LITERAL: literal_choice(study.literal)[1],
        DWELL: _last(study.gated),
        UNGATED: _last(study.ungated),
        LINEAR: study.linear[None, :],
        TREES: study.trees[None, :],
    }


def _compared(study: Study, one: str, other: str) -> Comparison:
    figures = _figures(study)
    return compared(figures[one], figures[other], np.random.default_rng(_BOOTSTRAP_SEED))


def _curve(runs: Sequence[Run]) -> FloatArray:
    """Return mean nDCG@10, float64 (s, c), per seed and checkpoint."""
    return np.array([[float(point.test.mean()) for point in run.checkpoints] for run in runs])


def bars_of(study: Study) -> list[Bar]:
    """Return what is promised of this set, and whether it was kept."""
    name, logging = study.world.name, float(study.logging.mean())
    gated, ungated = float(_last(study.gated).mean()), float(_last(study.ungated).mean())
    found: list[tuple[str, float, float]] = []
    if name == "lightgbm_rank":
        literal = float(literal_choice(study.literal)[1].mean())
        found = [
            (f"{name}: dwell (gated, defaults), nDCG@10 after 10,000 events", gated, 0.71),
            (f"{name}: the same less the founding document's trainer", gated - literal, 0.015),
            (f"{name}: dwell, ungated", ungated, 0.72),
        ]
    if name == "cranfield":
        lowest = float(_curve(study.gated).mean(axis=0).min())
        found = [(f"{name}: dwell less the logging policy, worst of the means at each 1,000", lowest - logging, -0.01)]
    # rounding must not decide: a difference of 1e-12 is no miss
    return [Bar(words, value, least, value >= least - _TIE if study.is_full else None) for words, value, least in found]


def bar_lines(bars: Iterable[Bar]) -> list[str]:
    """Return the bars as a Markdown table."""
    words = {True: "met", False: "**not met**", None: "not judged: needs 10,000 events and 5 seeds"}
    lines = ["| bar | measured | at least | |", "|---|---|---|---|"]
    return lines + [f"| {bar.promise} | {bar.value:+.4f} | {bar.least:+.4f} | {words[bar.is_met]} |" for bar in bars]


def _interval(interval: Interval) -> str:
    if not np.isfinite([interval.low, interval.high]).all():
        return "one seed"
    return f"{interval.low:+.4f} to {interval.high:+.4f}"


def _spread(name: str, figures: FloatArray) -> str:
    if name in _WITHOUT_CHANCE:
        return "no chance in it"
    found = over_seeds(figures.mean(axis=1))
    return f"{found.low:.4f} to {found.high:.4f}" if np.isfinite(found.low) else "one seed"


def markdown(study: Study) -> list[str]:
    """Return the section of one set."""
    return [*_head(study), *_rankers(study), "", *_curves(study), "", *_promotions(study), ""]


def _head(study: Study) -> list[str]:
    world = study.world
    (rate, passes), _ = literal_choice(study.literal)
    left_out = f"{world.n_left_out} test questions without a relevant candidate left out; " if world.n_left_out else ""
    return [
        f"## {world.name}",
        "",
        (
            f"{len(world.train)} questions asked, {len(world.test)} test questions, "
            f"{len(world.feature_names)} features, "
            f"{np.mean([len(q.ids) for q in world.train]):.0f} candidates; {left_out}logging policy: {world.start}. "
            f"The founding document's trainer with learning rate {rate:g} and {passes} "
            f"pass{'es' if passes > 1 else ''} over the log, the best of 16 chosen afterwards on the test questions, "
            "in its favour."
        ),
        "",
    ]


def _rankers(study: Study) -> list[str]:
    lines = [
        (
            f"| ranker, {study.n_events:,} events, {len(study.gated)} seed{'s' if len(study.gated) > 1 else ''} "
            "| nDCG@10 | 95 % over seeds | less logging policy | 95 % over questions | 95 % over seeds | |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in _figures(study).items():
        row = f"| {name} | {figures.mean():.4f} | {_spread(name, figures)} |"
        if name == LOGGING:
            lines.append(f"{row} | | | |")
            continue
        against = _compared(study, name, LOGGING)
        lines.append(
            f"{row} {against.questions.value:+.4f} (SE {against.error:.4f}) | {_interval(against.questions)} "
            f"| {'' if name in _WITHOUT_CHANCE else _interval(against.seeds)} | {against.verdict} |"
        )
    lines += ["", "| dwell (gated, defaults) less | difference | 95 % over questions | 95 % over seeds | |"]
    lines.append("|---|---|---|---|---|")
    for name in (LITERAL, UNGATED, LINEAR, TREES):
        against = _compared(study, DWELL, name)
        lines.append(
            f"| {name} | {against.questions.value:+.4f} (SE {against.error:.4f}) | {_interval(against.questions)} "
            f"| {_interval(against.seeds)} | {against.verdict} |"
        )
    return lines


def _curves(study: Study) -> list[str]:
    events = [point.n_events for point in study.gated[0].checkpoints]
    chosen = [i for i, n in enumerate(events) if n in CURVE_AT or (n and n == events[-1])]
    lines = ["| nDCG@10 after events | " + " | ".join(f"{events[i]:,}" for i in chosen) + " |"]
    lines.append("|---|" + "---|" * len(chosen))
    for name, runs in ((DWELL, study.gated), (UNGATED, study.ungated)):
        mean = _curve(runs).mean(axis=0)
        lines.append(f"| {name} | " + " | ".join(f"{mean[i]:.4f}" for i in chosen) + " |")
        served = np.mean([run.served for run in runs], axis=0)
        cells = [f"{served[i - 1]:.4f}" for i in chosen]
        lines.append(f"| {name}: lists as served, last 1,000 | " + " | ".join(cells) + " |")
    return lines


def _promotions(study: Study) -> list[str]:
    lines = [
        "| promotions | per run | first after events | made test questions worse | made asked questions worse |",
        "|---|---|---|---|---|",
    ]
    for name, runs in ((DWELL, study.gated), (UNGATED, study.ungated)):
        found = [promotions_of(run.checkpoints) for run in runs]
        every = [promotion for promotions in found for promotion in promotions]
        first = [f"{promotions[0].n_events:,}" if promotions else "none" for promotions in found]
        worse = [
            sum(change < 0.0 for change in changes) for changes in ([p.test for p in every], [p.train for p in every])
        ]
        lines.append(
            f"| {name} | {', '.join(str(len(promotions)) for promotions in found)} | {', '.join(first)} "
            f"| {worse[0]} of {len(every)} | {worse[1]} of {len(every)} |"
        )
    return lines


def as_values(study: Study) -> dict[str, Any]:
    """Return everything printed, and the figures per seed behind it, as plain values."""
    figures = _figures(study)
    (rate, passes), _ = literal_choice(study.literal)
    return {
        "set": study.world.name,
        "logging_policy": study.world.start,
        "n_events": study.n_events,
        "n_seeds": len(study.gated),
        "n_asked": len(study.world.train),
        "n_test": len(study.world.test),
        "n_left_out": study.world.n_left_out,
        "literal": {
            "learning_rate": rate,
            "passes": passes,
            "grid": [
                {
                    "learning_rate": key[0],
                    "passes": key[1],
                    "ndcg": float(np.mean([one.test[key] for one in study.literal])),
                }
                for key in study.literal[0].test
            ],
        },
        "rankers": {name: {"ndcg_by_seed": found.mean(axis=1).tolist()} for name, found in figures.items()},
        "less_logging": {name: _plain(_compared(study, name, LOGGING)) for name in figures if name != LOGGING},
        "dwell_less": {name: _plain(_compared(study, DWELL, name)) for name in (LITERAL, UNGATED, LINEAR, TREES)},
        "runs": {
            name: [_run_values(run) for run in runs]
            for name, runs in (("gated", study.gated), ("ungated", study.ungated))
        },
        "bars": [bar._asdict() for bar in bars_of(study)],
    }


def _plain(comparison: Comparison) -> dict[str, Any]:
    def ends(interval: Interval) -> list[float] | None:
        return [interval.low, interval.high] if np.isfinite(interval.low) else None

    return {
        "difference": comparison.questions.value,
        "standard_error_over_questions": comparison.error,
        "interval_over_questions": ends(comparison.questions),
        "interval_over_seeds": ends(comparison.seeds),
        "verdict": comparison.verdict,
    }


def _run_values(run: Run) -> Mapping[str, Any]:
    return {
        "events": [point.n_events for point in run.checkpoints],
        "test": [float(point.test.mean()) for point in run.checkpoints],
        "asked": [point.train for point in run.checkpoints],
        "versions": [point.version for point in run.checkpoints],
        "verdicts": [point.verdict for point in run.checkpoints],
        "reasons": [point.reason for point in run.checkpoints],
        "served": list(run.served),
        "promotions": [promotion._asdict() for promotion in promotions_of(run.checkpoints)],
        "seconds": run.seconds,
    }
