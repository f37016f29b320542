"""What the doctor says: what is wrong, most harmful first, what was looked at, and whether the loop is learning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

__all__ = [
    "BY_HARM",
    "Checked",
    "Diagnosis",
    "Figures",
    "Finding",
    "Harm",
    "Looked",
    "by_harm",
    "finding",
    "harm_of",
    "with_finding",
]

Harm = Literal["critical", "warning", "notice"]
Figures = Mapping[str, float | int | str]

# Most harmful first: what keeps every list from being learned from, then what teaches something false, then what keeps
# a proposal from being judged, then what costs accuracy, then what costs time. A cause stands before what it causes.
BY_HARM: Final = (
    "store_damaged",
    "schema_newer",
    "needs_upgrade",
    "pepper_missing",
    "store_unusable",
    "dropped",
    "failed",
    "archive_erasures_pending",
    "rewards_missing",
    "rewards_all_default",
    "no_features",
    "quarantined",
    "learner_idle",
    "learner_down",
    "suspicious_users",
    "feature_leaks",
    "positions_mixed",
    "clock_skew",
    "order_moves_by_serving",
    "scores_equal",
    "nothing_learned",
    "no_propensities",
    "no_exploration",
    "never_moved",
    "no_influence",
    "dominant_segment",
    "dominant_query",
    "dominant_user",
    "ess_low",
    "effective_experiences",
    "orphans",
    "rejected_ratio",
    "late_ratio",
    "join_delay_p90_s",
    "feature_is_rank",
    "drifted_features",
    "reward_drift",
    "calibration_off",
    "examination_rises",
    "rejected_in_a_row",
    "step_cosine",
    "exploration_cost_sd",
    "agents_alone_ratio",
    "little_feedback",
    "users_unknown",
    "batch_duplicates_ratio",
    "turnovers_per_day",
    "archive_failing",
    "duplicate_ratio",
    "feature_constant",
    "ring_stale",
)


def harm_of(code: str) -> int:
    """Return a code's place among all, 1 for the most harmful; one that is not known stands behind those that are."""
    return BY_HARM.index(code) + 1 if code in BY_HARM else len(BY_HARM) + 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: Stable identifier; docs/doctor.md has a row for each.
        harm: Place among all codes, 1 for the most harmful.
        severity: "critical" (nothing or something false is learned), "warning" (less is learned than could be) or
            "notice" (nothing is lost but time or space).
        message: What is seen, with its figure.
        remedy: One thing to do: a command or a line of code.
        figures: What was measured, by name, units in the names.
    """

    code: str
    harm: int
    severity: Harm
    message: str
    remedy: str
    figures: Figures = field(default_factory=dict)


def finding(code: str, severity: Harm, message: str, remedy: str, figures: Figures | None = None) -> Finding:
    """Return a finding in its place."""
    return Finding(code, harm_of(code), severity, message, remedy, figures or {})


@dataclass(frozen=True, slots=True)
class Looked:
    """One thing that was looked at, well or not.

    Attributes:
        name: Stable identifier.
        title: The question that was asked of the store.
        sentence: What was found, with its figure.
        is_judged: Whether there was enough to judge by.
    """

    name: str
    title: str
    sentence: str
    is_judged: bool = True


class Checked(NamedTuple):
    """What one check gives: what it looked at, and what is wrong with it."""

    looked: Looked
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a loop, and what is not.

    Attributes:
        findings: What is wrong, most harmful first.
        looked_at: What was looked at and what was found, also where it is well.
        answer: Whether it is learning, in a sentence.
        n_events: Events that were looked at: the newest ones.
        at: When it was asked, UTC epoch seconds.
    """

    findings: tuple[Finding, ...]
    looked_at: tuple[Looked, ...]
    answer: str
    n_events: int
    at: float

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong but what costs time or space alone."""
        return all(one.severity == "notice" for one in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {"is_healthy": self.is_healthy, **asdict(self)}


def with_finding(diagnosis: Diagnosis, one: Finding) -> Diagnosis:
    """Return a diagnosis with one finding more, in its place."""
    return replace(diagnosis, findings=by_harm([one, *diagnosis.findings]))


def by_harm(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, most harmful first, each code once."""
    first: dict[str, Finding] = {}
    for one in findings:
        first.setdefault(one.code, one)
    return tuple(sorted(first.values(), key=lambda one: (one.harm, one.code)))
