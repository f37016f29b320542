"""Impression tokens: good for one list, event, tenant and user until an instant, and one answer to everything else."""

import base64
import hashlib
import hmac
import struct
from typing import Any

import pytest

from dwell.errors import ConfigError, CorruptStoreError, TokenInvalid
from dwell.server import tokens as room
from dwell.server.tokens import SigningKey, TokenClaims, mint, rotated_signing_keys, served_digest, verify
from dwell.storage import open_store

NOW = 1_700_000_000.0
KEY = SigningKey(bytes(range(32)), NOW)
OLD = SigningKey(bytes(range(32, 64)), NOW - 100.0)
SERVED = ["kb-1", "kb-2", "kb-3"]


def minted(keys: tuple[SigningKey, ...] = (KEY,), **given: Any) -> str:
    chosen = {"tenant": "acme", "event_id": "e-1", "served": SERVED, "subject": "u-77", "expires_at": NOW + 60.0}
    return mint(keys, **(chosen | given))


def verified(token: str, keys: tuple[SigningKey, ...] = (KEY,), **given: Any) -> TokenClaims:
    chosen = {"tenant": "acme", "event_id": "e-1", "subject": "u-77", "now": NOW, "served": SERVED}
    return verify(keys, token, **(chosen | given))


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_token_is_what_the_page_says_computed_by_hand() -> None:
    def digest(text: str) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    listed = digest("4:kb-14:kb-24:kb-3")
    payload = encoded(struct.pack(">BQ", 1, int(NOW) + 60) + digest("acme") + digest("e-1") + listed)
    derived = hmac.digest(KEY.secret, b"dwell impression 1\0u-77", "sha256")
    assert minted() == f"{payload}.{encoded(hmac.digest(derived, payload.encode(), 'sha256'))}"


def test_a_good_token_says_what_it_proves() -> None:
    claims = verified(minted())
    assert claims == TokenClaims("e-1", int(NOW) + 60, served_digest(SERVED))
    assert verified(minted(), served=None) == claims


@pytest.mark.parametrize("text", ["", "x" * 512, "é" * 200, "\ud800"])
def test_every_token_has_the_same_length_and_fits(text: str) -> None:
    given = {"tenant": text, "event_id": text, "subject": text, "served": [text] * 100}
    token = minted(**given)
    assert len(token) == 120 <= room.MAX_TOKEN_CHARACTERS
    assert verified(token, **given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"tenant": "other"}, "tenant"),
        ({"event_id": "e-2"}, "event"),
        ({"subject": "u-78"}, "signature"),
        ({"subject": ""}, "signature"),
        ({"now": NOW + 60.5}, "expired"),
        ({"served": SERVED[::-1]}, "list"),
        ({"served": SERVED[:2]}, "list"),
        ({"served": [*SERVED, "kb-4"]}, "list"),
        ({"served": ["kb-1kb-2", "kb-3"]}, "list"),
        ({"keys": (OLD,)}, "signature"),
    ],
)
def test_another_user_tenant_event_list_time_or_key_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenInvalid) as caught:
        verified(minted(), **given)
    assert caught.value.reason == reason


def test_the_user_is_signed_and_not_told() -> None:
    first, second = minted(subject="u-1"), minted(subject="u-2")
    assert first[:76] == second[:76]
    assert first[77:] != second[77:]


def test_the_last_second_counts() -> None:
    assert verified(minted(expires_at=NOW + 60.9), now=NOW + 60.0)


def test_every_refusal_reads_the_same() -> None:
    good = minted()
    bad = [
        "",
        "x",
        good[:-1],
        good + "A",
        "A" * 10**7,
        good.replace(".", "!"),
        minted((OLD,)),
        "é" * 120,
        good.swapcase(),
    ]
    said = set()
    for token in bad:
        with pytest.raises(TokenInvalid) as caught:
            verified(token)
        said.add((str(caught.value), caught.value.code, caught.value.field, caught.value.value))
    with pytest.raises(TokenInvalid) as caught:
        verified(good, now=NOW + 1e6)
    said.add((str(caught.value), caught.value.code, caught.value.field, caught.value.value))
    assert len(said) == 1


def test_a_signature_has_one_spelling() -> None:
    # 43 characters hold 258 bits: the last two are none of the signature, and decoders drop them
    good = minted()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(good[-1])
    twins = [good[:-1] + alphabet[last ^ flipped] for flipped in (1, 2, 3)]
    raw = base64.urlsafe_b64decode(good[77:] + "=")
    assert all(base64.urlsafe_b64decode(twin[77:] + "=") == raw for twin in twins)
    for twin in [*twins, good + "=", good.replace("-", "+").replace("_", "/") + " ", good[:77] + "\n" + good[77:-1]]:
        with pytest.raises(TokenInvalid):
            verified(twin)


def test_a_token_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_VERSION", 2)
    later = minted()
    monkeypatch.undo()
    with pytest.raises(TokenInvalid) as caught:
        verified(later)
    assert caught.value.reason == "version"


def test_the_newest_key_signs_and_older_ones_are_accepted() -> None:
    token = minted((KEY, OLD))
    assert token == minted((KEY,))
    assert verified(minted((OLD,)), (KEY, OLD))
    with pytest.raises(TokenInvalid):
        verified(token, (OLD,))


def test_without_a_key_nothing_is_signed_or_accepted() -> None:
    for call in (lambda: minted(()), lambda: verified(minted(), ())):
        with pytest.raises(ConfigError):
            call()


def test_rotation_keeps_what_can_still_be_good() -> None:
    keys: tuple[SigningKey, ...] = ()
    for n in range(6):
        keys = rotated_signing_keys(keys, now=NOW + n, secret=bytes([n]) * 32)
    assert [key.secret[0] for key in keys] == [5, 4, 3, 2]  # four in all
    later = NOW + 5 + room.MAX_LIFETIME_S
    keys = rotated_signing_keys(keys, now=later, secret=bytes([9]) * 32)
    assert [key.secret[0] for key in keys] == [9, 5]  # 4 was replaced a whole lifetime ago, 5 just now
    assert [key.secret[0] for key in rotated_signing_keys(keys, now=later, secret=b"!" * 32, keep_older=False)] == [33]
    with pytest.raises(ConfigError):
        rotated_signing_keys((), now=NOW, secret=b"short")


def test_a_store_makes_its_key_once() -> None:
    store = open_store(":memory:")
    made = room.signing_keys(store, now=NOW)
    assert len(made) == 1
    assert len(made[0].secret) == 32
    assert room.signing_keys(store, now=NOW + 9.0) == made
    assert repr(made[0].secret) not in repr(made)
    with store.transaction() as tx:
        room.write_signing_keys(tx, rotated_signing_keys(made, now=NOW + 1.0, secret=KEY.secret))
    assert [key.secret for key in room.signing_keys(store, now=NOW + 9.0)] == [KEY.secret, made[0].secret]
    with store.transaction() as tx:
        tx.put_store_setting("signing_keys", b"\xc1")
    with pytest.raises(CorruptStoreError):
        room.signing_keys(store, now=NOW)
    store.close()
