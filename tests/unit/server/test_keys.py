"""API keys: one text per secret, nothing kept that lets anybody in, and each way of not being let in."""

import hashlib
import math
import zlib

import msgspec
import pytest

from dwell.errors import ConfigError, CorruptStoreError, RecordError
from dwell.server import keys as room
from dwell.server.keys import Issued, Key, Keyring, authenticated, created, forgotten, revoked, rotated
from dwell.storage import open_store

NOW = 1_700_000_000.0
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def entropy(n: int) -> bytes:
    """Return 40 bytes that differ for each n."""
    return hashlib.sha512(b"%d" % n).digest()[:40]


EMPTY = Keyring()


def issued(ring: Keyring = EMPTY, n: int = 0, **given: object) -> Issued:
    chosen = {"kind": "secret", "name": "backend", "tenant": "acme", "now": NOW, "entropy": entropy(n)} | given
    return created(ring, **chosen)  # type: ignore[arg-type]


def number(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 62 + DIGITS.index(digit)
    return value


@pytest.mark.parametrize(("kind", "prefix"), [("public", "pub"), ("agent", "agt"), ("secret", "sec"), ("admin", "adm")])
def test_the_text_holds_id_secret_and_check_and_the_ring_the_hash_alone(kind: str, prefix: str) -> None:
    made = issued(kind=kind)
    product, kind_part, key_id, secret, check = made.text.split("_")
    assert (product, kind_part, key_id) == ("dwell", prefix, made.key.id)
    assert number(key_id) == int.from_bytes(entropy(0)[:8], "big")
    assert number(secret) == int.from_bytes(entropy(0)[8:], "big")
    assert number(check) == zlib.crc32(made.text.rpartition("_")[0].encode())
    assert [kept.digest for kept in made.key.secrets] == [hashlib.sha256(secret.encode()).digest()]
    for shown in (repr(made), repr(made.key), repr(made.keyring), str(made.key.secrets)):
        assert secret not in shown
        assert repr(made.key.secrets[0].digest) not in shown


@pytest.mark.parametrize("raw", [bytes(40), b"\xff" * 40])
def test_the_smallest_and_the_largest_secret_have_the_same_length(raw: bytes) -> None:
    made = issued(entropy=raw)
    assert len(made.text) == 10 + 11 + 1 + 43 + 1 + 6
    assert authenticated(made.keyring, made.text, NOW) == made.key


def test_whoever_presents_a_key_is_found() -> None:
    first = issued()
    second = issued(first.keyring, 1, kind="public")
    assert authenticated(second.keyring, first.text, NOW) == first.key
    assert authenticated(second.keyring, second.text, NOW) == second.key
    assert authenticated(first.keyring, second.text, NOW) is None


def with_check(body: str) -> str:
    """Finish a forged key as an attacker would who knows the format."""
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = DIGITS[digit] + digits
    return f"{body}_{digits}"


def test_a_forged_key_with_a_right_check_is_refused() -> None:
    made, other = issued(), issued(n=1)
    _, kind, key_id, secret, _ = made.text.split("_")
    _, _, other_id, other_secret, _ = other.text.split("_")
    assert with_check(f"dwell_{kind}_{key_id}_{secret}") == made.text
    ring = issued(made.keyring, 1).keyring
    for body in (
        f"dwell_{kind}_{key_id}_{other_secret}",  # the secret of another key
        f"dwell_{kind}_{other_id}_{secret}",
        f"dwell_adm_{key_id}_{secret}",  # more rights than it was given
        f"dwell_pub_{key_id}_{secret}",
        f"dwell_{kind}_{key_id}_{secret[:-1]}{'0' if secret[-1] != '0' else '1'}",
    ):
        assert authenticated(ring, with_check(body), NOW) is None, body


@pytest.mark.parametrize("text", ["", "dwell", "dwell_sec___", "é" * 72, "\0" * 72, " ", "x" * 10**7, "_" * 72])
def test_what_is_no_key_lets_nobody_in(text: str) -> None:
    assert authenticated(issued().keyring, text, NOW) is None


def test_a_key_expires_at_its_instant() -> None:
    made = issued(expires_at=NOW + 10.0)
    assert authenticated(made.keyring, made.text, NOW + 9.9) is not None
    assert authenticated(made.keyring, made.text, NOW + 10.0) is None


def test_a_revoked_key_lets_nobody_in_and_its_neighbour_still_does() -> None:
    first = issued()
    second = issued(first.keyring, 1)
    ring = revoked(second.keyring, first.key.id, now=NOW + 1.0)
    assert authenticated(ring, first.text, NOW + 1.0) is None
    assert authenticated(ring, second.text, NOW + 1.0) is not None
    assert revoked(ring, first.key.id, now=NOW + 9.0) == ring
    with pytest.raises(ConfigError, match="revoked"):
        rotated(ring, first.key.id, now=NOW, entropy=entropy(2))


def test_two_secrets_work_while_one_replaces_the_other() -> None:
    first = issued()
    second = rotated(first.keyring, first.key.id, now=NOW + 1.0, entropy=entropy(1), overlap_s=100.0)
    for text, until in ((first.text, NOW + 101.0), (second.text, math.inf)):
        assert authenticated(second.keyring, text, NOW + 100.9) == second.key
        assert (authenticated(second.keyring, text, NOW + 101.0) is not None) == (until > NOW + 101.0)
    third = rotated(second.keyring, first.key.id, now=NOW + 2.0, entropy=entropy(2), overlap_s=100.0)
    assert [authenticated(third.keyring, t.text, NOW + 3.0) is not None for t in (first, second, third)] == [
        False, True, True,
    ]  # fmt: skip
    assert len(third.key.secrets) == 2


def test_an_overlap_of_nothing_ends_the_old_secret_at_once() -> None:
    first = issued()
    second = rotated(first.keyring, first.key.id, now=NOW, entropy=entropy(1), overlap_s=0.0)
    assert authenticated(second.keyring, first.text, NOW) is None
    assert authenticated(second.keyring, second.text, NOW) is not None


def test_what_lets_nobody_in_is_forgotten() -> None:
    ring, kept = Keyring(), []
    for n, given in enumerate(({}, {"expires_at": NOW + 1.0}, {})):
        made = issued(ring, n, **given)
        ring, kept = made.keyring, [*kept, made.key.id]
    ring = revoked(ring, kept[2], now=NOW)
    assert [key.id for key in forgotten(ring, now=NOW + 1.0).keys] == kept[:1]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "root"}, "kind"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x1b[31m"}, "name"),
        ({"expires_at": NOW}, "expires_at"),
        ({"expires_at": math.nan}, "expires_at"),
        ({"expires_at": math.inf}, "expires_at"),
        ({"entropy": b"short"}, "entropy"),
        ({"tenant": "a\nb"}, "tenant"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(given: dict[str, object], field: str) -> None:
    with pytest.raises((ConfigError, RecordError)) as caught:
        issued(**given)
    assert caught.value.field == field
    assert caught.value.hint


def test_an_unknown_id_and_a_negative_overlap_are_refused() -> None:
    made = issued()
    with pytest.raises(ConfigError, match="no such key"):
        revoked(made.keyring, "nope", now=NOW)
    for overlap in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="overlap"):
            rotated(made.keyring, made.key.id, now=NOW, entropy=entropy(1), overlap_s=overlap)


def test_the_same_entropy_makes_no_second_key() -> None:
    with pytest.raises(ConfigError, match="used before"):
        issued(issued().keyring)


def test_a_full_ring_takes_no_more_and_what_it_holds_still_works() -> None:
    made = issued()
    full = Keyring((made.key, *(Key(f"{n:011}", "public", "", "n", NOW) for n in range(room.MAX_KEYS - 1))))
    with pytest.raises(ConfigError) as caught:
        issued(full, 1)
    assert caught.value.code == "too_many_keys"
    assert authenticated(full, made.text, NOW) == made.key


def test_a_store_keeps_the_ring_and_none_of_the_secrets() -> None:
    store = open_store(":memory:", tenant="acme")
    with store.snapshot() as reader:
        assert room.read_keyring(reader) == Keyring()
    first = issued()
    second = rotated(first.keyring, first.key.id, now=NOW, entropy=entropy(1))
    with store.transaction() as tx:
        room.write_keyring(tx, second.keyring)
    with store.snapshot() as reader:
        assert room.read_keyring(reader) == second.keyring
        kept = reader.store_setting("api_keys")
        assert kept is not None
        for text in (first.text, second.text):
            assert text.split("_")[3].encode() not in kept
    store.close()


@pytest.mark.parametrize("kept", [b"", b"\xc1", msgspec.msgpack.encode([{"id": 3}]), msgspec.msgpack.encode("keys")])
def test_damaged_keys_let_nobody_in(kept: bytes) -> None:
    store = open_store(":memory:")
    with store.transaction() as tx:
        tx.put_store_setting("api_keys", kept)
    with store.snapshot() as reader, pytest.raises(CorruptStoreError):
        room.read_keyring(reader)
    store.close()


def test_fresh_entropy_has_the_right_size_and_differs() -> None:
    assert len(room.entropy()) == room.N_ENTROPY_BYTES
    assert room.entropy() != room.entropy()
