"""What was measured where no query comes twice, as Markdown for people and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from study.one_query_each import CHECKED_AT, HEADROOM, Trail
from study.statistics import over_seeds

__all__ = ["first_paying", "query_markdown", "query_values"]


def _at(of_seeds: Sequence[Trail], n_events: int, what: str) -> list[float]:
    return [getattr(drift, what) for trail in of_seeds for drift in trail.loop if drift.n_events == n_events]


def _proposed(of_seeds: Sequence[Trail], n_events: int) -> list[float]:
    return [trail.proposed[n_events] for trail in of_seeds if n_events in trail.proposed]


def first_paying(of_seeds: Sequence[Trail]) -> int | None:
    """Return the events from which on live is above the start, its 95 % interval over seeds included; None if never.

    With one seed, from which on it is above the start at all: there is no interval.
    """
    paying = None
    for drift in reversed(of_seeds[0].loop):
        gain = over_seeds(np.array(_at(of_seeds, drift.n_events, "live")))
        lowest = gain.low if np.isfinite(gain.low) else gain.value
        if not lowest > 0.0:
            break
        paying = drift.n_events
    return paying


def query_markdown(trails: Mapping[int, Sequence[Trail]]) -> list[str]:
    """Return the section, {features: trails by seed}."""
    lines = [
        "## one query each",
        "",
        (
            "A made-up linear world, position-based users, 15 candidates, 10 shown; every event asks something new. "
            f"The best weights earn {HEADROOM:.0%} more clicks per list than the start. Gains are true ones, in clicks "
            "per list beyond the start's, on fresh queries. 'proposal': what one call of `train` makes of so many "
            "events that the start served; 'standing': the proposal that the loop was judging then; 'live': what it "
            "served by. The loop calls `train()` every 500 events."
        ),
        "",
    ]
    for width, of_seeds in trails.items():
        lines += [*_table(width, of_seeds), "", _sentence(width, of_seeds), ""]
    return lines


def _table(width: int, of_seeds: Sequence[Trail]) -> list[str]:
    shown = [n for n in CHECKED_AT if n in of_seeds[0].proposed]
    reward = np.mean([trail.reward for trail in of_seeds])
    lines = [
        f"| {width} features, {len(of_seeds)} seeds, start {reward:.3f} | "
        + " | ".join(f"{n:,}" for n in shown)
        + " |",
        "|---|" + "---|" * len(shown),
    ]
    rows = {
        "proposal": {n: _proposed(of_seeds, n) for n in shown},
        "standing": {n: _at(of_seeds, n, "standing") for n in shown},
        "live": {n: _at(of_seeds, n, "live") for n in shown},
    }
    for name, found in rows.items():
        cells = [f"{np.mean(found[n]):+.4f} ({min(found[n]):+.4f} to {max(found[n]):+.4f})" for n in shown]
        lines.append(f"| {name}: mean (lowest to highest seed) | " + " | ".join(cells) + " |")
    return lines


def _sentence(width: int, of_seeds: Sequence[Trail]) -> str:
    """Return how much traffic is needed before learning pays."""
    last = of_seeds[0].loop[-1].n_events
    promoted = [trail.first_promotion for trail in of_seeds]
    told = ", ".join("none" if n is None else f"{n:,}" for n in promoted)
    paying = first_paying(of_seeds)
    pays = (
        f"learning does not pay within {last:,} events"
        if paying is None
        else f"learning pays from {paying:,} events on: from there live is above the start"
    )
    sure = " (95 % over seeds)" if len(of_seeds) > 1 and paying is not None else ""
    return f"With {width} features and {HEADROOM:.0%} to gain, {pays}{sure}; first promotion, by seed: {told}."


def query_values(trails: Mapping[int, Sequence[Trail]]) -> list[dict[str, Any]]:
    """Return everything printed, by seed, as plain values."""
    return [
        {
            "n_features": width,
            "start": [trail.reward for trail in of_seeds],
            "proposal": [{str(n): gain for n, gain in trail.proposed.items()} for trail in of_seeds],
            "loop": [[drift._asdict() for drift in trail.loop] for trail in of_seeds],
            "first_promotion": [trail.first_promotion for trail in of_seeds],
            "pays_from": first_paying(of_seeds),
        }
        for width, of_seeds in trails.items()
    ]
