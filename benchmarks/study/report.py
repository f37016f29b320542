"""What was measured, as Markdown for people and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from study.bars import bars_of
from study.figures import (
    DWELL,
    EARLY_EVENTS,
    FROZEN,
    FROZEN_LONG,
    LITERAL,
    LOGGING,
    ON_LABELS,
    RIVALS,
    UNGATED,
    WITHOUT_CHANCE,
    Study,
    difference,
    literal_choice,
    promotions_of,
)
from study.simulation import CLICK_MODELS, Run
from study.statistics import Comparison, Interval, over_seeds
from study.worlds import FloatArray

__all__ = ["as_values", "markdown"]

CURVE_AT: Final = (1_000, 2_000, 3_000, 5_000, 10_000)
_MAIN: Final = (LOGGING, LITERAL, DWELL, UNGATED, *ON_LABELS)
_ON_THE_LOG: Final = (FROZEN, FROZEN_LONG, *RIVALS)


def _interval(interval: Interval) -> str:
    if not np.isfinite([interval.low, interval.high]).all():
        return "one seed"
    return f"{interval.low:+.4f} to {interval.high:+.4f}"


def _spread(name: str, figures: FloatArray) -> str:
    if name in WITHOUT_CHANCE:
        return "no chance in it"
    found = over_seeds(figures.mean(axis=1))
    return f"{found.low:.4f} to {found.high:.4f}" if np.isfinite(found.low) else "one seed"


def markdown(study: Study) -> list[str]:
    """Return the section of one set under one kind of user."""
    lines = [*_head(study), *_rankers(study), ""]
    if study.rivals:
        lines += [*_on_the_log(study), ""]
    if study.loops:
        lines += [*_curves(study), "", *_promotions(study), ""]
    return lines


def _head(study: Study) -> list[str]:
    world = study.world
    left_out = f"{world.n_left_out} test questions without a relevant candidate left out; " if world.n_left_out else ""
    about = (
        f"{len(world.train)} questions asked, {len(world.test)} test questions, "
        f"{len(world.feature_names)} features, "
        f"{np.mean([len(q.ids) for q in world.train]):.0f} candidates; {left_out}logging policy: {world.start}."
    )
    if study.literal:
        (rate, passes), _ = literal_choice(study.literal)
        about += (
            f" The founding document's trainer with learning rate {rate:g} and {passes} "
            f"pass{'es' if passes > 1 else ''} over the log, the best of 16 chosen afterwards on the test questions, "
            "in its favour."
        )
    return [f"## {world.name}, {study.user} users", "", f"Users: {CLICK_MODELS[study.user]}. {about}", ""]


def _heading(study: Study, last: str) -> list[str]:
    seeds = f"{study.n_seeds} seed{'s' if study.n_seeds > 1 else ''}"
    columns = f"nDCG@10 | 95 % over seeds | {last} | 95 % over questions | 95 % over seeds"
    return [f"| ranker, {study.n_events:,} events, {seeds} | {columns} | |", "|---|---|---|---|---|---|---|"]


def _compared_cells(found: Comparison, *, has_chance: bool = True) -> str:
    return (
        f"{found.questions.value:+.4f} (SE {found.error:.4f}) | {_interval(found.questions)} "
        f"| {_interval(found.seeds) if has_chance else ''} | {found.verdict} |"
    )


def _rankers(study: Study) -> list[str]:
    lines = _heading(study, "less logging policy")
    for name in _MAIN:
        if name not in study.figures:
            continue
        figures = study.figures[name]
        row = f"| {name} | {figures.mean():.4f} | {_spread(name, figures)} |"
        if name == LOGGING:
            lines.append(f"{row} | | | |")
            continue
        lines.append(
            f"{row} {_compared_cells(difference(study, name, LOGGING), has_chance=name not in WITHOUT_CHANCE)}"
        )
    others = [name for name in (LITERAL, UNGATED, *ON_LABELS) if name in study.figures]
    if DWELL in study.figures and others:
        lines += [
            "",
            f"| {DWELL} less | difference | 95 % over questions | 95 % over seeds | |",
            "|---|---|---|---|---|",
        ]
        lines += [f"| {name} | {_compared_cells(difference(study, DWELL, name))}" for name in others]
    return lines


def _on_the_log(study: Study) -> list[str]:
    """Return who makes what of one log; PDGD, which can not learn from a log, from as many events of its own."""
    lines = _heading(study, f"{FROZEN}, less it")
    for name in _ON_THE_LOG:
        if name not in study.figures:
            continue
        row = f"| {name} | {study.figures[name].mean():.4f} | {_spread(name, study.figures[name])} |"
        if name == FROZEN or FROZEN not in study.figures:
            lines.append(f"{row} | | | |")
            continue
        lines.append(f"{row} {_compared_cells(difference(study, FROZEN, name))}")
    return lines


def _curves(study: Study) -> list[str]:
    points = next(iter(study.loops.values()))[0].checkpoints
    events = [point.n_events for point in points]
    chosen = [i for i, n in enumerate(events) if n in CURVE_AT or (n and n == events[-1])]
    first = [f"{EARLY_EVENTS:,}"] if study.has_early else []
    lines = ["| nDCG@10 after events | " + " | ".join([*first, *(f"{events[i]:,}" for i in chosen)]) + " |"]
    lines.append("|---|" + "---|" * (len(first) + len(chosen)))
    for name, runs in study.loops.items():
        mean = study.curve(name).mean(axis=0)
        early = [f"{study.means_at(name, EARLY_EVENTS).mean():.4f}"] if first else []
        lines.append(f"| {name} | " + " | ".join([*early, *(f"{mean[i]:.4f}" for i in chosen)]) + " |")
        served = np.mean([run.served for run in runs], axis=0)
        cells = [*("" for _ in first), *(f"{served[i - 1]:.4f}" for i in chosen)]
        lines.append(f"| {name}: lists as served, last 1,000 | " + " | ".join(cells) + " |")
    return lines


def _promotions(study: Study) -> list[str]:
    lines = [
        "| promotions | per run | first after events | made test questions worse | made asked questions worse |",
        "|---|---|---|---|---|",
    ]
    for name, runs in study.loops.items():
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
    figures = study.figures
    against = [name for name in figures if name not in (LOGGING, DWELL)]
    return {
        "set": study.world.name,
        "users": study.user,
        "logging_policy": study.world.start,
        "n_events": study.n_events,
        "n_seeds": study.n_seeds,
        "n_asked": len(study.world.train),
        "n_test": len(study.world.test),
        "n_left_out": study.world.n_left_out,
        "literal": _literal_values(study),
        "rankers": {name: {"ndcg_by_seed": found.mean(axis=1).tolist()} for name, found in figures.items()},
        "less_logging": {name: _plain(difference(study, name, LOGGING)) for name in figures if name != LOGGING},
        "dwell_less": {name: _plain(difference(study, DWELL, name)) for name in against if DWELL in figures},
        "dwell_on_the_log_less": {
            name: _plain(difference(study, FROZEN, name)) for name in study.rivals if FROZEN in figures
        },
        "runs": {name: [_run_values(run) for run in runs] for name, runs in study.loops.items()},
        "early_runs": {name: [_run_values(run) for run in runs] for name, runs in study.early.items()},
        "bars": [bar._asdict() for bar in bars_of(study)],
    }


def _literal_values(study: Study) -> dict[str, Any] | None:
    if not study.literal:
        return None
    (rate, passes), _ = literal_choice(study.literal)
    grid = [
        {"learning_rate": key[0], "passes": key[1], "ndcg": float(np.mean([one.test[key] for one in study.literal]))}
        for key in study.literal[0].test
    ]
    return {"learning_rate": rate, "passes": passes, "grid": grid}


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
