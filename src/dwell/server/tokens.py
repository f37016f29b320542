"""Impression tokens: proof that a list was served to whoever sends feedback about it.

A browser holds no secret, so its feedback is worth what its token proves: that this service served this list, for this
event, to this user, not long ago. The user's pseudonym is part of what is signed and no part of the token: a token that
somebody else sends fails, and says nothing about whose it was.

    token = base64url(version, expiry, H(tenant), H(event id), H(served ids)) "." base64url(HMAC-SHA256)

Everything in it has a fixed length, so a token has exactly 120 characters whatever ids are used. The signature is that
of `itsdangerous`, which signs with the newest key and accepts older ones, with SHA-256 in place of its SHA-1.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from dwell.errors import ConfigError, CorruptStoreError, TokenInvalid

if TYPE_CHECKING:
    from itsdangerous import Signer

    from dwell.storage import Reader, Store, Transaction

__all__ = [
    "MAX_LIFETIME_S",
    "MAX_TOKEN_CHARACTERS",
    "SigningKey",
    "TokenClaims",
    "mint",
    "read_signing_keys",
    "rotated_signing_keys",
    "served_digest",
    "signing_keys",
    "verify",
    "write_signing_keys",
]

MAX_TOKEN_CHARACTERS: Final = 512  # ten times what any layout needs; looked at before anything else is
MAX_LIFETIME_S: Final = 7 * 86_400.0  # as long as an idempotency key is remembered: what could be replayed is known
_MAX_SIGNING_KEYS: Final = 4  # each older one costs a forged token 7 us more; four rotations a week are plenty
_N_KEY_BYTES: Final = 32  # as long as the digest: RFC 2104, section 3
_VERSION: Final = 1
_SALT: Final = b"dwell impression 1\0"
_PAYLOAD: Final = struct.Struct(">BQ16s16s16s")  # 57 bytes: 76 characters of base64 without padding
_N_PAYLOAD: Final = 76
_N_SIGNATURE: Final = 43
_N_TOKEN: Final = _N_PAYLOAD + 1 + _N_SIGNATURE
_SETTING: Final = "signing_keys"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret that signs tokens; its repr does not show it.

    Attributes:
        secret: 32 random bytes.
        created_at: When it began to sign, UTC epoch seconds.
    """

    secret: bytes = field(repr=False)
    created_at: float


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token proves that was found to be good.

    Attributes:
        event_id: The event that it was minted for.
        expires_at: Until when it is good, UTC epoch seconds.
        served_digest: `served_digest` of the list that was served.
    """

    event_id: str
    expires_at: int
    served_digest: bytes


def served_digest(ids: Sequence[str]) -> bytes:
    """Return 16 bytes that stand for an ordered list of ids, and for no other list."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ids:
        raw = name.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b" % (len(raw), raw))  # its length first: ["ab", "c"] is not ["a", "bc"]
    return digest.digest()


def mint(
    keys: Sequence[SigningKey],
    *,
    tenant: str,
    event_id: str,
    served: Sequence[str],
    subject: str,
    expires_at: float,
) -> str:
    """Return a token for a list that is about to be served: 120 characters of URL-safe ASCII.

    Args:
        keys: The signing keys, newest first; the first one signs.
        tenant: Whose event it is.
        event_id: The event.
        served: The ids as they are shown, in that order.
        subject: The user's pseudonym; "" where none is known.
        expires_at: Until when feedback is taken, UTC epoch seconds, rounded down to a whole one.

    Raises:
        ConfigError: There is no key.
    """
    payload = _PAYLOAD.pack(_VERSION, int(expires_at), _digest(tenant), _digest(event_id), served_digest(served))
    return _signer(keys, subject).sign(urlsafe_b64encode(payload)).decode("ascii")


def verify(
    keys: Sequence[SigningKey],
    token: str,
    *,
    tenant: str,
    event_id: str,
    subject: str,
    now: float,
    served: Sequence[str] | None = None,
) -> TokenClaims:
    """Return what a token proves, if it is ours, whole, in time, and for this tenant, event and user.

    Args:
        keys: The signing keys, newest first; each of them is accepted.
        token: What the caller sent, of any length.
        tenant: The tenant of the caller's key.
        event_id: The event that the feedback is about.
        subject: The pseudonym of the user who sends it; "" where none is known.
        now: UTC epoch seconds.
        served: The ids that the store says were shown, in their order; not compared when not given.

    Raises:
        TokenInvalid: In every other case, with one message; what is wrong stands in its `reason`.
        ConfigError: There is no key.
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        _refuse("too long")
    if len(token) != _N_TOKEN or token[_N_PAYLOAD] != "." or not token.isascii():
        _refuse("not a token")
    text, signature = token[:_N_PAYLOAD].encode("ascii"), token[_N_PAYLOAD + 1 :].encode("ascii")
    # Decoders of base64 skip strange characters and ignore the last bits: one signature has one spelling here
    if not _is_canonical(signature):
        _refuse("not canonical")
    if not _signer(keys, subject).verify_signature(text, signature):
        _refuse("signature")
    version, expires_at, of_tenant, of_event, of_served = _PAYLOAD.unpack(urlsafe_b64decode(text))
    if version != _VERSION:
        _refuse("version")
    if now > expires_at:
        _refuse("expired")
    if of_tenant != _digest(tenant):
        _refuse("tenant")
    if of_event != _digest(event_id):
        _refuse("event")
    if served is not None and of_served != served_digest(served):
        _refuse("list")
    return TokenClaims(event_id, expires_at, of_served)


def rotated_signing_keys(
    keys: Sequence[SigningKey], *, now: float, secret: bytes, keep_older: bool = True
) -> tuple[SigningKey, ...]:
    """Return the signing keys with a new one in front.

    Those before stay as long as a token that they signed can be good: until `MAX_LIFETIME_S` after they were replaced,
    and four keys in all.

    Args:
        keys: The keys so far, newest first.
        now: UTC epoch seconds.
        secret: 32 bytes that nobody knows.
        keep_older: Whether tokens that are out stay good; False after a leak.

    Raises:
        ConfigError: The secret is shorter or longer.
    """
    if len(secret) != _N_KEY_BYTES:
        raise ConfigError(
            f"a signing key has {_N_KEY_BYTES} bytes", field="secret", value=f"{len(secret)} bytes", hint="Take 32."
        )
    found = [SigningKey(secret, now)]
    replaced_at = now
    for key in keys if keep_older else ():
        if now - replaced_at < MAX_LIFETIME_S and len(found) < _MAX_SIGNING_KEYS:
            found.append(key)
        replaced_at = key.created_at
    return tuple(found)


def read_signing_keys(reader: Reader) -> tuple[SigningKey, ...]:
    """Return the signing keys of a store, newest first; none before the first use.

    Raises:
        CorruptStoreError: They can not be read.
    """
    kept = reader.store_setting(_SETTING)
    if kept is None:
        return ()
    try:
        return msgspec.msgpack.decode(kept, type=tuple[SigningKey, ...])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptStoreError(
            "the stored signing keys can not be read",
            code="corrupt_keys",
            hint="Restore the store from a backup, or make new ones: `dwell keys rotate-signing --drop-older`.",
        ) from error


def write_signing_keys(tx: Transaction, keys: Sequence[SigningKey]) -> None:
    """Keep the signing keys of a store. Read them in the same transaction."""
    tx.put_store_setting(_SETTING, msgspec.msgpack.encode(tuple(keys)))


def signing_keys(store: Store, *, now: float) -> tuple[SigningKey, ...]:
    """Return the signing keys of a store, newest first, and make the first one where there is none.

    Raises:
        StorageError: There is none yet and this process may not write.
    """
    with store.snapshot() as reader:
        found = read_signing_keys(reader)
    if found:
        return found
    with store.transaction() as tx:
        found = read_signing_keys(tx)
        if not found:
            found = rotated_signing_keys((), now=now, secret=secrets.token_bytes(_N_KEY_BYTES))
            write_signing_keys(tx, found)
    return found


def _signer(keys: Sequence[SigningKey], subject: str) -> Signer:
    from itsdangerous import Signer

    if not keys:
        raise ConfigError(
            "there is no signing key", field="keys", value=0, hint="Make one: tokens.signing_keys(store)."
        )
    return Signer(
        [key.secret for key in reversed(keys)],  # itsdangerous wants the newest last
        salt=_SALT + subject.encode("utf-8", "surrogatepass"),
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )


def _is_canonical(signature: bytes) -> bool:
    try:
        raw = urlsafe_b64decode(signature + b"=")
    except ValueError:
        return False
    return urlsafe_b64encode(raw).rstrip(b"=") == signature


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _refuse(reason: str) -> NoReturn:
    raise TokenInvalid(
        "the impression token is not valid",
        hint="Send the token that came with the list, for the same user, before it expires.",
        reason=reason,
    )
