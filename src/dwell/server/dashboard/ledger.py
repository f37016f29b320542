"""What the ledger says, put as a person asks it: since when, how much better, by whose word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dwell.records import GateDecision

__all__ = ["BY_HAND", "Standing", "moves", "relative_gain", "standing_of"]

#: Kinds of decisions that somebody made, not the gate.
BY_HAND: Final = frozenset({"forced", "requested"})
_STARTS: Final = frozenset({"initial"})


@dataclass(frozen=True, slots=True)
class Standing:
    """What users get now, and why.

    Attributes:
        version: The live version.
        since: When it went live, UTC epoch seconds; None before anything did.
        decision: The decision that made it live, or None.
        word: Whose word that was: "gate", "hand", "rollback", "start" or "nobody".
        last: The newest decision of all, or None.
    """

    version: int
    since: float | None
    decision: GateDecision | None
    word: str
    last: GateDecision | None


def moves(history: Sequence[GateDecision]) -> list[GateDecision]:
    """Return the decisions after which other params were live, oldest first."""
    return [d for d in history if d.verdict == "promote" and d.kind != "evaluated"]


def standing_of(version: int, history: Sequence[GateDecision]) -> Standing:
    """Return what a ledger says about the live version."""
    last = history[-1] if history else None
    found = next((d for d in reversed(moves(history)) if d.proposed_version == version), None)
    if found is None:
        return Standing(version, None, None, "nobody", last)
    word = (
        "rollback" if found.kind == "rollback" else "start" if found.kind in _STARTS
        else "hand" if found.kind == "forced" else "gate"
    )  # fmt: skip
    return Standing(version, found.decided_at, found, word, last)


def relative_gain(decision: GateDecision, earned: float | None) -> float | None:
    """Return the difference as a share of what a list earns; None where that is not known or not above 0."""
    return None if earned is None or earned <= 0.0 else decision.difference.value / earned
