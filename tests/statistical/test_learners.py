"""What each learner is there for, in worlds where the truth is known. Seeds are fixed; rates are stated."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from dwell.errors import LearningError
from dwell.evaluation import EventPolicy, Evidence, GateSettings, decide, judge_event
from dwell.learning.learner import LearnerSettings, Lists
from dwell.learning.low_rank import LowRankWeights, QueryLists, learn_low_rank
from dwell.learning.pdgd import PdgdLearner
from dwell.learning.predictor import Predictor
from dwell.learning.protocol import Scorer
from dwell.learning.segments import SegmentHalves, SegmentWeights, learn_segments
from dwell.learning.trees import TreeKind, TreeScorer, TreeSettings, learn_trees, tree_rows
from dwell.ranking import policy_scores
from dwell.records import GateDecision
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors, lists_of, value_of

pytestmark = pytest.mark.statistical

THETA = 1.0 / np.arange(1.0, 6.0)
BASE = np.array([0.5, 0.7, -0.5, 0.1]) / np.linalg.norm([0.5, 0.7, -0.5, 0.1])
SETTINGS = LearnerSettings(step_size=0.01, n_samples=8)


def resampled(rows: Sequence[EventRow], safe: FloatArray, rng: np.random.Generator, n_steps: int) -> list[Lists]:
    return [lists_of([rows[i] for i in rng.integers(len(rows), size=64)], safe) for _ in range(n_steps)]


# ------------------------------------------------------------ segments

N_SEGMENTS = 8
N_EVENTS = 40  # of each: so few that none of them could be learned alone


def segmented(seed: int, spread: float, kappa: float | None) -> tuple[list[LearnerWorld], SegmentWeights]:
    """Segments whose truths scatter around the global weights, which are the mean truth; few events of each."""
    rng = np.random.default_rng([seed, 77])
    truths = BASE + spread * rng.normal(size=(N_SEGMENTS, BASE.size))
    worlds = [LearnerWorld(truth / np.linalg.norm(truth), THETA) for truth in truths]
    rows = [closed_events(world, BASE, N_EVENTS, rng) for world in worlds]
    halves = {
        code: SegmentHalves(
            resampled(part[: N_EVENTS // 2], BASE, rng, 20), resampled(part[N_EVENTS // 2 :], BASE, rng, 20), N_EVENTS
        )
        for code, part in enumerate(rows)
    }
    predictors = fitted_predictors([row for part in rows for row in part], THETA)
    found = learn_segments(
        BASE, halves, predictors, theta=THETA, temperature=0.5, settings=SETTINGS, rng=rng, kappa=kappa
    )
    return worlds, found


def segment_gain(worlds: list[LearnerWorld], found: SegmentWeights) -> float:
    """Clicks per list above those of the global weights, the mean over segments."""
    gains = [value_of(world, found.vector_for(code)) - value_of(world, BASE) for code, world in enumerate(worlds)]
    return float(np.mean(gains))


def test_segments_that_do_not_differ_lose_nothing() -> None:
    # global weights are the truth of all: whatever moves can only lose, of 1.33 clicks per list. Five seeds lost at
    # most .0001; without shrinkage each lost .0006 to .0017. A bound of .0005 lies between
    for seed in range(2):
        assert segment_gain(*segmented(seed, 0.0, None)) > -0.0005
    assert segment_gain(*segmented(3, 0.0, 0.0)) < -0.0005


def test_segments_that_differ_gain() -> None:
    # truths 27 degrees apart from the global ones in the mean; the gain of five seeds was .015 to .030
    for seed in range(2):
        worlds, found = segmented(seed, 0.5, None)
        assert segment_gain(worlds, found) > 0.01
        assert found.kappa < 100.0


# ------------------------------------------------------------ weights by query

AWAY = np.array([0.1, -0.5, -0.7, 0.5]) / np.linalg.norm([0.1, -0.5, -0.7, 0.5])  # at right angles to BASE
SIZE = 6


def query_truths(embeddings: FloatArray, strength: float) -> FloatArray:
    truths = BASE + strength * embeddings[:, :1] * AWAY
    return truths / np.linalg.norm(truths, axis=1, keepdims=True)


def unit_embeddings(n: int, rng: np.random.Generator) -> FloatArray:
    e = rng.normal(size=(n, SIZE))
    return e / np.linalg.norm(e, axis=1, keepdims=True)


def by_query(seed: int, strength: float, n: int) -> LowRankWeights:
    rng = np.random.default_rng([seed, 3])
    embeddings = unit_embeddings(n, rng)
    rows: list[EventRow] = []
    for i, truth in enumerate(query_truths(embeddings, strength)):
        rows += closed_events(LearnerWorld(truth, THETA), BASE, 1, rng, first_seq=i)

    def samples() -> Iterator[QueryLists]:
        for _ in range(80):
            chosen = rng.integers(n, size=128)
            yield QueryLists(lists_of([rows[i] for i in chosen], BASE), embeddings[chosen])

    return learn_low_rank(
        BASE,
        samples(),
        fitted_predictors(rows, THETA),
        rank=1,
        embedding_size=SIZE,
        theta=THETA,
        temperature=0.5,
        n_events=float(n),
        settings=SETTINGS,
        rng=rng,
    ).weights


def query_gain(weights: LowRankWeights, strength: float, n: int = 3_000) -> FloatArray:
    """Clicks of fresh queries above those of the global weights, on the same lists and draws, float64 (n,)."""
    rng = np.random.default_rng(9)
    embeddings = unit_embeddings(n, rng)
    x, noise = rng.normal(size=(n, 8, BASE.size)), np.log(rng.standard_exponential((n, 8)))
    relevance = 1.0 / (1.0 + np.exp(1.0 - 2.0 * np.einsum("ndp,np->nd", x, query_truths(embeddings, strength))))

    def clicks(vectors: FloatArray) -> FloatArray:
        z = policy_scores(np.einsum("ndp,np->nd", x, vectors), 0.5)
        order = np.argsort(noise - z, axis=1)[:, : THETA.size]
        return np.take_along_axis(relevance, order, axis=1) @ THETA

    own = np.array([weights.vector_for(e) for e in embeddings])
    return clicks(own) - clicks(np.tile(BASE, (n, 1)))


def test_weights_that_depend_on_the_query_gain_where_users_do() -> None:
    # 5 standard errors over 3,000 fresh queries: 3e-7 without a gain
    gain = query_gain(by_query(0, 1.5, 1_000), 1.5)
    assert gain.mean() > 5.0 * gain.std(ddof=1) / np.sqrt(gain.size)
    assert gain.mean() > 0.01


def test_where_users_do_not_they_lose_little() -> None:
    # global weights are the truth: of 1.33 clicks per list four seeds lost up to .5 %, at 500 and 2,000 events
    assert query_gain(by_query(1, 0.0, 1_000), 0.0).mean() > -0.01


# ------------------------------------------------------------ trees before the gate


class MiddleWorld(LearnerWorld):
    """Users want documents whose first feature lies in the middle: no weighted sum of features orders them."""

    def relevance(self, features: FloatArray) -> FloatArray:
        return np.where(np.abs(features[..., 0]) < 0.6, 0.8, 0.1)


MIDDLE = MiddleWorld(np.array([1.0, 0.0, 0.0]), THETA)
LIVE = np.array([0.0, 1.0, 0.0])


class Reversed:
    """The same documents the other way round."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(self, features: FloatArray) -> FloatArray:
        return -self._scorer.score(features)


def judged(scorer: Scorer, rows: list[EventRow], predictors: tuple[Predictor, Predictor]) -> GateDecision:
    """What the gate says of a challenger, on events that it never learned from."""
    events = []
    for row in rows:
        phi = row.features.astype(np.float64)
        proposed = EventPolicy(scorer.score(row.features), MIDDLE.temperature)
        safe = EventPolicy(phi @ LIVE, MIDDLE.temperature)
        predicted = predictors[0].predict(phi)
        events.append(judge_event(row, proposed, safe, predicted, THETA, max_importance_weight=2.0))
    evidence = Evidence(
        events=events,
        rewards=[row.rewards for row in rows],
        n_users=len(rows),
        is_caller_ordered_only=False,
        held_out=np.zeros(0),
        attempt=1,
    )
    return decide(evidence, GateSettings(), proposed_version=2, safe_version=1, now=0.0)


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_the_gate_judges_trees_as_it_judges_any_policy(kind: TreeKind) -> None:
    # the gate promotes what is no better in at most 3 % of proposals; the difference here is 8 of its standard errors
    rows = closed_events(MIDDLE, LIVE, 1_200, np.random.default_rng(0))
    seen, fresh = rows[:700], rows[700:]
    predictors = fitted_predictors(seen, THETA)
    grown = tree_rows([lists_of(seen, LIVE)], predictors, theta=THETA, n_events=700.0)
    settings = TreeSettings(kind=kind, n_rounds=50, min_documents=50)
    trees = TreeScorer.from_bytes(learn_trees(grown, ("a", "b", "c"), settings).to_bytes())
    good = judged(trees, fresh, predictors)
    assert good.verdict == "promote", good.reasons
    assert good.difference.low > 0.0
    bad = judged(Reversed(trees), fresh, predictors)
    assert bad.verdict == "reject", bad.reasons


# ------------------------------------------------------------ on-line


def test_pdgd_learns_on_line_though_users_look_at_the_top() -> None:
    # 20 versions of 50 lists each; a gain of 5 standard errors over 2,000 fresh lists: 3e-7 without one
    world = LearnerWorld(BASE, THETA)
    rng = np.random.default_rng(0)
    start = np.array([1.0, 0.0, 0.0, 0.0])
    weights = start
    nothing = Predictor(np.zeros(5))

    def step(w: FloatArray, lists: Lists, version: int) -> FloatArray:
        learner = PdgdLearner(params_version=version)
        settings = LearnerSettings()
        return learner(
            w,
            [lists],
            (nothing, nothing),
            theta=THETA,
            temperature=world.temperature,
            n_events=50.0,
            settings=settings,
            rng=rng,
        ).vector

    for version in range(20):
        rows = closed_events(world, weights, 50, rng, first_seq=50 * version, params_version=version)
        moved = step(weights, lists_of(rows, weights), version)
        # after the step the same lists are another policy's, whatever version they are said to be of
        renamed = lists_of([dataclasses.replace(row, params_version=version + 1) for row in rows], moved)
        with pytest.raises(LearningError) as caught:
            step(moved, renamed, version + 1)
        assert caught.value.code == "off_policy"
        weights = moved
    gain = value_of(world, weights) - value_of(world, start)
    assert gain.mean() > 5.0 * gain.std(ddof=1) / np.sqrt(gain.size)
    assert weights @ BASE > start @ BASE + 0.2
