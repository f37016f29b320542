"""What is being judged: the proposal that stands, and the params that the live ones replaced.

Both are judged alike, on events served since: a proposal against the live params, to go live, and the params that were
live before against those that are, to come back by themselves where the live ones are shown to be worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from dwell.evaluation import Evidence, decide, spent_alpha
from dwell.learning.predictor import Predictor
from dwell.learning.space import Space, space_for
from dwell.loop.canary import canary_of
from dwell.loop.examining import band_of
from dwell.loop.expected import stored_predictor
from dwell.loop.interleaved import interleaving_of
from dwell.loop.judge import Bench, Judgement, evidence_of
from dwell.loop.state import LoopState
from dwell.loop.train import Proposal, Standing
from dwell.records import Estimate, GateDecision, Params
from dwell.records.rows import EventRow
from dwell.storage import Transaction

__all__ = [
    "GUARDS",
    "bench_in",
    "bench_of",
    "decided",
    "evidence_lost",
    "heed_embeddings",
    "judge",
    "judge_standing",
    "known_versions",
    "put_standing",
    "put_watched",
    "restore_standing",
    "versions_of",
]

_PROPOSAL: Final = "proposal"
_WATCHED: Final = "watched"
# newest events of held-out users that guard a proposal: a veto at one-sided 5 %, for which more would only take time
GUARDS: Final = 2_000
_NOTHING: Final = Estimate(0.0, -np.inf, np.inf, 0, 0.0)


def restore_standing(state: LoopState) -> None:
    """Take up what an earlier run, or the learner beside this process, left to be judged; nothing where it is known."""
    with state.store.snapshot() as reader:
        bodies = reader.setting(_PROPOSAL), reader.setting(_WATCHED)
        if bodies == state.restored:
            return
        state.restored = bodies
        state.expected = stored_predictor(reader, state.feature_names)
    state.standing, state.watched = (_restored(state, body) for body in bodies)
    if state.standing is not None and state.standing.proposal.is_against_caller != (state.mode == "shadow"):
        state.standing = None  # another mode asks another question: its events do not answer it


def _restored(state: LoopState, body: bytes | None) -> Standing | None:
    if not body:
        return None
    proposal = msgspec.msgpack.decode(body, type=Proposal)
    params = state.params(proposal.version)
    return None if params is None or proposal.safe_version != state.live.version else Standing(proposal, params)


def put_standing(tx: Transaction, standing: Standing | None) -> None:
    """Keep the standing proposal, or that there is none."""
    tx.put_setting(_PROPOSAL, _encoded(standing))


def put_watched(tx: Transaction, watched: Standing | None) -> None:
    """Keep the params that may come back, or that there are none."""
    tx.put_setting(_WATCHED, _encoded(watched))


def _encoded(standing: Standing | None) -> bytes:
    return b"" if standing is None else msgspec.msgpack.encode(standing.kept())


def bench_of(
    state: LoopState,
    proposed: Params,
    predictors: tuple[Predictor, Predictor],
    rows: Sequence[EventRow],
    *,
    space_of: Params,
) -> Bench:
    """Return what a judgement against the live params stands on.

    Args:
        state: The loop.
        proposed: The params judged.
        predictors: See `Bench`.
        rows: Events that judge, for the space where `space_of` carries no map.
        space_of: Params in whose space the predictors live.
    """
    features = (
        np.concatenate([row.features for row in rows]) if rows else np.zeros((1, len(state.feature_names)), np.float32)
    )
    return bench_in(state, proposed, predictors, space_for(space_of, features[:1000]))


def bench_in(state: LoopState, proposed: Params, predictors: tuple[Predictor, Predictor], space: Space) -> Bench:
    """Return what a judgement against the live params stands on, in a space that is known."""
    return Bench(
        proposed=proposed,
        safe=state.live,
        mode=state.mode,
        space=space,
        predictors=predictors,
        theta=state.theta(),
        max_importance_weight=state.config.gate.max_importance_weight,
        band=band_of(state),
    )


def versions_of(state: LoopState, rows: Sequence[EventRow]) -> dict[int, Params]:
    """Return the params that served these events, as far as they are known and weigh the features of today."""
    return known_versions(state, {row.params_version for row in rows})


def known_versions(state: LoopState, versions: Iterable[int]) -> dict[int, Params]:
    """Return these versions of the params, as far as they are known and weigh the features of today."""
    found = {version: state.params(version) for version in versions}
    names, has_embeddings = state.feature_names, state.replayed.rows.has_embeddings
    return {
        version: p
        for version, p in found.items()
        if p is not None and p.feature_names == names and (p.by_query is None or has_embeddings)
    }


def heed_embeddings(state: LoopState, *params: Params) -> None:
    """Have events read with the embeddings of their queries where the live params, or these, weigh by them.

    Raises:
        ConfigError: Embeddings are not kept.
    """
    is_due = any(one.by_query is not None for one in (state.live, *params)) or state.config.learner.query_rank > 0
    if is_due:
        state.replayed.rows.read_embeddings()


def judge_standing(state: LoopState, standing: Standing, now: float) -> GateDecision:
    """Return the verdict on the standing proposal, from events served after it was made. Nothing moves."""
    heed_embeddings(state, standing.params)
    return judge(state, standing, now, held_out=state.replayed.held_out()[-GUARDS:])


def judge(state: LoopState, standing: Standing, now: float, *, held_out: Sequence[EventRow]) -> GateDecision:
    """Return the verdict on params against the live ones, from events served since they stand. Nothing moves.

    Args:
        state: The loop.
        standing: What is judged.
        now: UTC epoch seconds.
        held_out: Events of users that are never learned from, for the guard.
    """
    proposal, params = standing.proposal, standing.params
    heed_embeddings(state, params)
    rows = state.replayed.judging(after=proposal.after_seq)
    if standing.judgement is None:
        if state.config.gate.kind != "off" and _is_evidence_lost(state, proposal):
            return evidence_lost(state, proposal, now)
        predictor = proposal.predictor()
        space_of = params if params.transform is not None else state.live
        standing.judgement = Judgement(bench_of(state, params, (predictor, predictor), rows, space_of=space_of), {})
    evidence = evidence_of(
        standing.judgement,
        rows,
        held_out=held_out,
        versions=versions_of(state, rows),
        attempt=proposal.attempt,
        most=state.config.gate.max_judged_events,
        segments=state.replayed.segment_names(),
    )
    return decided(state, standing, evidence, now)


def decided(state: LoopState, standing: Standing, evidence: Evidence, now: float) -> GateDecision:
    """Return the gate's verdict on evidence, with what users who were served the standing proposal say."""
    proposal = standing.proposal
    if standing is state.standing and standing.judgement is not None:
        alpha = spent_alpha(state.config.gate.alpha, proposal.attempt)
        evidence = replace(
            evidence,
            canary=canary_of(state, proposal, list(standing.judgement.known.values()), alpha=alpha),
            interleaving=interleaving_of(state, proposal, standing.judgement, alpha=alpha),
        )
    return decide(
        evidence, state.config.gate, proposed_version=standing.params.version, safe_version=state.live.version, now=now
    )


def _is_evidence_lost(state: LoopState, proposal: Proposal) -> bool:
    """Return whether events that judged the proposal at an earlier look are no longer in memory."""
    if not proposal.first_seqs:
        return False  # no look so far: what was evicted before the first one was chosen by its age alone
    if any(seq not in state.replayed.rows for seq in proposal.first_seqs):
        return True
    with state.store.snapshot() as reader:
        return bool(reader.seqs(states=("evicted",), after=proposal.after_seq, limit=1))


def evidence_lost(state: LoopState, proposal: Proposal, now: float) -> GateDecision:
    """Return the rejection of a proposal whose sequence can not be continued: a part of it would be another bet."""
    return GateDecision(
        "reject",
        [
            "undecided: the events that judged it can not be bet on any further",
            "evidence_lost: some of them left the memory, and this process never saw them: use a larger capacity",
        ],
        _NOTHING,
        diagnostics={"attempt": float(proposal.attempt)},
        proposed_version=proposal.version,
        safe_version=state.live.version,
        alpha=spent_alpha(state.config.gate.alpha, proposal.attempt),
        decided_at=now,
    )
