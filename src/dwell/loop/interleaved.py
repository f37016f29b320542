"""What interleaved lists say: whose documents users choose where the proposal and the live params draft in turn.

These lists are no policy's draws. They have no row among those that are learned from and judged by, and are read from
the facts; nothing but this verdict stands on them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.evaluation.influence import sequential_user_weights
from dwell.evaluation.interleaving import InterleavingVerdict, interleaved_credit, interleaving_verdict
from dwell.loop.judge import Draft, Judgement
from dwell.loop.rows import late_us, user_hash
from dwell.loop.state import LoopState
from dwell.loop.train import Proposal
from dwell.records import Impression
from dwell.storage import Outcome, Reader
from dwell.storage.instants import micros
from dwell.storage.protocol import chunks

__all__ = ["interleaving_of"]

_CLOSED: Final = ("closed", "reopened", "evicted")
_AT_ONCE: Final = 1_000  # impressions read together


def interleaving_of(
    state: LoopState, proposal: Proposal, judgement: Judgement, *, alpha: float
) -> InterleavingVerdict | None:
    """Return whose documents users chose, the proposal's being the first; None where nothing was interleaved.

    The sequence only grows, and is the same for who opens the store again, as long as its events are there: facts that
    were removed by age or for want of room count on in the process that saw them alone.

    Args:
        state: The loop.
        proposal: The standing proposal.
        judgement: Its judgement, which keeps the lists in the order taken up.
        alpha: Chance of a wrong word, in (0, 1).
    """
    if state.mode != "canary" or state.config.gate.canary_method != "interleave":
        return None
    with state.store.snapshot() as reader:
        _take_up(reader, proposal, judgement, most=state.config.gate.max_judged_events)
    drafts = list(judgement.drafts.values())
    if not drafts:
        return None
    # fixed by the users so far, never by what came of a list: the sequence stays the same as it grows
    weights = sequential_user_weights(np.array([draft.user_hash for draft in drafts], dtype=np.uint64))
    return interleaving_verdict(np.array([draft.credit for draft in drafts]), alpha=alpha, weights=weights)


def _take_up(reader: Reader, proposal: Proposal, judgement: Judgement, *, most: int) -> None:
    """Add the lists closed since the last look, in the order of taking up; read all credits anew: some come late."""
    fresh: dict[int, Impression] = {}
    closed = reader.seqs(states=_CLOSED, after=proposal.after_seq)
    for part in chunks([seq for seq in closed if seq not in judgement.looked_at], _AT_ONCE):
        for impression in reader.impressions(part):
            is_ours = impression.arm == "interleave" and impression.params_version == proposal.version
            if is_ours and impression.user is not None:
                fresh[impression.seq] = impression
        judgement.looked_at.update(part)
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes([*judgement.drafts, *fresh])}
    for seq, draft in judgement.drafts.items():
        if seq in outcomes:
            judgement.drafts[seq] = draft._replace(credit=_credit(draft.teams, outcomes[seq]))
    there = [impression for seq, impression in fresh.items() if seq in outcomes]
    for impression in sorted(there, key=lambda one: (_taken_up_us(one, outcomes[one.seq]), one.seq)):
        if len(judgement.drafts) < most:
            credit = _credit(impression.teams, outcomes[impression.seq])
            judgement.drafts[impression.seq] = Draft(user_hash(str(impression.user)), impression.teams, credit)


def _taken_up_us(impression: Impression, outcome: Outcome) -> int:
    return micros(impression.served_at, "served_at") + late_us(impression, outcome.closed_at)


def _credit(teams: tuple[int, ...], outcome: Outcome) -> float:
    """Return the credit of a list, as shown: of what was not rendered there is no reward, and no team."""
    if outcome.document_rewards is None:
        return 0.0
    return interleaved_credit(np.array(teams, dtype=np.int64), outcome.document_rewards.astype(np.float64))
