"""What the ledger says, put as a person asks it: since when, how much better, by whose word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dwell.records import GateDecision
from dwell.server.dashboard.charts import Mark

__all__ = ["BY_HAND", "Standing", "marks_of", "moves", "relative_gain", "standing_of"]

#: Kinds of decisions that somebody made, not the gate.
BY_HAND: Final = frozenset({"forced", "requested"})
_STARTS: Final = frozenset({"initial"})
_MOST_MARKS: Final = 30  # more would hide what they mark


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


def marks_of(history: Sequence[GateDecision], begin: float, end: float) -> list[Mark]:
    """Return the newest moves of the live params between two instants, as a chart marks them."""
    found = []
    for decision in moves(history)[-_MOST_MARKS:]:
        if begin <= decision.decided_at <= end:
            name = f"v{decision.proposed_version}"
            if decision.kind == "forced":
                found.append(Mark(decision.decided_at, "forced", f"{name} forced"))
            elif decision.kind == "rollback":
                found.append(Mark(decision.decided_at, "rollback", f"back to {name}"))
            else:
                found.append(Mark(decision.decided_at, "start" if decision.kind == "initial" else "promote", name))
    return found


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
