"""What the canary says: users who are served the standing proposal beside those who are served the live params."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dwell.evaluation.online import CanaryVerdict, canary_verdict
from dwell.loop.judge import Known
from dwell.loop.state import LoopState
from dwell.loop.train import Proposal

__all__ = ["canary_of"]


def canary_of(state: LoopState, proposal: Proposal, rows: Sequence[Known], *, alpha: float) -> CanaryVerdict | None:
    """Return what users of both arms say of a proposal; None where nobody is split, or in an arm.

    A user who was served by both, as at the very moment when the proposal was made, is in neither arm.

    Args:
        state: The loop.
        proposal: The standing proposal.
        rows: Every event that judges it, in the order taken up, whether or not it is still in memory.
        alpha: Chance of a wrong word, in (0, 1).
    """
    share = state.limits.canary_share
    if state.mode != "canary" or state.config.gate.canary_method != "split" or not 0.0 < share < 1.0:
        return None
    served = {proposal.version, proposal.safe_version}
    known = [row for row in rows if row.user_hash is not None and row.params_version in served]
    arms: dict[int | None, set[int | None]] = {}
    for row in known:
        arms.setdefault(row.user_hash, set()).add(row.params_version)
    known = [row for row in known if len(arms[row.user_hash]) == 1]
    if not known:
        return None
    return canary_verdict(
        np.array([row.user_hash for row in known], dtype=np.uint64),
        np.array([row.params_version == proposal.version for row in known], dtype=np.bool_),
        np.array([np.clip(row.rewards.sum(), -1.0, 1.0) for row in known], dtype=np.float64),
        share=share,
        alpha=alpha,
    )
