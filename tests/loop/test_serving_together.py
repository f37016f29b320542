"""Several that serve one tenant on PostgreSQL: what one of them was told, all of them know."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

import dwell
from dwell.errors import RecordError, StorageError, StoreOwnedError
from dwell.loop.activity_rows import flush, flushed
from dwell.loop.entrance import open_loop
from dwell.storage import Answer

from ..postgres import database, emptied_database  # noqa: TID252 - tests are no installed package
from .conftest import PEPPER, QUICK, START, WINDOW_S, World

Serve = Callable[..., dwell.Loop]
PATIENCE_S = 10.0


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


@pytest.fixture
def serve(url: str) -> Iterator[Serve]:
    loops: list[dwell.Loop] = []

    def open_one(**how: Any) -> dwell.Loop:
        given = {"features": World.features, "weights": {"good": 0.1, "bad": 1.0, "noise": 0.5}, "config": QUICK}
        more = {"pepper": PEPPER, "attribution_window_s": WINDOW_S, "temperature": 1.0, "strict": True}
        loops.append(open_loop(how.pop("where", url), **{**given, **more, "_role": "server", **how}))
        return loops[-1]

    yield open_one
    for loop in loops:
        loop.close()


def written(*loops: dwell.Loop) -> None:
    """Wait until what these were told is on disk."""
    for loop in loops:
        assert loop._state.writer is not None
        loop._state.writer.flush()


def asked(query: str = "q", n: int = 6) -> tuple[str, list[dict[str, Any]]]:
    return query, [{"id": f"d{i}", "good": i / 6, "bad": 1.0 - i / 6, "noise": 0.5} for i in range(n)]


def test_an_owner_stands_beside_none_of_them(serve: Serve, url: str) -> None:
    serve(), serve()
    with pytest.raises(StoreOwnedError, match="is served by process"):
        serve(_role="owner")
    with pytest.raises(StoreOwnedError):
        dwell.open(url, pepper=PEPPER)
    serve(_role="learner")
    with pytest.raises(StoreOwnedError, match="learner already"):
        serve(_role="learner")


def test_many_that_begin_at_once_begin_one_store(serve: Serve) -> None:
    where = database()
    barrier = threading.Barrier(4)

    def begin(_: int) -> dwell.Loop:
        barrier.wait(PATIENCE_S)
        return serve(where=where)

    with ThreadPoolExecutor(4) as threads:
        loops = list(threads.map(begin, range(4)))
    assert {loop.params.version for loop in loops} == {0}
    assert len({loop._state.identity.secret for loop in loops}) == 1
    assert [decision.kind for decision in loops[0].history()] == ["initial"]


def test_a_retry_is_answered_by_what_another_one_recorded(serve: Serve) -> None:
    first, second = serve(), serve()
    served = first.rank(*asked(), event_id="e", now=START)
    written(first)
    again = second.rank(*asked(), event_id="e", now=START + 5.0)
    assert (again.ids, again.params_version) == (served.ids, served.params_version)
    np.testing.assert_array_equal(again.propensities, served.propensities)
    np.testing.assert_allclose(again.scores, served.scores, rtol=1e-6)  # logged as float32
    with pytest.raises(RecordError) as refusal:
        second.rank(*asked("another query"), event_id="e", now=START)
    assert refusal.value.code == "conflict"


def test_of_two_that_serve_one_id_at_once_the_first_is_recorded_and_known_to_both(serve: Serve, url: str) -> None:
    first, second = serve(), serve()
    with psycopg.connect(url) as other:  # nothing is committed until both have answered
        other.execute("SELECT 1 FROM dwell.tenants FOR UPDATE")
        first.rank(*asked("mine"), event_id="e", now=START)
        time.sleep(0.1)
        second.rank(*asked("no, mine"), event_id="e", now=START)
        other.rollback()
    written(first, second)
    (kept,) = second.experiences()
    mine, yours = (first, second) if kept.query == "mine" else (second, first)
    assert mine.rank(*asked(kept.query), event_id="e", now=START).ids == [r["id"] for r in kept.results_served]
    assert yours.rank(*asked(kept.query), event_id="e", now=START).ids == [r["id"] for r in kept.results_served]
    for loop in (mine, yours):
        with pytest.raises(RecordError):
            loop.rank(*asked("no, mine" if kept.query == "mine" else "mine"), event_id="e", now=START)


def test_feedback_finds_lists_of_another_one_in_any_order(serve: Serve) -> None:
    first, second = serve(), serve()
    assert second.feedback("e", "click", doc="d3", now=START).status == "orphan"
    first.rank(*asked(), event_id="e", k=6, now=START)
    written(first)
    assert second.feedback("e", "click", doc="d2", now=START + 1.0).status == "joined"
    assert second.feedback("e", "click", doc="nowhere", now=START + 1.0).status == "rejected"
    assert sorted(str(s.doc) for s in first.signals("e")) == ["d2", "d3"]


def test_a_key_has_one_answer_whoever_is_asked(serve: Serve) -> None:
    first, second = serve(), serve()
    first.rank(*asked(), event_id="e", k=6, now=START)
    written(first)
    item = {"event_id": "e", "signal": "click", "doc": "d1"}
    before = first.submit_feedback_many([item], request_key="k", now=START).result()
    assert second.submit_feedback_many([item], request_key="k", now=START).result() == before
    other = second.submit_feedback_many([{**item, "doc": "d2"}], request_key="k", now=START).result()
    assert (other[0].status, (other[0].reason or "").partition(":")[0]) == ("rejected", "idempotency_conflict")
    assert len(first.signals("e")) == 1
    answers = [Answer("/v1/x:k", b"d" * 16, body, START) for body in (b"one", b"two")]
    kept = [loop.keep_answer(a).result().body for loop, a in zip((first, second), answers, strict=True)]
    assert kept == [b"one", b"one"]


def activations(loop: dwell.Loop) -> bytes:
    assert loop.activation is not None
    return loop.activation.scores([f"d{i}" for i in range(8)], now=START + 5_000.0).tobytes()


def follow_all(*loops: dwell.Loop) -> None:
    for loop in loops:
        loop.refresh()
    written(*loops)
    for loop in loops:  # what follows a commit is done once the next one is
        written(loop)


def test_all_have_the_activation_that_one_alone_would_have(serve: Serve, opened: Any, world: World) -> None:
    first, second, third = (serve(learner="both") for _ in range(3))
    alone, twin = opened("a.dwell", learner="both", temperature=1.0), World()
    for i in range(60):
        world.visit((first, second)[i % 2], n_users=3)  # few users: their windows fill up, and lists no longer count
        written(first, second)
        twin.visit(alone, n_users=3)
    assert first.erase("user-1", now=world.now) == alone.erase("user-1", now=twin.now) == 20
    follow_all(first, second, third)
    written(alone)
    assert activations(first) == activations(second) == activations(third) == activations(alone)
    assert activations(first) != bytes(64)
    assert activations(serve(learner="both")) == activations(first), "another one that comes does not have them"


def test_one_of_them_writes_the_rows_and_who_is_far_behind_reads_them_anew(serve: Serve, world: World) -> None:
    first, second = serve(learner="both"), serve(learner="both")
    mine, yours = first._state.activity, second._state.activity
    assert mine is not None
    assert yours is not None
    mine.flushed_at = yours.flushed_at = np.inf  # rows are written when this test says so
    for _ in range(15):
        world.visit(first)
        written(first)
        assert first._state.write(lambda tx: flush(mine, tx), then=lambda done: flushed(mine, done)) >= 0
    with first.facts() as reader:
        n_entries = len(reader.trace_changes())
        assert 0 < n_entries < mine.applied - yours.applied, "nothing that the other one needs is gone"
    before = yours.activation
    follow_all(second)
    assert yours.activation is not before
    assert yours.applied == mine.applied
    assert activations(first) == activations(second)
    world.visit(first)
    written(first)
    follow_all(second)
    n_first = first._state.write(lambda tx: flush(mine, tx), then=lambda done: flushed(mine, done))
    n_second = second._state.write(lambda tx: flush(yours, tx), then=lambda done: flushed(yours, done))
    assert (n_first > 0, n_second) == (True, 0), "both write the same rows"
    world.visit(second)
    written(second)
    n_again = second._state.write(lambda tx: flush(yours, tx), then=lambda done: flushed(yours, done))
    assert n_again > 0, "where nobody else writes rows any more, nobody does"
    assert activations(serve(learner="both")) == activations(second)


def test_activation_is_changed_by_no_one_of_several(serve: Serve) -> None:
    loop = serve(learner="both")
    assert loop.activation is not None
    with pytest.raises(StorageError) as refusal:
        loop.activation.pin(["d1"])
    assert refusal.value.code == "not_owner"


def test_an_erased_user_is_known_to_none_of_them(serve: Serve) -> None:
    first, second = serve(), serve()
    first.rank(*asked(), event_id="e", user="u", now=START)
    written(first)
    second.rank(*asked(), event_id="e", user="u", now=START)
    assert second.erase("u", now=START) == 1
    first.refresh()
    assert first.recorded(["e"]) == {}
    assert "e" not in first._state.recent


def test_the_first_version_is_written_once_and_scores_as_it_stands_there(serve: Serve) -> None:
    quick = {**QUICK, "training": {**QUICK["training"], "first_version_events": 5}}
    first, second = (serve(weights=None, config=quick) for _ in range(2))
    rng = np.random.default_rng(5)
    lists: list[tuple[dwell.Served, dict[str, dict[str, float]]]] = []
    for i in range(60):
        for name, loop in (("a", first), ("b", second)):
            features = {f"d{j}": dict(zip(World.features, rng.random(3), strict=True)) for j in range(6)}
            found = [{"id": doc, **values} for doc, values in features.items()]
            lists.append((loop.rank("q", found, k=6, event_id=f"{name}{i}", now=START + i), features))
    written(first, second)
    follow_all(first, second)
    assert first.params.version == second.params.version == 1
    assert [d.proposed_version for d in first.history()] == [0, 1]
    params = second.version(1)
    n_scored = 0
    for served, features in lists:
        if served.params_version == 1:
            n_scored += 1
            rows = np.array([[features[doc][name] for name in params.feature_names] for doc in served.ids], np.float32)
            scores = params.score(rows).astype(np.float32)  # as they are logged, so that a retry has the same
            np.testing.assert_allclose(served.scores, scores, rtol=0, atol=1e-6)
    assert n_scored > 0


def test_a_learner_that_lost_its_session_learns_from_what_its_successor_left(
    serve: Serve, url: str, world: World
) -> None:
    """Closed, evicted and proposed meanwhile: in memory stands what a process that begins now would read."""
    serving, first = serve(), serve(capacity=60, _role="learner")
    world.visits(serving, 50)
    written(serving)
    assert first.close_events(now=world.now) == 50
    end_sessions(url, "learner")
    second = serve(capacity=60, _role="learner")
    world.visits(serving, 40)
    written(serving)
    with pytest.raises(StoreOwnedError, match="has its learner already"):
        first.close_events(now=world.now)
    assert second.train(now=world.now).n_closed == 40
    assert second.proposed is not None
    second.close()
    world.visits(serving, 10)
    written(serving)
    assert first.close_events(now=world.now) == 10
    found, proposed = in_memory(first), first.proposed
    assert proposed is not None
    first.close()
    anew = serve(capacity=60, _role="learner")
    assert anew.close_events(now=world.now) == 0
    assert in_memory(anew) == found
    assert len(found) == 60
    assert anew.proposed is not None
    assert anew.proposed.version == proposed.version


def end_sessions(url: str, role: str) -> None:
    """Have the database end every session of a role in it, and return once it has."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE %s",
            (f"dwell {role} %",),
        )


def in_memory(loop: dwell.Loop) -> dict[int, tuple[int, float]]:
    """Return version and priority of what is learned from, by seq."""
    columns = loop._state.replayed.rows.index("seq", "version", "priority")
    return {
        seq: (version, priority) for seq, version, priority in zip(*(columns[c].tolist() for c in columns), strict=True)
    }
