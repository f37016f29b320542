"""Memory and SQLite: the same order, batches, params and decisions for the same calls. So does a store opened again."""

from collections.abc import Callable
from typing import Any

import numpy as np

import dwell

Open = Callable[..., dwell.Loop]


def params_bits(params: dwell.Params) -> object:
    transform = params.transform
    return (
        params.version,
        dict(params.weights),
        params.raw_score,
        params.origin,
        params.parent,
        None
        if transform is None
        else [(k.tobytes(), v.tobytes()) for k, v in zip(transform.knots, transform.levels, strict=True)],
    )


def decision_bits(decision: dwell.GateDecision) -> object:
    # a first version is written when a store is opened, at the wall clock of that call
    at = None if decision.kind == "initial" and decision.proposed_version == 0 else decision.decided_at
    return (
        decision.verdict,
        decision.reasons,
        decision.kind,
        decision.difference,
        decision.estimates,
        dict(decision.diagnostics),
        decision.proposed_version,
        decision.safe_version,
        decision.alpha,
        at,
    )


def batches(loop: dwell.Loop, now: float) -> list[object]:
    found: list[object] = []
    for strategy in ("uniform", "priority", "rank", "recency", "stratified"):
        batch = loop._state.replayed.buffer.sample(
            32, strategy=strategy, now=now, rng=np.random.default_rng(5), columns=["features", "rewards", "exposure"]
        )
        columns = {name: array.tobytes() for name, array in batch.columns.items()}
        found.append((strategy, batch.seqs.tolist(), batch.sampling_weights.tolist(), columns))
    return found


def life(loop: dwell.Loop, world: Any) -> list[object]:
    """Return everything that can be seen of a loop that serves, learns, is promoted and rolled back."""
    seen: list[object] = []
    for round_ in range(4):
        for _ in range(60):
            served = world.visit(loop)
            seen.append((served.ids, served.scores.tobytes(), served.propensities.tobytes(), served.params_version))
        bad = loop.rank("q", [{"id": "a"}], event_id=f"bad-{round_}", user="user-1", now=world.now)
        seen.append((bad.fallback, loop.feedback("later", "click", doc="d1", now=world.now).status))
        world.now += world.window_s
        # a reaction to the first event of the round, which has been closed since
        loop.close_events(now=world.now)
        late = next(e for e in loop.experiences() if e.event_id == f"event-{60 * round_:05d}")
        doc = late.results_served[0]["id"]
        seen.append(loop.feedback(late.event_id, "purchase", doc=doc, now=world.now + 3.0))
        report = loop.train(now=world.now)
        seen.append((decision_bits(report.decision), params_bits(report.proposed), report.curves, report.n_closed))
        seen.append(batches(loop, world.now))
        if round_ == 1:
            loop.promote(report.proposed, force=True, now=world.now)
            seen.append(loop.erase("user-3", now=world.now))
        if round_ == 2:
            seen.append(params_bits(loop.rollback(now=world.now)))
    seen += [decision_bits(decision) for decision in loop.history()]
    for e in loop.experiences():
        seen.append((e.event_id, e.timestamp, e.reward, e.priority, e.state, e.version, e.user, e.document_rewards))
    figures = loop.health(now=world.now).figures
    seen.append({name: value for name, value in figures.items() if not name.endswith("_bytes")})
    return seen


def test_memory_and_sqlite_answer_alike(opened: Open, new_world: Any) -> None:
    how: dict[str, Any] = {"temperature": 1.0, "capacity": 150}
    in_memory = life(opened(**how), new_world())
    on_disk = life(opened("a.dwell", **how), new_world())
    assert len(in_memory) == len(on_disk)
    for left, right in zip(in_memory, on_disk, strict=True):
        assert left == right


def test_the_first_version_is_the_same_everywhere(opened: Open, new_world: Any) -> None:
    def first(where: str) -> object:
        loop, world = opened(where, weights=None, config={"training": {"first_version_events": 30}}), new_world()
        served = [world.visit(loop).ids for _ in range(40)]
        return served, params_bits(loop.params), [decision_bits(d) for d in loop.history()]

    assert first(":memory:") == first("a.dwell")


def test_an_opened_again_store_goes_on_as_if_it_had_never_been_closed(opened: Open, new_world: Any) -> None:
    def lives(where: str, *, is_interrupted: bool) -> list[object]:
        loop, world = opened(where, temperature=1.0), new_world()
        seen: list[object] = []
        for _ in range(5):
            world.visits(loop, 60)
            report = loop.train(now=world.now)
            seen.append((decision_bits(report.decision), params_bits(report.proposed), report.ended_by))
            seen.append(batches(loop, world.now))
            if is_interrupted:
                loop.close()
                loop = opened(where, temperature=1.0)
                standing = loop.proposed
                seen[-2] = (*seen[-2], params_bits(standing)) if standing is not None else seen[-2]  # type: ignore[misc]
        return seen

    whole, parts = lives("a.dwell", is_interrupted=False), lives("b.dwell", is_interrupted=True)
    for left, right in zip(whole, parts, strict=True):
        if isinstance(right, tuple) and len(right) == 4:
            # the proposal that stands after the restart is the one that stood before
            assert right[3] == right[1]
            assert left == right[:3]
        else:
            assert left == right
