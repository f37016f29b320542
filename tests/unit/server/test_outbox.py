from pathlib import Path

import pytest

from dwell.server.outbox import MOST_WAITING, Message, after_attempt, put_messages, settle, waiting
from dwell.server.webhook import Sent
from dwell.storage import Store, open_store

AGAIN = Sent("again", "status 503")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(":memory:")


def ids(store: Store) -> list[str]:
    with store.snapshot() as reader:
        return [message.id for message in waiting(reader)]


def put(store: Store, *names: str) -> int:
    with store.transaction() as tx:
        return put_messages(tx, [Message(name, "{}") for name in names])


def test_messages_wait_in_their_order_each_once(store: Store) -> None:
    assert ids(store) == []
    assert put(store, "b", "a") == 0
    assert put(store, "a", "c") == 0
    assert ids(store) == ["b", "a", "c"]


def test_the_oldest_go_where_nobody_listens(store: Store) -> None:
    assert put(store, *[f"m{i}" for i in range(MOST_WAITING)]) == 0
    assert put(store, "x", "y") == 2
    assert ids(store) == [*[f"m{i}" for i in range(2, MOST_WAITING)], "x", "y"]


def test_settling_replaces_or_takes_out_one(store: Store) -> None:
    put(store, "a", "b", "c")
    with store.transaction() as tx:
        settle(tx, "b", None)
        settle(tx, "gone", None)
        settle(tx, "a", Message("a", "{}", 1, 5.0))
    with store.snapshot() as reader:
        assert waiting(reader) == [Message("a", "{}", 1, 5.0), Message("c", "{}")]


def test_what_can_not_be_read_is_nothing(store: Store) -> None:
    with store.transaction() as tx:
        tx.put_setting("alert_outbox", b"{")
    assert ids(store) == []


def test_it_is_tried_again_ever_more_rarely_and_then_given_up() -> None:
    message, now, waits = Message("a", "{}"), 100.0, []
    while True:
        after = after_attempt(message, AGAIN, now)
        if after is None:
            break
        waits.append(after.next_at - now)
        message, now = after, after.next_at
    assert waits == sorted(set(waits))
    assert (len(waits), message.n_attempts) == (5, 5)
    assert 3_600.0 <= now - 100.0 <= 7_200.0


@pytest.mark.parametrize("outcome", ["delivered", "refused"])
def test_what_is_done_or_will_not_get_better_is_not_tried_again(outcome: str) -> None:
    assert after_attempt(Message("a", "{}"), Sent(outcome, ""), 1.0) is None  # type: ignore[arg-type]
