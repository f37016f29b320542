"""The fourth arrow: judge what stands, let it go live on evidence, and go back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from dwell.errors import (
    AlreadyLiveError,
    FeatureSchemaError,
    NothingToRollBackError,
    PromotionRefused,
    RecordError,
    StaleParamsError,
)
from dwell.evaluation import decide
from dwell.learning.predictor import Predictor
from dwell.loop.judge import Judgement, evidence_of, scores_on
from dwell.loop.keep import take_in
from dwell.loop.standing import bench_of, heed_embeddings, put_standing, put_watched, versions_of
from dwell.loop.state import LoopState
from dwell.loop.train import Standing, fit_predictors
from dwell.records import Estimate, GateDecision, LowRank, Params, Transform
from dwell.records.arrays import FloatArray
from dwell.records.decision import DecisionKind
from dwell.records.rows import EventRow
from dwell.storage import Transaction

__all__ = [
    "check_params",
    "evaluate",
    "live_job",
    "make_live",
    "next_attempt",
    "promote",
    "rollback",
]

_NOTHING: Final = Estimate(0.0, -np.inf, np.inf, 0, 0.0)
_MATCHING: Final = 1e-6  # directions closer than this are the same weights, written in other digits
_AT_ONCE: Final = 256  # events scored together, as `loop.judge`
MAX_WEIGHT: Final = 1e6  # a weight beyond it is a mistake of unit, not a preference


def check_params(state: LoopState, params: object) -> Params:
    """Return params that this loop could serve.

    Raises:
        RecordError: Not params, other features, embeddings of another size, all weights zero, or a weight beyond +-1e6,
            of a segment as well.
    """
    if not isinstance(params, Params):
        raise RecordError(
            "Params are due here", code="type", field="params", value=params, hint="Use dwell.Params or Loop.params."
        )
    if set(params.feature_names) != set(state.feature_names):
        raise FeatureSchemaError(
            "the params weigh other features",
            field="params.weights",
            value=sorted(params.feature_names),
            hint=f"Give one weight for each of {sorted(state.feature_names)}.",
        )
    dim = state.limits.embedding_dim
    if params.by_query is not None and dim is not None and len(params.by_query.v) != dim:
        raise RecordError(
            "the weights by query are for embeddings of another size",
            code="embedding_dim",
            field="params.by_query.v",
            value=len(params.by_query.v),
            hint=f"The store's embeddings have {dim} numbers.",
        )
    if params.feature_names != state.feature_names:
        if params.transform is not None or params.by_query is not None:
            raise FeatureSchemaError(
                "learned params follow the loop's feature order", field="params.weights", value=params.feature_names
            )
        params = replace(params, weights={name: params.weights[name] for name in state.feature_names})
    _check_weights(params)
    return params


def _check_weights(params: Params) -> None:
    """Refuse a weight beyond +-1e6, and a segment of which nothing is left, after what is added to it."""
    tail = {} if params.raw_score is None else {"raw_score.coefficient": params.raw_score.coefficient}
    names = [*(f"weights.{name}" for name in params.weights), *tail]
    whole = np.array([*params.vector, *tail.values()])
    kinds = {"params": whole}
    for segment in params.by_segment:
        shift = params.shift(segment=segment)
        kinds[f"params.by_segment[{segment!r}]"] = whole if shift is None else whole + shift
    for kind, weights in kinds.items():
        if not weights.any() and params.origin != "caller-order":
            raise RecordError(
                "all weights are zero",
                code="params_bounds",
                field="params.weights" if kind == "params" else kind,
                value=dict(params.weights),
                hint="Give at least one weight.",
            )
        # what a query's embedding adds is at most the norm of its factors
        most = np.abs(weights)
        if params.by_query is not None:
            most = most + float(np.linalg.norm(params.by_query.u)) * float(np.linalg.norm(params.by_query.v))
        if most.max(initial=0.0) > MAX_WEIGHT:
            j = int(most.argmax())
            raise RecordError(
                f"a weight is outside +-{MAX_WEIGHT:g}",
                code="params_bounds",
                field=f"{kind}.{names[j]}",
                value=float(weights[j]),
                hint="Scale the feature instead.",
            )


def next_attempt(decisions: Sequence[GateDecision]) -> int:
    """Return the number of the next proposal: rejections and requests since the live params went live, plus one."""
    n = 1
    for decision in reversed(decisions):
        if decision.verdict == "promote" or decision.kind in {"forced", "rollback"}:
            break
        if decision.verdict == "reject" or decision.kind == "requested":
            n += 1
    return n


def _check_scores(params: Params, rows: Sequence[EventRow]) -> None:
    """Refuse params whose scores of what was served are not numbers, before anything is computed from them."""
    for start in range(0, len(rows), _AT_ONCE):
        with np.errstate(over="ignore", invalid="ignore"):
            scores = scores_on(rows[start : start + _AT_ONCE], params)
            is_finite = bool(np.isfinite(np.concatenate(scores)).all())
        if not is_finite:
            raise RecordError(
                "the params give a document that was served a score that is not finite",
                code="non_finite",
                field="params",
                value=params.version,
                hint="Bring raw_score (mean, sd, coefficient) and weights to the scale of the features.",
            )


def evaluate(state: LoopState, params: object, now: float, *, kind: DecisionKind = "evaluated") -> GateDecision:
    """Return the gate's verdict on any params, from every closed event that they did not learn from. Nothing moves.

    Raises:
        RecordError: See `check_params`.
    """
    proposed = check_params(state, params)
    take_in(state)
    heed_embeddings(state, proposed)
    after = _learned_until(state, proposed)
    rows = state.replayed.judging(after=after)[-state.config.gate.max_judged_events :]
    if not rows:
        return GateDecision(
            "hold",
            ["too_few_events: no closed event can judge these params"],
            _NOTHING,
            proposed_version=proposed.version,
            safe_version=state.live.version,
            kind=kind,
            decided_at=now,
        )
    _check_scores(proposed, rows)
    # the live params' space, not the proposal's: a predictor needs no map that somebody brought along
    bench = bench_of(state, proposed, (Predictor(np.zeros(1)), Predictor(np.zeros(1))), rows, space_of=state.live)
    fold0, fold1, _ = fit_predictors(rows, bench.space, bench.theta, ridge=state.config.learner.ridge)
    judgement = Judgement(bench._replace(predictors=(fold0, fold1)), {})
    with state.store.snapshot() as reader:
        attempt = next_attempt(reader.decisions())
    evidence = evidence_of(
        judgement,
        rows,
        held_out=[],
        versions=versions_of(state, rows),
        attempt=attempt,
        most=len(rows),
        segments=state.replayed.segment_names(),
    )
    return decide(
        evidence,
        state.config.gate,
        proposed_version=proposed.version,
        safe_version=state.live.version,
        now=now,
        kind=kind,
    )


def _learned_until(state: LoopState, params: Params) -> int:
    """Return the newest event that these params may not be judged on.

    Whatever is near a version that was learned, or was rolled back, is judged on later events only: what the caller
    says of its number and origin does not count.
    """
    until = 0
    radius = state.config.learner.max_step_norm
    with state.store.snapshot() as reader:
        for version in reader.params_versions():
            body = reader.setting(f"learned:{version}")
            if body and _is_near(params, reader.params(version), radius):
                until = max(until, int(msgspec.msgpack.decode(body, type=int)))
        for decision in reader.decisions():
            if decision.kind == "rollback" and _is_near(
                params, reader.params(int(decision.diagnostics["from"])), radius
            ):
                until = max(until, int(decision.diagnostics["after_seq"]))
    return until


def _is_near(left: Params, right: Params | None, radius: float) -> bool:
    """Return whether two versions weigh the same units no further apart than a radius, or have the same weights.

    The same weights in other units are near as well: what was learned may not be judged on the events that it was
    learned from because its transform, or the starting score, was taken away or changed.
    """
    if right is None:
        return False
    if left.by_query is not None or right.by_query is not None:
        return True  # some query may have any of the weights around the global ones
    return any(_are_near(a, b, left, right, radius) for a in _weights(left, right) for b in _weights(right, left))


def _are_near(of_left: FloatArray, of_right: FloatArray, left: Params, right: Params, radius: float) -> bool:
    """Return whether weights of one version, for all queries or for a segment, are near such weights of another."""
    if not of_left[:-1].any() or not of_right[:-1].any():
        return bool(of_left.any() == of_right.any()) and _apart(of_left, of_right) <= radius
    if _apart(of_left[:-1], of_right[:-1]) <= _MATCHING:
        return True
    weighs_the_same = (
        (left.transform is None) == (right.transform is None)
        and (left.raw_score is None) == (right.raw_score is None)
        and left.feature_names == right.feature_names
    )
    return weighs_the_same and _apart(of_left, of_right) <= radius


def _weights(params: Params, other: Params) -> list[FloatArray]:
    """Return weights by name over the features of both, the starting score's coefficient last; absent ones are 0.

    Those for all queries stand first, then those of each segment.
    """
    names = sorted({*params.feature_names, *other.feature_names})
    tail = 0.0 if params.raw_score is None else params.raw_score.coefficient
    found = []
    for segment in (None, *params.by_segment):
        weights = params.weights_for(segment=segment)
        more = 0.0 if segment is None or params.raw_score is None else params.by_segment[segment].coefficient
        found.append(np.array([*(weights.get(name, 0.0) for name in names), tail + more]))
    return found


def _apart(left: FloatArray, right: FloatArray) -> float:
    """Return the distance of two directions, each at norm 1; nothing at all stays where it is."""
    units = []
    for vector in (left, right):
        scaled = vector / (np.abs(vector).max(initial=0.0) or 1.0)  # squares of large weights would overflow
        units.append(scaled / (float(np.linalg.norm(scaled)) or 1.0))
    return float(np.linalg.norm(units[0] - units[1]))


def _is_same(left: Params, right: Params) -> bool:
    """Return whether two versions are one policy: the same weights on the same map of the same features, bit by bit."""
    return (
        left.feature_names == right.feature_names
        and left.origin == right.origin
        and left.raw_score == right.raw_score
        and np.array_equal(left.vector, right.vector)
        and dict(left.by_segment) == dict(right.by_segment)
        and _is_same_factors(left.by_query, right.by_query)
        and _is_same_transform(left.transform, right.transform)
    )


def _is_same_factors(left: LowRank | None, right: LowRank | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left.u, right.u) and np.array_equal(left.v, right.v)


def _is_same_transform(left: Transform | None, right: Transform | None) -> bool:
    if left is None or right is None:
        return left is right
    return (
        left.kind == right.kind
        and len(left.knots) == len(right.knots)
        and all(
            np.array_equal(a, b)
            for a, b in zip((*left.knots, *left.levels), (*right.knots, *right.levels), strict=True)
        )
    )


def live_job(
    params: Params, decision: GateDecision, *, expected: int, watched: Standing | None = None
) -> Callable[[Transaction], None]:
    """Return the one transaction that stores params if they are new, moves the live pointer and writes the ledger.

    Nothing stands after it, and `watched` may come back.

    The job raises `StaleParamsError` where the live params moved since `expected`.
    """

    def job(tx: Transaction) -> None:
        found = tx.live_version()
        if found is not None and found != expected:
            raise StaleParamsError(
                f"version {found} is live, {expected} was expected", hint="Judge the proposal again."
            )
        if tx.params(params.version) is None:
            tx.add_params(params)
        tx.set_live(params.version)
        tx.add_decision(decision)
        put_standing(tx, None)
        put_watched(tx, watched)

    return job


def make_live(
    state: LoopState, params: Params, decision: GateDecision, *, expected: int, watched: Standing | None = None
) -> Params:
    """Put params in force, in store and memory, and return them.

    Args:
        state: The loop.
        params: What goes live.
        decision: Why.
        expected: Version that is live now.
        watched: The params that may come back by themselves, if any.

    Raises:
        StaleParamsError: The live params moved since `expected`.
    """
    state.write(live_job(params, decision, expected=expected, watched=watched))
    live = replace(params, temperature=state.temperature)
    state.swap(live)
    state.standing, state.watched = None, watched
    return live


def _as_stored(state: LoopState, params: Params, now: float) -> Params:
    """Return the stored version that these params are, or the params under a number of their own."""
    with state.store.snapshot() as reader:
        stored = reader.params(params.version)
        versions = reader.params_versions()
    if stored is not None and _is_same(params, stored):
        return replace(stored, temperature=state.temperature)
    return replace(
        params,
        version=max(versions, default=-1) + 1,
        parent=state.live.version,
        created_at=now,
        temperature=state.temperature,
    )


def promote(state: LoopState, params: object, now: float, *, force: bool) -> Params:
    """Return the new live params, if the evidence says so or the caller forces it; both are in the ledger.

    Raises:
        PromotionRefused: The gate did not say "promote".
        AlreadyLiveError: They are live; the ledger has the entry that made them so.
        RecordError: See `check_params`.
    """
    checked = check_params(state, params)
    take_in(state)
    _refuse_live(state, checked)
    # first the number, then the verdict: what is judged is the very object that goes live
    proposed = _as_stored(state, checked, now)
    decision = evaluate(state, proposed, now, kind="requested")
    if force:
        forced = replace(
            decision, verdict="promote", kind="forced", reasons=["forced: promoted by hand", *decision.reasons]
        )
        return make_live(state, proposed, forced, expected=state.live.version)
    if decision.verdict != "promote":

        def job(tx: Transaction) -> None:
            if tx.params(proposed.version) is None:
                tx.add_params(proposed)
            tx.add_decision(decision)

        state.write(job)
        raise PromotionRefused(
            f"the gate says {decision.verdict}: {decision.reasons[0]}",
            decision=decision,
            hint="Collect more evidence, or promote with force=True, which the ledger records.",
        )
    return make_live(state, proposed, decision, expected=state.live.version)


def _refuse_live(state: LoopState, params: Params) -> None:
    if _is_same(params, state.live):
        raise AlreadyLiveError(
            f"these params are live already, as version {state.live.version}",
            hint="Nothing is to be done; the history says when and why they went live.",
        )


def rollback(state: LoopState, to: int | None, now: float) -> Params:
    """Return the params of an earlier version, live again, bit for bit as they were.

    Args:
        state: The loop.
        to: Version to return to; the one that was live before, when not given.
        now: UTC epoch seconds.

    Raises:
        NothingToRollBackError: There is no such version, or it is live already.
    """
    if state.writer is not None:
        state.writer.flush()  # what is queued was evidence already
    with state.store.snapshot() as reader:
        live = reader.live_version()
        if to is None:
            to = _previous(reader.decisions())
        found = None if to is None else reader.params(to)
        last_seq = reader.last_seq()
    if to is None or found is None or to == live:
        raise NothingToRollBackError(
            "there is no earlier version to return to" if to is None else f"version {to} is not an earlier version",
            hint="Loop.history() lists what was live.",
        )
    if found.feature_names != state.feature_names:
        raise NothingToRollBackError(
            f"version {to} weighs {list(found.feature_names)}, registered are {list(state.feature_names)}",
            hint="Promote params for the registered features with force=True instead.",
        )
    decision = GateDecision(
        verdict="promote",
        reasons=[f"rollback: from version {live} to version {to}, by hand"],
        difference=_NOTHING,
        diagnostics={"from": float(live or 0), "after_seq": float(last_seq)},
        proposed_version=to,
        safe_version=live or 0,
        kind="rollback",
        decided_at=now,
    )
    return make_live(state, found, decision, expected=live or 0)


def _previous(decisions: Sequence[GateDecision]) -> int | None:
    """Return the version that was in force before the live one was promoted.

    What a rollback left is forgotten: a second rollback goes on back, never forward to it.
    """
    lives: list[int] = []
    for decision in decisions:
        version = decision.proposed_version
        if decision.verdict != "promote":
            continue
        if decision.kind == "rollback" and version in lives:
            while lives[-1] != version:
                lives.pop()
        elif not lives or lives[-1] != version:
            lives.append(version)
    return lives[-2] if len(lives) > 1 else None
