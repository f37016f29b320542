"""One call of `train`: close, judge what stands, learn what comes next, and let it go live only on the gate's word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec
import numpy as np

from dwell.learning.calibration import Recalibration
from dwell.loop.by_activation import counts_already, hastened, is_activations_turn, propose_activation
from dwell.loop.channels import is_split
from dwell.loop.examining import settle_examination
from dwell.loop.expected import expected_of, put_predictor, recalibration_of
from dwell.loop.keep import close_events, evict
from dwell.loop.metering import put_metered, taken_up
from dwell.loop.online import OwnEvents, own_events, propose_online, put_used_until, used_until
from dwell.loop.position_health import calibrate
from dwell.loop.promote import make_live, next_attempt
from dwell.loop.standing import heed_embeddings, judge_standing, put_standing, versions_of
from dwell.loop.state import LoopState
from dwell.loop.train import Learning, Proposal, Standing, TrainReport, plan_steps, propose
from dwell.loop.watch import watch_live, watched_after
from dwell.ranking import named_generator
from dwell.records import Estimate, GateDecision
from dwell.records.rows import EventRow
from dwell.replay.meter import RateMeter, version_ages
from dwell.storage import Transaction

__all__ = ["judge_first", "learned_until", "settle", "stand", "train"]

_NOTHING: Final = Estimate(0.0, -float("inf"), float("inf"), 0, 0.0)
_PRIORITIES_AT_ONCE: Final = 10_000


def train(state: LoopState, *, steps: int | None, now: float, clock: Callable[[], float]) -> TrainReport:
    """Return what was judged, learned and decided.

    Args:
        state: The loop; its training lock is held.
        steps: Learning steps, or None for one pass over unseen events plus as many replayed.
        now: UTC epoch seconds.
        clock: Monotonic seconds, for the time limit alone.
    """
    n_closed = close_events(state, now)
    live = state.live
    if state.mode == "log-only":
        decision = GateDecision("hold", ["log_only: this mode records and does not learn"], _NOTHING, decided_at=now)
        return TrainReport(decision, live, live, n_closed=n_closed)
    heed_embeddings(state)
    calibrate(state)
    judged = watch_live(state, now) or judge_first(state, now)
    if state.standing is not None and judged is not None:
        return TrainReport(judged, state.live, state.standing.params, ended_by="standing", n_closed=n_closed)
    settle_examination(state)
    if state.learner == "activation" and counts_already(live := state.live, state.config.learner.max_weight):
        words = "activation: it counts in the live params, and learns with every event"
        decision = judged or GateDecision("hold", [words], _NOTHING, safe_version=live.version, decided_at=now)
        return TrainReport(decision, live, live, n_closed=n_closed)
    own = _own(state)
    unseen = state.replayed.trainable(after=learned_until(state)) if own is None else own.rows
    plan = plan_steps(len(unseen), state.config, steps=steps)
    if not plan.n_steps or not state.feature_names:
        words = "too_few_events: no closed event can be learned from"
        if own is not None and not own.rows:
            words = own.refusal(state.live)
        decision = judged or GateDecision("hold", [words], _NOTHING, safe_version=live.version, decided_at=now)
        left_out = {} if own is None else own.left_out
        return TrainReport(decision, state.live, state.live, n_closed=n_closed, left_out=left_out)
    learning, standing = _learn(state, unseen, own, steps=steps, now=now, clock=clock)
    decision = judged or settle(state, judge_standing(state, standing, now))
    return TrainReport(
        decision=decision,
        live=state.live,
        proposed=state.proposed or state.live,
        curves=learning.learned.curves,
        ended_by=learning.ended_by,
        n_steps=learning.learned.n_steps,
        n_closed=n_closed,
        n_learned_from=len(state.replayed.trainable()) if own is None else len(own.rows),
        step_norm=learning.learned.step_norm,
        n_replayed=learning.n_replayed,
        left_out=learning.left_out,
    )


def judge_first(
    state: LoopState, now: float, judged: Callable[[Standing], GateDecision] | None = None
) -> GateDecision | None:
    """Return the verdict on the standing proposal, acted upon, or None where there is none.

    Args:
        state: The loop.
        now: UTC epoch seconds.
        judged: Judges by events that are not in memory here; None judges by those that are.
    """
    standing = state.standing
    if standing is None:
        return None
    if standing.proposal.safe_version != state.live.version:
        # the live params moved by hand: a proposal learned from others is judged against nothing that still serves
        _let_go(state, standing)
        state.write(lambda tx: put_standing(tx, None))
        state.standing = None
        return None
    return settle(state, judge_standing(state, standing, now) if judged is None else judged(standing))


def settle(state: LoopState, decision: GateDecision) -> GateDecision:
    """Carry out a verdict: promote, reject, or keep the proposal standing; always in the ledger."""
    standing = state.standing
    if standing is not None and decision.verdict == "promote" and state.mode != "shadow":
        watched = watched_after(state, standing)
        make_live(state, standing.params, decision, expected=state.live.version, watched=watched)
        _let_go(state, standing)
        return decision
    if decision.verdict == "promote":
        decision = replace(
            decision,
            verdict="hold",
            reasons=["shadow: it would be promoted, but this mode serves the caller's order", *decision.reasons],
        )

    if standing is not None:
        standing.proposal = standing.kept()

    def job(tx: Transaction) -> None:
        if not _is_repeat(tx.decisions(limit=1), decision):
            tx.add_decision(decision)
        put_standing(tx, None if decision.verdict == "reject" else standing)

    state.write(job)
    if decision.verdict == "reject":
        state.standing = None
        if standing is not None:
            _let_go(state, standing)
    return decision


def _own(state: LoopState) -> OwnEvents | None:
    """Return the events that the live params drew, where learning is on-line and there are events at all."""
    rows = state.replayed.trainable()
    if state.config.learner.objective != "pdgd" or not rows or not state.feature_names:
        return None
    with state.store.snapshot() as reader:
        after = used_until(reader, state.live)
    rng = named_generator(state.identity.secret, "own", state.identity.seed, state.live.version)
    return own_events(state.live, rows, after=after, rng=rng)


def _let_go(state: LoopState, standing: Standing) -> None:
    """Evict the interleaved lists of a proposal that no longer stands: nobody else reads them."""
    if standing.judgement is not None:
        evict(state, list(standing.judgement.drafts))


def _is_repeat(newest: Sequence[GateDecision], decision: GateDecision) -> bool:
    """Return whether the ledger's newest entry says the same of the same params: a look without news is none.

    A service looks each minute, and would fill a ledger that is kept for ever.
    """
    if decision.verdict != "hold" or not newest:
        return False
    return replace(decision, decided_at=newest[0].decided_at) == newest[0]


def learned_until(state: LoopState) -> int:
    """Return the newest event that the live params have learned from, 0 where they learned from none."""
    with state.store.snapshot() as reader:
        body = reader.setting(f"learned:{state.live.version}")
    return int(msgspec.msgpack.decode(body, type=int)) if body else 0


def _learn(
    state: LoopState,
    unseen: list[EventRow],
    own: OwnEvents | None,
    *,
    steps: int | None,
    now: float,
    clock: Callable[[], float],
) -> tuple[Learning, Standing]:
    """Learn a new proposal, make it the standing one, and write back how surprising the replayed events are."""
    with state.store.snapshot() as reader:
        versions, decisions, last_seq = reader.params_versions(), reader.decisions(), reader.last_seq()
        meter = taken_up(state, reader)
    version = max(versions) + 1
    rng = named_generator(state.identity.secret, "train", state.identity.seed, version)
    plan = plan_steps(len(unseen), state.config, steps=steps)
    replay = partial(propose, unseen=unseen, plan=plan, most_replayed=meter.allowed(plan.n_steps * plan.batch))
    attempt = next_attempt(decisions)
    learning = _proposed(state, own, replay, attempt=attempt, version=version, now=now, rng=rng, clock=clock)
    meter = meter.sampled(learning.n_replayed)
    recalibration = None
    if state.config.training.recalibrate:
        rows = state.replayed.trainable()
        recalibration = recalibration_of(rows, learning.params, learning.folds, state.theta())
    used = None if own is None else own.rows
    standing = stand(
        state, learning, attempt=attempt, last_seq=last_seq, meter=meter, recalibration=recalibration, used=used
    )
    return learning, standing


def stand(
    state: LoopState,
    learning: Learning,
    *,
    attempt: int,
    last_seq: int,
    meter: RateMeter,
    recalibration: Recalibration | None = None,
    used: Sequence[EventRow] | None = None,
    n_live: int | None = None,
) -> Standing:
    """Make what was learned the standing proposal, in the store and here, and take over priorities.

    Args:
        state: The loop.
        learning: What was learned.
        attempt: Count of proposals against the live params.
        last_seq: Newest event when it was made: only later ones judge it.
        meter: How much was replayed by now.
        recalibration: A map over what the predictor expects, or None.
        used: Events of the live params' own that on-line learning has used up, or None.
        n_live: Events that can be learned from, where they are not in memory here.
    """
    version = learning.params.version
    ages = version_ages(list(learning.version_counts), list(learning.version_counts.values()), live=state.live.version)
    proposal = Proposal(
        version=version,
        safe_version=state.live.version,
        after_seq=last_seq,
        attempt=attempt,
        beta=learning.predictor.beta.tolist(),
        is_against_caller=state.mode == "shadow",
    )
    standing = Standing(proposal, learning.params)
    seqs = sorted(learning.priorities)
    values = [learning.priorities[seq] for seq in seqs]

    def job(tx: Transaction) -> None:
        tx.add_params(learning.params)
        tx.put_setting(f"learned:{version}", msgspec.msgpack.encode(last_seq))
        put_standing(tx, standing)
        put_predictor(tx, learning.predictor, version=version, recalibration=recalibration)
        if used is not None:
            put_used_until(tx, state.live, used)
        put_metered(
            tx,
            meter,
            n_live=len(state.replayed.buffer) if n_live is None else n_live,
            oldest_params_version=None if ages is None else ages.oldest,
            batches=learning.batches,
        )
        for start in range(0, len(seqs), _PRIORITIES_AT_ONCE):
            tx.set_priorities(seqs[start : start + _PRIORITIES_AT_ONCE], values[start : start + _PRIORITIES_AT_ONCE])

    with state.replayed.changing(is_written=False) as change:
        state.write(job)
        change.is_written = True
        state.replayed.prioritise(seqs, values)
    state.meter = meter
    state.standing = standing
    state.expected = expected_of(learning.predictor, learning.params, state.feature_names, recalibration)
    return standing


def _proposed(
    state: LoopState,
    own: OwnEvents | None,
    replay: Callable[..., Learning],
    *,
    attempt: int,
    version: int,
    now: float,
    rng: np.random.Generator,
    clock: Callable[[], float],
) -> Learning:
    """Return what is learned: on-line from the live params' own events where these are given, else by replay."""
    theta, config = state.theta(), state.config
    if is_activations_turn(state.learner, state.live, attempt):
        rows = state.replayed.trainable()
        return propose_activation(
            state.live, rows, attempt=attempt, version=version, theta=theta, config=config, now=now, rng=rng
        )
    if own is not None:
        rows = state.replayed.trainable()
        return propose_online(state.live, own, rows=rows, version=version, theta=theta, config=config, now=now, rng=rng)
    hasten = partial(hastened, names=state.feature_names, attempt=attempt, settings=config.learner)
    return replay(
        state.live,
        state.replayed,
        version=version,
        mode=state.mode,
        theta=theta,
        config=config,
        versions=versions_of(state, state.replayed.trainable()) if is_split(config.learner) else {},
        now=now,
        rng=rng,
        clock=clock,
        hasten=hasten if state.learner == "both" else None,
    )
