"""Event ids for callers that bring none: UUIDs that sort by time, from the system's entropy."""

from __future__ import annotations

import os
import time
from typing import Final

from dwell.records.event_ids import uuid7

__all__ = ["new_event_id"]

_N_BYTES: Final = 10  # 80 bits, of which a UUID takes 74
# Whoever asks the system lets other threads run in between: once in 256 ids a service can afford that
_N_AT_ONCE: Final = 256
_chance: list[bytes] = []


def new_event_id() -> str:
    """Return a new UUID of version 7 as text."""
    try:
        chance = _chance.pop()
    except IndexError:
        block = os.urandom(_N_BYTES * _N_AT_ONCE)
        chance, *others = [block[i : i + _N_BYTES] for i in range(0, len(block), _N_BYTES)]
        _chance.extend(others)
    return uuid7(time.time_ns() // 1_000_000, int.from_bytes(chance, "big"))


os.register_at_fork(after_in_child=_chance.clear)  # what was drawn is the parent's
