"""Waiting for what other processes commit, where the database tells nobody: a look now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["CHANNEL", "looked_for"]

#: On which PostgreSQL tells of params in force, erasures and settings of the whole store.
CHANNEL: Final = "dwell_news"
_LOOK_S: Final = 0.1  # a look costs some 20 us, and news is due within a second


def looked_for(data_version: Callable[[], int], seen: int, timeout_s: float) -> int:
    """Return another number than `seen` as soon as there is one, `seen` itself after a time.

    Args:
        data_version: Of the store.
        seen: Its last number.
        timeout_s: How long to look, >= 0; at least one look is taken.
    """
    ends_at = time.monotonic() + timeout_s
    while (found := data_version()) == seen and time.monotonic() < ends_at:
        time.sleep(min(_LOOK_S, max(ends_at - time.monotonic(), 0.0)))
    return found
