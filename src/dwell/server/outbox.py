"""Messages that wait to be delivered, kept in the store until they are, or are given up.

A message is put there in the transaction that notes what it tells of: either both are there after a crash, or neither.
Within a tenant they go out in their order, one at a time: nobody is told that something is over before that it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from dwell.server.webhook import Sent
from dwell.storage import Reader, Transaction

__all__ = ["MOST_WAITING", "Message", "after_attempt", "put_messages", "settle", "waiting"]

_KEY: Final = "alert_outbox"  # setting of the tenant
MOST_WAITING: Final = 100  # beyond it nobody has listened for long: the oldest go
_PAUSES_S: Final = (10.0, 60.0, 300.0, 900.0, 2_700.0)  # an hour and a bit in all: then it is no news any more


class Message(msgspec.Struct, frozen=True):
    """One message to one receiver.

    Attributes:
        id: The same for each attempt.
        body: JSON.
        n_attempts: How often it was tried, >= 0.
        next_at: When it is due, UTC epoch seconds.
    """

    id: str
    body: str
    n_attempts: int = 0
    next_at: float = 0.0


def waiting(reader: Reader) -> list[Message]:
    """Return what waits, oldest first; nothing where it can not be read."""
    kept = reader.setting(_KEY)
    try:
        return [] if kept is None else msgspec.json.decode(kept, type=list[Message])
    except msgspec.DecodeError:
        return []


def put_messages(tx: Transaction, messages: Sequence[Message]) -> int:
    """Add messages that are not there yet, and return how many of the oldest had to go for them."""
    found = waiting(tx)
    known = {message.id for message in found}
    found += [message for message in messages if message.id not in known]
    n_lost = max(len(found) - MOST_WAITING, 0)
    tx.put_setting(_KEY, msgspec.json.encode(found[n_lost:]))
    return n_lost


def settle(tx: Transaction, id: str, after: Message | None) -> None:  # noqa: A002 - it is called so in the message
    """Replace the message of an id, or take it out where nothing is left to do."""
    found = [message if message.id != id else after for message in waiting(tx)]
    tx.put_setting(_KEY, msgspec.json.encode([message for message in found if message is not None]))


def after_attempt(message: Message, sent: Sent, now: float) -> Message | None:
    """Return the message as it waits after an attempt; None where it was delivered or is given up.

    Args:
        message: As it was tried.
        sent: What became of it.
        now: UTC epoch seconds.
    """
    if sent.outcome != "again" or message.n_attempts >= len(_PAUSES_S):
        return None
    return msgspec.structs.replace(
        message, n_attempts=message.n_attempts + 1, next_at=now + _PAUSES_S[message.n_attempts]
    )
