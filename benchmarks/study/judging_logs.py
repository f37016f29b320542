"""Simulated logs to judge on: lists drawn from a live policy, users of several kinds, and what is true of a proposal.

A field is a finite set of questions, asked equally often: what a policy earns is then an average over all of them, of
closed-form click probabilities over many drawn rankings, the same noise for both policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from dwell.ranking import conditional_propensities, expected_exposure, policy_scores, sampled_rankings
from dwell.records.rows import EventRow
from dwell.testing.users import CascadeUser, DbnUser, PositionBasedUser, SimulatedUser, relevance
from study.worlds import FloatArray, IntArray, World

__all__ = [
    "MAX_IMPORTANCE",
    "TEMPERATURE",
    "THETA",
    "USERS",
    "Field",
    "Log",
    "Proposal",
    "apparent_gain",
    "field_of",
    "gain_of",
    "log_of",
    "rewards_of",
    "symmetric_field",
    "synthetic_field",
    "with_gain",
]

TEMPERATURE: Final = 0.3  # learning study: it costs .006 nDCG and keeps things learnable
THETA: Final = 1.0 / np.arange(1.0, 11.0)  # what a loop assumes of examination: 10 shown, 1 / k
USERS: Final[dict[str, SimulatedUser]] = {
    "position-based": PositionBasedUser(),
    "cascade": CascadeUser(),
    "dbn": DbnUser(),
}
_N_TRUTH_DRAWS: Final = 400  # of some 200 questions, paired: the relative gain's own error is some .02 %
MAX_IMPORTANCE: Final = 2.0  # the gate's default W

Proposal = Sequence[FloatArray]
"""Scores of a policy per question; a row of n scores for its n candidates."""


class Field(NamedTuple):
    """Questions with candidates, and the live policy on them.

    Attributes:
        name: What it is called.
        features: Per question float64 (n, f), standardised over the field.
        relevance: Per question float64 (n,), probability of relevance.
        live: Per question float64 (n,), scores of the live policy.
    """

    name: str
    features: tuple[FloatArray, ...]
    relevance: tuple[FloatArray, ...]
    live: tuple[FloatArray, ...]


class Log(NamedTuple):
    """What the live policy served.

    Attributes:
        rows: One per event, served documents first; their rewards are zero, clicks are drawn anew for every run.
        question: int64 (n,), the question of each event.
        order: Per event int64 (l,), the candidate of each document of its row.
        shown: float64 (n, k), relevance of what was shown.
    """

    rows: tuple[EventRow, ...]
    question: IntArray
    order: tuple[IntArray, ...]
    shown: FloatArray


def _standardised(features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
    every = np.concatenate(features)
    spread = every.std(axis=0)
    spread[spread == 0.0] = 1.0
    return tuple(np.clip((x - every.mean(axis=0)) / spread, -5.0, 5.0) for x in features)


def field_of(world: World) -> Field:
    """Return a labelled set's asked questions that have more candidates than are shown; its start ranks them."""
    weights = np.array([world.weights[name] for name in world.feature_names])
    usable = [question for question in world.train if len(question.ids) > THETA.size]
    raw = [question.features.astype(np.float64) for question in usable]
    return Field(
        name=world.name,
        features=_standardised(raw),
        relevance=tuple(relevance(question.grades, world.max_grade) for question in usable),
        live=tuple(x @ weights for x in raw),
    )


def _logistic(x: FloatArray) -> FloatArray:
    value: FloatArray = 1.0 / (1.0 + np.exp(2.0 - 1.2 * x))
    return value


def synthetic_field(rng: np.random.Generator, *, n_questions: int = 200, n_features: int = 8) -> Field:
    """Return 15 candidates a question, of which few are relevant; the live policy sees half of what matters."""
    truth = rng.normal(size=n_features)
    truth /= np.linalg.norm(truth)
    off = rng.normal(size=n_features)
    off -= (off @ truth) * truth
    live = truth + off / np.linalg.norm(off)
    features = tuple(rng.normal(size=(15, n_features)) for _ in range(n_questions))
    return Field(
        "synthetic", features, tuple(_logistic(x @ truth) for x in features), tuple(x @ live for x in features)
    )


def symmetric_field(rng: np.random.Generator, *, n_questions: int = 200) -> tuple[Field, Proposal]:
    """Return a field where two features do the same, and a proposal that swaps their weights: equal in value.

    Every question has its mirror, the two features exchanged, so that the values are equal to the last digit of
    arithmetic, though hardly a list is ranked alike.
    """
    half = [rng.normal(size=(15, 3)) for _ in range(n_questions // 2)]
    features = tuple(y for x in half for y in (x, x[:, [1, 0, 2]]))
    relevant = tuple(_logistic(x[:, 0] + x[:, 1]) for x in features)
    live, swapped = np.array([1.0, 0.4, 0.3]), np.array([0.4, 1.0, 0.3])
    field = Field("symmetric", features, relevant, tuple(x @ live for x in features))
    return field, tuple(x @ swapped for x in features)


# ---- what is true


def _shown_relevance(
    field: Field, question: int, scores: FloatArray, temperature: float, n_draws: int
) -> tuple[IntArray, FloatArray]:
    rng = np.random.default_rng([question, 5])  # the same noise for every policy: a difference is paired
    z = policy_scores(scores, temperature)
    order = sampled_rankings(z, n_draws, THETA.size, rng)
    return order, field.relevance[question][order]


def gain_of(
    field: Field,
    proposed: Proposal,
    user: SimulatedUser,
    *,
    temperature: float = TEMPERATURE,
    n_draws: int = _N_TRUTH_DRAWS,
) -> tuple[float, float]:
    """Return what a proposal truly gains, (clicks per list, as a share of what the live policy earns)."""
    values = []
    for scores, at in ((proposed, temperature), (field.live, TEMPERATURE)):
        total = 0.0
        for i in range(len(field.live)):
            _, shown = _shown_relevance(field, i, scores[i], at, n_draws)
            total += float(user.click_probabilities(shown).sum(axis=1).mean())
        values.append(total / len(field.live))
    return values[0] - values[1], values[0] / values[1] - 1.0


def apparent_gain(
    field: Field, proposed: Proposal, user: SimulatedUser, *, temperature: float = TEMPERATURE, n_draws: int = 200
) -> float:
    """Return what position-based inverse propensities make of a proposal in the long run, whoever the users are."""
    total = 0.0
    for i in range(len(field.live)):
        n = field.live[i].size
        order, shown = _shown_relevance(field, i, field.live[i], TEMPERATURE, n_draws)
        clicks = np.bincount(order.ravel(), user.click_probabilities(shown).ravel(), minlength=n) / n_draws
        old = np.bincount(order.ravel(), np.tile(THETA, n_draws), minlength=n) / n_draws
        order, _ = _shown_relevance(field, i, proposed[i], temperature, n_draws)
        new = np.bincount(order.ravel(), np.tile(THETA, n_draws), minlength=n) / n_draws
        slope = np.clip((new - old) / np.maximum(old, 1e-3), -MAX_IMPORTANCE, MAX_IMPORTANCE)
        total += float(slope @ clicks)
    return total / len(field.live)


def with_gain(field: Field, direction: Proposal, user: SimulatedUser, share: float) -> Proposal | None:
    """Return the live scores moved along a direction until the true gain is that share; None where it never is."""

    def moved(step: float) -> Proposal:
        return tuple(
            (1.0 - step) * live / max(live.std(), 1e-9) + step * to / max(to.std(), 1e-9)
            for live, to in zip(field.live, direction, strict=True)
        )

    low, high = 0.0, 1.0
    if gain_of(field, moved(high), user)[1] < share:
        return None
    for _ in range(9):
        middle = 0.5 * (low + high)
        if gain_of(field, moved(middle), user)[1] < share:
            low = middle
        else:
            high = middle
    return moved(high)


# ---- what is logged


def log_of(field: Field, n_events: int, rng: np.random.Generator, *, name: str) -> Log:
    """Return what the live policy served, each event's exposure worked out as a loop does it."""
    questions = rng.integers(len(field.live), size=n_events)
    rows, orders = [], []
    k = THETA.size
    nothing = np.zeros(k)
    for i, question in enumerate(questions.tolist()):
        scores = field.live[question]
        z = policy_scores(scores, TEMPERATURE)
        order = np.argsort(np.log(rng.standard_exponential(z.size)) - z)
        orders.append(order)
        rows.append(
            EventRow(
                seq=i,
                event_id=f"{name}-{i}",
                query_hash=question,
                user_hash=i,
                served_at=float(i),
                features=np.zeros((z.size, 1), dtype=np.float32),
                inclusion=np.ones(z.size),
                exposure=expected_exposure(z, THETA, rng).value[order],
                n_kept=k,
                n_shown=k,
                rewards=nothing,
                propensities=conditional_propensities(z, order, k),
                caller_rank=order.astype(np.float64),
                params_version=1,
                temperature=TEMPERATURE,
                is_held_out=False,
                is_deterministic=False,
                is_caller_ordered=False,
                version=1,
            )
        )
    shown = np.array([field.relevance[q][order[:k]] for q, order in zip(questions, orders, strict=True)])
    return Log(tuple(rows), questions, tuple(orders), shown)


def rewards_of(log: Log, user: SimulatedUser, rng: np.random.Generator, *, flat: float | None = None) -> FloatArray:
    """Return clicks, float64 (n, k); with `flat` every document is equally relevant, so clicks ignore relevance."""
    shown = log.shown if flat is None else np.full_like(log.shown, flat)
    return user.clicks(shown, rng).astype(np.float64)
