"""Increments applied to a history, and two histories made one."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from dwell.activation.journal import Increment, Journal
from dwell.activation.reading import Kept

__all__ = ["apply_increments", "merge_histories"]


def apply_increments(kept: Kept, found: Sequence[Increment], *, sign: float = 1.0) -> None:
    """Add what events change to a history; with sign -1 take it away."""
    if not found:
        return
    items, instants, rewards, exposures = zip(*found, strict=True)
    at = instants[0] if instants.count(instants[0]) == len(instants) else np.array(instants, dtype=np.int64)
    amounts = np.empty((len(found), 2))
    amounts[:, 0], amounts[:, 1] = rewards, exposures
    kept.add(items, at, amounts if sign == 1.0 else sign * amounts)


def merge_histories(kept: Kept, journal: Journal, other: Kept, other_journal: Journal) -> None:
    """Add another history with its open events; the other stays as it is.

    The open events of both are taken out, united, and those that count under the caps of both are added again.

    Args:
        kept: A history.
        journal: Its open events.
        other: Of the same meaning, which is not the hybrid.
        other_journal: Its open events.
    """
    guest, guest_journal = deepcopy(other), deepcopy(other_journal)
    horizon = max(journal.horizon, guest_journal.horizon)
    journal.seal_to(horizon)
    guest_journal.seal_to(horizon)
    apply_increments(kept, journal.increments(), sign=-1.0)
    apply_increments(guest, guest_journal.increments(), sign=-1.0)
    kept.merge(guest)
    journal.absorb(guest_journal)
    apply_increments(kept, journal.increments())
    journal.trim()
