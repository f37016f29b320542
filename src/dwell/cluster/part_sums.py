"""What one part of an archive adds to a batch job: numbers per user and document, and sums; parts are joined in order.

Four looks at every part, wherever it is read: who is there, what the reward predictor is fitted to, the slope of one
learning step over all events, what the events say of a policy. Each is a function of a part and of what the looks
before it found, so one process that reads part after part and many that read them side by side come to the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from dwell.cluster.lessons import Lesson, document_caps, praise_caps
from dwell.evaluation.influence import MAX_USER_FACTOR, capped_level
from dwell.evaluation.judging import differences
from dwell.learning.learner import SlopeSums, ranking_noise, slope_sums
from dwell.learning.predictor import PredictorSums
from dwell.learning.space import Space
from dwell.loop.archived_rows import RowRules, group_rows
from dwell.loop.caps import Caps
from dwell.loop.judge import Bench, Judgement
from dwell.loop.train import Lister, Standardised, predictor_sums
from dwell.ranking import named_generator
from dwell.records.arrays import Float32Array, FloatArray, HashArray
from dwell.records.rows import EventRow
from dwell.storage import open_store

__all__ = ["Crowd", "Judged", "PartTask", "Seen", "fits_of", "judged_of", "seen_of", "slope_of"]

SAMPLE: Final = 1_000  # documents that a feature map is fitted to, as in one process
_AT_ONCE: Final = 256  # lists per block of a slope: 256 lists of 64 documents under 32 rankings take 2 MB
_NO_KEYS: Final = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class PartTask:
    """What every look has to know; it is sent to the processes that read.

    Attributes:
        rules: What rows are made by.
        where: The store, which is asked for tombstones; "" where nobody is asked. Not shown: it may hold a password.
        tenant: Whose.
        after: Only events with a higher seq.
    """

    rules: RowRules
    where: str = field(default="", repr=False)
    tenant: str = ""
    after: int = 0

    def rows(self, part: str) -> list[EventRow]:
        """Return the rows of a part, without those of erased users.

        Raises:
            ArchiveError: The part is not to be used.
            StorageError: The store can not be asked.
        """
        if not self.where:
            found = group_rows(Path(part), None, self.rules)
        else:
            store = open_store(self.where, tenant=self.tenant, role="reader")
            try:
                with store.snapshot() as reader:
                    found = group_rows(Path(part), None, self.rules, is_erased=reader.is_erased)
            finally:
                store.close()
        return [row for row in found if row.seq > self.after]

    def learned_rows(self, part: str) -> list[EventRow]:
        """Return those that may be learned from."""
        return [row for row in self.rows(part) if not row.is_held_out]


# ---- who is there


class Seen(NamedTuple):
    """Who is there, of events that may be learned from.

    Attributes:
        n_events: Events.
        users: uint64 (u,), ascending.
        counts: float64 (u,), events of each.
        n_nameless: Events that name no user.
        versions: Events by the params version that served them.
        ranks: uint64 (m,), by which the sample was chosen, ascending.
        features: float32 (m, f), a document of each event of the sample.
    """

    n_events: int
    users: HashArray
    counts: FloatArray
    n_nameless: int
    versions: Counter[int]
    ranks: HashArray
    features: Float32Array

    def joined(self, other: Seen) -> Seen:
        """Return the same of both; the sample is the lowest ranks of both."""
        users, counts = _added((self.users, self.counts), (other.users, other.counts))
        ranks = np.concatenate([self.ranks, other.ranks])
        order = np.argsort(ranks, kind="stable")[:SAMPLE]
        features = [part for part in (self.features, other.features) if len(part)]
        return Seen(
            self.n_events + other.n_events,
            users,
            counts,
            self.n_nameless + other.n_nameless,
            self.versions + other.versions,
            ranks[order],
            np.concatenate(features)[order] if features else self.features,
        )


def seen_of(part: str, task: PartTask) -> Seen:
    """Return who is there in one part."""
    rows = task.learned_rows(part)
    users = np.array([row.user_hash for row in rows if row.user_hash is not None], dtype=np.uint64)
    found, n = np.unique(users, return_counts=True)
    # a hash of the event decides who is in the sample: so it does not depend on how events lie in parts
    ranks = np.array([_rank(row) for row in rows], dtype=np.uint64)
    order = np.argsort(ranks, kind="stable")[:SAMPLE]
    chosen = [rows[i].features[int(ranks[i] % len(rows[i].features))] for i in order.tolist()]
    return Seen(
        n_events=len(rows),
        users=found,
        counts=n.astype(np.float64),
        n_nameless=len(rows) - len(users),
        versions=Counter(row.params_version for row in rows),
        ranks=ranks[order],
        features=np.array(chosen, dtype=np.float32).reshape(len(chosen), len(task.rules.feature_names)),
    )


def _rank(row: EventRow) -> int:
    return int.from_bytes(hashlib.blake2b(row.event_id.encode(), digest_size=8, person=b"dwell sample").digest(), "big")


def _added(one: tuple[HashArray, FloatArray], other: tuple[HashArray, FloatArray]) -> tuple[HashArray, FloatArray]:
    keys, places = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    amounts = np.concatenate([one[1], other[1]])
    return keys, np.bincount(places, weights=amounts, minlength=len(keys)).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What each event counts, so that no user counts for more than three average ones.

    Attributes:
        users: uint64 (u,), ascending.
        weights: float64 (u,), what an event of each counts.
        nameless: What an event counts that names no user.
        documents: What praise of a document counts, by hash, of those that are capped.
    """

    users: HashArray = field(default_factory=lambda: _NO_KEYS)
    weights: FloatArray = field(default_factory=lambda: np.zeros(0))
    nameless: float = 1.0
    documents: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, seen: Seen) -> Crowd:
        """Return it for who was seen."""
        if not len(seen.users):
            return cls()
        weights = np.minimum(1.0, capped_level(seen.counts, MAX_USER_FACTOR) / seen.counts)
        named = float((weights * seen.counts).sum())
        return cls(seen.users, weights, min(1.0, named / seen.n_nameless) if seen.n_nameless else 1.0)

    def counts(self, rows: Sequence[EventRow]) -> list[float]:
        """Return what each event counts."""
        return [
            self.nameless
            if row.user_hash is None
            else float(self.weights[self.users.searchsorted(np.uint64(row.user_hash))])
            for row in rows
        ]

    def caps(self, rows: Sequence[EventRow]) -> Caps:
        """Return the caps of some events."""
        return praise_caps(rows, self.counts(rows), dict(self.documents))


# ---- what predictors are fitted to


class Fits(NamedTuple):
    """Sums for predictors, and the positive credit of each document.

    Attributes:
        folds: Over queries of fold 0 and of fold 1.
        documents: Hashes of ids, ascending, and their credit.
    """

    folds: tuple[PredictorSums, PredictorSums]
    documents: tuple[HashArray, FloatArray]

    def joined(self, other: Fits) -> Fits:
        """Return the sums over both."""
        folds = self.folds[0].joined(other.folds[0]), self.folds[1].joined(other.folds[1])
        return Fits(folds, _added(self.documents, other.documents))

    def capped(self) -> dict[int, float]:
        """Return what praise of each document counts, of those that are capped."""
        return document_caps([self.documents])


def fits_of(part: str, task: PartTask, space: Space, theta: FloatArray, crowd: Crowd) -> Fits:
    """Return what predictors are fitted to, of one part."""
    rows = task.learned_rows(part)
    documents = _NO_KEYS, np.zeros(0)
    if not rows:
        return Fits((PredictorSums.empty(space.size), PredictorSums.empty(space.size)), documents)
    counts = crowd.counts(rows)
    for row, count in zip(rows, counts, strict=True):
        if len(row.doc_hashes) == row.n_kept and (row.rewards > 0.0).any():
            is_praised = row.rewards > 0.0
            documents = _added(
                documents, (row.doc_hashes[is_praised].astype(np.uint64), row.rewards[is_praised] * count)
            )
    caps = praise_caps(rows, counts, dict(crowd.documents))
    return Fits(predictor_sums(rows, Standardised(space, rows), theta, caps=caps), documents)


# ---- one step


def slope_of(part: str, task: PartTask, lesson: Lesson, crowd: Crowd, w: FloatArray, step: int) -> SlopeSums | None:
    """Return what a part's lists add to a step over all events at weights (p,), or None where it has none.

    Rankings are drawn by a generator of the part's own, named by its file and the step.
    """
    rows = task.learned_rows(part)
    if not rows or lesson.space is None:
        return None
    live, space = lesson.params(), lesson.space
    counts = np.array(crowd.counts(rows))
    lister = Lister(
        space=space, standardised=Standardised(space, rows), caps=crowd.caps(rows), channels=None,
        start=space.vector(live), live=live, mode=lesson.mode, theta=lesson.theta, settings=lesson.settings,
    )  # fmt: skip
    rng, found = named_generator(b"", "slope", Path(part).name, step), None
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        lists = lister.lists(some, counts[start : start + _AT_ONCE], is_global=True)
        noise = ranking_noise(rng, len(some), lesson.settings.n_samples, lists.phi.shape[1])
        sums = slope_sums(lists, w, lesson.terms(live.temperature), noise, step)
        found = sums if found is None else found.plus(sums)
    return found


# ---- what events say of a policy


class Judged(NamedTuple):
    """What events say of the difference between two policies, in sums.

    Attributes:
        users: uint64 (u,), ascending; events that name none stand under a hash of their own.
        gains: float64 (u,), sum of the differences of each.
        counts: float64 (u,), events of each.
        weight: Sum of importance weights.
        square: Sum of their squares.
        unsupported: Sum of the shares of exposure without support.
    """

    users: HashArray
    gains: FloatArray
    counts: FloatArray
    weight: float
    square: float
    unsupported: float

    def joined(self, other: Judged) -> Judged:
        """Return the sums over both."""
        users, gains = _added((self.users, self.gains), (other.users, other.gains))
        _, counts = _added((self.users, self.counts), (other.users, other.counts))
        return Judged(
            users, gains, counts, self.weight + other.weight, self.square + other.square,
            self.unsupported + other.unsupported,
        )  # fmt: skip


def judged_of(part: str, task: PartTask, bench: Bench) -> Judged:
    """Return what one part's events say, those that only judge included; none with a drawn pair, as at the gate."""
    rows = [row for row in task.rows(part) if not row.swap_pair]
    judgement = Judgement(bench, {})
    judgement.prepare(rows)
    events = [judgement.judged(row) for row in rows]
    gains = differences(events, [row.rewards for row in rows])
    users = np.array([_rank(row) if row.user_hash is None else row.user_hash for row in rows], dtype=np.uint64)
    found, place = np.unique(users, return_inverse=True)
    importance = np.array([event.importance for event in events])
    return Judged(
        users=found,
        gains=np.bincount(place, weights=gains, minlength=len(found)).astype(np.float64),
        counts=np.bincount(place, minlength=len(found)).astype(np.float64),
        weight=float(importance.sum()),
        square=float((importance**2).sum()),
        unsupported=float(sum(event.unsupported for event in events)),
    )
