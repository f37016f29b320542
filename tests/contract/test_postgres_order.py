"""An early transaction is held open while later ones commit: whoever follows the store misses nothing, sees no gap.

Able to fail, as shown: with numbers from a plain sequence, as a database gives them, each of these consumers is wrong.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import psycopg
import pytest

from dwell.cluster import Placement, Shard, ShardSpec
from dwell.storage import Role, Store, Transaction, open_store, postgres
from dwell.storage.copying import copy_store
from dwell.storage.postgres_reader import Counters
from dwell.storage.protocol import Outcome
from dwell.testing.store_samples import PATIENCE_S, USERS, sample_impression

from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package

N_AT_ONCE = 3  # events and changes of traces of each transaction
N_ROUNDS = 3
HELD_S = 0.05  # long enough for a transaction that nothing holds back


def write(tx: Transaction, name: str) -> None:
    """Write closed events and changes of traces."""
    for i in range(N_AT_ONCE):
        given = sample_impression(f"{name}/{i}", user=USERS[i])
        seq = tx.add_impression(given)
        rewards = np.zeros(len(given.served), dtype=np.float32)
        exposure = np.full(len(given.documents), 0.5, dtype=np.float32)
        closed = Outcome(
            seq=seq, state="closed", version=1, closed_at=given.served_at + 60.0, reward=0.0,
            document_rewards=rewards, reward_version="r1", exposure=exposure, exposure_se=exposure,
            examination_version="pbm:1",
        )  # fmt: skip
        assert tx.put_outcome(closed, expected_version=0)
        tx.add_trace_change(f"{name}/{i}".encode())


class Place(NamedTuple):
    """A database with two tenants, and connections to it.

    Attributes:
        url: Where it is.
        writers: Three that write for one tenant.
        other: One that writes for another.
        reader: One that reads for the first.
    """

    url: str
    writers: list[Store]
    other: Store
    reader: Store


class Consumer(Protocol):
    """Whoever looks at a store from time to time."""

    def look(self) -> None:
        """Take over what is new."""

    def check(self, names: set[str]) -> None:
        """Demand that exactly these were taken over."""


class Follower:
    """Asks for the events after the last one that it saw."""

    def __init__(self, place: Place, _: Path) -> None:
        self._store = place.reader
        self._seen: list[tuple[int, str]] = []

    def look(self) -> None:
        with self._store.snapshot() as reader:
            after = self._seen[-1][0] if self._seen else 0
            self._seen += [(one.seq, one.event_id) for one in reader.impressions(reader.seqs(after=after))]

    def check(self, names: set[str]) -> None:
        assert [seq for seq, _ in self._seen] == list(range(1, len(names) + 1))
        assert {event_id for _, event_id in self._seen} == names


class Traces:
    """Adds up the changes after the last one that it applied, as processes do that rank by activation."""

    def __init__(self, place: Place, _: Path) -> None:
        self._store = place.reader
        self._applied = 0
        self._seen: list[bytes] = []

    def look(self) -> None:
        with self._store.snapshot() as reader:
            for n, body in reader.trace_changes(after=self._applied):
                self._applied = n
                self._seen.append(body)

    def check(self, names: set[str]) -> None:
        assert self._applied == len(self._seen) == len(names)
        assert set(self._seen) == {name.encode() for name in names}


class Learner:
    """Keeps the rows of closed events, in a ring, as a shard does."""

    def __init__(self, place: Place, _: Path) -> None:
        self._store = place.reader
        names = ("feature 0", "feature 1")
        self._shard = Shard(
            ShardSpec(name="only", placement=Placement(("only",), b"salt"), where=place.url, feature_names=names),
            store=place.reader,
        )

    def look(self) -> None:
        self._shard.follow()

    def check(self, names: set[str]) -> None:
        rows = self._shard.replayed.rows.index("seq")["seq"].tolist()
        with self._store.snapshot() as reader:
            assert {one.event_id for one in reader.impressions(rows)} == names


class Copies:
    """Copies the database into a file at every look: what stands in it has no gap and no end that is elsewhere."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._url = place.url
        self._folder = folder
        self._paths: list[Path] = []

    def look(self) -> None:
        self._paths.append(self._folder / f"{len(self._paths)}.dwell")
        copy_store(self._url, str(self._paths[-1]))

    def check(self, names: set[str]) -> None:
        for path in self._paths:
            store = open_store(str(path), role="reader")
            with store.snapshot() as reader:
                assert reader.seqs() == list(range(1, reader.last_seq() + 1)), path
                found = {one.event_id for one in reader.impressions(reader.seqs())}
                changes = [n for n, _ in reader.trace_changes()]
            assert changes == list(range(1, len(found) + 1))
            store.close()
        assert found == names


CONSUMERS = (Follower, Traces, Learner, Copies)


@pytest.fixture
def place() -> Iterator[Place]:
    with emptied_database() as url:
        roles: tuple[Role, ...] = ("owner", "admin", "admin")
        found = Place(
            url,
            [open_store(url, role=role) for role in roles],
            open_store(url, tenant="other"),
            open_store(url, role="reader"),
        )
        for store in (found.writers[0], found.other):
            with store.transaction() as tx:
                tx.put_setting("is_there", b"yes")
        yield found
        for store in (*found.writers, found.other, found.reader):
            store.close()


def commit(store: Store, name: str) -> set[str]:
    with store.transaction() as tx:
        write(tx, name)
    return {f"{name}/{i}" for i in range(N_AT_ONCE)}


def early_and_later(place: Place, consumer: Any, number: int, *, is_order_kept: bool) -> set[str]:
    """Hold a transaction open while others commit; look meanwhile and afterwards, and return what was written."""
    early, *later = place.writers[number:] + place.writers[:number]
    with ThreadPoolExecutor(3) as threads:
        with early.transaction() as tx:
            write(tx, f"{number}/early")
            elsewhere = threads.submit(commit, place.other, f"{number}/other")
            waiting = [threads.submit(commit, store, f"{number}/later-{i}") for i, store in enumerate(later)]
            elsewhere.result(PATIENCE_S)
            assert ended_within(HELD_S if is_order_kept else PATIENCE_S, waiting) is not is_order_kept
            consumer.look()
        names = set().union(*(one.result(PATIENCE_S) for one in waiting))
    consumer.look()
    return names | {f"{number}/early/{i}" for i in range(N_AT_ONCE)}


def ended_within(most_s: float, waiting: list[Future[set[str]]]) -> bool:
    for one in waiting:
        try:
            one.result(most_s)
        except TimeoutError:
            return False
    return True


@pytest.mark.parametrize("kind", CONSUMERS)
def test_nothing_is_missed_while_an_early_transaction_is_open(
    place: Place, kind: Callable[[Place, Path], Consumer], tmp_path: Path
) -> None:
    consumer = kind(place, tmp_path)
    names: set[str] = set()
    for number in range(N_ROUNDS):
        names |= early_and_later(place, consumer, number, is_order_kept=True)
    consumer.check(names)
    assert place.reader.verify() == []


@pytest.mark.parametrize("kind", CONSUMERS)
def test_a_plain_sequence_would_be_caught(
    place: Place, kind: Callable[[Place, Path], Consumer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = postgres.read_counters

    def unlocked(connection: Any, tenant: str, *, is_locked: bool = False) -> Counters | None:
        found = real(connection, tenant)
        if found is None or not is_locked:
            return found
        name = f"public.plain_{tenant or 'main'}"
        number = connection.execute(f"SELECT nextval('{name}')").fetchone()[0] - 1
        return found._replace(last_seq=number, last_trace_change=number)

    with psycopg.connect(place.url, autocommit=True) as connection:
        for tenant in ("main", "other"):
            connection.execute(f"CREATE SEQUENCE public.plain_{tenant} INCREMENT {N_AT_ONCE} START 1")
        monkeypatch.setattr(postgres, "read_counters", unlocked)
        consumer = kind(place, tmp_path)
        names = early_and_later(place, consumer, 0, is_order_kept=False)
        connection.execute("DROP SEQUENCE public.plain_main, public.plain_other")
    with pytest.raises(AssertionError):
        consumer.check(names)


def test_whoever_looks_without_pause_sees_numbers_in_order(place: Place) -> None:
    """Looks at any instant, between any two commits of three connections, and a second tenant's."""
    follower, is_over = Follower(place, Path()), threading.Event()

    def follow() -> None:
        while not is_over.is_set():
            follower.look()

    def write_many(store: Store, name: str) -> set[str]:
        return set().union(*(commit(store, f"{name}/{i}") for i in range(12)))

    with ThreadPoolExecutor(5) as threads:
        following = threads.submit(follow)
        writing = [threads.submit(write_many, store, f"{i}") for i, store in enumerate((*place.writers, place.other))]
        names = [one.result(6 * PATIENCE_S) for one in writing]
        is_over.set()
        following.result(PATIENCE_S)
    follower.look()
    follower.check(set().union(*names[:-1]))
