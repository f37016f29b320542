"""Who is signed in to the dashboard: kept in this process only, so that a restart signs everybody out."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

__all__ = ["COOKIE", "LIFETIME_S", "Session", "Sessions"]

COOKIE: Final = "dwell_session"
LIFETIME_S: Final = 12 * 3_600.0  # a working day: whoever comes back tomorrow shows the key again
_MOST: Final = 1_000  # of 300 bytes; operators are few, and the oldest one goes
_MOST_OF_A_KEY: Final = 50  # the oldest of the same key goes first: nobody signs out others by signing in
_N_BYTES: Final = 32  # 256 bits, as the keys: not to be guessed


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that showed a key.

    Attributes:
        key_id: Identity of the key; whether it is still good is asked at every request.
        csrf: What every form of this session must bring back.
        expires_at: UTC epoch seconds.
    """

    key_id: str
    csrf: str
    expires_at: float


@dataclass(slots=True, eq=False)
class Sessions:
    """The sessions of one service. To be used from its event loop only."""

    _found: OrderedDict[str, Session] = field(default_factory=OrderedDict)

    def begin(self, key_id: str, now: float) -> str:
        """Return the secret name of a new session, for the cookie."""
        same = [name for name, found in self._found.items() if found.key_id == key_id]
        for name in same[: max(len(same) + 1 - _MOST_OF_A_KEY, 0)]:
            del self._found[name]
        name = secrets.token_urlsafe(_N_BYTES)
        self._found[name] = Session(key_id, secrets.token_urlsafe(_N_BYTES), now + LIFETIME_S)
        while len(self._found) > _MOST:
            self._found.popitem(last=False)
        return name

    def find(self, name: str, now: float) -> Session | None:
        """Return a session that is not over, or None."""
        found = self._found.get(name)
        if found is not None and found.expires_at <= now:
            del self._found[name]
            return None
        return found

    def end(self, name: str) -> None:
        """Forget a session; one that is not known is fine."""
        self._found.pop(name, None)
