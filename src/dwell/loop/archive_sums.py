"""What learning needs to know of all archived events at once, in memory that does not grow with their number.

Users and documents have one number each; everything else is a sum, or a sample of fixed size. What comes of it is what
`caps_of`, `fit_predictors` and `fitting_features` make of events that are all in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.evaluation.influence import MAX_USER_FACTOR, capped_level, document_factor
from dwell.learning.predictor import Predictor, PredictorSums
from dwell.learning.space import Space
from dwell.loop.caps import Caps
from dwell.loop.train import Standardised, fitted, predictor_sums, spread
from dwell.records.arrays import Float32Array, FloatArray, HashArray
from dwell.records.rows import EventRow

__all__ = ["KeyTotals", "SeenUsers", "StreamedCaps", "predictors_over", "seen_users"]

_MERGED_AT: Final = 1 << 18  # keys that wait to be merged: 4 MB
_SAMPLE: Final = 1_000  # events whose documents a feature map is fitted to, as for events in memory
_NO_KEYS: Final = np.zeros(0, dtype=np.uint64)


class KeyTotals:
    """Sums by 64-bit key, 16 bytes each."""

    def __init__(self) -> None:
        self._keys: HashArray = _NO_KEYS
        self._totals: FloatArray = np.zeros(0)
        self._waiting: list[tuple[HashArray, FloatArray]] = []
        self._n_waiting = 0

    def add(self, keys: npt.ArrayLike, amounts: npt.ArrayLike) -> None:
        """Add amounts (n,) to the sums of keys (n,)."""
        found = np.asarray(keys, dtype=np.uint64)
        self._waiting.append((found, np.asarray(amounts, dtype=np.float64)))
        self._n_waiting += len(found)
        if self._n_waiting >= _MERGED_AT:
            self._merge()

    def totals(self) -> tuple[HashArray, FloatArray]:
        """Return keys, ascending, and their sums."""
        self._merge()
        return self._keys, self._totals

    def _merge(self) -> None:
        if not self._waiting:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._waiting)])
        amounts = np.concatenate([self._totals, *(amounts for _, amounts in self._waiting)])
        self._keys, places = np.unique(keys, return_inverse=True)
        self._totals = np.bincount(places, weights=amounts, minlength=len(self._keys)).astype(np.float64)
        self._waiting, self._n_waiting = [], 0


class SeenUsers(NamedTuple):
    """What the first look at all events finds.

    Attributes:
        n_events: Events that can be learned from.
        users: uint64 (u,), ascending.
        weights: (u,), what an event of each user counts.
        nameless: What an event counts that names no user.
        features: float32 (n, f), up to 1,000 documents' raw features, spread over the events.
        versions: Events by the params version that served them.
    """

    n_events: int
    users: HashArray
    weights: FloatArray
    nameless: float
    features: Float32Array
    versions: Counter[int]

    def weight(self, row: EventRow) -> float:
        """Return what an event counts, in (0, 1]."""
        if row.user_hash is None:
            return self.nameless
        return float(self.weights[np.searchsorted(self.users, np.uint64(row.user_hash))])


def seen_users(groups: Iterable[Sequence[EventRow]], rng: np.random.Generator) -> SeenUsers:
    """Return how often each user is there, and a sample of features; every event is as likely to be in it.

    Args:
        groups: All events, some at a time.
        rng: Chooses the sample.
    """
    totals, versions, sample = KeyTotals(), Counter[int](), list[Float32Array]()
    n_events = n_nameless = 0
    for rows in groups:
        users = [row.user_hash for row in rows if row.user_hash is not None]
        totals.add(users, np.ones(len(users)))
        n_nameless += len(rows) - len(users)
        versions.update(row.params_version for row in rows)
        for row in rows:  # Vitter 1985, algorithm R
            n_events += 1
            if len(sample) < _SAMPLE:
                sample.append(row.features.copy())
            else:
                place = int(rng.integers(n_events))
                if place < _SAMPLE:
                    sample[place] = row.features.copy()
    keys, counts = totals.totals()
    weights = _weights(counts, MAX_USER_FACTOR)
    named = float((weights * counts).sum())
    nameless = min(1.0, named / n_nameless) if len(keys) and n_nameless else 1.0
    documents = np.concatenate(sample) if sample else np.zeros((0, 0), dtype=np.float32)
    features = documents[spread(len(documents), rng)]
    return SeenUsers(n_events, keys, weights, nameless, features, versions)


@dataclass(slots=True)
class StreamedCaps:
    """Caps over events that are never in memory together; see `Caps`.

    Attributes:
        seen: Users.
        docs: uint64 (m,), ascending: documents with more praise than may count.
        praise: (m,), what theirs counts.
    """

    seen: SeenUsers
    docs: HashArray = field(default_factory=lambda: _NO_KEYS)
    praise: FloatArray = field(default_factory=lambda: np.zeros(0))

    def of(self, rows: Sequence[EventRow]) -> Caps:
        """Return the caps of some events."""
        events = {row.seq: self.seen.weight(row) for row in rows}
        if not len(self.docs):
            return Caps(events, {})
        return Caps(events, {row.seq: self._praised(row) for row in rows if len(row.doc_hashes) == row.n_kept})

    def _praised(self, row: EventRow) -> FloatArray:
        found = np.ones(row.n_kept)
        at = np.minimum(np.searchsorted(self.docs, row.doc_hashes), len(self.docs) - 1)
        is_capped = (self.docs[at] == row.doc_hashes) & (row.rewards > 0.0)
        found[is_capped] = self.praise[at[is_capped]]
        return found

    def with_documents(self, totals: KeyTotals) -> StreamedCaps:
        """Return these caps with those of documents, given their positive credit by id."""
        docs, credit = totals.totals()
        weights = _weights(credit, document_factor(len(docs)))
        is_capped = weights < 1.0
        return StreamedCaps(self.seen, docs[is_capped], weights[is_capped])


def predictors_over(
    looks: Callable[[], Iterable[Sequence[EventRow]]],
    seen: SeenUsers,
    space: Space,
    theta: FloatArray,
    *,
    ridge: float,
) -> tuple[StreamedCaps, tuple[Predictor, Predictor, Predictor]]:
    """Return caps, and predictors fitted to queries of fold 0, of fold 1, and to all of them.

    It looks at all events once, and once more where a document had more praise than may count.

    Args:
        looks: Starts a look at all events, some at a time.
        seen: What the first look found.
        space: The learner's space.
        theta: (k,) examination per position.
        ridge: Of the predictor.
    """
    caps, totals = StreamedCaps(seen), KeyTotals()
    sums = _sums(looks(), caps, space, theta, totals)
    caps = caps.with_documents(totals)
    if len(caps.docs):
        sums = _sums(looks(), caps, space, theta, None)
    return caps, fitted(sums, ridge=ridge)


def _sums(
    groups: Iterable[Sequence[EventRow]],
    caps: StreamedCaps,
    space: Space,
    theta: FloatArray,
    totals: KeyTotals | None,
) -> tuple[PredictorSums, PredictorSums]:
    sums = PredictorSums.empty(space.size), PredictorSums.empty(space.size)
    for rows in groups:
        some = caps.of(rows)
        if totals is not None:
            _add_credit(totals, rows, some)
        if rows:
            more = predictor_sums(rows, Standardised(space, rows), theta, caps=some)
            sums = sums[0].joined(more[0]), sums[1].joined(more[1])
    return sums


def _weights(totals: FloatArray, factor: float) -> FloatArray:
    """Return what each total counts, in (0, 1], so that none is more than the factor times their capped mean."""
    if not totals.size:
        return np.zeros(0)
    weights: FloatArray = np.minimum(1.0, capped_level(totals, factor) / totals)
    return weights


def _add_credit(totals: KeyTotals, rows: Sequence[EventRow], caps: Caps) -> None:
    known = [row for row in rows if len(row.doc_hashes) == row.n_kept and row.n_kept]
    if known:
        docs = np.concatenate([row.doc_hashes for row in known])
        credit = np.concatenate([np.maximum(row.rewards, 0.0) * caps.event(row) for row in known])
        totals.add(docs[credit > 0.0], credit[credit > 0.0])
