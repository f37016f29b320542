"""The newest lists at a glance: what was asked, by whom, and what came of it; kept between visits, never behind them.

Reading two thousand lists from disk takes longer than a page may. What was read once stays until it changes; a first
look reads for as long as it may, and the next ones read the rest.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dwell.loop.rows import normalised_query, query_hash
from dwell.records import Impression, Signal
from dwell.reward.presets import RewardPreset
from dwell.storage import Outcome, Reader

__all__ = ["MOST_LISTS", "Looked", "RecentLists", "Seen", "seen_lists", "seen_of"]

#: Newest lists that are looked at: at a list a second the last half hour.
MOST_LISTS: Final = 2_000
_AT_ONCE: Final = 100
_PATIENCE_S: Final = 0.08  # of the 300 ms that a page may take
_MOST_TEXT: Final = 600  # characters of a query that are kept, as many as can be looked for: it may have 64 KB
_SETTLED: Final = frozenset({"closed", "evicted"})  # states in which a list's reward changes only with its state


class Seen(NamedTuple):
    """One list.

    Attributes:
        seq: Place in the store's order.
        event_id: Identity.
        query: What was asked, its first 600 characters.
        digest: Hash of the whole normalised query, in hex; nobody can compute it who has not the salt.
        user: Pseudonym, or None.
        segment: Group of queries, or None.
        served_at: UTC epoch seconds.
        state: "open", "closed", "reopened", "not_shown" or "evicted".
        policy: What ordered it.
        version: Params version in force.
        n_shown: Documents shown.
        n_candidates: Documents that could have been.
        signals: {name: how often}.
        praised: Positions, from 1, of the documents that a reaction of positive weight names.
        reward: Of the list; None while open.
        has_features: Whether what documents were scored by was kept.
        query_hash: Hash of the whole normalised query, as experience knows it; not to be shown.
    """

    seq: int
    event_id: str
    query: str
    digest: str
    user: str | None
    segment: str | None
    served_at: float
    state: str
    policy: str
    version: int
    n_shown: int
    n_candidates: int
    signals: dict[str, int]
    praised: tuple[int, ...]
    reward: float | None
    has_features: bool
    query_hash: int = 0


class Looked(NamedTuple):
    """What a look found.

    Attributes:
        lists: Newest first.
        n_left: Lists that belong to it and are read at a later look.
    """

    lists: list[Seen]
    n_left: int


def seen_of(
    impression: Impression, outcome: Outcome, signals: Sequence[Signal], preset: RewardPreset, salt: bytes
) -> Seen:
    """Return a list at a glance; `salt` as for `seen_lists`."""
    place = {doc: i for i, doc in enumerate(impression.served, start=1)}
    liked = {name for name, spec in preset.signals.items() if spec.weight > 0.0}
    praised = {place[s.doc] for s in signals if s.doc in place and s.name in liked and s.value > 0.0}
    return Seen(
        seq=outcome.seq,
        event_id=impression.event_id,
        query=impression.query[:_MOST_TEXT],
        digest=_digest(impression.query, salt),
        user=impression.user,
        segment=impression.segment,
        served_at=impression.served_at,
        state=outcome.state,
        policy=impression.policy,
        version=impression.params_version,
        n_shown=impression.n_served,
        n_candidates=impression.n_candidates,
        signals=dict(Counter(s.name for s in signals)),
        praised=tuple(sorted(praised)),
        reward=outcome.reward,
        has_features=impression.has_features,
        query_hash=query_hash(impression.query),
    )


def _digest(query: str, salt: bytes) -> str:
    text = normalised_query(query).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16, key=salt).hexdigest()


@dataclass(slots=True)
class RecentLists:
    """The newest lists of one loop; safe from any thread.

    Attributes:
        known: What was read, by seq.
    """

    known: dict[int, Seen]
    _lock: threading.Lock

    @classmethod
    def empty(cls) -> RecentLists:
        """Return what nobody has looked at yet."""
        return cls({}, threading.Lock())

    def look(self, reader: Reader, preset: RewardPreset, salt: bytes, *, patience_s: float = _PATIENCE_S) -> Looked:
        """Return the newest lists, newest first, as far as they could be read in a time.

        Args:
            reader: The facts.
            preset: What reactions are worth.
            salt: As for `seen_lists`.
            patience_s: How long to read, in seconds; at least one portion is.
        """
        until = time.monotonic() + patience_s
        with self._lock:
            newest = reader.seqs(limit=MOST_LISTS, newest_first=True)
            self._forget(reader, newest)
            due = [seq for seq in newest if seq not in self.known]
            n_read = 0
            while n_read < len(due) and (n_read == 0 or time.monotonic() < until):
                part = due[n_read : n_read + _AT_ONCE]
                self.known |= {seen.seq: seen for seen in seen_lists(reader, part, preset, salt)}
                n_read += len(part)
            return Looked([self.known[seq] for seq in newest if seq in self.known], len(due) - min(n_read, len(due)))

    def _forget(self, reader: Reader, newest: Sequence[int]) -> None:
        """Drop what left the window, was erased, or may have changed since it was read."""
        after = min(newest, default=1) - 1
        same = {s: set(reader.seqs(states=(s,), after=after)) for s in _SETTLED}
        # a late reaction changes the reward of a reopened list, and an open one has none yet
        self.known = {
            seq: seen for seq, seen in self.known.items() if seen.state in _SETTLED and seq in same[seen.state]
        }


def seen_lists(reader: Reader, seqs: Sequence[int], preset: RewardPreset, salt: bytes) -> list[Seen]:
    """Return these lists at a glance, in the order asked for; those that are gone are left out.

    Args:
        reader: The facts.
        seqs: Which lists.
        preset: What reactions are worth.
        salt: Of the digests, the same in every process that serves, up to 64 bytes that nobody else knows: a hash that
            anybody can compute would tell whoever may not read queries which of his guesses was asked.
    """
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
    signals = reader.signals(seqs)
    return [
        seen_of(impression, outcomes[impression.seq], signals.get(impression.seq, []), preset, salt)
        for impression in reader.impressions(seqs)
        if impression.seq in outcomes
    ]
