"""The same loop on PostgreSQL: what is served, learned and decided does not depend on where the facts are."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import dwell
from dwell.errors import ConfigError, PepperMismatch, StoreOwnedError

from ..canary import CANARY, kept  # noqa: TID252 - tests are no installed package
from ..postgres import emptied_database, server  # noqa: TID252 - tests are no installed package
from .test_same_everywhere import decision_bits, life, params_bits

Open = Callable[..., dwell.Loop]


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


def test_sqlite_and_postgresql_answer_alike(opened: Open, new_world: Any, url: str) -> None:
    how: dict[str, Any] = {"temperature": 1.0, "capacity": 150}
    on_disk = life(opened("a.dwell", **how), new_world())
    shared = life(opened(url, **how), new_world())
    assert len(on_disk) == len(shared)
    for left, right in zip(on_disk, shared, strict=True):
        assert left == right


@pytest.mark.parametrize("learner", ["replay", "both"])
def test_a_loop_that_is_opened_again_goes_on(opened: Open, new_world: Any, url: str, learner: str) -> None:
    def lives(where: str) -> list[object]:
        loop, world = opened(where, temperature=1.0, learner=learner), new_world()
        seen: list[object] = []
        for _ in range(2):
            seen += [world.visit(loop).ids for _ in range(60)]
            world.now += world.window_s
            report = loop.train(now=world.now)
            if learner == "replay":
                seen.append((decision_bits(report.decision), params_bits(report.proposed), report.ended_by))
            loop.close()
            loop = opened(where, temperature=1.0, learner=learner)
        return [*seen, world.visit(loop).scores.tobytes()]

    assert lives("a.dwell") == lives(url)


@pytest.mark.parametrize("bound", ["age", "size"])
def test_what_is_old_goes_by_partitions_and_leaves_what_goes_by_rows_leaves(
    opened: Open, new_world: Any, bound: str
) -> None:
    def left(where: str) -> list[object]:
        world = new_world()
        how: dict[str, Any] = {"retention_s": 100.0} if bound == "age" else {"max_store_bytes": 1}
        loop = opened(where, capacity=10, holdout=0.0, **how)
        for _ in range(40):
            world.visit(loop)
        # visited at 0, 1, ... 39 s; at 131.5 s those up to 31 s are past 100 s
        loop.close_events(now=world.now + 91.5)
        if bound == "size":
            loop.close_events(now=world.now + world.window_s)
        figures = loop.health(now=world.now).figures
        return [[e.event_id for e in loop.experiences()], figures["removed"], figures["evicted"]]

    with emptied_database("split") as url:
        expected = left(":memory:")
        assert left(url) == expected
        n_removed = 32 if bound == "age" else 30
        assert expected[1] == n_removed
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT first_seq FROM dwell.partitions WHERE beyond_seq <= 31").fetchall()
        assert found == [], "they are empty, and still there"


def test_users_are_erased_everywhere_in_it(opened: Open, world: Any, url: str) -> None:
    loop = opened(url, temperature=1.0)
    world.visits(loop, 130, n_users=20)
    loop.close_events(now=world.now)
    n_of_user = sum(event.user == loop.pseudonym("user-3") for event in loop.experiences())
    assert loop.erase("user-3", now=world.now) == n_of_user == 7  # visits 3, 23, ..., 123
    assert all(event.user != loop.pseudonym("user-3") for event in loop.experiences())
    assert loop.erase("user-3", now=world.now) == 0


def test_a_second_owner_is_refused_and_the_place_is_free_afterwards(opened: Open, url: str) -> None:
    first = opened(url)
    with pytest.raises(StoreOwnedError, match="process"):
        opened(url)
    other = opened(url, tenant="other")  # tenants have owners of their own
    first.close()
    other.close()
    opened(url).close()


def test_the_pepper_has_to_be_given(opened: Open, url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pepper") as refusal:
        opened(url, pepper=None)
    assert refusal.value.field == "pepper"
    opened(url).close()
    with pytest.raises(PepperMismatch):
        opened(url, pepper="another one")
    assert list(tmp_path.iterdir()) == [], "a file stands beside what is no file"


def test_search_goes_on_while_the_database_is_away(opened: Open, world: Any, url: str) -> None:
    loop = opened(url, temperature=1.0)
    before = world.visit(loop)
    assert loop.feedback(before.event_id, "click", doc=before.ids[0], now=world.now).status == "joined"
    server().stop()
    try:
        during = world.visit(loop)
        assert len(during.ids) == 5
        answer = loop.feedback(before.event_id, "purchase", doc=before.ids[0], now=world.now)
        assert answer.status == "rejected"
    finally:
        server().start()
    time.sleep(0.5)  # longer than a server that was away is left alone
    after = world.visit(loop)
    assert loop.feedback(after.event_id, "purchase", doc=after.ids[0], now=world.now).status == "joined"
    assert loop.feedback(before.event_id, "purchase", doc=before.ids[0], now=world.now).status == "joined"
    world.now += world.window_s
    loop.close_events(now=world.now)
    assert {before.event_id, after.event_id} <= {event.event_id for event in loop.experiences()}


def test_no_word_holds_the_password(opened: Open, url: str, caplog: pytest.LogCaptureFixture) -> None:
    said = [repr(opened(url))]
    for wrong in (
        server().url("postgres", password=CANARY),
        server().url("nowhere"),
        f"postgresql://dwell:{CANARY}@127.0.0.1:1/db",
        f"postgresql://dwell:{CANARY}%zz@127.0.0.1/db",
        f"postgresql://dwell:{CANARY}@127.0.0.1:port/db?password={CANARY}",
    ):
        with pytest.raises(dwell.DwellError) as refusal:
            opened(wrong)
        said += [str(refusal.value), repr(refusal.value), str(refusal.value.value), str(refusal.value.hint)]
    said.append(caplog.text)
    for text in said:
        kept.hear("an error of a database", text)
    assert server().password not in "".join(said)
    assert CANARY not in "".join(said)
