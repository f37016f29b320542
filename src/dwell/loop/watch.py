"""Go back by itself: where the events served since a promotion show that the live params are worse than those before.

The params that were live before are judged against the live ones exactly as a proposal would be, by the same gate with
an error of its own, on events that neither of them learned from. What the gate would promote comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from dwell.loop.promote import make_live
from dwell.loop.standing import judge, put_watched
from dwell.loop.state import LoopState
from dwell.loop.train import Proposal, Standing
from dwell.records import GateDecision

__all__ = ["watch_live", "watched_after"]

_ALONE: Final = 1  # each promotion is watched once, at what a first attempt may spend


def watched_after(state: LoopState, standing: Standing) -> Standing | None:
    """Return what to watch once a proposal goes live: the params that are live now; None where nothing is watched."""
    if not state.config.gate.is_rolled_back or state.config.gate.kind == "off":
        return None
    with state.store.snapshot() as reader:
        last_seq = reader.last_seq()
    return Standing(
        Proposal(
            version=state.live.version,
            safe_version=standing.proposal.version,
            after_seq=last_seq,
            attempt=_ALONE,
            beta=standing.proposal.beta,
            is_against_caller=False,
        ),
        state.live,
    )


def watch_live(
    state: LoopState, now: float, judged: Callable[[Standing], GateDecision] | None = None
) -> GateDecision | None:
    """Return the decision to go back, carried out, or None where nothing speaks for it.

    Args:
        state: The loop.
        now: UTC epoch seconds.
        judged: Judges by events that are not in memory here; None judges by those that are.
    """
    watched = state.watched
    if watched is None or state.mode in {"log-only", "shadow"}:  # nobody is served the live params there
        return None
    if watched.proposal.safe_version != state.live.version:  # they moved by hand: nothing is watched any more
        _watch_no_longer(state)
        return None
    found = judge(state, watched, now, held_out=()) if judged is None else judged(watched)
    if found.verdict == "hold":
        _keep(state, watched)
        return None
    if found.verdict == "reject":  # the live params are better, or no worse as far as can be told
        _watch_no_longer(state)
        return None
    with state.store.snapshot() as reader:
        last_seq = reader.last_seq()
    worse, better = state.live.version, watched.params.version
    decision = replace(
        found,
        reasons=[f"rollback: version {worse} is worse than version {better}, which it replaced", *found.reasons],
        kind="rollback",
        diagnostics={**found.diagnostics, "from": float(worse), "after_seq": float(last_seq)},
    )
    make_live(state, watched.params, decision, expected=worse)
    return decision


def _keep(state: LoopState, watched: Standing) -> None:
    """Note which events have judged, so that another process does not go on with a part of them."""
    before, after = watched.proposal, watched.kept()
    if before.first_seqs != after.first_seqs:
        watched.proposal = after
        state.write(lambda tx: put_watched(tx, watched))


def _watch_no_longer(state: LoopState) -> None:
    state.watched = None
    state.write(lambda tx: put_watched(tx, None))
