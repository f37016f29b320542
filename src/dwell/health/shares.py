"""How experience is spread over groups: the largest shares, and how many equal groups would be as diverse."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.health.report import Share
from dwell.health.snapshot import HealthSnapshot
from dwell.records.arrays import IntArray

__all__ = ["Groups", "effective_by_largest", "effective_number", "grouped", "named_shares", "query_name", "shares_of"]

MOST_TOLD: Final = 20  # a page's table


class Groups(NamedTuple):
    """Counts of groups, largest first.

    Attributes:
        codes: (g,), what makes the group.
        counts: int64 (g,), >= 1.
        n: Their sum.
    """

    codes: npt.NDArray[Any]
    counts: IntArray
    n: int

    @property
    def largest_share(self) -> float:
        """Share of the largest group, 0 for none."""
        return float(self.counts[0] / self.n) if self.n else 0.0


def grouped(codes: npt.NDArray[Any]) -> Groups:
    """Return how often each value is there, the most frequent first, ties by value; O(n log n)."""
    values, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return Groups(values[order], counts[order].astype(np.int64), int(codes.size))


def effective_number(counts: npt.ArrayLike) -> float:
    """Return how many equally large groups are as diverse as these, the exponential of their entropy; 0 for none.

    Args:
        counts: (g,) >= 0.

    Source:
        Hill 1973, "Diversity and Evenness: A Unifying Notation and Its Consequences", order 1.
    """
    there = np.asarray(counts, dtype=np.float64)
    there = there[there > 0.0]
    if not there.size:
        return 0.0
    shares = there / there.sum()
    return float(np.exp(-(shares @ np.log(shares))))


def effective_by_largest(counts: npt.ArrayLike) -> float:
    """Return 1 / the largest share, what the largest group alone says of diversity; 0 for none.

    Source:
        Hill 1973, order infinity; Berger and Parker 1970.
    """
    there = np.asarray(counts, dtype=np.float64)
    largest = float(there.max(initial=0.0))
    return float(there.sum()) / largest if largest else 0.0


def shares_of(snapshot: HealthSnapshot) -> dict[str, Groups]:
    """Return the groups of each kind: segments among what is learned from, users and queries among all events.

    Events without a segment or without a user are in none. Held-out events judge whatever comes, so that no quota and
    no sampler has a say in them.
    """
    known = [code for code, name in snapshot.segments.items() if name is not None]
    learned = snapshot.segment_codes[~snapshot.is_held_out]
    segments = grouped(learned[np.isin(learned, known)])
    # codes are given as segments come, and differ between processes: names decide between equals
    pairs = zip(segments.codes.tolist(), segments.counts.tolist(), strict=True)
    order = sorted(pairs, key=lambda pair: (-pair[1], snapshot.segments[pair[0]] or ""))
    codes, counts = (np.array([pair[i] for pair in order], dtype=np.int64) for i in (0, 1))
    return {
        "segment": Groups(codes, counts, segments.n),
        "query": grouped(snapshot.query_hashes),
        "user": grouped(snapshot.user_hashes[snapshot.has_user]),
    }


def query_name(code: int, salt: bytes) -> str:
    """Return what stands for a query in a report, 16 hex digits.

    Reports are read by some who may not read queries: without the salt nobody can tell by it that what he guesses was
    asked. Users' hashes are of pseudonyms, which are salted before.

    Args:
        code: Hash of the normalised query.
        salt: Secret, at most 64 bytes; b"" for the hash itself.
    """
    if not salt:
        return f"{code:016x}"
    return hashlib.blake2b(code.to_bytes(8, "little"), digest_size=8, key=salt).hexdigest()


def named_shares(groups: Mapping[str, Groups], snapshot: HealthSnapshot) -> dict[str, tuple[Share, ...]]:
    """Return the largest groups of each kind by name: a segment's own, and the hash of a user or query in hex."""

    def name(kind: str, code: int) -> str:
        if kind == "segment":
            return str(snapshot.segments[code])
        return query_name(code, snapshot.salt) if kind == "query" else f"{code:016x}"

    told = {}
    for kind, found in groups.items():
        pairs = list(zip(found.codes[:MOST_TOLD].tolist(), found.counts[:MOST_TOLD].tolist(), strict=True))
        told[kind] = tuple(Share(name(kind, code), n, n / found.n) for code, n in pairs)
    return told
