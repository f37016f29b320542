"""What the learner reads of one event, made from its facts."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dwell.records import Impression
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow
from dwell.storage import Outcome
from dwell.storage.instants import micros

__all__ = [
    "aligned_features",
    "event_row",
    "hold_out_share",
    "late_us",
    "normalised_query",
    "query_digest",
    "query_hash",
    "user_hash",
]


def normalised_query(query: str) -> str:
    """Return a query without the differences that users do not mean: case and spacing."""
    return " ".join(query.casefold().split())


def query_digest(query: str) -> bytes:
    """Return a 16-byte hash of the normalised query."""
    return hashlib.blake2b(normalised_query(query).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _hash64(text: bytes, salt: bytes = b"") -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=salt).digest(), "little")


# queries and users come again: a rebuild asks for the same hashes many times over
@lru_cache(maxsize=65_536)
def query_hash(query: str) -> int:
    """Return a 64-bit hash of the normalised query."""
    return _hash64(query_digest(query))


@lru_cache(maxsize=65_536)
def user_hash(user: str) -> int:
    """Return a 64-bit hash of a pseudonym."""
    return _hash64(user.encode())


@lru_cache(maxsize=65_536)
def _doc_hash(doc: str) -> int:
    return _hash64(doc.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=65_536)
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
    if not impression.has_features or not impression.is_policys or not impression.is_shown:
        return None
    if outcome.exposure is None or outcome.document_rewards is None:
        return None
    kept = _n_kept(impression)
    rewards: FloatArray = outcome.document_rewards[:kept].astype(np.float64)
    return EventRow(
        seq=outcome.seq,
        event_id=impression.event_id,
        query_hash=query_hash(impression.query),
        user_hash=None if impression.user is None else user_hash(impression.user),
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
        is_held_out=_share(impression, salt) < holdout,
        is_deterministic=impression.is_deterministic,
        is_caller_ordered=impression.policy == "external"
        or (impression.policy == "caller" and impression.is_deterministic),
        version=outcome.version,
        doc_hashes=np.array([_doc_hash(doc) for doc in impression.documents[:kept]], dtype=np.uint64),
        late_us=late_us(impression, outcome.closed_at),
        swap_pair=impression.swap_pair,
    )


def late_us(impression: Impression, closed_at: float | None) -> int:
    """Return the microseconds from the end of an event's window to its activation, 0 where it was not late.

    Before it was activated it was not there to be taken up.

    Args:
        impression: What was served.
        closed_at: When its window ended, or None while that is not known.
    """
    if impression.activated_at is None or closed_at is None:
        return 0
    # as on disk: a float's rounding would put events that were activated together into an order of its own
    return max(micros(impression.activated_at, "activated_at") - micros(closed_at, "closed_at"), 0)


def _share(impression: Impression, salt: bytes) -> float:
    # the query plays no part where the user is known
    return hold_out_share(impression.user, "" if impression.user is not None else impression.query, salt)


def _n_kept(impression: Impression) -> int:
    """Return how many of the kept documents were served: they stand first, in served order."""
    served, kept = impression.served, impression.documents
    n = min(len(served), len(kept))
    if served[:n] == kept[:n]:
        return n
    return next(i for i in range(n) if served[i] != kept[i])
