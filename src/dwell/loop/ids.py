"""Event ids for callers that bring none: UUIDs that sort by time, from the system's entropy."""

from __future__ import annotations

import os
import time

from dwell.records.event_ids import uuid7

__all__ = ["new_event_id"]


def new_event_id() -> str:
    """Return a new UUID of version 7 as text."""
    return uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))
