"""Several sources at once: one that fails, lies or is slow is left out, named and counted."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dwell.errors import ConfigError, RecordError, StorageError
from dwell.retrieval import Found, HybridRetriever, asearch, gathered
from dwell.retrieval.gathering import awaited, in_thread

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")


class Source:
    """Two documents, or what a function makes of the call."""

    def __init__(self, name: str, call: Callable[..., Any] | None = None) -> None:
        self.name, self.features, self.call = name, (f"{name}_score",), call
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def search(self, query: str, **arguments: Any) -> list[Found]:
        self.calls.append((query, arguments))
        return self.two() if self.call is None else self.call()  # type: ignore[no-any-return]

    def two(self) -> list[Found]:
        return [Found("a", {self.features[0]: 2.0}), Found(self.name, {self.features[0]: 1.0})]

    def close(self) -> None: ...


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Hold up whoever waits for it until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def failing() -> list[Found]:
    raise StorageError("the disk is gone", code="fts5")


def broken() -> list[Found]:
    raise ZeroDivisionError


def test_each_source_is_asked_once_with_what_was_given() -> None:
    one, two = Source("one"), Source("two")
    found = gathered([one, two], "reset", query_embedding=[1.0], k=7, filters={"lang": "en"})
    due = ("reset", {"query_embedding": [1.0], "k": 7, "filters": {"lang": "en"}})
    assert (one.calls, two.calls) == ([due], [due])
    assert (found.ids, dict(found.left_out)) == (("a", "one", "two"), {})


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (failing, "fts5"),
        (broken, "internal:ZeroDivisionError"),
        (lambda: None, "internal:TypeError"),
        (lambda: ("a",), "results_shape"),
        (lambda: [Found("a", {"bad_score": 1.0})] * 2, "results_shape"),
        (lambda: [Found(f"d{i}", {"bad_score": 1.0}) for i in range(51)], "results_shape"),
        (lambda: [Found("a", {"bad_score": float("nan")})], "non_finite:bad_score"),
        (lambda: [Found("a", {})], "feature_schema"),
        (lambda: [Found("", {"bad_score": 1.0})], "id"),
        (lambda: ["a"], "internal:AttributeError"),
    ],
)
def test_a_source_that_fails_or_lies_is_left_out(call: Callable[[], Any], why: str) -> None:
    found = gathered([Source("bad", call), Source("good")], "reset")
    assert (found.ids, dict(found.left_out)) == (("a", "good"), {"bad": why})
    assert found.features[:, :2].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_slow_source_is_not_waited_for(held: threading.Event) -> None:
    begun = time.monotonic()
    found = gathered([Source("slow", lambda: held.wait(20.0)), Source("good")], "reset", deadline_s=0.05)
    assert (found.ids, dict(found.left_out)) == (("a", "good"), {"slow": "too_slow"})
    assert time.monotonic() - begun < 5.0  # a loaded machine; .05 s otherwise


def test_sources_are_asked_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10.0)  # each waits until the other is being asked
    found = gathered([Source("one", both.wait), Source("two", both.wait)], "reset", deadline_s=10.0)
    assert set(found.left_out.values()) == {"internal:TypeError"}  # a number is no list, and none waited in vain


def test_malformed_arguments_are_the_callers_fault() -> None:
    good = Source("good")
    for wrong in ({"k": 0}, {"filters": {"a": None}}, {"query": None}):
        with pytest.raises(RecordError):
            gathered([good], **{"query": "reset", **wrong})
    for refused in ({"deadline_s": 0.0}, {"deadline_s": float("nan")}, {"fill": {"nothing": 1.0}}):
        with pytest.raises(ConfigError):
            gathered([good], "reset", **refused)
        with pytest.raises(ConfigError):
            HybridRetriever([good], None, **refused)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        gathered([], "reset")
    assert good.calls == []


def test_a_thread_sees_the_callers_context() -> None:
    SEEN.set("this search")
    assert in_thread(SEEN.get).result() == "this search"
    assert in_thread(lambda: threading.current_thread().daemon).result()  # a store that hangs holds up no exit


def test_waiting_does_not_hold_up_the_event_loop(held: threading.Event) -> None:
    async def both() -> list[Any]:
        answers = await asyncio.gather(awaited(lambda: 1), awaited(failing), return_exceptions=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited(held.wait), 0.02)
        return answers

    one, error = asyncio.run(both())  # and the thread that still waits does not hold up its end
    assert one == 1
    assert isinstance(error, StorageError)


def test_one_source_can_be_awaited() -> None:
    source = Source("one")
    assert asyncio.run(asearch(source, "reset", query_embedding=[1.0], k=7, filters={"a": 1})) == source.two()
    assert source.calls == [("reset", {"query_embedding": [1.0], "k": 7, "filters": {"a": 1}})]
    with pytest.raises(StorageError):
        asyncio.run(asearch(Source("one", failing), "reset"))


def test_a_source_that_hangs_is_not_given_more_and_more_threads(held: threading.Event) -> None:
    hanging, good = Source("hanging", held.wait), Source("good")
    search = HybridRetriever([hanging, good], None, deadline_s=0.01)  # type: ignore[arg-type]  # nothing is ranked
    reasons = [search.gather("reset").left_out.get("hanging") for _ in range(10)]
    assert reasons == ["too_slow"] * 8 + ["source_busy"] * 2
    assert len(hanging.calls) == 8
    assert search.left_out == {"hanging": 10, "good": search.left_out["good"]}
    held.set()
    deadline = time.monotonic() + 10.0
    while search.gather("reset").left_out.get("hanging") == "source_busy" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(hanging.calls) > 8  # it is asked again
