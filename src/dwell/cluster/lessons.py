"""What a shard adds to learning: sums over its own experience, of the very functions that one machine learns by.

A lesson is what all shards are told before they add anything: the space, the params in force, the predictors, and the
caps on users and documents, which are numbers over all shards. Everything that comes back is a sum, a count, or one
number per event; a sample of up to 1,000 documents' features, without ids, is the one exception, where a feature map
has to be fitted: quantiles are no sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from dwell.cluster.line import ShardIndex
from dwell.evaluation.influence import MAX_USER_FACTOR, capped_level, document_factor
from dwell.learning.learner import LearnerSettings, SlopeSums, Terms, ranking_noise, slope_sums, terms_of
from dwell.learning.predictor import Predictor, PredictorSums
from dwell.learning.protocol import OBJECTIVES
from dwell.learning.space import Space
from dwell.loop.caps import Caps
from dwell.loop.event_rows import EventRows
from dwell.loop.train import LEARNER_TEMPERATURE, Lister, Standardised, predictor_sums, surprise
from dwell.records import Params
from dwell.records.arrays import FloatArray, HashArray, IntArray
from dwell.records.impression import Mode
from dwell.storage.codec import decode_params, encode_params

__all__ = [
    "GradientPart",
    "Lesson",
    "PartOfStep",
    "UserCaps",
    "credits_of",
    "document_caps",
    "generator_from",
    "gradient_of",
    "praise_caps",
    "sums_for_predictors",
    "surprises_of",
    "user_caps_over",
    "user_totals",
]

_AT_ONCE: Final = 2_048  # rows decoded together: 5 MB at 64 documents

Totals = tuple[HashArray, FloatArray]


class UserCaps(NamedTuple):
    """What events count where nobody counts for more than three average users, over all shards.

    Attributes:
        level: A user's events together count at most so much; inf where nobody is above it.
        unnamed: What each event without a user counts.
    """

    level: float = np.inf
    unnamed: float = 1.0

    def counts(self, index: ShardIndex) -> FloatArray:
        """Return what each event counts, float64 (n,), in (0, 1]: a shard has all events of its users."""
        counts = np.full(len(index.seqs), self.unnamed)
        if index.has_user.any():
            _, user, n = np.unique(index.users[index.has_user], return_inverse=True, return_counts=True)
            counts[index.has_user] = np.minimum(1.0, self.level / n)[user]
        return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What shards have to know to add to learning; plain values, so that it can be sent.

    Attributes:
        theta: float64 (k,), examination per position.
        settings: What the learner may do, with the step of this call.
        caps: What events count.
        documents: What praise of a document counts, by the hash of its id, of those that are capped.
        space: The learner's space, or None before it is known.
        live: The params in force, encoded.
        live_version: Their version.
        mode: Of the loop.
        betas: Predictors fitted to queries of fold 0 and of fold 1; empty before they are.
        n_events: Events that can be learned from, over all shards.
    """

    theta: FloatArray
    settings: LearnerSettings
    caps: UserCaps = field(default_factory=UserCaps)
    documents: dict[int, float] = field(default_factory=dict)
    space: Space | None = None
    live: bytes = b""
    live_version: int = 0
    mode: Mode = "live"
    betas: tuple[FloatArray, ...] = ()
    n_events: int = 0

    @staticmethod
    def encoded(live: Params) -> bytes:
        """Return params as they stand in a lesson."""
        return encode_params(live)

    def params(self) -> Params:
        """Return the params in force."""
        return decode_params(self.live, version=self.live_version)

    def predictors(self) -> tuple[Predictor, Predictor]:
        """Return the predictors."""
        return Predictor(self.betas[0]), Predictor(self.betas[1])

    def terms(self, temperature: float) -> Terms:
        """Return the terms of the learner."""
        return terms_of(
            self.predictors(),
            theta=self.theta,
            temperature=temperature or LEARNER_TEMPERATURE,
            n_events=float(self.n_events),
            settings=self.settings,
            objective=OBJECTIVES[self.settings.objective],
        )


class PartOfStep(NamedTuple):
    """The lists of one step that live on one shard.

    Attributes:
        seqs: int64 (m,), repeats included.
        weights: float64 (m,), sampling weights, mean 1 over the whole step.
        places: int64 (m,), where each stands among all lists of the step.
        n_lists: Lists of the whole step.
        n_documents: Documents of its longest list.
        rng: State of the generator before the step: every shard makes the noise of all lists and takes its own.
        step: Number of the step, from 1.
    """

    seqs: IntArray
    weights: FloatArray
    places: IntArray
    n_lists: int
    n_documents: int
    rng: dict[str, Any]
    step: int


class GradientPart(NamedTuple):
    """What a shard adds to a step.

    Attributes:
        sums: Over the lists that are there, or None where none is.
        n_missing: Lists that have left since they were drawn: they add nothing.
        rng: State of the generator after the step.
    """

    sums: SlopeSums | None
    n_missing: int
    rng: dict[str, Any]


def generator_from(state: dict[str, Any]) -> np.random.Generator:
    """Return a generator in a state that was sent."""
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


# ---- caps


def user_totals(index: ShardIndex) -> tuple[IntArray, IntArray, int]:
    """Return how many users have how many events (number of events, number of such users), and events without one."""
    _, n = np.unique(index.users[index.has_user], return_counts=True)
    events, users = np.unique(n, return_counts=True)
    return events.astype(np.int64), users.astype(np.int64), int((~index.has_user).sum())


def user_caps_over(parts: Sequence[tuple[IntArray, IntArray, int]]) -> UserCaps:
    """Return the caps over the totals of all shards."""
    totals = np.concatenate([np.repeat(events, users) for events, users, _ in parts]).astype(np.float64)
    n_unnamed = sum(n for _, _, n in parts)
    if not totals.size:
        return UserCaps()
    level = capped_level(totals, MAX_USER_FACTOR)
    named = float(np.minimum(totals, level).sum())
    return UserCaps(level, min(1.0, named / n_unnamed) if n_unnamed else 1.0)


def credits_of(rows: EventRows, index: ShardIndex, counts: FloatArray) -> Totals:
    """Return the positive credit of each document of a shard, as hashes of ids and sums."""
    hashes, credit = [np.zeros(0, dtype=np.uint64)], [np.zeros(0)]
    for start in range(0, len(index.seqs), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        for row, count in zip(rows.rows(index.seqs[part].tolist()), counts[part].tolist(), strict=True):
            if len(row.doc_hashes) == row.n_kept and row.n_kept:
                hashes.append(row.doc_hashes)
                credit.append(np.maximum(row.rewards, 0.0) * count)
    return _totalled([(np.concatenate(hashes), np.concatenate(credit))])


def _totalled(parts: Sequence[Totals]) -> Totals:
    hashes, credit = (np.concatenate(column) for column in zip(*parts, strict=True))
    found, docs = np.unique(hashes[credit > 0.0], return_inverse=True)
    return found, np.bincount(docs, weights=credit[credit > 0.0], minlength=len(found)).astype(np.float64)


def document_caps(parts: Sequence[Totals]) -> dict[int, float]:
    """Return what praise of each document counts, by hash, of those that are capped, over the credit of all shards."""
    found, totals = _totalled(parts)
    if not len(found):
        return {}
    weights = np.minimum(1.0, capped_level(totals, document_factor(len(found))) / totals)
    is_cut = weights < 1.0
    return dict(zip(found[is_cut].tolist(), weights[is_cut].tolist(), strict=True))


def praise_caps(rows: Sequence[Any], counts: Sequence[float], documents: dict[int, float]) -> Caps:
    """Return the caps on rows, from what is known of users and documents over all shards."""
    events = {row.seq: count for row, count in zip(rows, counts, strict=True)}
    praise: dict[int, FloatArray] = {}
    if documents:
        for row in rows:
            if len(row.doc_hashes) == row.n_kept and row.n_kept:
                own = np.array([documents.get(doc, 1.0) for doc in row.doc_hashes.tolist()])
                praise[row.seq] = np.where(row.rewards > 0.0, own, 1.0)
    return Caps(events, praise)


# ---- predictors


def sums_for_predictors(rows: EventRows, index: ShardIndex, lesson: Lesson) -> tuple[PredictorSums, PredictorSums]:
    """Return what predictors are fitted to, over a shard's queries of fold 0 and of fold 1."""
    space = _space_of(lesson)
    found = PredictorSums.empty(space.size), PredictorSums.empty(space.size)
    for start in range(0, len(index.seqs), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        some = rows.rows(index.seqs[part].tolist())
        caps = praise_caps(some, index.counts[part].tolist(), lesson.documents)
        more = predictor_sums(some, Standardised(space, some), lesson.theta, caps=caps)
        found = found[0].joined(more[0]), found[1].joined(more[1])
    return found


def surprises_of(rows: EventRows, seqs: IntArray, beta: FloatArray, lesson: Lesson) -> tuple[IntArray, FloatArray]:
    """Return seqs that are there and their new priorities: how far each reward is from what was expected of it."""
    space, predictor = _space_of(lesson), Predictor(beta)
    found: list[int] = []
    values: list[float] = []
    for start in range(0, len(seqs), _AT_ONCE):
        some = rows.rows(seqs[start : start + _AT_ONCE].tolist())
        standardised = Standardised(space, some)
        found += [row.seq for row in some]
        values += [surprise(row, standardised(row), predictor, lesson.theta) for row in some]
    return np.array(found, dtype=np.int64), np.array(values)


# ---- one step


def gradient_of(rows: EventRows, lesson: Lesson, w: FloatArray, part: PartOfStep) -> GradientPart:
    """Return what a shard's lists add to a step at weights (p,)."""
    rng = generator_from(part.rng)
    noise = ranking_noise(rng, part.n_lists, lesson.settings.n_samples, part.n_documents)
    after = dict(rng.bit_generator.state)
    is_there = np.array([seq in rows for seq in part.seqs.tolist()], dtype=bool)
    some = rows.rows(part.seqs[is_there].tolist())
    n_missing = int((~is_there).sum())
    if not some:
        return GradientPart(None, n_missing, after)
    live = lesson.params()
    space = _space_of(lesson)
    # what an event counts is in its weight already
    caps = praise_caps(some, [1.0] * len(some), lesson.documents)
    lister = Lister(
        space=space,
        standardised=Standardised(space, some),
        caps=caps,
        channels=None,
        start=space.vector(live),
        live=live,
        mode=lesson.mode,
        theta=lesson.theta,
        settings=lesson.settings,
    )
    lists = lister.lists(some, part.weights[is_there], is_global=True, n_documents=part.n_documents)
    own = noise[part.places[is_there]]
    sums = slope_sums(lists, w, lesson.terms(live.temperature), own, part.step)
    return GradientPart(sums, n_missing, after)


def _space_of(lesson: Lesson) -> Space:
    if lesson.space is None:
        raise ValueError("a lesson without its space")
    return lesson.space
