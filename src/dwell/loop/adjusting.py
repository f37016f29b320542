"""What a proposal adds to its global weights by segment and by query, learned from the same lists as these.

Off by default. What is switched off is not learned any further; what the live params add already goes on with them, on
top of the new global weights, until it is learned anew, or params without it go live.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from dwell.config import Config
from dwell.learning.learner import LearnerSettings, Lists, bounded
from dwell.learning.low_rank import QueryLists, contained, learn_low_rank, resized
from dwell.learning.predictor import Predictor
from dwell.learning.protocol import OBJECTIVES, learner_of
from dwell.learning.segments import SegmentHalves, check_bounds, learn_segments
from dwell.learning.space import Space
from dwell.records import LowRank, Params
from dwell.records.adjustments import MAX_SEGMENTS
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow

__all__ = ["Additions", "Drawn", "Lessons", "additions_of", "is_split_by_query"]

# docs/learners.md, made-up segments: with 40 events of each, shrunk weights lost nothing where segments do not differ
_MIN_EVENTS: Final = 40
# design, section 4: what fewer share is dropped; a version stays for ever, and a segment of one user would name him
_MIN_USERS: Final = 5
_MIN_EVENTS_PER_RANK: Final = (
    100  # docs/learners.md: "some hundred events per direction", the fewest that may be so called
)


class Drawn(NamedTuple):
    """The lists of one step.

    Attributes:
        rows: The events.
        weights: float64 (b,), their sampling weights.
    """

    rows: Sequence[EventRow]
    weights: FloatArray


class Lessons(NamedTuple):
    """What additions are learned from.

    Attributes:
        drawn: The lists of every step by which the global weights were learned.
        rows: Everything that may be learned from, for how many events and users a segment has.
        listed: Makes lists of events and weights, their safe scores those of what users get now.
        predictors: Fitted to queries of fold 0 and of fold 1.
        theta: (k,) examination per position.
        temperature: Of the policy being learned, > 0.
        is_over: Whether the time for learning is over.
    """

    drawn: Sequence[Drawn]
    rows: Sequence[EventRow]
    listed: Callable[[Sequence[EventRow], FloatArray], Lists]
    predictors: tuple[Predictor, Predictor]
    theta: FloatArray
    temperature: float
    is_over: Callable[[], bool]


class Additions(NamedTuple):
    """What is added to global weights at norm 1.

    Attributes:
        by_segment: Per segment, float64 (p,).
        by_query: By the query's embedding, or None.
    """

    by_segment: dict[str, FloatArray]
    by_query: LowRank | None


def is_split_by_query(settings: LearnerSettings, live: Params) -> bool:
    """Return whether a proposal may weigh some queries otherwise than others."""
    return settings.segment_weights or settings.query_rank > 0 or live.is_adjusted


def additions_of(
    overall: FloatArray,
    live: Params,
    space: Space,
    lessons: Lessons,
    *,
    config: Config,
    settings: LearnerSettings,
    rng: np.random.Generator,
) -> Additions:
    """Return what a proposal adds, every segment's weights within the bounds around what the segment has today.

    Args:
        overall: (p,) the proposed global weights at norm 1.
        live: Params in force.
        space: The learner's space.
        lessons: What is learned from.
        config: Settings of the loop.
        settings: What the learner may do, with the step of this call.
        rng: The only source of chance.

    Raises:
        LearningError: A learner did, or a segment's weights are outside the bounds.
    """
    start, known = space.vector(live), space.additions(live)
    wanted = {name: _unit(overall + shift) for name, shift in known.items()}
    if config.learner.segment_weights:
        learned, shares = _segment_vectors(overall, wanted, lessons, config, settings, rng)
        wanted |= learned
        wanted = {name: vector for name, vector in wanted.items() if shares.get(name, 1.0) > 0.0}
    vectors: dict[str, FloatArray] = {}
    for name in sorted(wanted):
        today = _unit(start + known[name]) if name in known else start
        vectors[name] = bounded(wanted[name], today, settings)[0]
        check_bounds(vectors[name], today, settings, segment=name)
    by_segment = {name: vector - overall for name, vector in vectors.items()}
    factors = space.factors(live)
    if config.learner.query_rank:
        factors = _factors(overall, by_segment, factors, lessons, settings, rng)
    if factors is not None:
        u = contained(factors.u, factors.v, [overall, *vectors.values()], settings)
        factors = LowRank(u, factors.v) if u.any() else None
    return Additions(by_segment, factors)


def _unit(vector: FloatArray) -> FloatArray:
    unit: FloatArray = vector / np.linalg.norm(vector)
    return unit


# ---- by segment


def _segment_vectors(
    overall: FloatArray,
    starts: Mapping[str, FloatArray],
    lessons: Lessons,
    config: Config,
    settings: LearnerSettings,
    rng: np.random.Generator,
) -> tuple[dict[str, FloatArray], dict[str, float]]:
    """Return the weights (p,) of every segment that can be learned, and how far each went towards its own."""
    sizes = _learnable(lessons.rows)
    pools: dict[str, tuple[list[tuple[EventRow, float]], list[tuple[EventRow, float]]]] = {}
    for drawn in lessons.drawn:
        for row, weight in zip(drawn.rows, drawn.weights.tolist(), strict=True):
            if row.segment in sizes:
                # the lowest bit of the query's hash is its fold of the predictors
                pools.setdefault(row.segment, ([], []))[(row.query_hash >> 1) % 2].append((row, weight))
    names = sorted(name for name, halves in pools.items() if min(map(len, halves)) >= config.training.min_batch)
    if len(names) < 2:  # how segments differ can not be told from one of them: it keeps what it has
        return {}, {}
    found = learn_segments(
        overall,
        {
            code: SegmentHalves(
                _batches(pools[name][0], lessons, config), _batches(pools[name][1], lessons, config), sizes[name]
            )
            for code, name in enumerate(names)
        },
        lessons.predictors,
        theta=lessons.theta,
        temperature=lessons.temperature,
        settings=settings,
        rng=rng,
        learner=learner_of(settings.objective),
        starts={code: starts[name] for code, name in enumerate(names) if name in starts},
    )
    vectors = {name: found.vectors[code] for code, name in enumerate(names)}
    return vectors, {name: found.shares[code] for code, name in enumerate(names)}


def _learnable(rows: Sequence[EventRow]) -> dict[str, float]:
    """Return the number of events per segment, of those with enough events of enough users; the largest 1,000."""
    events: dict[str, int] = {}
    users: dict[str, set[int]] = {}
    for row in rows:
        if row.segment is not None:
            events[row.segment] = events.get(row.segment, 0) + 1
            if row.user_hash is not None:
                users.setdefault(row.segment, set()).add(row.user_hash)
    # where nobody is named at all, events alone can tell
    known = [name for name, n in events.items() if n >= _MIN_EVENTS and len(users.get(name, range(99))) >= _MIN_USERS]
    known.sort(key=lambda name: (-events[name], name))
    return {name: float(events[name]) for name in known[:MAX_SEGMENTS]}


def _batches(pool: Sequence[tuple[EventRow, float]], lessons: Lessons, config: Config) -> Iterator[Lists]:
    """Yield a pool of lists in steps, as many as one pass over them makes, until the time is over."""
    n_steps = min(config.training.target_steps, max(1, len(pool) // config.training.min_batch))
    batch = math.ceil(len(pool) / n_steps)
    for at in range(0, len(pool), batch):
        if lessons.is_over():
            return
        rows, weights = zip(*pool[at : at + batch], strict=True)
        yield lessons.listed(rows, np.array(weights) / np.mean(weights))


# ---- by query


def _factors(
    overall: FloatArray,
    by_segment: Mapping[str, FloatArray],
    known: LowRank | None,
    lessons: Lessons,
    settings: LearnerSettings,
    rng: np.random.Generator,
) -> LowRank | None:
    """Return the weights by query after one step per sample; those that are known where there is too little."""
    rank = settings.query_rank
    sizes = [len(row.query_embedding) for row in lessons.rows if row.query_embedding is not None]
    if len(sizes) < _MIN_EVENTS_PER_RANK * rank:
        return known
    size = sizes[-1]
    nothing = np.zeros(overall.size)

    def samples() -> Iterator[QueryLists]:
        for drawn in lessons.drawn:
            kept = [i for i, row in enumerate(drawn.rows) if _has(row, size)]
            if lessons.is_over():
                return
            if not kept:
                continue
            rows, weights = [drawn.rows[i] for i in kept], drawn.weights[kept]
            lists = lessons.listed(rows, weights / weights.mean())
            embeddings = np.array([row.query_embedding for row in rows], dtype=np.float64)
            own = np.array([nothing if row.segment is None else by_segment.get(row.segment, nothing) for row in rows])
            yield QueryLists(lists, embeddings, own if by_segment else None)

    start = resized(known.u, known.v, rank, rng) if known is not None and len(known.v) == size else None
    found = learn_low_rank(
        overall,
        samples(),
        lessons.predictors,
        rank=rank,
        embedding_size=size,
        theta=lessons.theta,
        temperature=lessons.temperature,
        n_events=float(len(sizes)),
        settings=settings,
        rng=rng,
        objective=OBJECTIVES[settings.objective],
        start=start,
    )
    return LowRank(found.weights.u, found.weights.v)


def _has(row: EventRow, size: int) -> bool:
    return row.query_embedding is not None and len(row.query_embedding) == size
