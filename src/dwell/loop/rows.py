"""What the learner reads, kept in memory by `seq`: a cache that can be made again from the facts at any time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records import Experience, Impression
from dwell.records.arrays import FloatArray, IntArray
from dwell.records.rows import EventRow, stack_rows
from dwell.storage import Outcome

__all__ = ["RowCache", "aligned_features", "event_row", "hold_out_share", "normalised_query", "query_digest"]

_NAMES = ("features", "exposure", "rewards", "position", "propensities", "caller_rank", "n_kept", "n_shown")


def normalised_query(query: str) -> str:
    """Return a query without the differences that users do not mean: case and spacing."""
    return " ".join(query.casefold().split())


def query_digest(query: str) -> bytes:
    """Return a 16-byte hash of the normalised query."""
    return hashlib.blake2b(normalised_query(query).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _hash64(text: bytes, salt: bytes = b"") -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=salt).digest(), "little")


def hold_out_share(user: str | None, query: str, salt: bytes) -> float:
    """Return a stable number in [0, 1) per user, or per query where the user is unknown; below the share, held out."""
    who = b"u" + user.encode() if user is not None else b"q" + query_digest(query)
    return _hash64(who, salt) / 2.0**64


def aligned_features(impression: Impression, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Return what was logged, float32 (l, f), in the order of `names`; NaN where a feature did not exist then."""
    if impression.feature_names == names:
        return impression.features
    features = np.full((len(impression.documents), len(names)), np.nan, dtype=np.float32)
    for j, name in enumerate(names):
        if name in impression.feature_names:
            features[:, j] = impression.features[:, impression.feature_names.index(name)]
    return features


def event_row(
    impression: Impression, outcome: Outcome, *, feature_names: tuple[str, ...], salt: bytes, holdout: float
) -> EventRow | None:
    """Return what the learner reads of a closed event, or None where nothing can be learned from it.

    Args:
        impression: What was served.
        outcome: What came of it.
        feature_names: The loop's features; missing ones are NaN.
        salt: Salt of the hold-out split.
        holdout: Share of users whose events only judge.
    """
    if not impression.has_features or impression.is_altered or not impression.is_shown:
        return None
    if outcome.exposure is None or outcome.document_rewards is None:
        return None
    kept = _n_kept(impression)
    rewards: FloatArray = outcome.document_rewards[:kept].astype(np.float64)
    return EventRow(
        seq=outcome.seq,
        event_id=impression.event_id,
        query_hash=_hash64(query_digest(impression.query)),
        user_hash=None if impression.user is None else _hash64(impression.user.encode()),
        served_at=impression.served_at,
        features=aligned_features(impression, feature_names),
        inclusion=impression.inclusion,
        exposure=outcome.exposure.astype(np.float64),
        n_kept=kept,
        n_shown=impression.n_served,
        rewards=rewards,
        propensities=impression.propensities[:kept],
        caller_rank=impression.document_scores.astype(np.float64),
        params_version=impression.params_version,
        temperature=impression.temperature,
        is_held_out=hold_out_share(impression.user, impression.query, salt) < holdout,
        is_deterministic=impression.is_deterministic,
        is_caller_ordered=impression.policy != "params" and impression.is_deterministic,
        version=outcome.version,
    )


def _n_kept(impression: Impression) -> int:
    """Return how many of the kept documents were served: they stand first, in served order."""
    n = 0
    for served, kept in zip(impression.served, impression.documents, strict=False):
        if served != kept:
            break
        n += 1
    return n


class RowCache:
    """Rows by `seq`; satisfies `records.Columns`, so that a `ReplayBuffer` can read them. Safe from any thread."""

    def __init__(self, read_experience: Callable[[int], Experience]) -> None:
        self._rows: dict[int, EventRow] = {}
        self._read_experience = read_experience
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that `read` returns, padded over the rows asked for."""
        return _NAMES

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, seq: int) -> bool:
        return seq in self._rows

    def put(self, row: EventRow) -> None:
        """Keep a row, replacing an older one of the same event."""
        with self._lock:
            self._rows[row.seq] = row

    def drop(self, seqs: Iterable[int]) -> None:
        """Forget rows; unknown ones are ignored."""
        with self._lock:
            for seq in seqs:
                self._rows.pop(seq, None)

    def rows(self, seqs: Iterable[int]) -> list[EventRow]:
        """Return the rows that are there, in the order asked for, repeats included."""
        with self._lock:
            return [self._rows[seq] for seq in seqs if seq in self._rows]

    def in_close_order(self, *, after: int = 0) -> list[EventRow]:
        """Return all rows with seq > after, in the order in which their windows ended."""
        with self._lock:
            found = [row for seq, row in self._rows.items() if seq > after]
        return sorted(found, key=lambda row: (row.served_at, row.seq))

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return padded columns for these rows.

        Raises:
            ReplayError: A name or a seq is unknown.
        """
        for name in names:
            if name not in _NAMES:
                raise ReplayError("no such column", field="columns", value=name, hint=f"There are {list(_NAMES)}.")
        rows = self.rows(int(seq) for seq in seqs)
        if len(rows) != len(seqs) or not rows:
            raise ReplayError(
                "an event is no longer there", field="seqs", value=len(seqs) - len(rows), hint="Sample again."
            )
        batch = stack_rows(rows)
        return {name: getattr(batch, name) for name in names}

    def experience(self, seq: int) -> Experience:
        """Return the whole experience behind a row, read from the facts.

        Raises:
            ReplayError: The seq is unknown.
        """
        return self._read_experience(seq)
