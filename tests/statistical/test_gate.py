"""The gate on simulated logs, from rows to verdict, with a look every 100 events.

Lists of eight documents with three features, five shown, drawn from a live policy; position-based clicks; the predictor
is fitted to earlier events. Seeds are fixed; the stated rates say how often another seed would fail.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dwell.evaluation import EventPolicy, Evidence, GateSettings, JudgedEvent, decide, judge_event
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.ranking import draw_ranking, expected_exposure, policy_scores
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow

pytestmark = pytest.mark.statistical

THETA = 1.0 / np.arange(1.0, 6.0)
TAU = 0.3
TRUTH = np.array([0.6, 0.8, 0.0])
LIVE = np.array([1.0, 0.0, 0.0])
N_EVENTS, EVERY, N_LOGS = 1_200, 100, 10
Logs = list[tuple[list[EventRow], Predictor]]


def relevance_of(x: FloatArray, truth: FloatArray = TRUTH) -> FloatArray:
    return 1.0 / (1.0 + np.exp(1.5 - 2.0 * (x @ truth)))


def log_of(seed: int, n: int, *, truth: FloatArray = TRUTH) -> list[EventRow]:
    """Rows as the live policy logged them, each with its documents in served order."""
    rng = np.random.default_rng([seed, 77])
    rows = []
    for i in range(n):
        x = rng.normal(size=(8, 3))
        drawn = draw_ranking(x @ LIVE, TAU, THETA.size, rng)
        order = np.concatenate([drawn.order, np.setdiff1d(np.arange(8), drawn.order)])
        exposure = expected_exposure(policy_scores(x @ LIVE, TAU), THETA, rng).value
        clicks = (rng.random(THETA.size) < THETA * relevance_of(x[drawn.order], truth)).astype(float)
        rows.append(
            EventRow(
                seq=i,
                event_id=f"{seed}-{i}",
                query_hash=i,
                user_hash=i,
                served_at=float(i),
                features=x[order].astype(np.float32),
                inclusion=np.ones(8),
                exposure=exposure[order],
                n_kept=THETA.size,
                n_shown=THETA.size,
                rewards=clicks,
                propensities=drawn.propensities,
                caller_rank=order.astype(float),
                params_version=1,
                temperature=TAU,
                is_held_out=False,
                is_deterministic=False,
                is_caller_ordered=False,
                version=1,
            )
        )
    return rows


def predictor_of(rows: list[EventRow]) -> Predictor:
    sums = PredictorSums.empty(3)
    for row in rows:
        sums = sums.plus(row.features[: row.n_kept].astype(np.float64), row.rewards, THETA, np.ones(row.n_kept))
    return fit_predictor(sums)


@pytest.fixture(scope="module")
def logs() -> Logs:
    """Ten logs, each with a predictor that never saw the events it judges."""
    found = []
    for seed in range(N_LOGS):
        rows = log_of(seed, N_EVENTS + 300)
        found.append((rows[300:], predictor_of(rows[:300])))
    return found


def judge_all(rows: list[EventRow], predictor: Predictor, proposed: FloatArray) -> list[JudgedEvent]:
    events = []
    for row in rows:
        x = row.features.astype(np.float64)
        proposal, live = EventPolicy(x @ proposed, TAU), EventPolicy(x @ LIVE, TAU)
        events.append(
            judge_event(row, proposal, live, predictor.predict(x), THETA, max_importance_weight=2.0),
        )
    return events


def verdict_with_looks(
    events: list[JudgedEvent], rewards: list[FloatArray], *, settings: GateSettings | None = None, every: int = EVERY
) -> tuple[str, int]:
    """Judge after each 100 events until it is decided."""
    for n in range(every, len(events) + 1, every):
        given = Evidence(
            events=events[:n],
            rewards=rewards[:n],
            n_users=n,
            is_caller_ordered_only=False,
            held_out=np.zeros(0),
            attempt=1,
        )
        found = decide(given, settings or GateSettings(), proposed_version=2, safe_version=1, now=0.0)
        if found.verdict != "hold":
            return found.verdict, n
    return "hold", len(events)


def true_gain(proposed: FloatArray, *, n: int = 4_000, truth: FloatArray = TRUTH) -> tuple[float, float]:
    """Clicks per list that the proposal gains, on fresh lists with the same noise for both policies."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 8, 3))
    noise = np.log(rng.standard_exponential((n, 8)))
    values = []
    for w in (proposed, LIVE):
        order = np.argsort(noise - policy_scores(x @ w, TAU), axis=1)[:, : THETA.size]
        values.append(np.take_along_axis(relevance_of(x, truth), order, axis=1) @ THETA)
    gain = values[0] - values[1]
    return gain.mean(), gain.std(ddof=1) / np.sqrt(n)


def direction(*w: float) -> FloatArray:
    return np.array(w) / np.linalg.norm(w)


def test_a_better_proposal_is_promoted_most_of_the_time(logs: Logs) -> None:
    better = direction(0.98, 0.2, 0.0)
    gain, error = true_gain(better)
    assert gain > 5.0 * error
    found = [verdict_with_looks(judge_all(*log, better), [r.rewards for r in log[0]]) for log in logs]
    promoted = [n for verdict, n in found if verdict == "promote"]
    print(f"true gain {gain:+.3f}: {len(promoted)} of {len(found)} promoted, after {np.median(promoted):.0f} events")
    # at a true power of .9, fewer than 6 of 10 with probability 1.5e-4
    assert len(promoted) >= 6
    assert "reject" not in [verdict for verdict, _ in found]


@pytest.mark.parametrize("worse", [direction(0.8, -0.6, 0.0), direction(0.5, 0.0, 0.9), direction(-1.0, 0.0, 0.0)])
def test_a_worse_proposal_is_never_promoted(logs: Logs, worse: FloatArray) -> None:
    gain, error = true_gain(worse)
    assert gain < -5.0 * error
    for kind in ("anytime", "block"):
        settings = GateSettings(kind=kind, block_events=1_000)
        for rows, predictor in logs[:5]:
            verdict, _ = verdict_with_looks(
                judge_all(rows, predictor, worse), [r.rewards for r in rows], settings=settings
            )
            assert verdict != "promote"


def test_proposals_that_are_no_better_are_promoted_at_most_as_often_as_promised(logs: Logs) -> None:
    """Relevance does not depend on the third feature, nor on the features at all: no proposal gains."""
    rng = np.random.default_rng(1)
    flat = np.zeros(3)
    n_false, n_runs = 0, 0
    settings = GateSettings(futility_events=2_000)  # no early end: every look is taken
    for rows, _ in logs:
        for _ in range(10):
            proposed = direction(*(LIVE + rng.normal(0.0, 0.5, 3)))
            assert true_gain(proposed, n=50, truth=flat)[0] == pytest.approx(0.0, abs=1e-12)
            # clicks that ignore relevance, drawn anew for every run: 300 events with a look at every 20th
            chance = THETA * relevance_of(np.zeros(3), flat)
            some = [replace(r, rewards=(rng.random(THETA.size) < chance).astype(float)) for r in rows[:400]]
            predictor = predictor_of(some[300:])
            events = judge_all(some[:300], predictor, proposed)
            verdict, _ = verdict_with_looks(events, [r.rewards for r in some], settings=settings, every=20)
            n_false += verdict == "promote"
            n_runs += 1
    # at the promised 5 %, so many or more with probability 1e-3
    too_many = int(stats.binom.isf(1e-3, n_runs, 0.05)) + 1
    print(f"{n_false} of {n_runs} nulls promoted, {too_many} would be too many")
    assert n_false < too_many


def planted(seed: int, n: int) -> list[EventRow]:
    """The third feature is never far from 0 in what was shown; documents that have it are junk and were never shown."""
    rng = np.random.default_rng([seed, 3])
    found = []
    for row in log_of(seed, n):
        x = row.features.copy()
        x[-1, 2] = 6.0
        exposure = row.exposure.copy()
        exposure[-1] = 0.0
        found.append(replace(row, features=x, exposure=exposure, query_hash=int(rng.integers(2**63))))
    return found


def test_a_proposal_that_only_looks_better_where_nobody_looked_reads_as_worse() -> None:
    """The planted case: the predictor praises the third feature, the proposal serves junk, and the truth is a loss."""
    rows = planted(0, 600)
    praises = fit_predictor(PredictorSums.empty(3), ridge=1.0)
    praises = replace(praises, beta=np.array([0.1, 0.2, 0.3, 0.2]))
    serves_junk = direction(0.2, 0.0, 1.0)
    events = judge_all(rows, praises, serves_junk)
    plain = []
    for row in rows:
        x = row.features.astype(np.float64)
        exposures = [
            expected_exposure(policy_scores(x @ w, TAU), THETA, np.random.default_rng(row.seq)).value
            for w in (serves_junk, LIVE)
        ]
        plain.append(float((exposures[0] - exposures[1]) @ praises.predict(x)))
    # the direct method alone, without pessimism, is sure of a gain
    assert np.mean(plain) > 5.0 * np.std(plain, ddof=1) / np.sqrt(len(plain))
    given = Evidence(
        events=events,
        rewards=[r.rewards for r in rows],
        n_users=600,
        is_caller_ordered_only=False,
        held_out=np.zeros(0),
        attempt=1,
    )
    found = decide(given, GateSettings(), proposed_version=2, safe_version=1, now=0.0)
    print(f"plain {np.mean(plain):+.3f}, pessimistic {found.difference.value:+.3f}: {found.verdict}")
    assert found.verdict != "promote"
    assert found.difference.value < 0.0
    assert found.diagnostics["unsupported_exposure"] > 0.3


def test_two_gates_agree_on_what_is_obvious(logs: Logs) -> None:
    rows, predictor = logs[0]
    rewards = [r.rewards for r in rows]
    best = TRUTH
    for proposed, expected in ((best, "promote"), (-best, "reject")):
        events = judge_all(rows, predictor, proposed)
        for kind in ("anytime", "block"):
            settings = GateSettings(kind=kind, block_events=1_000, unsupported_refuse=1.0)
            assert verdict_with_looks(events, rewards, settings=settings)[0] == expected


def test_the_fixture_is_not_degenerate(logs: Logs) -> None:
    # every document has some support, and clicks fall with the rank
    clicks = np.mean([row.rewards for rows, _ in logs[:3] for row in rows], axis=0)
    assert all(a > b for a, b in itertools.pairwise(clicks))
    assert np.mean([row.exposure.min() > 0.0 for row in logs[0][0]]) > 0.2
