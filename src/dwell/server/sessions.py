"""Who is signed in to the dashboard: a signed cookie, so that every process that serves the store knows it.

Signed by the keys that sign impression tokens, which stand in the store. A session that was ended before its time
stands there as well, until that time.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from dwell.server.tokens import SigningKey
from dwell.storage import Reader, Transaction

if TYPE_CHECKING:
    from itsdangerous import Signer

__all__ = ["COOKIE", "LIFETIME_S", "N_NAME_BYTES", "Session", "begin", "end", "find", "read_ended"]

COOKIE: Final = "dwell_session"
LIFETIME_S: Final = 12 * 3_600.0  # a working day: whoever comes back tomorrow shows the key again
N_NAME_BYTES: Final = 16  # tells sessions apart; what can not be guessed is the signature
_MOST_CHARACTERS: Final = 1_000  # of a cookie; ours take some 150
_MOST_ENDED: Final = 1_000  # of 40 bytes; operators are few, and the ones that are over soonest go
_SALT: Final = b"dwell dashboard session"
_ENDED: Final = "ended_sessions"  # setting of the store


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that showed a key.

    Attributes:
        name: What tells it from others, in hex; no secret.
        key_id: Identity of the key; whether it is still good is asked at every request.
        csrf: What every form of this session must bring back.
        expires_at: UTC epoch seconds.
    """

    name: str
    key_id: str
    csrf: str
    expires_at: float


def begin(keys: Sequence[SigningKey], key_id: str, now: float, name: bytes) -> str:
    """Return the cookie of a new session.

    Args:
        keys: The store's signing keys, newest first.
        key_id: Identity of the key that was shown.
        now: UTC epoch seconds.
        name: `N_NAME_BYTES` that no other session has.
    """
    told = urlsafe_b64encode(msgspec.msgpack.encode((name, key_id, now + LIFETIME_S))).rstrip(b"=")
    return _signer(keys).sign(told).decode("ascii")


def find(keys: Sequence[SigningKey], cookie: str, now: float, ended: Container[str]) -> Session | None:
    """Return the session of a cookie that one of the keys has signed, neither over nor ended; else None.

    Args:
        keys: The store's signing keys, newest first.
        cookie: As the browser sent it, of any length.
        now: UTC epoch seconds.
        ended: Names of the sessions that were ended.
    """
    from itsdangerous import BadSignature

    if not keys or not 0 < len(cookie) <= _MOST_CHARACTERS or not cookie.isascii():
        return None
    try:
        told = _signer(keys).unsign(cookie)
        name, key_id, expires_at = msgspec.msgpack.decode(
            urlsafe_b64decode(told + b"=" * (-len(told) % 4)), type=tuple[bytes, str, float]
        )
    except (BadSignature, ValueError):  # a decode error is one, too
        return None
    if expires_at <= now or name.hex() in ended:
        return None
    csrf = urlsafe_b64encode(hashlib.blake2b(cookie.encode("ascii"), person=b"dwell csrf", digest_size=32).digest())
    return Session(name.hex(), key_id, csrf.rstrip(b"=").decode("ascii"), expires_at)


def read_ended(reader: Reader) -> Mapping[str, float]:
    """Return when the sessions that were ended would have been over, by their names."""
    body = reader.store_setting(_ENDED)
    return {} if not body else msgspec.msgpack.decode(body, type=dict[str, float])


def end(tx: Transaction, session: Session, now: float) -> None:
    """Note that a session is ended; those that would be over by now are forgotten."""
    kept = {name: at for name, at in read_ended(tx).items() if at > now} | {session.name: session.expires_at}
    last = sorted(kept.items(), key=lambda one: one[1])[-_MOST_ENDED:]
    tx.put_store_setting(_ENDED, msgspec.msgpack.encode(dict(last)))


def _signer(keys: Sequence[SigningKey]) -> Signer:
    from itsdangerous import Signer

    secrets = [key.secret for key in reversed(keys)]  # itsdangerous wants the newest last
    return Signer(secrets, salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256)
