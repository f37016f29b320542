"""The third arrow: sample experience, learn, and hand over a proposal. Nothing here makes anything live."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from dwell.config import Config
from dwell.health.batches import batches_seen
from dwell.health.snapshot import BatchesSeen
from dwell.learning.learner import Learned, LearnerSettings, Lists
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.learning.protocol import learner_of
from dwell.learning.relevance import examination_at
from dwell.learning.space import Space, space_for
from dwell.loop.adjusting import Additions, Drawn, Lessons, additions_of, is_split_by_query
from dwell.loop.caps import Caps, caps_of
from dwell.loop.channels import Channels, channels_for, credited
from dwell.loop.judge import Judgement, safe_policy
from dwell.loop.replayed import Replayed
from dwell.records import GateDecision, Params
from dwell.records.arrays import Float32Array, FloatArray, IntArray
from dwell.records.impression import Mode
from dwell.records.rows import EventRow, stack_rows
from dwell.replay.priority import priority_of

__all__ = [
    "LEARNER_TEMPERATURE",
    "Budget",
    "Learning",
    "Lister",
    "Plan",
    "Proposal",
    "Standardised",
    "Standing",
    "TrainReport",
    "fit_predictors",
    "fitted",
    "fitting_features",
    "plan_steps",
    "predictor_sums",
    "propose",
    "slower_at_first",
    "spread",
    "surprise",
    "unseen_places",
]

_FITTING_ROWS = 1_000  # as `learning.transform`: more rows do not move 64 knots
LEARNER_TEMPERATURE = 0.3  # where serving draws nothing there is still a policy to differentiate: the default one
_FULL_STEP_EVENTS = 1_000  # gated-loop study: below it a smaller learner did less harm
_AT_ONCE = 256  # events mapped together
_CACHE_BYTES = 256_000_000  # standardised features kept while one proposal is learned; beyond it they are made anew


@dataclass(frozen=True, slots=True, eq=False)
class TrainReport:
    """What one call of `train` did.

    Attributes:
        decision: The gate's verdict on the standing proposal, or on going back (kind "rollback").
        live: Params in force after the call.
        proposed: The standing proposal, or the live params where there is none.
        curves: Per learning step: "objective", "gradient_norm", "withdrawn"; empty where nothing was learned.
        ended_by: "steps", "time", "standing" (the standing proposal is still being judged) or "no_events".
        n_steps: Learning steps taken.
        n_closed: Events closed by the call.
        n_learned_from: Events that could be learned from.
        step_norm: Distance of the new proposal from the live params, both at norm 1.
        n_replayed: Lists drawn from the buffer, repeats included; `replay.max_ratio` bounds it.
        left_out: Closed events that could not be learned from under `learner.objective` and `learner.trust_bias`, by
            reason.
    """

    decision: GateDecision
    live: Params
    proposed: Params
    curves: dict[str, list[float]] = field(default_factory=dict)
    ended_by: str = "no_events"
    n_steps: int = 0
    n_closed: int = 0
    n_learned_from: int = 0
    step_norm: float = 0.0
    n_replayed: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


class Proposal(msgspec.Struct, frozen=True):
    """The standing proposal as it is kept between calls.

    Attributes:
        version: Version proposed.
        safe_version: Live version that it was learned from.
        after_seq: Newest event when it was made: only later ones judge it.
        attempt: Count of proposals against these live params.
        beta: The reward predictor fitted with it.
        first_seqs: First events that judged it, of those that others may learn from and of those held out; empty
            before the first look that found any.
        is_against_caller: Whether it is judged against the caller's order (mode "shadow"), not against the live params.
    """

    version: int
    safe_version: int
    after_seq: int
    attempt: int
    beta: list[float]
    first_seqs: list[int] = []
    is_against_caller: bool = False

    def predictor(self) -> Predictor:
        """Return the predictor, which saw nothing that judges this proposal."""
        return Predictor(np.array(self.beta))


@dataclass(slots=True, eq=False)
class Standing:
    """Params that are being judged against the live ones, and their judgement so far.

    Attributes:
        proposal: What is kept of it between calls.
        params: The params.
        judgement: Judged events, or None before the first look of this process.
    """

    proposal: Proposal
    params: Params
    judgement: Judgement | None = None

    def kept(self) -> Proposal:
        """Return what to keep: the proposal, with the first events that judged it by now."""
        if self.judgement is None:
            return self.proposal
        return msgspec.structs.replace(self.proposal, first_seqs=self.judgement.first_seqs())


class Plan(NamedTuple):
    """How one pass over the events is spread over steps.

    Attributes:
        n_steps: Steps, 0 where there is too little to learn from.
        batch: Lists per step.
    """

    n_steps: int
    batch: int


class Learning(NamedTuple):
    """What learning produced.

    Attributes:
        params: The proposed version.
        learned: Curves and distances.
        predictor: The reward predictor over all events learned from.
        ended_by: "steps" or "time".
        priorities: New priorities by seq: how surprising each replayed event is to the new predictor.
        n_replayed: Lists drawn from the buffer.
        version_counts: Number of events learned from by the params version that served them.
        left_out: Events that could not be learned from, by reason.
        folds: Predictors fitted to queries of fold 0 and of fold 1.
        batches: What the steps were made of, or None where nothing was drawn.
    """

    params: Params
    learned: Learned
    predictor: Predictor
    ended_by: str
    priorities: dict[int, float]
    n_replayed: int
    version_counts: Counter[int]
    left_out: dict[str, int]
    folds: tuple[Predictor, Predictor]
    batches: BatchesSeen | None = None


def plan_steps(n_unseen: int, config: Config, *, steps: int | None) -> Plan:
    """Return how many steps of how many lists make one pass over unseen events plus as many replayed.

    Args:
        n_unseen: Events that the live params have not learned from.
        config: Settings.
        steps: Number of steps asked for, or None.
    """
    training = config.training
    n_lists = 2 * n_unseen
    if n_unseen == 0:
        return Plan(0, 0)
    n_steps = steps if steps is not None else min(training.target_steps, max(1, n_lists // training.min_batch))
    n_steps = min(n_steps, training.max_steps)
    return Plan(n_steps, min(max(math.ceil(n_lists / n_steps), training.min_batch), training.max_batch))


def fit_predictors(
    rows: Sequence[EventRow],
    space: Space,
    theta: FloatArray,
    *,
    ridge: float,
    standardised: Standardised | None = None,
    caps: Caps | None = None,
) -> tuple[Predictor, Predictor, Predictor]:
    """Return predictors fitted to queries of fold 0, of fold 1, and to all of them."""
    caps = caps_of(rows) if caps is None else caps
    phi_of = standardised if standardised is not None else Standardised(space, rows)
    return fitted(predictor_sums(rows, phi_of, theta, caps=caps), ridge=ridge)


def predictor_sums(
    rows: Sequence[EventRow], standardised: Standardised, theta: FloatArray, *, caps: Caps
) -> tuple[PredictorSums, PredictorSums]:
    """Return what predictors are fitted to, over queries of fold 0 and of fold 1; sums of parts of the rows add up."""
    sums = [PredictorSums.empty(standardised.size), PredictorSums.empty(standardised.size)]
    for fold in (0, 1):
        part = [row for row in rows if row.query_hash % 2 == fold]
        for start in range(0, len(part), _AT_ONCE):
            some = part[start : start + _AT_ONCE]
            phi = np.concatenate([standardised(row)[: row.n_kept] for row in some]).astype(np.float64)
            rewards = np.concatenate([row.rewards for row in some])
            examined = np.concatenate([examination_at(np.arange(1, row.n_kept + 1), theta) for row in some])
            praise = np.concatenate([caps.praised([row], row.n_kept)[0] for row in some]) if caps.praise else 1.0
            weight = np.repeat([caps.event(row) for row in some], [row.n_kept for row in some])
            sums[fold] = sums[fold].plus(phi, rewards, examined, weight * np.where(rewards > 0.0, praise, 1.0))
    return sums[0], sums[1]


def fitted(sums: tuple[PredictorSums, PredictorSums], *, ridge: float) -> tuple[Predictor, Predictor, Predictor]:
    """Return predictors fitted to the sums of fold 0, of fold 1, and to those of both together."""
    both = sums[0].joined(sums[1])
    return fit_predictor(sums[0], ridge=ridge), fit_predictor(sums[1], ridge=ridge), fit_predictor(both, ridge=ridge)


def _folds(
    rows: Sequence[EventRow],
    theta: FloatArray,
    *,
    space: Space,
    ridge: float,
    standardised: Standardised,
    caps: Caps,
) -> tuple[Predictor, Predictor]:
    """Return predictors fitted to queries of fold 0 and of fold 1."""
    return fit_predictors(rows, space, theta, ridge=ridge, standardised=standardised, caps=caps)[:2]


def fitting_features(rows: Sequence[EventRow], rng: np.random.Generator) -> Float32Array:
    """Return up to 1,000 documents' raw features, spread over the events."""
    chosen = spread(len(rows), rng)
    found = np.concatenate([rows[i].features for i in chosen])
    return found[spread(len(found), rng)]


def spread(n: int, rng: np.random.Generator) -> IntArray:
    """Return up to 1,000 of n places, each at most once, in random order: what a feature map is fitted to."""
    return rng.permutation(n)[:_FITTING_ROWS]


def _samples(
    unseen: Sequence[EventRow],
    replayed: Replayed,
    plan: Plan,
    config: Config,
    rng: np.random.Generator,
    *,
    budget: Budget,
    caps: Caps,
) -> Iterator[tuple[list[EventRow], FloatArray]]:
    """Yield rows and sampling weights per step: half unseen events, each once, half replayed ones while they last."""
    for places in unseen_places(len(unseen), plan, rng):
        rows = [unseen[i] for i in places]
        weights = np.ones(len(rows))
        n_old = budget.spend(plan.batch - len(rows))
        if n_old > 0:
            batch = replayed.buffer.sample(n_old, strategy=config.replay.strategy, beta=config.replay.beta, rng=rng)
            drawn = {row.seq: row for row in replayed.rows.rows(batch.seqs.tolist())}
            kept = [i for i, seq in enumerate(batch.seqs.tolist()) if seq in drawn]
            rows += [drawn[int(batch.seqs[i])] for i in kept]
            weights = np.concatenate([weights, batch.sampling_weights[kept]])
        weights *= [caps.event(row) for row in rows]
        yield rows, weights / weights.mean()


def unseen_places(n_unseen: int, plan: Plan, rng: np.random.Generator) -> list[IntArray]:
    """Return which of the unseen events each step takes: half of its lists, everybody once before anybody twice."""
    fresh = math.ceil(plan.batch / 2)
    order = np.concatenate([rng.permutation(n_unseen) for _ in range(math.ceil(plan.n_steps * fresh / n_unseen))])
    return [order[step * fresh : (step + 1) * fresh] for step in range(plan.n_steps)]


class Budget:
    """Lists that one call may replay.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.n_spent = 0

    def spend(self, n: int) -> int:
        """Return how many of n may be replayed, and note them."""
        n = min(n, self._most - self.n_spent)
        self.n_spent += n
        return n


class Standardised:
    """Standardised features per event, made many events at a time and kept up to a budget of bytes.

    A feature map costs per call rather than per document, and a proposal reads most events more than once.

    Args:
        space: The learner's space.
        rows: Every event that may be asked for.
    """

    def __init__(self, space: Space, rows: Sequence[EventRow]) -> None:
        self._space = space
        self._rows = rows
        self._place = {row.seq: i for i, row in enumerate(rows)}
        self._kept: dict[int, Float32Array] = {}
        self._n_bytes = 0

    @property
    def size(self) -> int:
        """Number of standardised features, p."""
        return self._space.size

    def __call__(self, row: EventRow) -> Float32Array:
        """Return float32 (l, p) for one event."""
        found = self._kept.get(row.seq)
        if found is not None:
            return found
        if self._n_bytes > _CACHE_BYTES:
            self._kept.clear()
            self._n_bytes = 0
        start = self._place[row.seq] // _AT_ONCE * _AT_ONCE
        part = self._rows[start : start + _AT_ONCE]
        phi = self._space.phi(np.concatenate([one.features for one in part])).astype(np.float32)
        ends = np.cumsum([len(one.features) for one in part])[:-1]
        self._kept.update(zip((one.seq for one in part), np.split(phi, ends), strict=True))
        self._n_bytes += phi.nbytes
        return self._kept[row.seq]


def propose(
    live: Params,
    replayed: Replayed,
    *,
    unseen: Sequence[EventRow],
    plan: Plan,
    version: int,
    mode: Mode,
    theta: FloatArray,
    config: Config,
    versions: Mapping[int, Params],
    most_replayed: int,
    now: float,
    rng: np.random.Generator,
    clock: Callable[[], float],
    hasten: Callable[[Learned, FloatArray, Predictor], Learned] | None = None,
) -> Learning:
    """Return a proposal learned from the live params on.

    Args:
        live: Params in force.
        replayed: Closed events.
        unseen: Rows that the live params have not learned from, at least one.
        plan: Steps and lists per step.
        version: Number of the new version.
        mode: Mode of the loop: it decides what the trust region is measured against.
        theta: (k,) examination per position.
        config: Settings.
        versions: Params by version, for what has to be worked out again of the events that they served.
        most_replayed: Lists that may be drawn from the buffer.
        now: UTC epoch seconds.
        rng: Source of sampling and rankings.
        clock: Monotonic seconds, for the time limit alone.
        hasten: What is made of the global weights that were learned, given where they began and the reward predictor.
    """
    rows = replayed.trainable()
    space = space_for(live, fitting_features(rows, rng))
    standardised, caps = Standardised(space, rows), caps_of(rows)
    fold0, fold1, both = fit_predictors(
        rows, space, theta, ridge=config.learner.ridge, standardised=standardised, caps=caps
    )
    fit = partial(_folds, space=space, ridge=config.learner.ridge, standardised=standardised, caps=caps)
    channels = channels_for(config.learner, theta, rows, fit, versions)
    settings = slower_at_first(config.learner, len(rows))
    lister = Lister(space, standardised, caps, channels, space.vector(live), live, mode, theta, config.learner)
    is_split = is_split_by_query(config.learner, live)
    # additions are learned from the same lists once more: half of the time is left for them
    begun, most_s = clock(), config.training.max_seconds
    ended, budget = _Ended(clock, begun + (most_s / 2.0 if is_split else most_s)), Budget(most_replayed)
    seen: dict[int, EventRow] = {}
    steps: list[Drawn] = []
    batches: list[Sequence[EventRow]] = []

    def lists() -> Iterator[Lists]:
        for drawn, drawn_weights in _samples(unseen, replayed, plan, config, rng, budget=budget, caps=caps):
            if ended():
                return
            step = Drawn(*((drawn, drawn_weights) if channels is None else channels.known(drawn, drawn_weights)))
            if step.rows:
                batches.append(step.rows)
                seen.update((row.seq, row) for row in step.rows)
                steps.extend([step] if is_split else [])
                yield lister.lists(*step, is_global=True)

    lessons = Lessons(steps, rows, lister.lists, (fold0, fold1), theta, live.temperature or LEARNER_TEMPERATURE, ended)
    learned = _learned(lister.start, lists(), lessons, settings, rng)
    learned = learned if hasten is None else hasten(learned, lister.start, both)
    ended.deadline = begun + most_s
    add = partial(additions_of, learned.vector, live, space, lessons, config=config, settings=settings, rng=rng)
    found = add() if is_split else Additions({}, None)
    params = space.params(learned.vector, *found, version=version, parent=live, created_at=now)
    priorities = {seq: surprise(row, standardised(row), both, theta) for seq, row in seen.items()}
    served_by = Counter(row.params_version for row in rows)
    left_out = {} if channels is None else channels.left_out
    ended_by = "time" if ended.has_been_over else "steps"
    folds, drawn = lessons.predictors, _drawn(batches, learned, live, now)
    return Learning(params, learned, both, ended_by, priorities, budget.n_spent, served_by, left_out, folds, drawn)


def _drawn(batches: Sequence[Sequence[EventRow]], learned: Learned, live: Params, now: float) -> BatchesSeen | None:
    curve, norm = learned.curves.get("objective", ()), learned.step_norm
    return batches_seen(batches, learned_at=now, live_version=live.version, objective=curve, step_norm=norm)


def _learned(
    start: FloatArray, lists: Iterator[Lists], lessons: Lessons, settings: LearnerSettings, rng: np.random.Generator
) -> Learned:
    """Return the global weights that the lists teach."""
    return learner_of(settings.objective)(
        start,
        lists,
        lessons.predictors,
        theta=lessons.theta,
        temperature=lessons.temperature,
        n_events=float(len(lessons.rows)),
        settings=settings,
        rng=rng,
    )


class _Ended:
    """Whether the time for learning is over, and whether that was ever found.

    Args:
        clock: Monotonic seconds.
        deadline: When it is over.
    """

    def __init__(self, clock: Callable[[], float], deadline: float) -> None:
        self._clock = clock
        self.deadline = deadline
        self.has_been_over = False

    def __call__(self) -> bool:
        """Return whether it is over."""
        is_over = self._clock() > self.deadline
        self.has_been_over |= is_over
        return is_over


class Lister(NamedTuple):
    """What lists to learn from are made with."""

    space: Space
    standardised: Standardised
    caps: Caps
    channels: Channels | None
    start: FloatArray
    live: Params
    mode: Mode
    theta: FloatArray
    settings: LearnerSettings

    def lists(
        self, rows: Sequence[EventRow], weights: FloatArray, *, is_global: bool = False, n_documents: int = 0
    ) -> Lists:
        """Return events as lists.

        Args:
            rows: At least one.
            weights: (b,) sampling weights.
            n_documents: Fewest documents to pad to, as `stack_rows`.
            is_global: Whether global weights are learned: these are held to the live global ones, since what the live
                params add for some queries is not theirs to undo.
        """
        batch = stack_rows(rows, n_documents=n_documents)
        phi = np.zeros((*batch.is_document.shape, self.space.size))
        for i, row in enumerate(rows):
            phi[i, : len(row.inclusion)] = self.standardised(row)
        safe = self._safe_scores(rows, phi, is_global=is_global)
        praise = self.caps.praised(rows, phi.shape[1]) if self.caps.praise else None
        return credited(Lists(batch, phi, safe, weights, praise=praise), rows, self.theta, self.settings, self.channels)

    def _safe_scores(self, rows: Sequence[EventRow], phi: FloatArray, *, is_global: bool) -> FloatArray:
        """Return the scores of what users get without a proposal, (b, d), 0 where padded in the caller's order."""
        live, by_caller = self.live, self.mode in {"log-only", "shadow"} or self.live.origin == "caller-order"
        if not by_caller and (is_global or not live.is_adjusted):
            return phi @ self.start
        safe = np.zeros(phi.shape[:2])
        for i, row in enumerate(rows):
            safe[i, : len(row.inclusion)] = safe_policy(row, live, self.mode).scores
        return safe


def slower_at_first(settings: LearnerSettings, n_events: int) -> LearnerSettings:
    """Return settings whose step shrinks with the root of the events below a thousand, as the noise of a slope grows.

    benchmarks/learning.py, 100 events, ungated, 5 seeds, position-based users: -.0083 nDCG at .003, -.0007 at .001.
    """
    return replace(settings, step_size=settings.step_size * math.sqrt(min(n_events / _FULL_STEP_EVENTS, 1.0)))


def surprise(row: EventRow, phi: Float32Array, predictor: Predictor, theta: FloatArray) -> float:
    """Return an event's new priority: how far its reward is from what the predictor expected of the list."""
    examined = examination_at(np.arange(1, row.n_kept + 1), theta)
    expected = float(examined @ predictor.predict(phi[: row.n_kept].astype(np.float64)))
    reward = float(np.clip(row.rewards.sum(), -1.0, 1.0))
    return priority_of(reward, float(np.clip(expected, -1.0, 1.0)))
