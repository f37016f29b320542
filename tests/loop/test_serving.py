"""What is served, how likely it was, and that a retry is answered as before."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.ranking import conditional_propensities, policy_scores
from dwell.records import Impression

Open = Callable[..., dwell.Loop]


def impressions(loop: dwell.Loop) -> list[Impression]:
    loop._state.writer.flush() if loop._state.writer else None
    with loop._state.store.snapshot() as reader:
        return reader.impressions(reader.seqs())


def derived(scores: list[float], sd: float, rest: float, temperature: float, order: list[int]) -> list[float]:
    """Return P(document i | those above it) by the definition, summed exactly, in steps of one document."""
    z = [s / (temperature * max(sd, 1e-9)) for s in scores]
    peak = max(z)
    left = set(range(len(z)))
    found = []
    for i in order:
        total = math.fsum([*(math.exp(z[j] - peak) for j in left), math.exp(rest - peak)])
        found.append(math.exp(z[i] - peak) / total)
        left.remove(i)
    return found


def rederived(impression: Impression, ids: list[str]) -> list[float]:
    order = [ids.index(doc) for doc in impression.served]
    return derived(
        impression.scores.tolist(),
        impression.score_sd,
        impression.rest_logsumexp,
        impression.temperature,
        order,
    )


@pytest.mark.parametrize("weights", [{"good": 1.0, "bad": 0.3, "noise": 7.0}, None])
@pytest.mark.parametrize("n", [1, 2, 8, 200])
def test_logged_propensities_are_rederived_from_the_stored_impression(
    opened: Open, world: Any, anywhere: str, weights: dict[str, float] | None, n: int
) -> None:
    loop = opened(anywhere, weights=weights, temperature=0.7)
    candidates = world.candidates(n)
    served = loop.rank("q", candidates, k=7, now=world.now)
    (impression,) = impressions(loop)
    expected = rederived(impression, [c["id"] for c in candidates])
    assert impression.served == tuple(served.ids)
    np.testing.assert_allclose(served.propensities, expected, rtol=1e-12)
    np.testing.assert_allclose(impression.propensities, expected, rtol=1e-12)
    if weights is not None:
        # the scores are those of the formula that the user wrote, as float32
        by_hand = [
            float(np.float32(sum(w * np.float64(np.float32(c[f])) for f, w in weights.items()))) for c in candidates
        ]
        np.testing.assert_allclose(impression.scores, by_hand, rtol=1e-6)
        where = {c["id"]: i for i, c in enumerate(candidates)}
        np.testing.assert_allclose(served.scores, [by_hand[where[doc]] for doc in served.ids], rtol=1e-6)


def test_propensities_are_rederived_beyond_what_is_logged_of_the_scores(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    candidates = world.candidates(1_500)
    served = loop.rank("q", candidates, k=5, now=world.now)
    (impression,) = impressions(loop)
    assert (impression.n_candidates, impression.scores.size, len(impression.documents)) == (1_500, 1_000, 64)
    place = dict(zip(impression.documents, impression.document_scores.tolist(), strict=True))
    expected = derived(
        impression.scores.tolist(),
        impression.score_sd,
        impression.rest_logsumexp,
        1.0,
        [place[doc] for doc in impression.served],
    )
    np.testing.assert_allclose(served.propensities, expected, rtol=1e-12)
    # 59 of the 1,495 others were kept, each as likely
    np.testing.assert_allclose(impression.inclusion, [1.0] * 5 + [59 / 1_495] * 59, rtol=1e-12)


def test_a_learned_versions_propensities_are_rederived(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    world.visits(loop, 60)
    loop.promote(loop.train(now=world.now).proposed, force=True, now=world.now)
    candidates = world.candidates()
    served = loop.rank("q", candidates, k=4, event_id="last", now=world.now)
    impression = impressions(loop)[-1]
    assert (impression.event_id, impression.policy, served.params_version) == ("last", "params", 1)
    expected = rederived(impression, [c["id"] for c in candidates])
    np.testing.assert_allclose(served.propensities, expected, rtol=1e-12)
    # and by the one function that learner and gate call
    order = np.array([[c["id"] for c in candidates].index(doc) for doc in served.ids])
    rest = np.setdiff1d(np.arange(8), order)
    z = policy_scores(loop.params.score(impression.features[np.argsort(impression.document_scores)]), 1.0)
    np.testing.assert_allclose(
        served.propensities, conditional_propensities(z, np.concatenate([order, rest]), 4), rtol=1e-5
    )


def test_draws_follow_the_policy(opened: Open) -> None:
    loop = opened(features=["good"], weights={"good": 1.0}, temperature=1.0)
    candidates = [{"id": "a", "good": 1.0}, {"id": "b", "good": -1.0}]
    n = 2_000
    first = Counter(loop.rank("q", candidates, event_id=f"e{i}", now=1.0).ids[0] for i in range(n))
    # scores 1 and -1 have the population sd 1: P(a first) = e / (e + 1/e); 4 standard errors, false alarm 6e-5
    p = math.e / (math.e + 1.0 / math.e)
    assert abs(first["a"] / n - p) < 4.0 * math.sqrt(p * (1.0 - p) / n)


def test_at_temperature_0_the_order_is_a_stable_sort(opened: Open, world: Any) -> None:
    loop = opened(temperature=0.0, weights={"good": 1.0, "bad": 0.0, "noise": 0.0})
    candidates = [{"id": f"d{i}", "good": float(i % 3), "bad": 0.0, "noise": 0.0} for i in range(30)]
    served = loop.rank("q", candidates, k=30, now=world.now)
    assert served.ids == [c["id"] for c in sorted(candidates, key=lambda c: -float(c["good"]))]
    assert served.propensities.tolist() == [1.0] * 30
    assert impressions(loop)[0].is_deterministic


def test_equal_scores_are_drawn_uniformly_or_keep_the_callers_order(opened: Open) -> None:
    candidates = [{"id": d, "good": 5.0} for d in "abc"]
    drawn = opened(features=["good"], weights={"good": 1.0}, temperature=0.3).rank("q", candidates, now=1.0)
    np.testing.assert_allclose(drawn.propensities, [1 / 3, 1 / 2, 1.0], rtol=1e-12)
    fixed = opened(features=["good"], weights={"good": 1.0}, temperature=0.0).rank("q", candidates, now=1.0)
    assert fixed.ids == ["a", "b", "c"]


def test_without_weights_the_callers_order_is_explored_then_equal_weights_go_live(
    opened: Open, world: Any, anywhere: str
) -> None:
    loop = opened(anywhere, weights=None, config=None)
    orders = set()
    for i in range(200):
        candidates = world.candidates(4)
        served = loop.rank("q", candidates, k=4, event_id=f"e{i}", now=world.now)
        assert served.params_version == 0
        assert sorted(served.scores) == [-3.0, -2.0, -1.0, 0.0]  # minus the rank in the caller's order
        orders.add(tuple(served.scores))
    assert len(orders) > 1
    assert loop.rank("q", world.candidates(4), now=world.now).params_version == 1
    first = loop.params
    assert (first.origin, first.parent) == ("standardised", 0)
    assert first.transform is not None
    np.testing.assert_allclose(list(first.weights.values()), 3.0**-0.5, rtol=1e-12)
    features = np.concatenate([i.features for i in impressions(loop)[:200]])
    mapped = first.transform.apply(features)
    np.testing.assert_allclose(mapped.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(mapped.std(axis=0), 1.0, atol=0.1)
    ledger = loop.history()
    assert [(d.kind, d.proposed_version, d.safe_version) for d in ledger] == [("initial", 0, 0), ("initial", 1, 0)]
    assert "200 events" in ledger[-1].reasons[0]


def test_the_first_200_events_are_counted_over_restarts(opened: Open, world: Any) -> None:
    config = {"training": {"first_version_events": 6}}
    loop = opened("a.dwell", weights=None, config=config)
    for _ in range(4):
        world.visit(loop)
    loop.close()
    again = opened("a.dwell", weights=None, config=config)
    assert [world.visit(again).params_version for _ in range(4)] == [0, 0, 1, 1]
    again.close()
    assert opened("a.dwell", weights=None, config=config).params.version == 1


def test_a_proposal_from_the_warm_up_does_not_take_the_first_versions_place(opened: Open, world: Any) -> None:
    loop = opened(weights=None, temperature=1.0, config={"training": {"first_version_events": 40, "target_steps": 5}})
    world.visits(loop, 30)
    proposed = loop.train(now=world.now).proposed
    assert (proposed.version, proposed.origin) == (1, "learned")
    world.visits(loop, 11)
    assert (loop.params.version, loop.params.origin, loop.proposed) == (2, "standardised", None)
    assert loop.version(2).origin == "standardised"
    assert loop.version(1).origin == "learned"


def test_a_first_version_that_can_not_be_written_is_not_served_for_long(opened: Open, world: Any) -> None:
    loop = opened(weights=None, config={"training": {"first_version_events": 2}})
    world.visit(loop)
    world.visit(loop)
    # somebody else made another version live meanwhile
    with loop._state.store.transaction() as tx:
        tx.add_params(dwell.Params(version=7, weights={"good": 1.0, "bad": 0.0, "noise": 0.0}))
        tx.set_live(7)
    world.visit(loop)
    loop.close_events(now=world.now)
    assert loop.params.version == 7
    assert world.visit(loop).params_version == 7


class TestRetries:
    def test_a_known_id_answers_what_was_recorded(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere, temperature=5.0)
        candidates = world.candidates()
        first = loop.rank("q", candidates, k=4, event_id="e", now=world.now)
        for _ in range(3):
            again = loop.rank("q", candidates, k=4, event_id="e", now=world.now + 5.0)
            assert same(first, again)
        assert len(impressions(loop)) == 1

    def test_also_after_a_promotion_and_after_a_restart(self, opened: Open, world: Any) -> None:
        loop = opened("a.dwell", temperature=5.0, max_results=2)
        candidates = world.candidates()
        first = loop.rank("q", candidates, k=4, event_id="e", now=world.now)
        loop.promote(dwell.Params(version=1, weights={"good": -9.0, "bad": 1.0, "noise": 3.0}), force=True)
        assert same(first, loop.rank("q", candidates, k=4, event_id="e", now=world.now))
        loop.close()
        again = opened("a.dwell", temperature=0.0)
        assert same(first, again.rank("q", candidates, k=4, event_id="e", now=world.now))

    @pytest.mark.parametrize("is_restarted", [False, True])
    def test_another_query_or_other_candidates_are_a_conflict(
        self,
        opened: Open,
        world: Any,
        is_restarted: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        loop = opened("a.dwell")
        candidates = world.candidates()
        first = loop.rank("q", candidates, k=4, event_id="e", now=world.now)
        if is_restarted:
            loop.close()
            loop = opened("a.dwell")
        for query, others in (("r", candidates), ("q", candidates[:-1]), ("q", candidates[::-1])):
            served = loop.rank(query, others, k=4, event_id="e", now=world.now)
            assert (served.fallback, served.ids) == ("conflict", [c["id"] for c in others[:4]])
            # what is credited to this list must not reach the other one
            assert served.event_id != "e"
            answer = loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now)
            assert str(answer.reason).startswith("quarantined: ")
        assert same(first, loop.rank("q", candidates, k=4, event_id="e", now=world.now))
        assert len(impressions(loop)) == 1

    def test_the_callers_own_copy_is_his_own(self, opened: Open, world: Any) -> None:
        loop = opened(temperature=5.0)
        candidates = world.candidates()
        first = loop.rank("q", candidates, k=4, event_id="e", now=world.now)
        expected = (list(first.ids), first.propensities.copy(), first.scores.copy())
        first.ids.clear()
        first.propensities[:] = 0.0
        first.scores[:] = 0.0
        again = loop.rank("q", candidates, k=4, event_id="e", now=world.now)
        assert again.ids == expected[0]
        assert again.propensities.tolist() == expected[1].tolist() == impressions(loop)[0].propensities.tolist()
        assert again.scores.tolist() == expected[2].tolist()

    def test_log_retrieval_knows_retries_and_conflicts(self, opened: Open, anywhere: str) -> None:
        loop = opened(anywhere)
        results = [{"id": "a"}, {"id": "b"}]
        assert loop.log_retrieval("q", results, event_id="e", now=1.0) == "e"
        assert loop.log_retrieval("q", results, event_id="e", now=2.0) == "e"
        with pytest.raises(dwell.RecordError) as error:
            loop.log_retrieval("q", results[::-1], event_id="e", now=3.0)
        assert error.value.code == "conflict"
        assert len(impressions(loop)) == 1


def same(left: dwell.Served, right: dwell.Served) -> bool:
    return (
        (left.event_id, left.ids, left.params_version, left.fallback)
        == (right.event_id, right.ids, right.params_version, right.fallback)
        and left.scores.tolist() == right.scores.tolist()
        and left.propensities.tolist() == right.propensities.tolist()
    )


def test_draws_can_not_be_predicted_without_the_secret_and_differ_by_seed(opened: Open, world: Any) -> None:
    candidates = world.candidates()

    def orders(**how: Any) -> list[list[str]]:
        loop = opened(temperature=5.0, **how)
        return [loop.rank("q", candidates, event_id=f"e{i}", now=1.0).ids for i in range(5)]

    assert orders(seed=1) != orders(seed=2)
    assert orders(pepper=b"one") != orders(pepper=b"two")


class TestModes:
    def test_log_only_serves_the_callers_order_bit_by_bit(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere, mode="log-only", temperature=2.0)
        for _ in range(30):
            candidates = world.candidates()
            served = loop.rank("q", candidates, k=8, user="u", now=world.now)
            assert served.ids == [c["id"] for c in candidates]
            assert served.propensities.tolist() == [1.0] * 8
        assert {(i.policy, i.is_deterministic) for i in impressions(loop)} == {("caller", True)}
        report = loop.train(now=world.now + world.window_s)
        assert report.decision.reasons[0].startswith("log_only")
        assert (report.n_steps, loop.proposed) == (0, None)

    def test_shadow_learns_and_judges_but_serves_the_callers_order(self, opened: Open, world: Any) -> None:
        loop = opened(mode="shadow", temperature=2.0)
        world.visits(loop, 120)
        first = loop.train(now=world.now)
        assert first.n_steps > 0
        assert loop.proposed is not None
        world.visits(loop, 250)
        report = loop.train(now=world.now)
        assert report.decision.difference.n == 250
        # the caller drew nothing: what it never showed has no support, and without support nothing is promoted
        assert report.decision.verdict in {"hold", "reject"}
        candidates = world.candidates()
        assert loop.rank("q", candidates, k=8, now=world.now).ids == [c["id"] for c in candidates]
        assert loop.params.version == 0

    def test_caller_ordered_events_alone_promote_nothing(self, opened: Open, world: Any) -> None:
        loop = opened(holdout=0.0)
        for i in range(150):
            # even where the logged order is the worst there is
            results = sorted(world.candidates(), key=lambda c: float(c["good"]))
            event = loop.log_retrieval("q", results, event_id=f"e{i}", user=f"u{i}", now=world.now)
            loop.feedback(event, "click", doc=results[-1]["id"], now=world.now)
        world.now += world.window_s
        loop.close_events(now=world.now)
        decision = loop.evaluate(dwell.Params(version=1, weights={"good": 1.0, "bad": 0.0, "noise": 0.0}))
        assert decision.verdict == "hold"
        assert any(reason.startswith("unsupported") for reason in decision.reasons)

    def test_canary_serves_the_proposal_to_a_stable_share_of_users(self, opened: Open, world: Any) -> None:
        loop = opened(mode="canary", canary_share=0.25, temperature=1.0)
        world.visits(loop, 60)
        proposed = loop.train(now=world.now).proposed
        users = [f"user-{i}" for i in range(400)]
        versions = [
            [loop.rank("q", world.candidates(), user=user, now=world.now).params_version for user in users]
            for _ in range(2)
        ]
        assert versions[0] == versions[1]
        n = versions[0].count(proposed.version)
        assert n + versions[0].count(0) == 400
        # 4 standard errors of a binomial share of 400 users, false alarm 6e-5
        assert abs(n / 400 - 0.25) < 4.0 * math.sqrt(0.25 * 0.75 / 400)
        assert loop.rank("q", world.candidates(), now=world.now).params_version == 0  # nobody known: live
        arms = {i.params_version: i.arm for i in impressions(loop)}
        assert arms == {0: "live", proposed.version: "canary"}


class TestDeferred:
    def test_an_event_that_was_never_shown_is_not_learned_from(self, opened: Open, world: Any, anywhere: str) -> None:
        loop = opened(anywhere)
        served = loop.rank("q", world.candidates(), event_id="e", activate=False, now=world.now)
        answer = loop.feedback("e", "click", doc=served.ids[0], now=world.now)
        assert (answer.status, str(answer.reason).split(":")[0]) == ("joined", "not_shown")
        assert loop.close_events(now=world.now + world.window_s) == 0
        assert next(loop.experiences()).state == "not_shown"

    def test_a_shorter_list_from_the_top_is_learned_from_as_shown(
        self, opened: Open, world: Any, anywhere: str
    ) -> None:
        loop = opened(anywhere, holdout=0.0)
        served = loop.rank("q", world.candidates(), k=5, event_id="e", activate=False, now=world.now)
        loop.activate("e", shown=served.ids[:2], now=world.now)
        assert loop.feedback("e", "click", doc=served.ids[2], now=world.now).status == "rejected"
        assert loop.feedback("e", "click", doc=served.ids[1], now=world.now).status == "joined"
        assert loop.close_events(now=world.now + world.window_s) == 1
        (row,) = loop._state.replayed.rows.in_close_order()
        assert (row.n_shown, row.n_kept) == (2, 2)
        # exposure is that of what was shown: two positions are looked at with 1 and 1/2
        np.testing.assert_allclose(row.exposure.sum(), 1.5, rtol=1e-6)

    @pytest.mark.parametrize("change", ["reversed", "pinned"])
    def test_another_order_or_a_pinned_item_is_kept_but_not_learned_from(
        self, opened: Open, world: Any, change: str
    ) -> None:
        loop = opened(holdout=0.0)
        served = loop.rank("q", world.candidates(), k=3, event_id="e", activate=False, now=world.now)
        shown = served.ids[::-1] if change == "reversed" else ["advert", *served.ids]
        loop.activate("e", shown=shown, now=world.now)
        assert loop.feedback("e", "click", doc=shown[0], now=world.now).status == "joined"
        assert loop.close_events(now=world.now + world.window_s) == 1
        assert next(loop.experiences()).document_rewards[shown[0]] > 0.0
        assert len(loop._state.replayed) == 0


def test_k_beyond_max_results_is_served_and_recorded_but_not_learned_from(opened: Open, world: Any) -> None:
    loop = opened(max_results=3, max_candidates=5, holdout=0.0)
    served = loop.rank("q", world.candidates(20), k=12, event_id="e", now=world.now)
    assert len(served.ids) == len(served.propensities) == 12
    assert loop.feedback("e", "click", doc=served.ids[11], now=world.now).status == "joined"
    loop.close_events(now=world.now + world.window_s)
    (row,) = loop._state.replayed.rows.in_close_order()
    assert (row.n_kept, row.n_shown, len(row.inclusion)) == (3, 12, 5)
    assert next(loop.experiences()).document_rewards[served.ids[11]] > 0.0
