import hashlib
from collections.abc import Iterator

import pytest

import dwell
from dwell.loop.rows import query_digest
from dwell.server.recent_lists import RecentLists

START = 1_700_000_000.0


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(
        ":memory:", features=["x"], weights={"x": 1.0}, attribution_window_s=10.0, pepper=b"p" * 32
    ) as made:
        yield made


def serve(loop: dwell.Loop, n: int, *, user: str = "u", at: float = START) -> None:
    for i in range(n):
        candidates = [{"id": "a", "x": 1.0}, {"id": "b", "x": 0.0}]
        served = loop.rank(f"q{i}", candidates, user=user, event_id=f"{user}-{i}", now=at)
        if i % 2:
            loop.submit_feedback(served.event_id, "click", doc=served.ids[1], now=at + 1.0)
    loop.close_events(now=at + 1.0)


def look(loop: dwell.Loop, recent: RecentLists, patience_s: float = 60.0) -> tuple[list[str], int]:
    with loop.facts() as reader:
        found = recent.look(reader, loop.rewards, b"salt", patience_s=patience_s)
    return [one.event_id for one in found.lists], found.n_left


def test_a_look_without_patience_reads_a_portion_and_the_next_one_goes_on(loop: dwell.Loop) -> None:
    serve(loop, 150)
    loop.close_events(now=START + 99.0)
    recent = RecentLists.empty()
    ids, n_left = look(loop, recent, 0.0)
    assert (ids, n_left) == ([f"u-{i}" for i in range(149, 49, -1)], 50)
    ids, n_left = look(loop, recent, 0.0)
    assert (ids, n_left) == ([f"u-{i}" for i in range(149, -1, -1)], 0)


def test_what_is_kept_is_never_behind_the_store(loop: dwell.Loop) -> None:
    serve(loop, 4)
    recent = RecentLists.empty()
    assert {one.state for one in _lists(loop, recent)} == {"open"}
    loop.close_events(now=START + 99.0)
    closed = _lists(loop, recent)
    assert {one.state for one in closed} == {"closed"}
    assert [one.praised for one in closed] == [(2,), (), (2,), ()]
    assert loop.feedback("u-0", "purchase", doc="a", now=START + 100.0).status == "late"
    last = _lists(loop, recent)[-1]
    assert (last.state, last.signals, last.praised) == ("reopened", {"purchase": 1}, (1,))
    assert loop.feedback("u-0", "click", doc="b", now=START + 101.0).status == "late"
    assert _lists(loop, recent)[-1].signals == {"purchase": 1, "click": 1}


def test_an_erased_user_is_gone_at_the_next_look(loop: dwell.Loop) -> None:
    serve(loop, 3, user="u")
    serve(loop, 2, user="v")
    loop.close_events(now=START + 99.0)
    recent = RecentLists.empty()
    assert len(look(loop, recent)[0]) == 5
    loop.erase("u", now=START + 100.0)
    assert look(loop, recent)[0] == ["v-1", "v-0"]
    assert {one.user for one in recent.known.values()} == {loop.pseudonym("v")}


def _lists(loop: dwell.Loop, recent: RecentLists) -> list:  # type: ignore[type-arg]
    with loop.facts() as reader:
        return recent.look(reader, loop.rewards, b"salt", patience_s=60.0).lists


def test_of_a_long_query_the_beginning_is_kept_and_the_whole_tells_it_apart(loop: dwell.Loop) -> None:
    for i, end in enumerate(("a", "b", "A")):
        loop.rank("\N{GRINNING FACE}" * 16_000 + end, [{"id": "a", "x": 1.0}], event_id=f"e{i}", now=START)
    loop.close_events(now=START + 99.0)
    again, other, first = _lists(loop, RecentLists.empty())
    assert {len(one.query) for one in (again, other, first)} == {600}
    assert again.digest == first.digest != other.digest


def test_whoever_guesses_a_query_can_not_tell_by_its_hash_that_it_was_asked(loop: dwell.Loop) -> None:
    serve(loop, 1)
    told = _lists(loop, RecentLists.empty())[0].digest
    guesses = [hashlib.blake2b(b"q0", digest_size=n).hexdigest() for n in (8, 16, 32, 64)]
    assert told not in {query_digest("q0").hex(), *guesses}
