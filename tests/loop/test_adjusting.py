"""Weights by segment and by query in the loop: learned, judged, served, stored, taken back; off unless asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import ConfigError, RecordError
from dwell.loop.adjusting import _learnable
from dwell.ranking import conditional_propensities, policy_scores
from dwell.records import Adjustment, LowRank, Params
from dwell.records.arrays import FloatArray

Open = Callable[..., dwell.Loop]

FEATURES = ("x", "y", "noise")
START = {"x": 0.2, "y": 0.1, "noise": 1.0}
WEST, EAST = np.array([1.0, 0.0, 0.5]), np.array([-1.0, 0.0, 0.5])  # embeddings of two kinds of queries
QUICK: dict[str, Any] = {"min_events": 50, "min_users": 5}


class Divided:
    """Queries of two kinds: one wants much x, the other little; on average nobody wants anything."""

    def __init__(self, *, names_segments: bool = True, extra: dict[str, Any] | None = None) -> None:
        self.rng = np.random.default_rng(7)
        self.names_segments, self.extra = names_segments, extra
        self.n, self.now = 0, 1_700_000_000.0

    @staticmethod
    def wanted(x: FloatArray, kind: str) -> FloatArray:
        """Return the chance of a click where a document is looked at."""
        share = x if kind == "west" else 1.0 - x
        return np.maximum(share**3, 0.02)

    def asks(self, kind: str) -> dict[str, Any]:
        """Return what tells the kind of a query, or what every query says."""
        if self.extra is not None:
            return self.extra
        return {"segment": kind} if self.names_segments else {"query_embedding": WEST if kind == "west" else EAST}

    def visits(self, loop: dwell.Loop, n: int) -> None:
        """Serve many lists, click, and let the windows pass."""
        for _ in range(n):
            kind = ("west", "east")[self.n % 2]
            x = self.rng.random((6, 3))
            served = loop.rank(
                f"query {self.n % 31}",
                ids=[f"d{j}" for j in range(6)],
                features=x,
                k=4,
                user=f"user {self.n % 60}",
                event_id=f"event-{self.n}",
                now=self.now,
                **self.asks(kind),
            )
            for place, doc in enumerate(served.ids):
                if self.rng.random() < self.wanted(x[int(doc[1:]), 0], kind) / (place + 1):
                    loop.submit_feedback(served.event_id, "click", doc=doc, now=self.now + 1.0)
            self.n, self.now = self.n + 1, self.now + 1.0
        self.now += 101.0

    def expected_clicks(self, params: Params, n: int = 400) -> float:
        """Return clicks per list under the greedy order, exact given the lists: users are position-based."""
        rng = np.random.default_rng(99)
        total = 0.0
        for i in range(n):
            kind = ("west", "east")[i % 2]
            x = rng.random((6, 3)).astype(np.float32)
            order = np.argsort(-params.score(x, **self.asks(kind)), kind="stable")[:4]
            total += float((self.wanted(x[order, 0].astype(np.float64), kind) / np.arange(1.0, 5.0)).sum())
        return total / n


@pytest.fixture
def divided(opened: Open) -> Callable[..., dwell.Loop]:
    """Open loops of that world."""

    def open_loop(where: str = ":memory:", *, learner: dict[str, Any] | None = None, **how: Any) -> dwell.Loop:
        config = {
            "gate": QUICK,
            "training": {"target_steps": 100, "min_batch": 8, "max_seconds": 60.0},
            "learner": {"step_size": 0.05, **(learner or {})},
        }
        settings = {"features": FEATURES, "weights": START, "temperature": 1.0, "holdout": 0.2, "config": config}
        return opened(where, **{**settings, **how})

    return open_loop


def until_promoted(loop: dwell.Loop, world: Divided, rounds: int = 8) -> list[dwell.TrainReport]:
    world.visits(loop, 600)
    reports = [loop.train(now=world.now)]
    for _ in range(rounds):
        world.visits(loop, 120)
        reports.append(loop.train(now=world.now))
        if reports[-1].decision.verdict == "promote":
            return reports
    pytest.fail(f"nothing was promoted: {reports[-1].decision.reasons}")


def bits(params: Params) -> object:
    low = params.by_query
    factors = None if low is None else (low.u.tobytes(), low.v.tobytes())
    return params.version, dict(params.weights), params.raw_score, dict(params.by_segment), factors


def test_two_segments_with_opposite_tastes_get_opposite_orders(divided: Open) -> None:
    world = Divided()
    loop = divided("a.dwell", learner={"segment_weights": True})
    before = loop.params
    reports = until_promoted(loop, world)
    live = loop.params
    assert set(live.by_segment) == {"west", "east"}
    assert bits(live) == bits(reports[0].proposed)  # what was judged is what went live
    assert live.weights_for(segment="west")["x"] > 0.1 > -0.1 > live.weights_for(segment="east")["x"]
    assert world.expected_clicks(live) > world.expected_clicks(before) + 0.02
    x = np.float32([[0.0, 0.5, 0.5], [0.5, 0.5, 0.5], [1.0, 0.5, 0.5]])
    orders = {s: np.argsort(-live.score(x, segment=s)).tolist() for s in ("west", "east")}
    assert orders == {"west": [2, 1, 0], "east": [0, 1, 2]}
    # the same events teach one vector for all nothing that comes near
    one, twin = divided(learner={"segment_weights": False}), Divided()
    twin.visits(one, 600)
    one.train(now=twin.now)
    for params in (one.params, one.proposed):
        assert params is not None
        assert not params.is_adjusted
        assert world.expected_clicks(live) > world.expected_clicks(params) + 0.02
    # every segment's weights are within the bounds of what it had before
    settings = loop._state.config.learner
    own = np.array([*live.weights_for(segment="east").values(), live.raw_score.coefficient])  # type: ignore[union-attr]
    own[-1] += live.by_segment["east"].coefficient
    assert np.linalg.norm(own) == pytest.approx(1.0, abs=1e-9)
    assert np.linalg.norm(own - [0.0, 0.0, 0.0, 1.0]) <= settings.max_step_norm + 1e-9
    # kept, and taken back, bit for bit; an event tells by which weights it was scored
    loop.close()
    again = divided("a.dwell", learner={"segment_weights": True}, weights=None)
    assert bits(again.params) == bits(live)
    world.visits(again, 2)
    again.close_events(now=world.now)
    last = list(again.experiences())[-1]
    assert last.ranking_params == dict(live.weights_for(segment=last.segment))
    assert bits(again.rollback()) == bits(before)
    assert bits(again.rollback(to=live.version)) == bits(live)


def test_kinds_of_queries_without_a_name_are_told_by_their_embeddings(divided: Open) -> None:
    world = Divided(names_segments=False)
    loop = divided("a.dwell", learner={"query_rank": 1}, embedding_dim=3)
    before = loop.params
    until_promoted(loop, world)
    live = loop.params
    assert live.by_query is not None
    assert live.by_query.rank == 1
    assert world.expected_clicks(live) > world.expected_clicks(before) + 0.02
    west, east = (live.weights_for(query_embedding=e)["x"] for e in (WEST, EAST))
    assert west > 0.1 > -0.1 > east
    assert live.weights_for(query_embedding=None) == dict(live.weights)
    loop.close()
    again = divided("a.dwell", weights=None)  # learned no further, served all the same
    assert bits(again.params) == bits(live)
    again.train(now=world.now)
    assert again.proposed is not None
    assert again.proposed.by_query is not None


def by_hand(version: int = 7, **additions: Any) -> Params:
    return Params(version, START, temperature=1.0, **additions)


@pytest.mark.parametrize("anywhere", [":memory:", "a.dwell"])
def test_the_propensities_of_adjusted_params_can_be_derived_again(divided: Open, anywhere: str) -> None:
    additions = {
        "by_segment": {"west": Adjustment({"x": 3.0, "noise": -1.0}), "east": Adjustment({"x": -3.0})},
        "by_query": LowRank(np.array([[2.0], [-1.0], [0.5]]), np.array([[1.0], [0.5], [-1.0]])),
    }
    loop = divided(anywhere, embedding_dim=3)
    live = loop.promote(by_hand(**additions), force=True)
    rng = np.random.default_rng(0)
    orders = set()
    for i in range(60):
        segment, e = ("west", "east", None)[i % 3], (rng.normal(size=3) if i % 2 else None)
        x = rng.random((6, 3))
        ids = [f"d{j}" for j in range(6)]
        served = loop.rank("q", ids=ids, features=x, k=4, segment=segment, query_embedding=e, now=1e9 + i)
        assert served.fallback is None
        weights = np.array([*START.values()])
        if segment is not None:
            weights = weights + [additions["by_segment"][segment].weights.get(name, 0.0) for name in FEATURES]  # type: ignore[index]
        if e is not None:  # as the store keeps it
            e = e.astype(np.float32).astype(np.float64)
            low: Any = additions["by_query"]
            weights = weights + low.u @ (low.v.T @ (e / np.linalg.norm(e)))
        scores = (x.astype(np.float32).astype(np.float64) @ weights).astype(np.float32).astype(np.float64)
        shown = [int(doc[1:]) for doc in served.ids]
        order = np.array([*shown, *(j for j in range(6) if j not in shown)])
        due = conditional_propensities(policy_scores(scores, 1.0), order, 4)
        np.testing.assert_allclose(served.propensities, due, rtol=1e-12, atol=0.0)
        orders.add((segment, served.params_version))
    assert orders == {(segment, live.version) for segment in ("west", "east", None)}


def test_the_gate_judges_each_event_by_its_own_segment(divided: Open) -> None:
    world = Divided()
    loop = divided(holdout=0.0)
    world.visits(loop, 400)
    loop.close_events(now=world.now)
    turned = {"west": Adjustment({"x": 2.0}), "east": Adjustment({"x": -2.0})}
    good = loop.evaluate(by_hand(by_segment=turned))
    bad = loop.evaluate(by_hand(by_segment={"west": turned["east"], "east": turned["west"]}))
    nobody = loop.evaluate(by_hand(by_segment={"north": turned["west"]}))
    assert (good.verdict, bad.verdict) == ("promote", "reject")
    assert good.difference.value > 0.02
    assert bad.difference.value < -0.02
    assert nobody.difference.value == 0.0  # no event is of that segment: it is the live params to the bit


def test_while_it_is_off_segments_and_embeddings_play_no_part(divided: Open) -> None:
    found = []
    for extra in ({}, {"segment": "west"}, {"segment": "west", "query_embedding": WEST}):
        loop, world = divided(), Divided(extra=extra)
        world.visits(loop, 150)
        proposed = loop.train(now=world.now).proposed
        assert not proposed.is_adjusted
        found.append((dict(proposed.weights), proposed.raw_score, proposed.parent))
    assert found[0] == found[1] == found[2]


def test_segments_with_too_few_events_or_users_get_no_weights_of_their_own(divided: Open) -> None:
    loop, world = divided(learner={"segment_weights": True}, holdout=0.0), Divided()
    world.visits(loop, 78)  # 39 of each
    assert not loop.train(now=world.now).proposed.is_adjusted
    rows = loop._state.replayed.trainable()
    assert _learnable(rows) == {}
    more = [replace(row, segment="west", user_hash=i % 5) for i, row in enumerate(rows)]
    assert _learnable(more) == {"west": 78.0}
    assert _learnable([replace(row, user_hash=(row.user_hash or 0) % 4) for row in more]) == {}
    assert _learnable([replace(row, user_hash=None) for row in more]) == {"west": 78.0}  # nobody is named
    assert _learnable([replace(row, segment=None) for row in more]) == {}


def test_too_large_an_addition_is_refused(divided: Open) -> None:
    loop = divided(embedding_dim=3)
    for additions, field in (
        ({"by_segment": {"west": Adjustment({"x": 1e6})}}, "params.by_segment['west'].weights.x"),
        ({"by_segment": {"west": Adjustment({"x": -0.2, "y": -0.1, "noise": -1.0})}}, "params.by_segment['west']"),
        ({"by_query": LowRank(np.full((3, 1), 1e4), np.full((3, 1), 1e4))}, "params.weights.noise"),
        ({"by_query": LowRank(np.ones((3, 1)), np.ones((5, 1)))}, "params.by_query.v"),
    ):
        with pytest.raises(RecordError) as caught:
            loop.promote(by_hand(**additions), force=True)
        assert (caught.value.field, caught.value.code) in {(field, "params_bounds"), (field, "embedding_dim")}
    assert loop.params.version == 0


def test_weights_by_query_need_the_embeddings(divided: Open) -> None:
    loop = divided(
        config={"replay": {"embeddings": "none"}, "learner": {"query_rank": 1}, "training": {"max_seconds": 60.0}}
    )
    world = Divided(names_segments=False)
    world.visits(loop, 20)
    with pytest.raises(ConfigError, match="embeddings"):
        loop.train(now=world.now)


def test_the_same_weights_with_an_addition_may_not_be_judged_by_what_they_learned_from(divided: Open) -> None:
    world = Divided()
    loop = divided(learner={"segment_weights": True}, holdout=0.0)
    world.visits(loop, 600)
    learned = loop.train(now=world.now).proposed
    assert set(learned.by_segment) == {"west", "east"}
    # whatever is hidden in the additions is found there: global weights far away, those of a segment as learned
    shift = {s: {n: learned.weights_for(segment=s)[n] - 1.0 for n in FEATURES} for s in ("west", "east")}
    hidden = replace(
        learned,
        version=50,
        weights=dict.fromkeys(FEATURES, 1.0),
        by_segment={s: Adjustment(shift[s], learned.by_segment[s].coefficient) for s in shift},
    )
    for params in (learned, hidden):
        assert loop.evaluate(params).difference.n == 0
