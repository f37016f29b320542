import contextlib
from base64 import urlsafe_b64decode
from collections.abc import Iterator

import pytest

from dwell.server.sessions import LIFETIME_S, N_NAME_BYTES, begin, end, find, read_ended
from dwell.server.tokens import SigningKey
from dwell.storage import Store, open_store

KEYS = (SigningKey(b"n" * 32, 2.0), SigningKey(b"o" * 32, 1.0))
NAME = bytes(range(N_NAME_BYTES))


@pytest.fixture
def store() -> Iterator[Store]:
    with contextlib.closing(open_store(":memory:")) as found:
        yield found


def test_a_session_is_found_by_its_cookie_until_it_is_over() -> None:
    cookie = begin(KEYS, "k1", 100.0, NAME)
    found = find(KEYS, cookie, 100.0 + LIFETIME_S - 1.0, ())
    assert found is not None
    assert (found.name, found.key_id, found.expires_at) == (NAME.hex(), "k1", 100.0 + LIFETIME_S)
    assert find(KEYS, cookie, 100.0 + LIFETIME_S, ()) is None


def test_another_process_with_the_same_keys_finds_the_same_session() -> None:
    cookie = begin(KEYS, "k1", 0.0, NAME)
    assert find(tuple(KEYS), cookie, 1.0, ()) == find(KEYS, cookie, 1.0, ())
    rotated = (SigningKey(b"r" * 32, 3.0), *KEYS)
    assert find(rotated, cookie, 1.0, ()) == find(KEYS, cookie, 1.0, ()), "new keys sign people out"
    assert find(rotated[:1], cookie, 1.0, ()) is None, "a key that was dropped still signs in"
    assert find((), cookie, 1.0, ()) is None


def test_what_was_not_signed_finds_nothing() -> None:
    cookie = begin(KEYS, "k1", 0.0, NAME)
    told, signature = cookie.split(".")
    assert b"k1" in urlsafe_b64decode(told + "=" * (-len(told) % 4))
    other = begin((SigningKey(b"x" * 32, 0.0),), "k1", 0.0, NAME)
    for wrong in (
        "",
        ".",
        told,
        cookie[:-1],
        "A" + cookie,
        cookie.swapcase(),
        f"{told}.",
        other,
        "ä" * 40,
        "a" * 1_001,
    ):
        assert find(KEYS, wrong, 1.0, ()) is None, wrong
    assert len(signature) >= 43  # 256 bits in base 64


def test_each_session_has_a_mark_for_forms_of_its_own() -> None:
    cookies = [begin(KEYS, "k1", 0.0, i.to_bytes(N_NAME_BYTES)) for i in range(50)]
    marks = {found.csrf for cookie in cookies if (found := find(KEYS, cookie, 0.0, ())) is not None}
    assert len(marks) == 50
    assert min(map(len, marks)) >= 43
    assert not any(mark in cookie for mark in marks for cookie in cookies), "a page tells the cookie"


def test_an_ended_session_is_over_for_whoever_reads_the_store(store: Store) -> None:
    cookies = [begin(KEYS, "k1", 0.0, i.to_bytes(N_NAME_BYTES)) for i in range(2)]
    sessions = [find(KEYS, cookie, 1.0, ()) for cookie in cookies]
    assert sessions[0] is not None
    with store.transaction() as tx:
        assert read_ended(tx) == {}
        end(tx, sessions[0], 1.0)
    with store.snapshot() as reader:
        ended = read_ended(reader)
    assert [find(KEYS, cookie, 1.0, ended) is None for cookie in cookies] == [True, False]


def test_what_is_over_by_itself_is_forgotten_among_the_ended_ones(store: Store) -> None:
    for i in range(1_003):
        session = find(KEYS, begin(KEYS, "k", float(i), i.to_bytes(N_NAME_BYTES)), float(i), ())
        assert session is not None
        with store.transaction() as tx:
            end(tx, session, float(i))
    with store.snapshot() as reader:
        assert min(read_ended(reader).values()) == LIFETIME_S + 3.0
    late = find(KEYS, begin(KEYS, "k", 9e5, NAME), 9e5, ())
    assert late is not None
    with store.transaction() as tx:
        end(tx, late, 9e5)
    with store.snapshot() as reader:
        assert list(read_ended(reader)) == [NAME.hex()]
