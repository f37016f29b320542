"""Does an isotonic map over the reward predictor bring what it promises nearer to what comes? Before and after.

    python benchmarks/calibration.py [--quick] [--seeds 5]

The predictor is fitted to n events as the loop fits it. The map is fitted to the same events, each predicted by the
fold that never saw its query, and applied to the promises for 4,000 later events. "error" is the expected calibration
error over deciles: of single documents, and of the list's reward, which is what the loop keeps as `predicted_reward`.
Users are simulated; the predictor takes examination for 1/k whatever they do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from dwell.learning.calibration import (
    Observed,
    calibration_by_decile,
    expected_calibration_error,
    fit_recalibration,
)
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow
from dwell.testing.learner_world import LearnerWorld, closed_events

THETA: Final = 1.0 / np.arange(1.0, 6.0)
CLICK: Final = 0.5  # what the preset "search" gives for one
SIZES: Final = (300, 1_000, 10_000)
N_LATER: Final = 4_000
STEEP: Final = 3.0  # of the log odds: few documents are in between
START: Final = np.array([0.8, 0.6, 0.0, 0.0])


class Users(NamedTuple):
    """Who clicks.

    Attributes:
        name: In words.
        steepness: Of relevance in what they want.
        clicks: Given relevance (k,) in shown order and a generator, what is clicked (k,).
    """

    name: str
    steepness: float
    clicks: Callable[[FloatArray, np.random.Generator], FloatArray]


def by_position(power: float) -> Callable[[FloatArray, np.random.Generator], FloatArray]:
    """Return users who look at position k with probability 1 / k^power."""
    return lambda relevance, rng: (rng.random(len(relevance)) < THETA**power * relevance).astype(np.float64)


def from_the_top(relevance: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return what users click who read from the top and leave with the first click."""
    found = rng.random(len(relevance)) < relevance
    found[np.flatnonzero(found)[1:]] = False
    return found.astype(np.float64)


USERS: Final = (
    Users("position, 1/k", 1.0, by_position(1.0)),
    Users("position, 1/k, steep", STEEP, by_position(1.0)),
    Users("position, 1/k^2", 1.0, by_position(2.0)),
    Users("cascade", 1.0, from_the_top),
    Users("cascade, steep", STEEP, from_the_top),
)


class Errors(NamedTuple):
    """Errors of one predictor on later events.

    Attributes:
        document: Calibration error of single documents, reward.
        listed: Of the list's reward.
        squared: Mean squared error of the list's reward.
    """

    document: float
    listed: float
    squared: float


def events_of(users: Users, n: int, rng: np.random.Generator) -> list[EventRow]:
    """Return closed events that the start served."""
    world = LearnerWorld(truth=np.array([0.5, -0.5, 0.5, -0.5]), theta=THETA)
    found = []
    for row in closed_events(world, START, n, rng):
        log_odds = users.steepness * (2.0 * (row.features[: row.n_kept].astype(np.float64) @ world.truth) - 1.0)
        clicks = users.clicks(1.0 / (1.0 + np.exp(-log_odds)), rng)
        found.append(replace(row, rewards=CLICK * clicks))
    return found


def documents_of(rows: Sequence[EventRow]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return features, rewards and examination of every served document."""
    features = np.concatenate([row.features[: row.n_kept] for row in rows]).astype(np.float64)
    return features, np.concatenate([row.rewards for row in rows]), np.tile(THETA, len(rows))


def fitted(rows: Sequence[EventRow]) -> Predictor:
    """Return the predictor that the loop would have, on features that are standard already."""
    features, rewards, theta = documents_of(rows)
    sums = PredictorSums.empty(features.shape[1]).plus(features, rewards, theta, np.ones(len(rewards)))
    return fit_predictor(sums)


def crossed(rows: Sequence[EventRow]) -> Observed:
    """Return what was promised and what came, every query predicted by the fold that never saw it."""
    parts = []
    for fold in (0, 1):
        seen = [row for row in rows if row.query_hash % 2 != fold]
        features, rewards, theta = documents_of([row for row in rows if row.query_hash % 2 == fold])
        parts.append((fitted(seen).predict(features), rewards, theta, np.ones(len(rewards))))
    return Observed(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def errors_of(rows: Sequence[EventRow], predicted: FloatArray) -> Errors:
    """Return the errors of predictions of relevance for every served document."""
    _, rewards, theta = documents_of(rows)
    ones = np.ones(len(rewards))
    document = expected_calibration_error(calibration_by_decile(Observed(predicted, rewards, theta, ones)))
    promised = np.clip((theta * predicted).reshape(len(rows), -1).sum(axis=1), -1.0, 1.0)
    came = np.clip(rewards.reshape(len(rows), -1).sum(axis=1), -1.0, 1.0)
    of_lists = Observed(promised, came, np.ones(len(rows)), np.ones(len(rows)))
    listed = expected_calibration_error(calibration_by_decile(of_lists))
    return Errors(document, listed, float(((came - promised) ** 2).mean()))


def before_and_after(users: Users, n: int, seed: int) -> tuple[Errors, Errors]:
    """Return the errors of the predictor as it is, and with the map over it."""
    rng = np.random.default_rng([11, seed])
    rows, later = events_of(users, n, rng), events_of(users, N_LATER, rng)
    promised = fitted(rows).predict(documents_of(later)[0])
    corrected = fit_recalibration(crossed(rows)).apply(promised)
    return errors_of(later, promised), errors_of(later, corrected)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: 300 events, two seeds")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args(given)
    n_seeds, sizes = (2, SIZES[:1]) if asked.quick else (asked.seeds, SIZES)
    print("# Recalibration of the reward predictor\n")
    print(f"{n_seeds} seeds, {N_LATER:,} later events, reward {CLICK:g} a click; change: after less before, (SE).\n")
    print("| users | events | documents, error | change | lists, error | change | lists, squared error | change |")
    print("|---|---|---|---|---|---|---|---|")
    for users in USERS:
        for n in sizes:
            pairs = np.array([before_and_after(users, n, seed) for seed in range(n_seeds)])  # (seeds, 2, 3)
            before, change = pairs[:, 0].mean(axis=0), pairs[:, 1] - pairs[:, 0]
            error = change.std(axis=0, ddof=1) / np.sqrt(n_seeds)
            cells = [
                f"{b:.4f} | {c:+.4f} ({s:.4f})" for b, c, s in zip(before, change.mean(axis=0), error, strict=True)
            ]
            print(f"| {users.name} | {n:,} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
