"""API keys: who a caller is, and what that caller may do.

A key reads `dwell_<kind>_<id>_<secret>_<check>`. The store keeps the SHA-256 of the secret and never the secret. A slow
hash would add nothing: it protects passwords that can be guessed, and nobody guesses 256 random bits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from dwell.errors import ConfigError, CorruptStoreError
from dwell.records import checks
from dwell.storage import Reader, Transaction

__all__ = [
    "MAX_KEYS",
    "N_ENTROPY_BYTES",
    "OVERLAP_S",
    "Issued",
    "Key",
    "Keyring",
    "Kind",
    "Secret",
    "authenticated",
    "created",
    "entropy",
    "forgotten",
    "is_active",
    "read_keyring",
    "revoked",
    "rotated",
    "write_keyring",
]

Kind = Literal["public", "agent", "secret", "admin"]

MAX_KEYS: Final = 1_000  # the ring is one value, read and written whole: about 300 KB when full
OVERLAP_S: Final = 7 * 86_400.0  # a week to bring a new secret to every server that has the old one
_N_ID_BYTES: Final = 8
_N_SECRET_BYTES: Final = 32  # 256 bits: not to be guessed, now or ever
N_ENTROPY_BYTES: Final = _N_ID_BYTES + _N_SECRET_BYTES

_PREFIX: Final[dict[Kind, str]] = {"public": "pub", "agent": "agt", "secret": "sec", "admin": "adm"}
_KIND: Final[dict[str, Kind]] = {prefix: kind for kind, prefix in _PREFIX.items()}
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Enough digits of base 62 for 64, 256 and 32 bits: ceil(bits / log2(62))
_FORM: Final = re.compile(r"dwell_(pub|agt|sec|adm)_([0-9A-Za-z]{11})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})", re.ASCII)
_N_CHECK: Final = 6
_N_CHARACTERS: Final = len("dwell_pub_") + 11 + 1 + 43 + 1 + _N_CHECK
_SETTING: Final = "api_keys"
_MAX_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of one secret of a key.

    Attributes:
        digest: SHA-256 of the secret.
        created_at: When it was made, UTC epoch seconds.
        expires_at: When it stops being accepted, by rotation; None while it is the current one.
    """

    digest: bytes = field(repr=False)
    created_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One key: whose it is and what it may do. Nothing in it, or in its repr, lets anybody in.

    Attributes:
        id: Public identity, 11 digits of base 62.
        kind: "public" sends feedback with a token, "agent" ranks and speaks of it as an agent, "secret" is an
            application's server, "admin" moves params.
        tenant: The one tenant it belongs to; "" is the default one.
        name: What people call it.
        created_at: UTC epoch seconds.
        expires_at: When it stops being accepted; None for never.
        revoked_at: When it was revoked; None while it was not.
        secrets: What is kept of its secrets, newest first; two during a rotation.
    """

    id: str
    kind: Kind
    tenant: str
    name: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True)
class Keyring:
    """All keys of a store, in the order in which they were made."""

    keys: tuple[Key, ...] = ()
    _by_id: dict[str, Key] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {key.id: key for key in self.keys})

    def get(self, key_id: str) -> Key | None:
        """Return the key of an id, or None."""
        return self._by_id.get(key_id)

    def _with(self, key: Key) -> Keyring:
        return Keyring(tuple(key if other.id == key.id else other for other in self.keys))


@dataclass(frozen=True, slots=True)
class Issued:
    """A new secret, the only time that it is seen.

    Attributes:
        keyring: The ring with it.
        key: The key that it belongs to.
        text: What the caller presents from now on.
    """

    keyring: Keyring
    key: Key
    text: str = field(repr=False)


def entropy() -> bytes:
    """Return fresh bytes of the system's entropy for `created` or `rotated`."""
    return secrets.token_bytes(N_ENTROPY_BYTES)


def created(
    keyring: Keyring,
    *,
    kind: Kind,
    name: str,
    tenant: str = "",
    now: float,
    expires_at: float | None = None,
    entropy: bytes,
) -> Issued:
    """Return the ring with a new key, and the text of that key.

    Args:
        keyring: The ring.
        kind: What the key may do; see `Key`.
        name: What people call it: 1 to 100 printable characters.
        tenant: The tenant that it belongs to.
        now: UTC epoch seconds.
        expires_at: When it stops being accepted, after `now`; None for never.
        entropy: `N_ENTROPY_BYTES` bytes that nobody knows; see `entropy`.

    Raises:
        ConfigError: A value is out of range, or the ring is full.
        RecordError: The tenant is no identifier.
    """
    _check_entropy(entropy)
    if kind not in _PREFIX:
        raise ConfigError("no such kind of key", field="kind", value=kind, hint=f"Choose one of {', '.join(_PREFIX)}.")
    if not (1 <= len(name) <= _MAX_NAME and name.isprintable()):
        raise ConfigError(
            f"a key's name has 1 to {_MAX_NAME} printable characters", field="name", value=name, hint="Shorten it."
        )
    if tenant != "":
        checks.identifier(tenant, "tenant")
    if expires_at is not None and not now < expires_at < float("inf"):
        raise ConfigError(
            "a key expires after it was made", field="expires_at", value=expires_at, hint="Give a later instant."
        )
    if len(keyring.keys) >= MAX_KEYS:
        raise ConfigError(
            f"a store holds at most {MAX_KEYS} keys",
            code="too_many_keys",
            field="keys",
            value=len(keyring.keys),
            hint="`dwell keys forget` removes revoked and expired ones.",
        )
    key_id = _base62(entropy[:_N_ID_BYTES], 11)
    if keyring.get(key_id) is not None:
        raise ConfigError(
            "this entropy has been used before", field="entropy", value="(not shown)", hint="Take fresh bytes."
        )
    secret, text = _issue(kind, key_id, entropy, now)
    key = Key(key_id, kind, tenant, name, created_at=now, expires_at=expires_at, secrets=(secret,))
    return Issued(Keyring((*keyring.keys, key)), key, text)


def rotated(keyring: Keyring, key_id: str, *, now: float, entropy: bytes, overlap_s: float = OVERLAP_S) -> Issued:
    """Return the ring with a new secret for a key; the one before is accepted for a while longer.

    Args:
        keyring: The ring.
        key_id: Which key.
        now: UTC epoch seconds.
        entropy: As for `created`.
        overlap_s: How long the secret before is accepted still, in seconds; 0 for not at all. Older ones go at once.

    Raises:
        ConfigError: No such key, one that is revoked, or an overlap that is negative or not finite.
    """
    _check_entropy(entropy)
    key = _known(keyring, key_id)
    if key.revoked_at is not None:
        raise ConfigError(
            "a revoked key stays revoked", field="id", value=key_id, hint="Make another one: `dwell keys create`."
        )
    if not 0.0 <= overlap_s < float("inf"):
        raise ConfigError(
            "an overlap is at least 0 s", field="overlap_s", value=overlap_s, hint="0 ends the old secret at once."
        )
    secret, text = _issue(key.kind, key_id, entropy, now)
    until = now + overlap_s
    before = tuple(
        dataclasses.replace(old, expires_at=until if old.expires_at is None else min(until, old.expires_at))
        for old in key.secrets[:1]
        if overlap_s > 0.0
    )
    key = dataclasses.replace(key, secrets=(secret, *before))
    return Issued(keyring._with(key), key, text)  # noqa: SLF001 - of the same module


def revoked(keyring: Keyring, key_id: str, *, now: float) -> Keyring:
    """Return the ring in which a key is revoked: it lets nobody in any more. Revoking twice changes nothing.

    Raises:
        ConfigError: No such key.
    """
    key = _known(keyring, key_id)
    if key.revoked_at is not None:
        return keyring
    return keyring._with(dataclasses.replace(key, revoked_at=now))  # noqa: SLF001 - of the same module


def forgotten(keyring: Keyring, *, now: float) -> Keyring:
    """Return the ring without the keys that let nobody in any more: those that are revoked or have expired."""
    return Keyring(tuple(key for key in keyring.keys if is_active(key, now)))


def is_active(key: Key, now: float) -> bool:
    """Return whether a key is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def authenticated(keyring: Keyring, presented: str, now: float) -> Key | None:
    """Return the key whose text was presented, or None: malformed, unknown, wrong, expired or revoked.

    Args:
        keyring: The ring.
        presented: What the caller sent. Of any length: what is no key is told by its length first.
        now: UTC epoch seconds.
    """
    if len(presented) != _N_CHARACTERS:
        return None
    form = _FORM.fullmatch(presented)
    if form is None or _check(presented[: -_N_CHECK - 1]) != form[4]:
        return None
    key = keyring.get(form[2])
    if key is None or key.kind != _KIND[form[1]] or not is_active(key, now):
        return None
    digest = _digest(form[3])
    is_right = False
    for secret in key.secrets:
        is_in_time = secret.expires_at is None or now < secret.expires_at
        is_right |= hmac.compare_digest(secret.digest, digest) and is_in_time
    return key if is_right else None


def read_keyring(reader: Reader) -> Keyring:
    """Return the keys of a store; none where none was made.

    Raises:
        CorruptStoreError: The stored keys can not be read, so nobody can be let in.
    """
    kept = reader.store_setting(_SETTING)
    if kept is None:
        return Keyring()
    try:
        return Keyring(msgspec.msgpack.decode(kept, type=tuple[Key, ...]))
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptStoreError(
            "the stored API keys can not be read",
            code="corrupt_keys",
            hint="Restore the store from a backup; until then nobody is let in.",
        ) from error


def write_keyring(tx: Transaction, keyring: Keyring) -> None:
    """Keep the keys of a store. Read the ring in the same transaction: who comes second must not undo the first."""
    tx.put_store_setting(_SETTING, msgspec.msgpack.encode(keyring.keys))


def _issue(kind: Kind, key_id: str, entropy: bytes, now: float) -> tuple[Secret, str]:
    secret = _base62(entropy[_N_ID_BYTES:], 43)
    body = f"dwell_{_PREFIX[kind]}_{key_id}_{secret}"
    return Secret(_digest(secret), now), f"{body}_{_check(body)}"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


def _check(body: str) -> str:
    # Tells a mistyped or cut key from a wrong one without the store, and lets scanners for leaked secrets be sure
    return _base62(zlib.crc32(body.encode("ascii")).to_bytes(4, "big"), _N_CHECK)


def _base62(raw: bytes, n_digits: int) -> str:
    number = int.from_bytes(raw, "big")
    digits = []
    for _ in range(n_digits):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _known(keyring: Keyring, key_id: str) -> Key:
    key = keyring.get(key_id)
    if key is None:
        raise ConfigError(
            "no such key", code="unknown_key", field="id", value=key_id, hint="`dwell keys list` shows the ids."
        )
    return key


def _check_entropy(entropy: bytes) -> None:
    if len(entropy) != N_ENTROPY_BYTES:
        raise ConfigError(
            f"a key is made of {N_ENTROPY_BYTES} bytes",
            field="entropy",
            value=f"{len(entropy)} bytes",
            hint="Take them from keys.entropy().",
        )
