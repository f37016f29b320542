"""Threads: rank, feedback and health from any of them, one queue, one writer, and who is told what."""

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.errors import ForkedError, StoreOwnedError
from dwell.storage import open_store
from dwell.storage.writer import QueueFull

Open = Callable[..., dwell.Loop]


@contextlib.contextmanager
def blocked_writer(loop: dwell.Loop) -> Iterator[None]:
    """Keep the writer inside one long transaction."""
    begun, may_end = threading.Event(), threading.Event()
    writer = loop._state.writer
    assert writer is not None
    job = writer.submit(lambda _: (begun.set(), may_end.wait(30.0)))
    assert begun.wait(10.0)
    try:
        yield
    finally:
        may_end.set()
        job.result(30.0)


def fill_queue(loop: dwell.Loop) -> None:
    writer = loop._state.writer
    assert writer is not None
    with contextlib.suppress(QueueFull):
        while True:
            writer.submit(lambda _: None)


def test_with_a_full_queue_rank_still_serves_drops_the_whole_event_and_counts_it(
    opened: Open, world: Any, anywhere: str
) -> None:
    loop = opened(anywhere)
    kept = loop.rank("q", world.candidates(), now=world.now)
    with blocked_writer(loop):
        fill_queue(loop)
        served = loop.rank("q", world.candidates(), k=3, now=world.now)
    assert (len(served.ids), served.fallback) == (3, None)
    assert loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now).status == "orphan"
    report = loop.health(now=world.now)
    assert report.figures["dropped_impressions"] == 1
    assert [e.event_id for e in loop.experiences()] == [kept.event_id]
    assert (report.status, report.alerts[0].code) == ("critical", "dropped")


def test_with_a_full_queue_feedback_answers_overloaded(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    served = loop.rank("q", world.candidates(), now=world.now)
    with blocked_writer(loop):
        fill_queue(loop)
        answer = loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now)
        many = loop.feedback_many([{"event_id": served.event_id, "signal": "click", "doc": served.ids[0]}] * 2)
    assert (answer.status, str(answer.reason).split(":")[0]) == ("rejected", "overloaded")
    assert [str(a.reason).split(":")[0] for a in many] == ["overloaded"] * 2
    assert loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now).status == "joined"


def test_an_impression_precedes_its_signals(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    with blocked_writer(loop):
        served = [loop.rank("q", world.candidates(), now=world.now) for _ in range(20)]
        futures = [loop.submit_feedback(s.event_id, "click", doc=s.ids[0], now=world.now) for s in served]
    assert [f.result(10.0).status for f in futures] == ["joined"] * 20


def test_feedback_waits_for_its_commit(opened: Open, world: Any, tmp_path: Path) -> None:
    loop = opened("a.dwell")
    served = loop.rank("q", world.candidates(), now=world.now)
    found: list[dwell.Feedback] = []
    asks = threading.Thread(
        target=lambda: found.append(loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now))
    )
    with blocked_writer(loop):
        asks.start()
        asks.join(0.1)
        assert not found
    asks.join(10.0)
    # what another connection reads is committed
    reader = open_store(str(tmp_path / "a.dwell"), role="reader")
    with reader.snapshot() as snapshot:
        n_signals = snapshot.counts()["signals"]
    reader.close()
    assert (found[0].status, n_signals) == ("joined", 1)


def test_submit_feedback_does_not_wait(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    served = loop.rank("q", world.candidates(), now=world.now)
    with blocked_writer(loop):
        future = loop.submit_feedback(served.event_id, "click", doc=served.ids[0], now=world.now)
        assert not future.done()
        assert not future.cancel()  # a signal that is on its way can not be called back
    assert future.result(10.0).status == "joined"


def test_feedback_many_is_one_commit_and_answers_in_order(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    served = loop.rank("q", world.candidates(), k=3, now=world.now)
    loop.health()
    items: list[dict[str, Any]] = [
        {"event_id": served.event_id, "signal": "click", "doc": served.ids[0]},
        {"event_id": served.event_id, "signal": "no such signal"},
        {"event_id": served.event_id, "signal": "click", "doc": "not served"},
        {"event_id": "unknown", "signal": "click", "doc": "d"},
        {"event_id": served.event_id, "signal": "click", "doc": served.ids[0]},
        {"event_id": served.event_id},
    ]
    answers: list[dwell.Feedback] = []
    asks = threading.Thread(target=lambda: answers.extend(loop.feedback_many(items, now=world.now)))
    writer = loop._state.writer
    assert writer is not None
    with blocked_writer(loop):
        asks.start()
        deadline = time.monotonic() + 10.0
        while not writer.n_queued and time.monotonic() < deadline:
            time.sleep(0.001)
        assert writer.n_queued == 1  # one job, and a job is never spread over commits
    asks.join(10.0)
    assert [(a.status, str(a.reason).split(":")[0]) for a in answers] == [
        ("joined", "None"),
        ("rejected", "unknown_signal"),
        ("rejected", "not_served"),
        ("orphan", "unknown_event"),
        ("duplicate", "None"),
        ("rejected", "type"),
    ]


def test_feedback_never_raises_on_the_time_it_is_given(opened: Open) -> None:
    loop = opened()
    wrong: Any = float("nan")
    assert loop.feedback("e", "click", doc="d", now=wrong).status == "rejected"
    assert loop.feedback_many([{"event_id": "e", "signal": "click"}], now=wrong)[0].status == "rejected"


def test_rank_feedback_and_health_are_safe_from_any_thread(opened: Open, new_world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    n_threads, n_each = 6, 40
    failures: list[BaseException] = []

    def visits(i: int) -> None:
        world = new_world(i)
        try:
            for j in range(n_each):
                served = loop.rank("q", world.candidates(), event_id=f"t{i}-{j}", user=f"u{i}", now=world.now)
                answer = loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now)
                assert answer.status == "joined"
                if j % 20 == 0:
                    loop.health()
        except BaseException as error:  # noqa: BLE001 - told in the main thread
            failures.append(error)

    threads = [threading.Thread(target=visits, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        loop.train(now=new_world().now)
    for thread in threads:
        thread.join(60.0)
    assert not failures
    found = list(loop.experiences())
    assert sorted(e.event_id for e in found) == sorted(f"t{i}-{j}" for i in range(n_threads) for j in range(n_each))
    assert all(e.feedback_signals == {"click": 1.0} for e in found)


def test_params_are_swapped_by_one_reference(opened: Open, world: Any) -> None:
    loop = opened(temperature=0.0)
    good = dwell.Params(version=9, weights={"good": 1.0, "bad": 0.0, "noise": 0.0})
    stop = threading.Event()
    torn: list[dwell.Served] = []
    candidates = world.candidates()
    by_good = [c["id"] for c in sorted(candidates, key=lambda c: -float(c["good"]))]
    loop.promote(dwell.Params(version=9, weights={"good": -1.0, "bad": 0.0, "noise": 0.0}), force=True)
    loop.promote(good, force=True)
    loop.rollback(to=1)
    versions = {1: False, 2: True}  # version -> serves by `good`
    stop_at = time.monotonic() + 0.3
    seen: set[int] = set()

    def compares() -> None:
        while not stop.is_set():
            served = loop.rank("q", candidates, k=8, now=world.now)
            seen.add(served.params_version)
            if (served.ids == by_good) != versions[served.params_version]:
                torn.append(served)

    thread = threading.Thread(target=compares)
    thread.start()
    while time.monotonic() < stop_at or len(seen) < len(versions):
        loop.rollback(to=2)
        loop.rollback(to=1)
        assert time.monotonic() < stop_at + 10.0
    stop.set()
    thread.join(10.0)
    assert not torn


def test_train_holds_no_lock_that_rank_takes(opened: Open, world: Any) -> None:
    loop = opened()
    with loop._state.training:  # as close, train, promote and erase do
        answers: list[str] = []

        def calls() -> None:
            served = loop.rank("q", world.candidates(), now=world.now)
            answers.append(loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now).status)
            answers.append(loop.health(now=world.now).status)

        loop._state.is_rebuilt = True
        thread = threading.Thread(target=calls)
        thread.start()
        thread.join(10.0)
        assert answers == ["joined", "healthy"]


def test_the_first_version_waits_for_no_training(opened: Open, world: Any) -> None:
    loop = opened(weights=None, config={"training": {"first_version_events": 3}})
    for _ in range(3):
        world.visit(loop)
    versions: list[int] = []
    with loop._state.training:
        thread = threading.Thread(target=lambda: versions.append(world.visit(loop).params_version))
        thread.start()
        thread.join(10.0)
        assert versions == [0]
    assert world.visit(loop).params_version == 1


def in_child(action: Callable[[], str]) -> str:
    """Return what an action says in a forked child."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tested here
        pid = os.fork()
    if pid == 0:
        try:
            said = action()
        except BaseException as error:  # noqa: BLE001 - a child of a test must not go on as a test
            said = type(error).__name__
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_use_after_fork_raises_by_name(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    served = world.visit(loop)
    for call in (loop.close_events, loop.train, lambda: list(loop.experiences()), loop.health, loop.history):
        assert in_child(lambda call=call: str(call())) == ForkedError.__name__  # type: ignore[misc]
    assert in_child(lambda: str(loop.erase("user-0"))) == ForkedError.__name__
    strict = opened(strict=True)
    assert in_child(lambda: str(strict.rank("q", world.candidates()))) == ForkedError.__name__
    # capture fails open: into a search nothing is ever raised, and feedback answers
    assert in_child(lambda: str(loop.rank("q", world.candidates()).fallback)) == "forked"
    said = in_child(lambda: str(loop.feedback(served.event_id, "click", doc=served.ids[0]).reason))
    assert said.startswith("forked")
    assert in_child(lambda: str(loop.close())) == "None"
    # the parent never notices
    assert loop.feedback(served.event_id, "copy", doc=served.ids[0], now=world.now).status == "joined"


def test_a_second_owner_is_refused_by_name(opened: Open) -> None:
    loop = opened("a.dwell")
    with pytest.raises(StoreOwnedError, match=str(os.getpid())):
        opened("a.dwell")
    loop.close()
    assert opened("a.dwell").params.version == 0


def test_a_refused_argument_leaves_no_owner_behind(opened: Open) -> None:
    wrong: Any = "yes"
    with pytest.raises(dwell.ConfigError):
        opened("a.dwell", strict=wrong)
    with pytest.raises(dwell.ConfigError):
        opened("a.dwell", features=["id"])
    opened("a.dwell")


@pytest.mark.parametrize(
    "waits",
    [
        lambda loop: loop.feedback("e", "click", doc="d0").reason,
        lambda loop: loop.feedback_many([{"event_id": "e", "signal": "click"}])[0].reason,
        lambda loop: loop.train(),
        lambda loop: loop.close_events(),
        lambda loop: loop.history(),
        lambda loop: list(loop.experiences()),
        lambda loop: loop.erase("u"),
        lambda loop: loop.rollback(0),
        lambda loop: loop.activate("e"),
        lambda loop: loop.health(),
        lambda loop: loop.close(),
    ],
)
def test_a_callback_that_would_wait_for_its_own_thread_is_told(
    opened: Open, world: Any, anywhere: str, waits: Callable[[dwell.Loop], object]
) -> None:
    loop = opened(anywhere)
    served = loop.rank("q", world.candidates(), event_id="e", now=world.now)
    said: list[object] = []
    is_over = threading.Event()

    def callback(_: object) -> None:
        try:
            said.append(waits(loop))
        except dwell.StorageError as error:
            said.append(error.code)
        is_over.set()

    with blocked_writer(loop):  # the callback is there before the answer is: it runs in the writer's thread
        loop.submit_feedback("e", "click", doc=served.ids[0], now=world.now).add_done_callback(callback)
    assert is_over.wait(10.0)
    assert str(said[0]).startswith("in_callback")
    # what does not wait works there, and the writer goes on
    assert loop.feedback("e", "copy", doc=served.ids[0], now=world.now).status == "joined"


def test_a_callback_may_rank_and_submit(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    served = loop.rank("q", world.candidates(), event_id="e", now=world.now)
    answers: list[Any] = []
    is_over = threading.Event()

    def callback(_: object) -> None:
        other = loop.rank("q", world.candidates(), event_id="f", now=world.now)
        answers.append(loop.submit_feedback("f", "click", doc=other.ids[0], now=world.now))
        is_over.set()

    with blocked_writer(loop):
        loop.submit_feedback("e", "click", doc=served.ids[0], now=world.now).add_done_callback(callback)
    assert is_over.wait(10.0)
    assert answers[0].result(10.0).status == "joined"


def test_params_of_many_versions_do_not_stay_in_memory(opened: Open) -> None:
    loop = opened()
    for i in range(70):
        loop.promote(dwell.Params(version=9, weights={"good": 1.0 + i, "bad": 0.0, "noise": 0.0}), force=True)
    assert [loop.version(version).weights["good"] for version in range(1, 71)] == [1.0 + i for i in range(70)]
    assert len(loop._state.params_by_version) <= 64
    assert loop.version(1).weights["good"] == 1.0


def test_what_is_remembered_of_a_call_does_not_grow_with_its_candidates(opened: Open, world: Any) -> None:
    loop = opened()
    for n in (10, 1_000):
        loop.rank("q" * n, world.candidates(n), k=3, event_id=f"e{n}", now=world.now)
    assert [len(digest) for _, digest in loop._state.recent.values()] == [16, 16]
