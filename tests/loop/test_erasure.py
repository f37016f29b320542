"""Erasure of a user covers everything, leaves a tombstone, and is itself recorded."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.loop.entrance import open_loop
from dwell.loop.rows import query_digest
from dwell.storage import pseudonym

Open = Callable[..., dwell.Loop]
PEPPER = b"a pepper of these tests"


def serve(loop: dwell.Loop, world: Any, name: str, user: str, query: str = "q") -> dwell.Served:
    served = loop.rank(query, world.candidates(), k=3, event_id=name, user=user, now=world.now)
    assert loop.feedback(name, "click", doc=served.ids[0], now=world.now).status == "joined"
    world.now += 1.0
    return served


def test_erasure_covers_impressions_signals_quarantine_and_memory(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, holdout=0.0)
    for i in range(6):
        serve(loop, world, f"ada-{i}", "ada", "a query that only ada would ask")
        serve(loop, world, f"bob-{i}", "bob")
    bad = loop.rank("q", [{"id": "a", "good": float("nan")}], user="ada", now=world.now)
    loop.close_events(now=world.now + world.window_s)
    assert len(loop._state.replayed) == 12
    assert loop.erase("ada", now=world.now) == 6
    with loop._state.store.snapshot() as reader:
        counts = reader.counts()
        assert (counts.get("closed"), counts["signals"], counts["quarantined"]) == (6, 6, 0)
        assert reader.is_erased(pseudonym(PEPPER, "", "ada"))  # the tombstone that import and restore obey
        assert not reader.is_erased(pseudonym(PEPPER, "", "bob"))
    assert {e.event_id for e in loop.experiences()} == {f"bob-{i}" for i in range(6)}
    assert {row.event_id for row in loop._state.replayed.rows.in_close_order()} == {f"bob-{i}" for i in range(6)}
    assert len(loop._state.replayed.buffer) == 6
    # signals of what was erased find nothing
    assert loop.feedback("ada-0", "click", doc="d0", now=world.now).status == "orphan"
    assert bad.fallback is not None
    assert loop.erase("ada", now=world.now) == 0


def test_erasure_covers_orphans_of_those_events(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    served = loop.rank("q", world.candidates(), event_id="later", user="ada", activate=False, now=world.now)
    assert loop.erase("ada", now=world.now) == 1
    assert loop.feedback(served.event_id, "click", doc=served.ids[0], now=world.now).status == "orphan"
    with loop._state.store.snapshot() as reader:
        assert len(reader.orphans("later")) == 1
    # the same user comes back under the same id: the parked signal is his again, and goes with him
    loop.rank("q", world.candidates(), event_id="later", user="ada", now=world.now)
    assert loop.erase("ada", now=world.now) == 1
    with loop._state.store.snapshot() as reader:
        assert reader.counts()["signals"] == 0
        assert reader.orphans("later") == []


def test_erasure_covers_statistics_that_still_name_the_user(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, capacity=10, holdout=0.0)
    for i in range(5):
        serve(loop, world, f"e{i}", f"user-{i}", "of five")
    for i in range(10):
        serve(loop, world, f"later-{i}", f"user-{i}")
    loop.close_events(now=world.now + world.window_s)
    with loop._state.store.snapshot() as reader:
        assert reader.statistics(query_digest("of five"))
    loop.erase("user-0", now=world.now)
    with loop._state.store.snapshot() as reader:
        assert reader.statistics(query_digest("of five")) == []


def test_nothing_of_the_user_stands_in_the_file_any_more(opened: Open, world: Any, tmp_path: Path) -> None:
    loop = opened("a.dwell")
    for i in range(20):
        serve(loop, world, f"ada-{i}", "ada", f"where is the zanzibar archive {i}")
        serve(loop, world, f"bob-{i}", "bob")
    loop.close_events(now=world.now + world.window_s)
    wanted = [b"zanzibar", b"ada-1", pseudonym(PEPPER, "", "ada").encode()]
    loop._state.store.scrub()

    def found() -> list[bytes]:
        written = b"".join(path.read_bytes() for path in tmp_path.glob("a.dwell*"))
        return [text for text in wanted if text in written]

    assert b"zanzibar" in found()
    loop.erase("ada", now=world.now)
    # the tombstone is all that is left, and it holds the pseudonym: it must be recognised
    assert found() in ([], [pseudonym(PEPPER, "", "ada").encode()])


def test_an_erased_event_is_not_answered_from_memory(opened: Open, world: Any) -> None:
    loop = opened()
    candidates = world.candidates()
    loop.rank("q", candidates, event_id="e", user="ada", now=world.now)
    loop.erase("ada", now=world.now)
    loop.rank("another query", candidates, event_id="e", user="bob", now=world.now)
    assert [e.query for e in loop.experiences()] == ["another query"]


def test_erasure_empties_the_first_versions_features(opened: Open, world: Any) -> None:
    loop = opened(weights=None, config={"training": {"first_version_events": 4}})
    for i in range(3):
        serve(loop, world, f"ada-{i}", "ada")
    loop.erase("ada", now=world.now)
    for i in range(4):
        served = serve(loop, world, f"bob-{i}", "bob")
        assert served.params_version == 0
    assert serve(loop, world, "bob-4", "bob").params_version == 1


def test_a_user_that_can_not_be_is_refused(opened: Open) -> None:
    with pytest.raises(dwell.RecordError):
        opened().erase("")


def test_erasure_takes_the_users_events_out_of_the_running_judgement_and_leaves_the_rest(
    opened: Open, world: Any
) -> None:
    loop = opened(":memory:", holdout=0.0)
    for i in range(40):
        serve(loop, world, f"learned-{i}", f"user-{i % 4}")
    loop.train(now=world.now + world.window_s)
    for i in range(20):
        serve(loop, world, f"judges-{i}", f"user-{i % 4}")
    before = loop.train(now=world.now + world.window_s).decision
    loop.erase("user-1", now=world.now)
    after = loop.train(now=world.now + world.window_s).decision
    # 5 of the 20 events that judge were user-1's
    assert (before.difference.n, after.difference.n) == (20, 15)


def test_a_retry_of_an_event_that_an_admin_erased_a_second_time_is_not_answered_from_memory(tmp_path: Path) -> None:
    # the tombstone of the first erasure is there already: counting those would show nothing new
    where, pepper = str(tmp_path / "s.dwell"), "sixteen-bytes-of-pepper"
    with open_loop(where, features=["x"], pepper=pepper) as owner:
        for turn in (1, 2):
            ids = [f"secret-{turn}"]
            owner.rank("q", ids=ids, features=[[1.0]], user="u", event_id=f"e{turn}", now=float(turn))
            owner.close_events(now=float(turn))  # what is queued is on disk
            with open_loop(where, pepper=pepper, _role="admin") as admin:
                assert admin.erase("u", now=float(turn)) == 1
            time.sleep(0.6)  # the owner looks at the file twice a second
            owner.rank("q", ids=ids, features=[[1.0]], user="u", event_id=f"e{turn}", now=float(turn))
            owner.close_events(now=float(turn))
            with owner._state.store.snapshot() as reader:  # recorded anew, not answered with what was erased
                assert reader.event(f"e{turn}") is not None
            assert owner.erase("u", now=float(turn)) == 1
