"""Every event a query of its own: nothing can be learned by heart, only weights carry from one list to the next.

The world is linear and made up, so that the truth is known: what a policy earns is an average of closed-form click
probabilities over fresh queries, the same ones and the same noise for every policy that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Final, NamedTuple

import numpy as np

import dwell
from dwell.ranking import policy_scores
from dwell.testing.users import PositionBasedUser, Visitors
from study.simulation import CLICK_NOISE, GATED, N_SHOWN, N_USERS, SECONDS_PER_EVENT, START_AT, TEMPERATURE
from study.worlds import FloatArray

__all__ = [
    "CHECKED_AT",
    "HEADROOM",
    "WIDTHS",
    "Drift",
    "QueryWorld",
    "Trail",
    "one_query_world",
    "reward_of",
    "run_queries",
]

WIDTHS: Final = (8, 32)  # features
CHECKED_AT: Final = (500, 1_000, 2_000, 5_000)
HEADROOM: Final = 0.03  # by which the best weights earn more than those of the start: gated-loop study, 7
_TRAIN_EVERY: Final = 500
_N_DOCUMENTS: Final = 15
_STEEPNESS: Final = 1.2  # with the shift: some 16 % of documents are relevant, and a list earns about one click
_SHIFT: Final = 2.0
_N_FRESH: Final = 4_000  # queries that the truth is an average over
_N_DRAWS: Final = 8  # lists per fresh query
_CHUNK: Final = 1_000
_TRUTH_SEED: Final = 77


class QueryWorld(NamedTuple):
    """What users want, and where the ranking starts.

    Attributes:
        truth: float64 (p,), norm 1: relevance is sigmoid(1.2 truth . x - 2), features being standard normal.
        start: float64 (p,), norm 1.
        reward: Expected clicks on a list of the start.
    """

    truth: FloatArray
    start: FloatArray
    reward: float


class Drift(NamedTuple):
    """What some weights earn beyond the start, in clicks per list.

    Attributes:
        n_events: Events served before they stood.
        live: Gain of the params in force.
        standing: Gain of the proposal being judged; of the live params where there is none.
        version: In force.
    """

    n_events: int
    live: float
    standing: float
    version: int


class Trail(NamedTuple):
    """What came of one seed.

    Attributes:
        loop: At each call of `train`, every 500 events, under the default gate.
        proposed: {events: gain of what one call of `train` proposes after so many events of the start}.
        reward: Expected clicks on a list of the start.
    """

    loop: tuple[Drift, ...]
    proposed: dict[int, float]
    reward: float

    @property
    def first_promotion(self) -> int | None:
        """Events served before the first promotion; None without one."""
        return next((drift.n_events for drift in self.loop if drift.version != 0), None)


def _relevance(features: FloatArray, truth: FloatArray) -> FloatArray:
    relevant: FloatArray = 1.0 / (1.0 + np.exp(_SHIFT - _STEEPNESS * (features @ truth)))
    return relevant


def reward_of(score: Callable[[FloatArray], FloatArray], truth: FloatArray) -> float:
    """Return the expected clicks per list of a policy, over fresh queries that never change.

    Paired: any two policies meet the same queries and the same noise, so that a difference has a standard error of
    some .001 and that of equal policies is 0.

    Args:
        score: Scores (n,) of documents, float64 (n, p).
        truth: float64 (p,), what users want.
    """
    user = PositionBasedUser(eta=1.0, noise=CLICK_NOISE)
    rng = np.random.default_rng(_TRUTH_SEED)
    earned = []
    for _ in range(_N_FRESH // _CHUNK):
        x = rng.normal(size=(_CHUNK, _N_DOCUMENTS, truth.size))
        noise = np.log(rng.standard_exponential((_N_DRAWS, _CHUNK, _N_DOCUMENTS)))
        scores = score(x.reshape(-1, truth.size)).reshape(_CHUNK, _N_DOCUMENTS)
        order = np.argsort(noise - policy_scores(scores, TEMPERATURE), axis=-1)[..., :N_SHOWN]
        relevant = np.broadcast_to(_relevance(x, truth), noise.shape)
        shown = np.take_along_axis(relevant, order, axis=-1)
        earned.append(float(user.click_probabilities(shown).sum(axis=-1).mean()))
    return float(np.mean(earned))


@cache
def one_query_world(n_features: int, seed: int) -> QueryWorld:
    """Return a world whose best weights earn 3 % more clicks than its start: both directions are drawn by the seed."""
    rng = np.random.default_rng([seed, n_features, 7])
    truth = rng.normal(size=n_features)
    truth /= np.linalg.norm(truth)
    aside = rng.normal(size=n_features)
    aside -= aside @ truth * truth
    aside /= np.linalg.norm(aside)
    best = reward_of(lambda x: x @ truth, truth)
    low, high = 0.0, 0.5 * np.pi
    for _ in range(12):  # of the angle: the reward is then right to .01 %
        angle = 0.5 * (low + high)
        start = np.cos(angle) * truth + np.sin(angle) * aside
        reward = reward_of(lambda x, w=start: x @ w, truth)
        low, high = (angle, high) if best < (1.0 + HEADROOM) * reward else (low, angle)
    return QueryWorld(truth, start, reward)


def _serve(loop: dwell.Loop, world: QueryWorld, number: int, seed: int, user: str) -> None:
    """Serve a query that was never asked before and tell what was clicked."""
    rng = np.random.default_rng([seed, 3, number])
    x = rng.normal(size=(_N_DOCUMENTS, world.truth.size)).astype(np.float32)
    at = START_AT + SECONDS_PER_EVENT * number
    ids = [f"q{number}-{i}" for i in range(_N_DOCUMENTS)]
    event_id = f"s{seed}-{number:06d}"
    served = loop.rank(f"query {number}", ids=ids, features=x, k=N_SHOWN, user=user, event_id=event_id, now=at)
    where = {doc: i for i, doc in enumerate(ids)}
    shown = x[[where[doc] for doc in served.ids]].astype(np.float64)
    clicked = PositionBasedUser(eta=1.0, noise=CLICK_NOISE).clicks(_relevance(shown, world.truth), rng)
    for i in np.flatnonzero(clicked).tolist():
        loop.submit_feedback(event_id, "click", doc=served.ids[i], now=at + 5.0 * (i + 1))


def _walk(world: QueryWorld, seed: int, train_at: Collection[int]) -> list[Drift]:
    """Return what stood after each call of `train`."""
    names = [f"x{j}" for j in range(1, world.truth.size + 1)]
    visitors, rng = Visitors(N_USERS, np.random.default_rng([seed, 2]), skew=0.0), np.random.default_rng([seed, 1])
    found = []
    with dwell.open(
        ":memory:",
        features=names,
        weights=dict(zip(names, world.start.tolist(), strict=True)),
        temperature=TEMPERATURE,
        seed=seed,
        config=GATED,
        pepper=b"benchmark",
        strict=True,
    ) as loop:
        for number in range(max(train_at)):
            _serve(loop, world, number, seed, visitors.next_visitor(rng))
            if number + 1 in train_at:
                report = loop.train(now=START_AT + SECONDS_PER_EVENT * (number + 1))
                live, standing = (
                    reward_of(params.score, world.truth) - world.reward for params in (report.live, report.proposed)
                )
                found.append(Drift(number + 1, live, standing, report.live.version))
    return found


def run_queries(n_features: int, seed: int, *, n_events: int = CHECKED_AT[-1]) -> Trail:
    """Return what a loop makes of queries that are asked once, and what one call of `train` would propose.

    The loop trains every 500 events; a proposal of its own is made after 500, 1,000, 2,000 and 5,000 events that the
    start served, as many of these as there are events.
    """
    world = one_query_world(n_features, seed)
    loop = _walk(world, seed, range(_TRAIN_EVERY, n_events + 1, _TRAIN_EVERY))
    proposed = {n: _walk(world, seed, (n,))[0].standing for n in CHECKED_AT if n <= n_events}
    return Trail(tuple(loop), proposed, world.reward)
