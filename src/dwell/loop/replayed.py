"""Closed events in memory: the rows that are learned from, those that only judge, and the buffer that samples them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dwell.loop.rows import RowCache, event_row
from dwell.records import Experience, Impression
from dwell.records.rows import EventRow
from dwell.replay import ReplayBuffer
from dwell.storage import Outcome, Reader
from dwell.storage.protocol import chunks

__all__ = ["Replayed"]

_READ_AT_ONCE = 500


class Replayed:
    """A bounded cache of closed events, made from the facts and never the only copy of anything.

    Held-out events stand beside the buffer, not in it: no sampler can draw them. Both leave oldest first, whatever
    their reward, so that clicks and exposures leave together. Safe from any thread.

    Args:
        capacity: Most closed events, learned from and held out together.
        holdout: Share of users whose events only judge, in [0, 1).
        salt: Salt of the split.
        half_life_s: Age at which an experience counts half.
        alpha: Exponent of priorities.
        read_experience: Reads a whole experience from the facts.
    """

    def __init__(
        self,
        *,
        capacity: int,
        holdout: float,
        salt: bytes,
        half_life_s: float,
        alpha: float,
        read_experience: Callable[[int], Experience],
    ) -> None:
        self.rows = RowCache(read_experience)
        held = round(capacity * holdout)
        self.buffer = ReplayBuffer(
            max(capacity - held, 1), alpha=alpha, half_life_s=half_life_s, seed=0, columns=self.rows
        )
        self._capacity_held_out = max(held, 1)
        self._held_out: OrderedDict[int, None] = OrderedDict()
        self._holdout = holdout
        self._salt = salt
        self._lock = threading.Lock()
        self.n_without_features = 0

    def __len__(self) -> int:
        return len(self.rows)

    def admit(self, impression: Impression, outcome: Outcome, feature_names: tuple[str, ...]) -> list[int]:
        """Take in a closed event, or its newer version; return the seqs that left for it."""
        row = event_row(impression, outcome, feature_names=feature_names, salt=self._salt, holdout=self._holdout)
        if row is None:
            self.n_without_features += not impression.has_features
            return []
        with self._lock:
            self.rows.put(row)
            if row.is_held_out:
                self._held_out[row.seq] = None
                gone = []
                while len(self._held_out) > self._capacity_held_out:
                    gone.append(self._held_out.popitem(last=False)[0])
            else:
                gone = self.buffer.add_row(
                    event_id=impression.event_id,
                    seq=row.seq,
                    timestamp=impression.served_at,
                    priority=outcome.priority,
                    user=impression.user,
                    segment=impression.segment,
                    reward=outcome.reward or 0.0,
                    version=outcome.version,
                )
            self.rows.drop(gone)
        return gone

    def drop(self, seqs: Iterable[int]) -> None:
        """Forget events, because they were erased or removed."""
        gone = list(seqs)
        with self._lock:
            for seq in gone:
                self._held_out.pop(seq, None)
            for row in self.rows.rows(gone):
                if not row.is_held_out:
                    self.buffer.remove(row.event_id)
            self.rows.drop(gone)

    def prioritise(self, seqs: Sequence[int], priorities: Sequence[float]) -> None:
        """Take over new priorities; events that left meanwhile are passed over."""
        self.buffer.update_priorities(np.array(seqs, dtype=np.int64), priorities)

    def rebuild(self, reader: Reader, feature_names: tuple[str, ...]) -> list[int]:
        """Fill from the facts what is not there yet, oldest window first; return the seqs that found no room."""
        seqs = [s for s in reader.seqs(states=("closed", "reopened")) if s not in self.rows]
        found: list[tuple[Impression, Outcome]] = []
        for part in chunks(seqs, _READ_AT_ONCE):
            outcomes = {outcome.seq: outcome for outcome in reader.outcomes(part)}
            found += [(i, outcomes[i.seq]) for i in reader.impressions(part) if i.seq in outcomes]
        gone: list[int] = []
        for impression, outcome in sorted(found, key=lambda pair: (pair[0].served_at, pair[0].seq)):
            gone += self.admit(impression, outcome, feature_names)
        return gone

    def trainable(self, *, after: int = 0) -> list[EventRow]:
        """Return rows that may be learned from, in close order."""
        return [row for row in self.rows.in_close_order(after=after) if not row.is_held_out]

    def held_out(self) -> list[EventRow]:
        """Return rows that only judge, in close order."""
        return [row for row in self.rows.in_close_order() if row.is_held_out]
