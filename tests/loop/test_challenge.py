"""Trees as challengers through the public API: judged by users that nothing is learned from, never served."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import ConfigError, MissingDependencyError
from dwell.learning.protocol import Scorer
from dwell.learning.trees import TreeKind, TreeScorer, TreeSettings
from dwell.loop.caps import Caps
from dwell.loop.challenge import grounds_of, judge_scorer, lessons_of
from dwell.records.arrays import FloatArray

Open = Callable[..., dwell.Loop]

GROWN = TreeSettings(n_rounds=40, min_documents=50)
BY_NOISE = {"good": 0.0, "bad": 0.0, "noise": 1.0}


@pytest.fixture
def middle(new_world: Any) -> Any:
    """Readers want what lies in the middle of `good`: no weighted sum of monotone features orders their documents."""

    class Middle(new_world):  # type: ignore[misc]  # the class is only known to the fixture
        def clicks(self, shown: list[str], candidates: list[dict[str, Any]]) -> list[str]:
            wanted = {c["id"]: 0.9 if abs(c["good"] - 0.5) < 0.25 else 0.05 for c in candidates}
            return [d for i, d in enumerate(shown) if self.rng.random() < wanted[d] / (i + 1)]

    return Middle()


class Reversed:
    """The same documents the other way round."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(self, features: FloatArray) -> FloatArray:
        return -self._scorer.score(features)


def judged(loop: dwell.Loop, scorer: Scorer, now: float) -> dwell.GateDecision:
    state = loop._state
    return judge_scorer(state, scorer, lessons_of(state, state.replayed.trainable()), now)


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_trees_win_where_no_weighted_sum_can(opened: Open, middle: Any, kind: TreeKind) -> None:
    # holdout is the default, 0.3. The gate promotes what is no better in at most 5 % of first proposals
    loop = opened(temperature=1.0, weights=BY_NOISE)
    middle.visits(loop, 900, n_users=300)
    loop.close_events(now=middle.now)
    settings = TreeSettings(kind=kind, n_rounds=40, min_documents=50)
    found = loop.challenge(settings=settings, now=middle.now)
    decision = found.decision
    assert decision.verdict == "promote", decision.reasons
    assert decision.difference.low > 0.0
    assert (decision.kind, decision.proposed_version, decision.safe_version) == ("evaluated", 0, loop.params.version)
    assert found.scorer is not None
    assert found.scorer.feature_names == loop.features
    middle_of_three = found.scorer.score(np.array([[0.0, 1.0, 0.5], [0.5, 0.5, 0.5], [1.0, 0.0, 0.5]]))
    assert middle_of_three.argmax() == 1
    bad = judged(loop, Reversed(found.scorer), middle.now)
    assert bad.verdict == "reject", bad.reasons


def test_only_held_out_users_judge_and_only_the_others_teach(opened: Open, middle: Any) -> None:
    loop = opened(temperature=1.0, weights=BY_NOISE)
    middle.visits(loop, 300, n_users=300)
    loop.close_events(now=middle.now)
    found = loop.challenge("lightgbm", settings=GROWN, now=middle.now)
    users = {e.event_id: e.user for e in loop.experiences()}
    held = {row.event_id for row in loop._state.replayed.held_out()}
    assert found.decision.difference.n == len(held)
    assert found.decision.diagnostics["n_users"] == len({users[e] for e in held})
    assert found.n_learned_from == 300 - len(held)
    assert 0 < len(held) < 300
    assert "unsupported_exposure" in found.decision.diagnostics
    assert "examination_low" in found.decision.estimates


def test_nothing_moves_and_the_same_is_found_again(opened: Open, middle: Any, anywhere: str) -> None:
    loop = opened(anywhere, temperature=1.0, weights=BY_NOISE)
    middle.visits(loop, 200, n_users=100)
    loop.close_events(now=middle.now)
    ledger, live = len(loop.history()), loop.params.version
    first, again = (loop.challenge(settings=GROWN, now=middle.now) for _ in range(2))
    assert first.scorer is not None
    assert again.scorer is not None
    assert first.scorer.to_bytes() == again.scorer.to_bytes()
    assert first.decision == again.decision
    assert (len(loop.history()), loop.params.version, loop.proposed) == (ledger, live, None)
    if anywhere != ":memory:":
        loop.close()
        reopened = opened(anywhere, temperature=1.0, weights=BY_NOISE).challenge(settings=GROWN, now=middle.now)
        assert reopened.decision == first.decision
        assert reopened.scorer is not None
        assert reopened.scorer.to_bytes() == first.scorer.to_bytes()


def test_what_the_caps_withhold_is_withheld_from_trees(opened: Open, middle: Any) -> None:
    loop = opened(temperature=1.0, weights=BY_NOISE)
    middle.visits(loop, 60)
    loop.close_events(now=middle.now)
    state = loop._state
    lessons = lessons_of(state, state.replayed.trainable())
    rows = lessons.rows
    target = next(i for i, row in enumerate(rows) if row.rewards.sum() > 0.0)
    free = grounds_of(state, lessons._replace(caps=Caps({}, {})))
    # one event counts half, and nothing speaks for the documents that it served
    caps = Caps({rows[target].seq: 0.5}, {rows[target].seq: np.zeros(rows[target].n_kept)})
    capped = grounds_of(state, lessons._replace(caps=caps))
    first = int(free.groups[:target].sum())
    served = slice(first, first + rows[target].n_kept)
    assert (free.relevance[served] > 0.0).any()
    expected = free.relevance.copy()
    expected[served] = np.minimum(expected[served], 0.0)
    np.testing.assert_array_equal(capped.relevance, expected)
    counts = np.where(np.arange(len(rows)) == target, 0.5, 1.0)
    np.testing.assert_array_equal(capped.weights, free.weights * np.repeat(counts, free.groups))


class TestTooLittle:
    def test_no_event_at_all(self, opened: Open) -> None:
        found = opened().challenge(now=0.0)
        assert found.scorer is None
        assert (found.decision.verdict, found.decision.reasons[0].partition(":")[0]) == ("hold", "too_few_events")

    def test_nobody_is_held_out(self, opened: Open, middle: Any) -> None:
        loop = opened(holdout=0.0)
        middle.visits(loop, 30)
        loop.close_events(now=middle.now)
        found = loop.challenge(now=middle.now)
        assert (found.scorer, found.decision.difference.n) == (None, 0)
        assert found.decision.reasons[0].startswith("too_few_events")

    def test_few_events_hold_whatever_they_say(self, opened: Open, middle: Any) -> None:
        # with the default settings a leaf takes 200 documents: nothing can be told apart, and all scores are equal
        loop = opened(temperature=1.0, weights=BY_NOISE, holdout=0.5)
        middle.visits(loop, 20)
        loop.close_events(now=middle.now)
        found = loop.challenge(now=middle.now)
        assert isinstance(found.scorer, TreeScorer)
        assert np.ptp(found.scorer.score(np.random.default_rng(0).random((9, 3)))) == 0.0
        assert found.decision.verdict == "hold"
        assert found.n_learned_from + found.decision.difference.n == 20

    def test_a_log_that_drew_nothing_is_said_to(self, opened: Open, middle: Any) -> None:
        loop = opened(mode="log-only")
        middle.visits(loop, 100)
        loop.close_events(now=middle.now)
        decision = loop.challenge(settings=GROWN, now=middle.now).decision
        assert decision.verdict != "promote"
        assert any(
            reason.startswith("unsupported: every event was ordered by the caller") for reason in decision.reasons
        )


class TestRefused:
    @pytest.mark.parametrize("kind", ["catboost", 3])
    def test_an_unknown_kind(self, opened: Open, kind: Any) -> None:
        with pytest.raises(ConfigError) as caught:
            opened().challenge(kind)
        assert caught.value.field == "trees.kind"

    def test_a_kind_that_is_not_that_of_the_settings(self, opened: Open) -> None:
        with pytest.raises(ConfigError) as caught:
            opened().challenge("xgboost", settings=TreeSettings(kind="lightgbm"))
        assert caught.value.field == "kind"

    def test_settings_of_another_type(self, opened: Open) -> None:
        wrong: Any = {"n_rounds": 3}
        with pytest.raises(ConfigError) as caught:
            opened().challenge(settings=wrong)
        assert caught.value.field == "settings"

    def test_a_library_that_is_not_there(self, opened: Open, middle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = opened()
        middle.visits(loop, 40)
        loop.close_events(now=middle.now)
        monkeypatch.setitem(sys.modules, "lightgbm", None)
        with pytest.raises(MissingDependencyError, match=r'pip install "dwell\[trees\]"'):
            loop.challenge("lightgbm", now=middle.now)
