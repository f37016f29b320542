"""What a judgement says: a number with its uncertainty, and the gate's verdict with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["DecisionKind", "Estimate", "GateDecision", "Verdict"]

Verdict = Literal["promote", "hold", "reject"]
DecisionKind = Literal["judged", "evaluated", "initial", "forced", "rollback", "requested"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: Point estimate; 0 where n is 0.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of events behind it.
        effective_sample_size: How many equally weighted events it is worth (Kish), in [0, n].
    """

    value: float
    low: float
    high: float
    n: int
    effective_sample_size: float


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The gate's verdict on one proposal, with every number that led to it; never changed once written.

    Attributes:
        verdict: "promote", "hold" or "reject".
        reasons: Each starts with a code and says it in words; never empty.
        difference: Doubly robust, pessimistic estimate of (proposal - safe policy) in reward per list, with the
            interval that decides: anytime-valid, or of a full block's normal test.
        estimates: The other estimates by name.
        diagnostics: Figures of overlap and of each check by name; docs/gate.md says which.
        proposed_version: Version judged.
        safe_version: Version that it was judged against.
        kind: "judged" (the standing proposal), "evaluated" (on demand, nothing moves), "initial" (a store begins, first
            equal weights, features added or dropped), "forced", "rollback" (by hand or by itself) or "requested" (a
            promotion asked for by hand).
        alpha: Error probability spent on this proposal, in (0, 1).
        decided_at: UTC epoch seconds.
    """

    verdict: Verdict
    reasons: list[str]
    difference: Estimate
    estimates: dict[str, Estimate] = field(default_factory=dict)
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    proposed_version: int = 0
    safe_version: int = 0
    kind: DecisionKind = "judged"
    alpha: float = 0.05
    decided_at: float = 0.0
