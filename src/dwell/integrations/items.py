"""What adapters of memories share: features of an item, and activation of what is gone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from dwell.loop.item_activation import ItemActivation

__all__ = ["RECENCY", "drop", "numbers_in", "recency"]

RECENCY: Final = "recency"  # -log2(1 + age in days), as `dwell.memory` has it
_DAY_S: Final = 86_400.0


def numbers_in(told: Mapping[str, object]) -> dict[str, float]:
    """Return the finite numbers among what is told of an item, by name; bools are no numbers."""
    return {
        name: float(value)
        for name, value in told.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def recency(changed: object, now: float) -> dict[str, float]:
    """Return the feature `recency` of an item by when it changed last, nothing where that is not known.

    Args:
        changed: An aware datetime, or one as ISO 8601; one without a zone is not known.
        now: UTC epoch seconds.
    """
    try:
        at = datetime.fromisoformat(changed) if isinstance(changed, str) else changed
    except ValueError:
        return {}
    if not isinstance(at, datetime) or at.tzinfo is None:
        return {}
    return {RECENCY: -math.log2(1.0 + max(now - at.timestamp(), 0.0) / _DAY_S)}


def drop(loop: object, ids: Sequence[str]) -> None:
    """Take what is gone out of the loop's activation, where it keeps any and is open in this process.

    Raises:
        StorageError: The disk refused, or another process owns the store.
    """
    activation = getattr(loop, "activation", None)
    if isinstance(activation, ItemActivation) and ids:
        activation.drop(ids)
