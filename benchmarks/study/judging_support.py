"""Bad proposals through `Loop.evaluate`: heavy-tailed features, random directions, documents that were never shown."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

import dwell
from dwell.ranking import policy_scores, sampled_rankings
from dwell.testing.users import PositionBasedUser
from study.worlds import FloatArray

__all__ = ["Asked", "evaluate_bad"]

_N_CANDIDATES: Final = 20
_N_SHOWN: Final = 10
_NAMES: Final = (*(f"heavy{i}" for i in range(6)), "junk")
_TRUTH: Final = np.array([1.0, 0.8, 0.5, 0.0, 0.0, 0.0])
_TEMPERATURE: Final = 0.3
_START_AT: Final = 1_700_000_000.0
_USER: Final = PositionBasedUser()


class Asked(NamedTuple):
    """One proposal that was asked about.

    Attributes:
        what: "random direction" or "never shown".
        verdict: What the gate said.
        estimate: Its estimate of the difference, clicks per list.
        truth: The true difference.
    """

    what: str
    verdict: str
    estimate: float
    truth: float


def _documents(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    """Return heavy-tailed features (n, 20, 7) and relevance (n, 20); a quarter of the documents are junk, marked so."""
    z = rng.normal(size=(n, _N_CANDIDATES, 6))
    x = np.sign(z) * np.expm1(1.5 * np.abs(z))  # the tail of a log-normal on both sides
    relevance = 1.0 / (1.0 + np.exp(1.5 - 1.2 * (z @ _TRUTH)))
    junk = np.zeros((n, _N_CANDIDATES, 1))
    junk[:, 15:] = 200.0
    relevance[:, 15:] = 0.0
    return np.concatenate([x, junk], axis=2), relevance


def _value(weights: FloatArray) -> float:
    rng = np.random.default_rng(77)
    x, relevance = _documents(rng, 1_000)
    order = sampled_rankings(policy_scores(x @ weights, _TEMPERATURE), 50, _N_SHOWN, rng)
    shown = np.take_along_axis(relevance[:, None, :], order, axis=2)
    return float(_USER.click_probabilities(shown).sum(axis=2).mean())


def evaluate_bad(n_events: int, n_proposals: int, seed: int = 0) -> list[Asked]:
    """Return what the gate says of proposals that are truly worse, half of each kind, after so many events.

    Live shows no junk: its weight is far below that of any tail. Half of the proposals lift junk, by little or by much.
    """
    rng = np.random.default_rng([seed, 31])
    live = np.array([1.0, 1.0, 1.0, 0.3, 0.0, 0.0, -1.0])
    with dwell.open(
        ":memory:",
        features=list(_NAMES),
        weights=dict(zip(_NAMES, live.tolist(), strict=True)),
        temperature=_TEMPERATURE,
        seed=seed,
        pepper=b"benchmark",
        strict=True,
    ) as loop:
        x, relevance = _documents(rng, n_events)
        for i in range(n_events):
            ids = [f"{i}-{j}" for j in range(_N_CANDIDATES)]
            at = _START_AT + 60.0 * i
            served = loop.rank(
                f"q{i}",
                ids=ids,
                features=x[i].astype(np.float32),
                k=_N_SHOWN,
                user=f"user-{i % 300}",
                event_id=f"e{i}",
                now=at,
            )
            shown = relevance[i][[ids.index(doc) for doc in served.ids]]
            for j in np.flatnonzero(_USER.clicks(shown, rng)).tolist():
                loop.submit_feedback(f"e{i}", "click", doc=served.ids[j], now=at + 5.0)
        after = _START_AT + 60.0 * n_events + 7_200.0
        loop.close_events(after)
        found: list[Asked] = []
        base = _value(live)
        while len(found) < n_proposals:
            is_lift = len(found) % 2 == 1
            weights = live + np.eye(7)[6] * rng.uniform(1.0, 3.0) if is_lift else rng.normal(size=7)
            if not is_lift:
                weights[6] = -1.0  # it keeps junk away as live does: only its direction among the tails is bad
            truth = _value(weights) - base
            if truth >= 0.0:
                continue
            params = dwell.Params(version=900 + len(found), weights=dict(zip(_NAMES, weights.tolist(), strict=True)))
            decision = loop.evaluate(params, now=after)
            what = "never shown" if is_lift else "random direction"
            found.append(Asked(what, decision.verdict, decision.difference.value, truth))
    return found
