"""The small Open Bandit Dataset, the policy that served half of it, and every estimator on it: ours and obp's.

The log is that of a fashion shop: one row is one of three positions of a list, with the item shown there, whether it
was clicked and the probability with which the policy showed it. Rows can not be joined to lists, so only the estimators
for single actions can be asked, position by position, as obp does.

Source: Saito, Aihara, Matsutani and Narita 2021, "Open Bandit Dataset and Pipeline".
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from _open_bandit_obp import Obp
from dwell.evaluation.estimators import (
    Sums,
    direct_method,
    doubly_robust,
    ips,
    replay,
    shrunk_doubly_robust,
    subgaussian_doubly_robust,
    subgaussian_ips,
    switch_doubly_robust,
)

__all__ = [
    "CAMPAIGNS",
    "ESTIMATORS",
    "N_POSITIONS",
    "Asked",
    "Rows",
    "as_served",
    "asked",
    "obp_value",
    "prior_of",
    "rows_of",
    "simulated_rows",
    "thompson",
    "uniform",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CAMPAIGNS: Final = ("all", "men", "women")
N_POSITIONS: Final = 3
N_DRAWS: Final = 100_000  # as obp's compute_batch_action_dist
CHUNK: Final = 10_000
MAX_WEIGHT: Final = 10.0  # chosen before anything was run, as are the next three
SHRINKAGE: Final = 100.0  # weights shrink from sqrt(100) = 10 on
SMOOTHING: Final = 0.1  # no weight above 10
PRIOR_ROWS: Final = 100.0  # an item's click rate is shrunk to that of all items as if by 100 rows


class Rows(NamedTuple):
    """A log: int64 items and positions (0-based), float64 clicks and propensities, each (n,)."""

    items: IntArray
    positions: IntArray
    clicks: FloatArray
    propensities: FloatArray


class Asked(NamedTuple):
    """One question: what would a policy have earned, from this log?

    Attributes:
        rows: The log.
        policy: (items, positions) the target policy.
        fold: (n,) 0 or 1, every other row.
        predictions: (items, 2) click rate of each item, fitted without the rows of fold 0 and of fold 1.
        matches: (n,) whether an action drawn from the target policy is what was shown.
    """

    rows: Rows
    policy: FloatArray
    fold: IntArray
    predictions: FloatArray
    matches: npt.NDArray[np.bool_]

    def part(self, where: slice) -> Asked:
        """Return the same question about some of the rows, with the same predictions."""
        items, positions, clicks, propensities = self.rows
        rows = Rows(items[where], positions[where], clicks[where], propensities[where])
        return self._replace(rows=rows, fold=self.fold[where], matches=self.matches[where])

    @property
    def target(self) -> FloatArray:
        """Probability of what was shown under the target policy, (n,)."""
        return self.policy[self.rows.items, self.rows.positions]

    @property
    def predicted(self) -> FloatArray:
        """Predicted click of what was shown, (n,)."""
        return self.predictions[self.rows.items, self.fold]

    @property
    def direct(self) -> FloatArray:
        """Predicted click under the target policy, (n,)."""
        expected: FloatArray = self.policy.T @ self.predictions
        return expected[self.rows.positions, self.fold]


def rows_of(folder: Path, policy: str, campaign: str) -> Rows:
    """Return the rows that a policy ("random" or "bts") served for a campaign; `folder` is that of obp."""
    path = folder / "dataset" / "obd" / policy / campaign / f"{campaign}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        found = [
            (row["item_id"], row["position"], row["click"], row["propensity_score"]) for row in csv.DictReader(file)
        ]
    items, positions, clicks, propensities = zip(*found, strict=True)
    return Rows(
        np.array(items, dtype=np.int64),
        np.array(positions, dtype=np.int64) - 1,
        np.array(clicks, dtype=np.float64),
        np.array(propensities, dtype=np.float64),
    )


def prior_of(text: str, campaign: str) -> tuple[FloatArray, FloatArray]:
    """Return the parameters (alpha, beta) of a campaign's Beta priors, of which the file holds plain nested lists."""
    found: dict[tuple[str, str], list[float]] = {}
    key = ("", "")
    for line in text.splitlines():
        word = line.strip()
        if word.startswith("- "):
            found.setdefault(key, []).append(float(word[2:]))
        elif word.endswith(":"):
            key = (word[:-1], "") if not line.startswith(" ") else (key[0], word[:-1])
    return np.array(found[campaign, "alpha"]), np.array(found[campaign, "beta"])


def thompson(alpha: FloatArray, beta: FloatArray, rng: np.random.Generator, *, n_draws: int = N_DRAWS) -> FloatArray:
    """Return P(item at position) of Bernoulli Thompson sampling, (items, 3), by drawing."""
    counts = np.zeros((alpha.size, N_POSITIONS))
    for begin in range(0, n_draws, CHUNK):
        drawn = rng.beta(alpha, beta, size=(min(CHUNK, n_draws - begin), alpha.size))
        top = np.argsort(-drawn, axis=1)[:, :N_POSITIONS]
        for k in range(N_POSITIONS):
            counts[:, k] += np.bincount(top[:, k], minlength=alpha.size)
    return counts / n_draws


def as_served(rows: Rows, n_items: int) -> FloatArray:
    """Return the policy as it served on average, (items, 3): how often each item stood at each position of a log."""
    counts = np.zeros((n_items, N_POSITIONS))
    np.add.at(counts, (rows.items, rows.positions), 1.0)
    shares: FloatArray = counts / counts.sum(axis=0)
    return shares


def uniform(n_items: int) -> FloatArray:
    """Return the policy that draws items uniformly, (items, 3)."""
    return np.full((n_items, N_POSITIONS), 1.0 / n_items)


def asked(rows: Rows, policy: FloatArray, rng: np.random.Generator) -> Asked:
    """Return a question with its predictions, cross-fitted in two folds, and the actions that replay needs."""
    fold, n = np.arange(rows.items.size) % 2, len(policy)
    mean = rows.clicks.mean()
    predictions = np.empty((n, 2))
    for held_out in (0, 1):
        seen = fold != held_out
        clicks = np.bincount(rows.items[seen], weights=rows.clicks[seen], minlength=n)
        shown = np.bincount(rows.items[seen], minlength=n)
        predictions[:, held_out] = (clicks + PRIOR_ROWS * mean) / (shown + PRIOR_ROWS)
    below = policy.cumsum(axis=0)[:, rows.positions]
    drawn = (rng.random(rows.items.size) * below[-1] >= below).sum(axis=0)
    return Asked(rows, policy, fold, predictions, drawn == rows.items)


def _logged(q: Asked) -> tuple[FloatArray, FloatArray, FloatArray]:
    return q.rows.clicks, q.rows.propensities, q.target


def _modelled(q: Asked) -> tuple[FloatArray, ...]:
    return *_logged(q), q.predicted, q.direct


ESTIMATORS: Final[Mapping[str, Callable[[Asked], Sums]]] = {
    "replay": lambda q: replay(q.rows.clicks, q.matches),
    "IPS": lambda q: ips(*_logged(q)),
    "clipped IPS": lambda q: ips(*_logged(q), max_importance_weight=MAX_WEIGHT),
    "SNIPS": lambda q: ips(*_logged(q), self_normalised=True),
    "sub-Gaussian IPS": lambda q: subgaussian_ips(*_logged(q), smoothing=SMOOTHING),
    "DM": lambda q: direct_method(q.direct),
    "DR": lambda q: doubly_robust(*_modelled(q)),
    "SNDR": lambda q: doubly_robust(*_modelled(q), self_normalised=True),
    "Switch-DR": lambda q: switch_doubly_robust(*_modelled(q), max_importance_weight=MAX_WEIGHT),
    "DRos": lambda q: shrunk_doubly_robust(*_modelled(q), shrinkage=SHRINKAGE),
    "sub-Gaussian DR": lambda q: subgaussian_doubly_robust(*_modelled(q), smoothing=SMOOTHING),
}

_THEIRS: Final[Mapping[str, tuple[str, Mapping[str, float]]]] = {
    "replay": ("ReplayMethod", {}),
    "IPS": ("InverseProbabilityWeighting", {}),
    "SNIPS": ("SelfNormalizedInverseProbabilityWeighting", {}),
    "DM": ("DirectMethod", {}),
    "DR": ("DoublyRobust", {}),
    "SNDR": ("SelfNormalizedDoublyRobust", {}),
    "Switch-DR": ("SwitchDoublyRobust", {"tau": MAX_WEIGHT}),
    "DRos": ("DoublyRobustWithShrinkage", {"lambda_": SHRINKAGE}),
}


def obp_value(obp: Obp, name: str, q: Asked) -> float | None:
    """Return what obp says to the same question, or None where it has no such estimator."""
    if name not in _THEIRS:
        return None
    kind, settings = _THEIRS[name]
    n, (n_items, n_positions) = q.rows.items.size, q.policy.shape
    distribution = np.broadcast_to(q.policy, (n, n_items, n_positions))
    if name == "replay":  # it wants to know the one action that the policy would take: another one where it is no match
        chosen = np.where(q.matches, q.rows.items, (q.rows.items + 1) % n_items)
        distribution = np.repeat(np.eye(n_items)[chosen][:, :, None], n_positions, axis=2)
    predictions = np.repeat(q.predictions.T[q.fold][:, :, None], n_positions, axis=2)
    given: dict[str, Any] = {"action_dist": distribution, "position": q.rows.positions}
    if name != "DM":
        given |= {"reward": q.rows.clicks, "action": q.rows.items}
    if name not in {"DM", "replay"}:
        given |= {"pscore": q.rows.propensities}
    if name in {"DM", "DR", "SNDR", "Switch-DR", "DRos"}:
        given |= {"estimated_rewards_by_reg_model": predictions}
    return float(getattr(obp.estimators, kind)(**settings).estimate_policy_value(**given))


def simulated_rows(rates: FloatArray, policy: FloatArray, n: int, rng: np.random.Generator) -> Rows:
    """Return a log of which everything is known: clicks with probability rates[item, position]."""
    positions = rng.integers(0, N_POSITIONS, n)
    below = policy.cumsum(axis=0)[:, positions]
    items = (rng.random(n) * below[-1] >= below).sum(axis=0)
    clicks = (rng.random(n) < rates[items, positions]).astype(np.float64)
    return Rows(items, positions, clicks, policy[items, positions])
