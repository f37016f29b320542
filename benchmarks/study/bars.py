"""What is promised of the sets, and whether it was kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from study.figures import (
    DWELL,
    EARLY_EVENTS,
    FROZEN,
    FULL_EVENTS,
    FULL_SEEDS,
    LITERAL,
    RIVALS,
    UNGATED,
    Study,
    difference,
)
from study.one_query_each import CHECKED_AT, Trail

__all__ = ["Bar", "Verdict", "bar_lines", "bars_of", "query_bars"]

Verdict = Literal["met", "not met", "tie", "not judged"]

_TIE: Final = 1e-12
_HARM_AT: Final = (1_000, 3_000, 10_000)  # and after the first 100
_HEAVY_GAINS: Final = {5_000: 0.020, 10_000: 0.035}  # gated-loop study, bars
_FEW_FEATURES: Final = 8


class Bar(NamedTuple):
    """Something promised.

    Attributes:
        promise: In words.
        value: Measured.
        least: What it must reach.
        verdict: "met" or "not met"; "tie" where rankers are compared and do not differ beyond the noise; "not judged"
            where this run is too short to tell.
    """

    promise: str
    value: float
    least: float
    verdict: Verdict


def _bar(promise: str, value: float, least: float, *, is_full: bool) -> Bar:
    # rounding must not decide: a difference of 1e-12 is no miss
    verdict: Verdict = "not judged" if not is_full else "met" if value >= least - _TIE else "not met"
    return Bar(promise, value, least, verdict)


def bars_of(study: Study) -> list[Bar]:
    """Return what is promised of this set under these users, as far as it was measured."""
    made = {"lightgbm_rank": _of_lightgbm_rank, "cranfield": _of_cranfield, "heavy_tailed": _of_heavy_tailed}
    build = made.get(study.world.name)
    return [] if build is None else build(study)


def _of_lightgbm_rank(study: Study) -> list[Bar]:
    who, found = f"lightgbm_rank, {study.user} users", []
    figures = study.figures
    for name, least in ((DWELL, 0.72), (UNGATED, 0.725)):
        if name not in figures:
            continue
        value = float(figures[name].mean())
        found.append(_bar(f"{who}: {name}, nDCG@10 after 10,000 events", value, least, is_full=study.is_full))
        if study.has_early:
            words = f"{who}: {name} less the logging policy, worst of the means after 100, 1,000, 3,000 and 10,000"
            found.append(_bar(words, _worst(study, name), -0.005, is_full=study.is_full))
    if study.user == "pbm" and {DWELL, LITERAL} <= set(figures):
        value = float(figures[DWELL].mean() - figures[LITERAL].mean())
        found.append(_bar(f"{who}: {DWELL} less the {LITERAL}", value, 0.015, is_full=study.is_full))
    return found + _against_rivals(study, who)


def _worst(study: Study, name: str) -> float:
    means = [float(study.means_at(name, n).mean()) for n in (EARLY_EVENTS, *_HARM_AT) if study.has_point(name, n)]
    return min(means) - float(study.logging.mean())


def _against_rivals(study: Study, who: str) -> list[Bar]:
    """Return whether dwell is at least as good as the best of the others on the same log: a tie is as good."""
    others = {name: study.figures[name] for name in RIVALS if name in study.figures}
    if FROZEN not in study.figures or not others:
        return []
    best = max(others, key=lambda name: float(others[name].mean()))
    found = difference(study, FROZEN, best)
    named: dict[str, Verdict] = {"better": "met", "tie": "tie", "worse": "not met"}
    verdict = named[found.verdict] if study.is_full else "not judged"
    return [Bar(f"{who}: {FROZEN}, less the best of the others: {best}", found.questions.value, 0.0, verdict)]


def _of_cranfield(study: Study) -> list[Bar]:
    if not study.gated:
        return []
    lowest = float(study.curve(DWELL).mean(axis=0).min()) - float(study.logging.mean())
    words = f"cranfield, {study.user} users: {DWELL} less the logging policy, worst of the means at each 1,000"
    return [_bar(words, lowest, -0.01, is_full=study.is_full)]


def _of_heavy_tailed(study: Study) -> list[Bar]:
    if not study.gated:
        return []
    who, start, found = f"heavy_tailed, {study.user} users: {DWELL} less the logging policy", study.logging.mean(), []
    for n, least in _HEAVY_GAINS.items():
        if not study.has_point(DWELL, n):
            continue
        gains = study.means_at(DWELL, n) - start
        found.append(_bar(f"{who} after {n:,} events", float(gains.mean()), least, is_full=study.is_full))
        if n == min(_HEAVY_GAINS):
            found.append(_bar(f"{who} after {n:,} events, lowest seed", float(gains.min()), 0.0, is_full=study.is_full))
    return found


def query_bars(trails: Mapping[int, Sequence[Trail]]) -> list[Bar]:
    """Return what is promised where no query comes twice, {features: trails by seed}."""
    found = []
    for width, of_seeds in trails.items():
        who = f"one query each, {width} features"
        is_full = len(of_seeds) >= FULL_SEEDS and of_seeds[0].loop[-1].n_events >= CHECKED_AT[-1]
        if width == _FEW_FEATURES and CHECKED_AT[2] in of_seeds[0].proposed:
            gain = float(np.mean([trail.proposed[CHECKED_AT[2]] for trail in of_seeds]))
            words = f"{who}: clicks per list that the proposal after 2,000 events gains"
            found.append(_bar(words, gain, 0.010, is_full=is_full))
        live = np.array([[drift.live for drift in trail.loop] for trail in of_seeds])
        words = f"{who}: clicks per list, live less the start, worst of the means at each 500 events"
        found.append(_bar(words, float(live.mean(axis=0).min()), -0.005, is_full=is_full))
    return found


def bar_lines(bars: Iterable[Bar]) -> list[str]:
    """Return the bars as a Markdown table, and a line that counts the verdicts."""
    words: dict[Verdict, str] = {
        "met": "met",
        "not met": "**not met**",
        "tie": "tie",
        "not judged": f"not judged: needs {FULL_EVENTS:,} events (5,000 of one query each) and {FULL_SEEDS} seeds",
    }
    lines = ["| bar | measured | at least | |", "|---|---|---|---|"]
    counts: dict[Verdict, int] = dict.fromkeys(words, 0)
    for bar in bars:
        counts[bar.verdict] += 1
        lines.append(f"| {bar.promise} | {bar.value:+.4f} | {bar.least:+.4f} | {words[bar.verdict]} |")
    return [*lines, "", ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + "."]
