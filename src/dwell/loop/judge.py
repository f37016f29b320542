"""Judge a proposal on events that it never learned from, one event at a time, each computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dwell.evaluation import EventPolicy, Evidence, JudgedEvent, differences, judge_event, kish
from dwell.evaluation.diagnostics import Finding
from dwell.evaluation.influence import sequential_user_weights, user_weights
from dwell.evaluation.log_fit import fit_findings
from dwell.evaluation.propensity_checks import pair_order_finding, propensity_findings
from dwell.learning.predictor import Predictor
from dwell.learning.space import Space
from dwell.ranking import expected_exposure, named_generator, policy_scores, score_spread
from dwell.records import Params
from dwell.records.arrays import FloatArray
from dwell.records.impression import Mode
from dwell.records.rows import EventRow
from dwell.reward.measuring import Measured

__all__ = [
    "Band",
    "Bench",
    "Draft",
    "Entrant",
    "Judgement",
    "Known",
    "averaged_exposure",
    "caller_policy",
    "drawn_lists",
    "evidence_of",
    "log_findings",
    "policy_on",
    "safe_policy",
    "scores_on",
    "shares_of",
    "user_caps",
    "within_quota",
]

_CHECKED: Final = 2_000  # newest events whose propensities are checked at a look: what the rates were measured on
_HALF: Final = 0.5
_FIRST_UNNAMED: Final = 10  # events without a user that count before anybody is named: which come first is chance
_AT_ONCE: Final = 256  # events scored together: 256 lists of 64 documents by 300 features are 40 MB


Item = TypeVar("Item")


class Band(NamedTuple):
    """Between what examination lies.

    Attributes:
        low: float64 (k,), lower ends per position.
        high: float64 (k,), upper ends.
        more: Further tables that a verdict must not depend on, float64 (k,) each.
    """

    low: FloatArray
    high: FloatArray
    more: tuple[FloatArray, ...] = ()

    @classmethod
    def of(cls, measured: Measured) -> Band:
        """Return the ends that a verdict must not depend on, of what was measured or assumed."""
        low, high, *more = measured.ends
        return cls(low, high, tuple(more))


class Entrant(Protocol):
    """What can be judged: params, or a challenger that is none."""

    @property
    def temperature(self) -> float:
        """Exploration temperature, >= 0."""
        ...

    @property
    def origin(self) -> str:
        """Where it comes from; "caller-order" has no scores."""
        ...

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return scores of documents, float64 (n,), for raw features (n, f)."""
        ...


class Bench(NamedTuple):
    """What a judgement stands on.

    Attributes:
        proposed: What is judged, as a rule params.
        safe: The live params.
        mode: Mode of the loop: it decides what users get without the proposal.
        space: The space in which the predictor lives.
        predictors: Fitted to queries of fold 0 and of fold 1, or the same twice where it was fitted before the events.
        theta: float64 (k,), examination per position.
        max_importance_weight: Clip of the exposure difference over logged exposure.
        band: Between what examination lies, or None where that is not asked.
    """

    proposed: Entrant
    safe: Params
    mode: Mode
    space: Space
    predictors: tuple[Predictor, Predictor]
    theta: FloatArray
    max_importance_weight: float
    band: Band | None = None


def caller_policy(row: EventRow, temperature: float) -> EventPolicy:
    """Return the caller's own order as a policy on one event."""
    return EventPolicy(-row.caller_rank, temperature)


def policy_on(row: EventRow, params: Entrant, *, scores: FloatArray | None = None) -> EventPolicy:
    """Return params as a policy on one event, from scores where they were computed already."""
    if params.origin == "caller-order":
        return caller_policy(row, params.temperature)
    return EventPolicy(scores_on([row], params)[0] if scores is None else scores, params.temperature)


def scores_on(rows: Sequence[EventRow], params: Entrant) -> list[FloatArray]:
    """Return the scores of each event's documents, float64 (l,), by its own segment and embedding.

    All at once where queries are scored alike, else those of one segment together: a feature map costs per call, not
    per document. Where weights depend on the embedding it is a call per event.
    """
    alike: dict[tuple[str | None, int | None], list[int]] = {}
    for i, row in enumerate(rows):
        alike.setdefault(_kind_of(row, params, i), []).append(i)
    found: list[FloatArray] = [np.zeros(0)] * len(rows)
    for (segment, one), group in alike.items():
        features = np.concatenate([rows[i].features for i in group])
        embedding = None if one is None else rows[one].query_embedding
        if isinstance(params, Params):
            scores = params.score(features, segment=segment, query_embedding=embedding)
        else:
            scores = params.score(features)
        ends = np.cumsum([len(rows[i].features) for i in group])[:-1]
        for i, own in zip(group, np.split(scores, ends), strict=True):
            found[i] = own
    return found


def _kind_of(row: EventRow, params: Entrant, i: int) -> tuple[str | None, int | None]:
    """Return what sets an event's weights apart: its segment where that has any, its own number by its embedding."""
    if not isinstance(params, Params) or not params.is_adjusted:
        return None, None
    segment = row.segment if row.segment in params.by_segment else None
    return segment, None if params.by_query is None or row.query_embedding is None else i


def safe_policy(row: EventRow, safe: Params, mode: Mode, *, scores: FloatArray | None = None) -> EventPolicy:
    """Return what users get without the proposal: the caller's order in log-only and shadow, else the live params."""
    if mode in {"log-only", "shadow"}:
        return caller_policy(row, 0.0)
    return policy_on(row, safe, scores=scores)


class _Scored(NamedTuple):
    """Both policies and the predictor on the documents of one event."""

    proposed: EventPolicy
    safe: EventPolicy
    predicted: FloatArray


class Known(NamedTuple):
    """What is remembered of a judged event, so that it counts on when its row has left the cache."""

    served_at: float
    seq: int
    rewards: FloatArray
    user_hash: int | None
    is_held_out: bool
    params_version: int | None  # None where the caller ordered
    segment_code: int


class Draft(NamedTuple):
    """What is remembered of a list that the proposal and the live params drafted in turn.

    Attributes:
        user_hash: Who saw it.
        teams: As in `Impression`.
        credit: In [-1, 1], positive where users chose what the proposal drafted.
    """

    user_hash: int
    teams: tuple[int, ...]
    credit: float


@dataclass(slots=True)
class Judgement:
    """The judged events of one proposal; each is computed once, rewards are read anew at every look.

    The sequence only grows. A row that is evicted takes nothing with it: were the oldest events to leave, each look
    would bet on a window that slides, and the error of many looks would no longer be bounded.
    """

    bench: Bench
    events: dict[int, JudgedEvent]
    known: dict[int, Known] = field(default_factory=dict)
    drafts: dict[int, Draft] = field(default_factory=dict)  # by seq, in the order taken up
    looked_at: set[int] = field(default_factory=set)  # seqs of closed events that drafts were looked for among
    _scored: dict[int, _Scored] = field(default_factory=dict)

    def forget(self, seqs: Iterable[int]) -> None:
        """Drop erased events: users who leave take their events with them, whatever came of these."""
        for seq in seqs:
            self.known.pop(seq, None)
            self.events.pop(seq, None)
            self.drafts.pop(seq, None)
            self._scored.pop(seq, None)

    def sequence(self, rows: Iterable[EventRow], *, most: int) -> list[Known]:
        """Return every event known to judge, in the order taken up, with the rewards of the rows that are there.

        Args:
            rows: Events that the proposal never learned from, in close order; new ones are taken up to `most`.
            most: Most events of a sequence.
        """
        for row in rows:
            if row.seq in self.known or len(self.known) < most:
                self.known[row.seq] = Known(
                    row.served_at,
                    row.seq,
                    row.rewards,
                    row.user_hash,
                    row.is_held_out,
                    None if row.is_caller_ordered else row.params_version,
                    row.segment_code,
                )
        # as they came: one that is activated late must not stand before those that have been bet on
        return list(self.known.values())

    def first_seqs(self) -> list[int]:
        """Return the first event learned from by others and the first held out, as far as they judge.

        Rows leave each of the two oldest first: while both of these are there, none of a sequence is missing.
        """
        return [
            min(seqs)
            for held in (False, True)
            if (seqs := [known.seq for known in self.known.values() if known.is_held_out == held])
        ]

    def prepare(self, rows: Iterable[EventRow]) -> None:
        """Score events that were not judged yet, many at once: a feature map costs per call, not per document."""
        waiting = [row for row in rows if row.seq not in self.events and row.seq not in self._scored]
        bench = self.bench
        for start in range(0, len(waiting), _AT_ONCE):
            part = waiting[start : start + _AT_ONCE]
            features = np.concatenate([row.features for row in part])
            ends = np.cumsum([len(row.features) for row in part])[:-1]
            phi = np.split(bench.space.phi(features), ends)
            proposed, safe = scores_on(part, bench.proposed), scores_on(part, bench.safe)
            for i, row in enumerate(part):
                predictor = bench.predictors[1 - row.query_hash % 2]
                by_safe = safe_policy(row, bench.safe, bench.mode, scores=safe[i])
                by_proposed = policy_on(row, bench.proposed, scores=proposed[i])
                self._scored[row.seq] = _Scored(by_proposed, by_safe, predictor.predict(phi[i]))

    def judged(self, row: EventRow, exposure: FloatArray | None = None) -> JudgedEvent:
        """Return what one event says, from memory where it was asked before."""
        found = self.events.get(row.seq)
        if found is None:
            self.prepare([row])
            scored, band = self._scored.pop(row.seq), self.bench.band
            found = judge_event(
                row if exposure is None else replace(row, exposure=exposure),
                scored.proposed,
                scored.safe,
                scored.predicted,
                self.bench.theta,
                max_importance_weight=self.bench.max_importance_weight,
                is_own=exposure is None and self._is_own(row),
                ends=() if band is None else (band.low, band.high, *band.more),
            )
            self.events[row.seq] = found
        return found

    def _is_own(self, row: EventRow) -> bool:
        """Return whether the safe policy is the one that served a list which is kept whole."""
        is_drawn = not (row.is_caller_ordered or row.is_deterministic)
        is_safe = row.params_version == self.bench.safe.version and self.bench.mode not in {"log-only", "shadow"}
        return is_drawn and is_safe and row.n_kept == row.n_shown


def averaged_exposure(row: EventRow, shares: Sequence[tuple[Params, float]], theta: FloatArray) -> FloatArray:
    """Return exposure averaged over the versions that served, each with its share of the events."""
    total = np.zeros(len(row.inclusion))
    stand_in = 1.0 / row.inclusion
    for params, share in shares:
        policy = policy_on(row, params)
        spread = score_spread(policy.scores, stand_in)
        z = policy_scores(policy.scores, max(policy.temperature, 1e-6), spread=spread) + np.log(stand_in)
        rng = named_generator(b"", "averaged", row.event_id)
        total += share * expected_exposure(z, theta[: row.n_shown], rng).value
    return total


def shares_of(served_by: Mapping[int, int], versions: Mapping[int, Params]) -> list[tuple[Params, float]]:
    """Return each version with its share of the events, or nothing where one of them is no longer known."""
    if not all(version in versions for version in served_by):
        return []
    n = sum(served_by.values())
    return [(versions[version], count / n) for version, count in sorted(served_by.items())]


def evidence_of(
    judgement: Judgement,
    rows: Sequence[EventRow],
    *,
    held_out: Sequence[EventRow],
    versions: Mapping[int, Params],
    attempt: int,
    most: int,
    segments: Mapping[int, str | None] = MappingProxyType({}),
) -> Evidence:
    """Return what the gate may know, from closed events in close order.

    Args:
        judgement: The proposal's judged events so far; those whose rows are gone by now count on.
        rows: Events that the proposal never learned from, in close order.
        held_out: Events of users that are never learned from, before and after the proposal was made.
        versions: Params by version, for events that several versions served.
        attempt: Count of proposals against these live params.
        most: Most events that judge.
        segments: Names of segments by code, to guard each; none are guarded where it is empty.
    """
    known = judgement.sequence(rows, most=most)
    held_out = within_quota(held_out, [row.user_hash for row in held_out])
    there = {row.seq: row for row in rows}
    judgement.prepare([*(there[one.seq] for one in known if one.seq in there), *(held_out if known else ())])
    served_by: dict[int, int] = {}
    events = []
    for one in known:
        exposure = None
        if one.params_version is not None:
            served_by[one.params_version] = served_by.get(one.params_version, 0) + 1
        if one.seq in judgement.events:
            events.append(judgement.events[one.seq])
            continue
        row = there[one.seq]
        if one.params_version is not None:
            # shares up to this event, not of all events so far: an event must count the same at every look
            shares = shares_of(served_by, versions)
            if len(shares) > 1:
                exposure = averaged_exposure(row, shares, judgement.bench.theta)
        events.append(judgement.judged(row, exposure))
    weights = user_caps([one.user_hash for one in known])
    per_user: Counter[int] = Counter()
    for one, weight in zip(known, weights.tolist(), strict=True):
        if one.user_hash is not None:
            per_user[one.user_hash] += weight
    if not known:
        held_out = ()  # nothing is decided without events of its own: the guard can wait
    held = [judgement.judged(row) for row in held_out]
    log = log_findings(within_quota(rows, [row.user_hash for row in rows])[-_CHECKED:], versions)
    newest = [one.rewards for one in known[-_CHECKED:]]
    return Evidence(
        events=events,
        rewards=[one.rewards for one in known],
        n_users=len(per_user) or None,
        n_effective_users=kish(np.array(list(per_user.values()), dtype=np.float64)) if per_user else None,
        is_caller_ordered_only=all(one.params_version is None for one in known),
        held_out=differences(held, [row.rewards for row in held_out]),
        attempt=attempt,
        findings=(*log, *fit_findings(events[-_CHECKED:], newest, judgement.bench.theta)),
        segments=[segments.get(one.segment_code) for one in known] if segments else (),
        weights=weights,
        users=[one.user_hash for one in known],
    )


def user_caps(users: Sequence[int | None]) -> FloatArray:
    """Return what each event counts, (n,), in (0, 1]: nobody for more than three average users.

    Events without a user can not be told apart: together they count no more than those with one, and whole where nobody
    is named.

    Args:
        users: Hash of each event's user, or None.
    """
    has_user = np.array([user is not None for user in users], dtype=np.bool_)
    weights = np.ones(len(users))
    if has_user.any():
        weights[has_user] = user_weights(np.array([user for user in users if user is not None], dtype=np.uint64))
        if not has_user.all():
            weights[~has_user] = min(1.0, float(weights[has_user].sum()) / float((~has_user).sum()))
    return weights


def within_quota(items: Sequence[Item], users: Sequence[int | None]) -> list[Item]:
    """Return items in their order without those by which a user would exceed three times the mean of the others.

    Whether one counts follows from the users up to it alone, never from what came of it, so that a sequence that is
    tested while it grows stays the same. Items without a user can not be told apart: together they count no more than
    those with one; where nobody is named they all count.

    Args:
        items: In the order in which they are tested.
        users: Hash of each one's user, or None.
    """
    has_user = np.array([user is not None for user in users], dtype=np.bool_)
    named = np.array([user for user in users if user is not None], dtype=np.uint64)
    counts = np.ones(len(items), dtype=np.bool_)
    counts[has_user] = sequential_user_weights(named) >= _HALF
    if has_user.any():
        n_named, nth = np.cumsum(has_user & counts), np.cumsum(~has_user)
        counts &= has_user | (nth <= np.maximum(n_named, _FIRST_UNNAMED))
    return [item for item, is_counted in zip(items, counts.tolist(), strict=True) if is_counted]


def log_findings(rows: Sequence[EventRow], versions: Mapping[int, Params]) -> tuple[Finding, ...]:
    """Return what is wrong with the propensities of events, as the versions that served them would have drawn.

    Where candidates were only sampled, the policy's partition sums are estimates, and a check by scores would take
    their error for the log's: those events are checked by the order of neighbours, which needs propensities alone.
    """
    complete, others = drawn_lists(rows, versions)
    findings = propensity_findings([row for row, _ in complete], [z for _, z in complete])
    pairs = pair_order_finding([row.propensities for row in others])
    return findings if pairs is None else (*findings, pairs)


def drawn_lists(
    rows: Sequence[EventRow], versions: Mapping[int, Params]
) -> tuple[list[tuple[EventRow, FloatArray]], list[EventRow]]:
    """Return drawn events with the log weights of the version that served them, and those where these are not known."""
    drawn = [row for row in rows if row.n_kept and not (row.is_deterministic or row.is_caller_ordered)]
    complete = [
        row
        for row in drawn
        if (row.inclusion == 1.0).all()
        and row.params_version in versions
        and len(versions[row.params_version].feature_names) == row.features.shape[1]
    ]
    by_scores = {row.seq for row in complete}
    found: dict[int, FloatArray] = {}
    for version in {row.params_version for row in complete}:
        part = [row for row in complete if row.params_version == version]
        params = versions[version]
        for row, own in zip(part, scores_on(part, params), strict=True):
            served = policy_on(row, params, scores=own.astype(np.float32).astype(np.float64))  # as they were drawn by
            found[row.seq] = policy_scores(served.scores, row.temperature)
    return [(row, found[row.seq]) for row in complete], [row for row in drawn if row.seq not in by_scores]
