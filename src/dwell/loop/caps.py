"""How much each event and each document may teach: nobody stands for more than three average users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dwell.evaluation.influence import document_weights
from dwell.loop.judge import user_caps
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow

__all__ = ["Caps", "caps_of"]


class Caps(NamedTuple):
    """Weights of events and of their documents' praise.

    Attributes:
        events: Per seq, in (0, 1]. Those that name no user count together no more than those that name one; 1 where
            nobody is named.
        praise: Per seq, float64 (n_kept,), each in (0, 1], what a document's positive credit counts.
    """

    events: Mapping[int, float]
    praise: Mapping[int, FloatArray]

    def event(self, row: EventRow) -> float:
        """Return what an event counts."""
        return self.events.get(row.seq, 1.0)

    def praised(self, rows: Sequence[EventRow], d: int) -> FloatArray:
        """Return what praise of each document counts, (b, d), 1 for those that were not served."""
        found = np.ones((len(rows), d))
        for i, row in enumerate(rows):
            own = self.praise.get(row.seq)
            if own is not None:
                found[i, : len(own)] = own
        return found


def caps_of(rows: Sequence[EventRow]) -> Caps:
    """Return the caps over everything that may be learned from.

    Args:
        rows: Closed events, each once.
    """
    weights = user_caps([row.user_hash for row in rows])
    events = dict(zip((row.seq for row in rows), weights.tolist(), strict=True))
    known = [row for row in rows if len(row.doc_hashes) == row.n_kept and row.n_kept]
    if not known:
        return Caps(events, {})
    credit = np.concatenate([np.maximum(row.rewards, 0.0) * events.get(row.seq, 1.0) for row in known])
    weights = document_weights(np.concatenate([row.doc_hashes for row in known]), credit)
    if (weights == 1.0).all():
        return Caps(events, {})
    ends = np.cumsum([row.n_kept for row in known])[:-1]
    return Caps(events, {row.seq: own for row, own in zip(known, np.split(weights, ends), strict=True)})
