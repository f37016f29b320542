"""Gradients travel, experience does not: over shards a proposal is that of one machine."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.cluster import LocalShards
from dwell.cluster.learning import StepLists, check_learnable, propose_over, step_over
from dwell.cluster.lessons import document_caps, user_caps_over
from dwell.config import read_config
from dwell.errors import ConfigError, ReplayError
from dwell.learning.learner import Walk
from dwell.loop.caps import caps_of
from dwell.loop.train import Learning, plan_steps, propose
from dwell.ranking import named_generator

from ..loop.conftest import QUICK, World  # noqa: TID252 - tests are no installed package
from .worlds import opened, shards_of, visited


class Crowd(World):
    """One user of many, one document that is clicked most, and lists of different length."""

    def visit(self, loop: dwell.Loop, *, n_users: int = 60) -> dwell.Served:
        """Serve one list; the document that everybody is offered is clicked whenever it is shown."""
        candidates = self.candidates(4 + self.n % 9)
        candidates = [c | {"id": f"{c['id']}-{self.n}"} if c["id"] != "d0" else c for c in candidates]
        user = None if self.n % 10 == 9 else "user-0" if self.n % 3 == 0 else f"user-{self.n % n_users}"
        served = loop.rank(
            f"query {self.n % 11}", candidates, k=5, user=user, event_id=f"event-{self.n:05d}", now=self.now
        )
        for doc in sorted({*self.clicks(served.ids, candidates), *(["d0"] if "d0" in served.ids else [])}):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=self.now + 1.0)
        self.n += 1
        self.now += 1.0
        return served


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dwell.Loop]:
    loop = opened(tmp_path_factory.mktemp("learning") / "a.dwell", capacity=10_000)
    visited(loop, Crowd(), 300)
    yield loop
    loop.close()


@pytest.fixture(scope="module", params=[1, 3])
def shards(loop: dwell.Loop, request: pytest.FixtureRequest) -> Iterator[LocalShards]:
    with shards_of(loop, request.param) as found:
        yield found


def both(loop: dwell.Loop, shards: LocalShards, after: int, live: Any = None, **settings: Any) -> list[Learning]:
    """Return what one machine and what shards propose, from the same seed."""
    state = loop._state
    config = read_config({**QUICK, **settings, "learner": {**QUICK["learner"], **settings.get("learner", {})}}, {})
    unseen = state.replayed.trainable(after=after)
    how = {
        "plan": plan_steps(len(unseen), config, steps=8),
        "version": 1,
        "mode": "live",
        "theta": state.theta(),
        "config": config,
        "most_replayed": 10_000,
        "now": 1.8e9,
        "clock": lambda: 0.0,
    }
    live = state.live if live is None else live
    one = partial(propose, live, state.replayed, unseen=unseen, versions={})
    return [
        one(rng=named_generator(b"s", "train"), **how),
        propose_over(shards, live, after=after, rng=named_generator(b"s", "train"), **how),  # type: ignore[arg-type]
    ]


def assert_alike(one: Learning, many: Learning) -> None:
    np.testing.assert_allclose(many.params.vector, one.params.vector, rtol=0.0, atol=1e-9)
    assert many.params.transform is not None
    assert one.params.transform is not None
    for name in ("knots", "levels"):
        left, right = getattr(many.params.transform, name), getattr(one.params.transform, name)
        assert all((a == b).all() for a, b in zip(left, right, strict=True))
    np.testing.assert_allclose(many.predictor.beta, one.predictor.beta, rtol=0.0, atol=1e-9)
    # along the start the slope is 0 but for rounding, which the first step of Adam divides by 1e-8: the length of the
    # weights, and so that of the slope, is less exact than their direction
    for curve, rtol in (("objective", 1e-9), ("gradient_norm", 1e-7), ("withdrawn", 1e-9)):
        np.testing.assert_allclose(many.learned.curves[curve], one.learned.curves[curve], rtol=rtol, atol=1e-9)
    assert many.priorities.keys() == one.priorities.keys()
    np.testing.assert_allclose(
        [many.priorities[seq] for seq in one.priorities], list(one.priorities.values()), atol=1e-9
    )
    assert many.version_counts == one.version_counts
    assert (many.n_replayed, many.ended_by) == (one.n_replayed, one.ended_by)
    assert many.learned.n_steps == one.learned.n_steps > 0


@pytest.mark.parametrize(
    ("after", "settings"),
    [
        (0, {}),
        (200, {"replay": {"strategy": "priority", "beta": 0.5}}),
        (250, {"replay": {"strategy": "uniform"}, "learner": {"objective": "lambda_loss"}}),
        (100, {"learner": {"objective": "pairwise", "relevance": "ips"}}),
    ],
)
def test_a_proposal_over_shards_is_that_of_one_machine(
    loop: dwell.Loop, shards: LocalShards, after: int, settings: dict[str, Any]
) -> None:
    one, many = both(loop, shards, after, **settings)
    assert np.abs(one.params.vector - one.params.vector.round(2)).max() > 0.0  # it has moved
    assert_alike(one, many)


def test_a_successor_is_learned_in_the_same_space(loop: dwell.Loop, shards: LocalShards) -> None:
    first, _ = both(loop, shards, 0)
    one, many = both(loop, shards, 150, live=first.params)
    assert_alike(one, many)
    assert many.params.parent == first.params.version


def test_caps_over_shards_are_those_of_one_machine(loop: dwell.Loop, shards: LocalShards) -> None:
    rows = loop._state.replayed.trainable()
    expected = caps_of(rows)
    users = user_caps_over(list(shards.ask_all("user_totals").values()))
    documents = document_caps(list(shards.ask_all("credits", users).values()))
    found = {}
    for shard in shards.shards.values():
        index = shard.index()
        found |= dict(zip(index.seqs.tolist(), users.counts(index).tolist(), strict=True))
    assert min(expected.events.values()) < 1.0
    assert found == pytest.approx(dict(expected.events), rel=1e-12)
    assert documents
    for row in rows:
        own = [
            documents.get(doc, 1.0) if r > 0.0 else 1.0
            for doc, r in zip(row.doc_hashes.tolist(), row.rewards, strict=True)
        ]
        assert own == pytest.approx(expected.praise[row.seq].tolist(), rel=1e-12)


def test_a_list_that_has_left_adds_nothing_and_a_shard_that_was_rebuilt_says_so(
    loop: dwell.Loop, shards: LocalShards
) -> None:
    both(loop, shards, 0)  # prepares them
    settings = read_config(QUICK, {}).learner
    shard = shards.shards[shards.names[0]]
    seqs = shard.index().seqs[:5]

    def step(seqs: Any) -> Walk:
        n = len(seqs)
        lists = StepLists(seqs, np.zeros(n, dtype=np.int64), np.ones(n), 12)
        walk = Walk.begun(np.array([1.0, 0.0, 0.0, 0.0]))
        return step_over(shards, walk, lists, settings, named_generator(b"", "step"))

    here, gone = step(seqs), step(np.append(seqs, 10**9))
    # the noise of each list is its own: one list more changes that of the others only by where it stands
    assert (here.w != 0.0).any()
    assert np.isfinite(gone.w).all()
    before = Walk.begun(np.array([1.0, 0.0, 0.0, 0.0]))
    nobody = step(np.array([10**9]))
    assert (nobody.w == before.w).all()
    assert nobody.adam.n_steps == 0
    shard.prepare(None)  # type: ignore[arg-type]  # as after a rebuild
    with pytest.raises(ReplayError) as refusal:
        step(seqs)
    assert refusal.value.code == "unprepared"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"learner": {"objective": "pdgd"}}, "learner.objective"),
        ({"learner": {"relevance": "self_normalised"}}, "learner.relevance"),
        ({"learner": {"trust_bias": True}}, "learner.trust_bias"),
        ({"learner": {"negative_weight": 2.0}}, "learner.negative_weight"),
        ({"learner": {"segment_weights": True}}, "learner.segment_weights"),
        ({"learner": {"query_rank": 1}}, "learner.query_rank"),
        ({"replay": {"strategy": "rank"}}, "replay.strategy"),
        ({"replay": {"segment_quotas": "equal"}}, "replay.segment_quotas"),
        ({"training": {"recalibrate": True}}, "training.recalibrate"),
    ],
)
def test_what_is_no_sum_is_refused_by_name(settings: dict[str, Any], field: str) -> None:
    live = dwell.Params(version=0, weights={"good": 1.0})
    with pytest.raises((ConfigError, ReplayError)) as refusal:
        check_learnable(read_config(settings, {}), live)
    assert refusal.value.field == field
    check_learnable(read_config({}, {}), live)
    with pytest.raises(ConfigError) as refusal:
        check_learnable(read_config({}, {}), live, "activation")
    assert refusal.value.field == "learner"
