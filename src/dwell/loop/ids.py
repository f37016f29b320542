"""Event ids for callers that bring none: UUIDs that sort by time, from the system's entropy."""

from __future__ import annotations

import os
import time
import uuid

__all__ = ["new_event_id"]


def new_event_id() -> str:
    """Return a new UUID of version 7 as text.

    Source:
        RFC 9562, section 5.7.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76
    value |= (random >> 68) << 64
    value |= 0b10 << 62
    value |= random & (2**62 - 1)
    return str(uuid.UUID(int=value))
