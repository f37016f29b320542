"""What is told of a loop: figures, checks in sections, shares, distributions, a timeline, a status and its alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dwell.health.snapshot import ExaminationSeen

__all__ = [
    "Alert",
    "Check",
    "Distribution",
    "HealthReport",
    "Section",
    "Severity",
    "Share",
    "Status",
    "Timeline",
]

Severity = Literal["warning", "critical"]
Judged = Literal["ok", "unknown", "warning", "critical"]
Status = Literal["empty", "healthy", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong.

    Attributes:
        code: Stable identifier: the name of the check that failed.
        severity: "warning" or "critical".
        message: What is seen, with its figure.
        remedy: What to do.
    """

    code: str
    severity: Severity
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Check:
    """One figure that is judged.

    Attributes:
        name: Stable identifier.
        title: The same in a few plain words.
        value: The figure, or None where it can not be measured yet.
        unit: "ratio", "count", "s", "hours", "bytes", "reward" or "": how to show it.
        threshold: What it is held against, in words; "" where it is shown and not judged.
        severity: "ok", "unknown" (too little to judge by), "warning" or "critical".
        sentence: What is seen, with its figure.
        remedy: What to do; "" where it is ok or unknown.
    """

    name: str
    title: str
    value: float | None
    unit: str
    threshold: str
    severity: Judged
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Checks that belong together.

    Attributes:
        name: "buffer", "batches", "feedback", "learning", "ranking" or "features".
        title: The same in plain words.
        checks: Its checks.
    """

    name: str
    title: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the experience one group makes up.

    Attributes:
        name: A segment, or the hash of a user's pseudonym or of a query in hex; "" for what has none.
        n: Its events.
        share: n over the events of all groups, in [0, 1].
    """

    name: str
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Counts of a figure in bins.

    Attributes:
        name: What is counted, its unit in the name where it has one.
        unit: As `Check.unit`.
        edges: Ascending; bin i is [edges[i], edges[i + 1]), the last one closed.
        counts: One per bin.
    """

    name: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The experience by the time when it was served, in at most 60 equal buckets.

    Attributes:
        edges_s: UTC epoch seconds; bucket i is [edges_s[i], edges_s[i + 1]), the last one closed.
        n_lists: Closed lists served in each.
        mean_reward: Their mean reward, None where there are none.
        rewarded_share: The share of them with a reward, None where there are none.
    """

    edges_s: tuple[float, ...]
    n_lists: tuple[int, ...]
    mean_reward: tuple[float | None, ...]
    rewarded_share: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How a loop is.

    Attributes:
        status: "warning" or "critical", that of the worst alert; without one "healthy", or "empty" before any event.
        alerts: What is wrong, worst first.
        figures: Everything measured, by name, units in the names.
        examination: Who is taken to look at which position, how that was found, and whether clicks agree.
        sections: Every figure that is judged, whether it is well or not.
        shares: Of "segment", "user" and "query": the largest groups, largest first, at most 20.
        distributions: "age_hours", "reward", "priority" and "params_version", where there is anything to count.
        timeline: What was served when, or None where nothing is closed.
        at: When it was measured, UTC epoch seconds.
        counters: What the process that measured has counted; it stands in `figures` too, and is not told twice.
    """

    status: Status
    alerts: list[Alert]
    figures: dict[str, float | int | str]
    examination: ExaminationSeen | None = None
    sections: tuple[Section, ...] = ()
    shares: Mapping[str, tuple[Share, ...]] = field(default_factory=dict)
    distributions: Mapping[str, Distribution] = field(default_factory=dict)
    timeline: Timeline | None = None
    at: float = 0.0
    counters: Mapping[str, int] = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON; what it does not have is left out."""
        found: dict[str, Any] = {"status": self.status, "alerts": [asdict(alert) for alert in self.alerts]}
        found |= self.figures
        if self.examination is not None:
            found["examination"] = asdict(self.examination)
        if self.sections:
            found |= {
                "at": self.at,
                "sections": [asdict(section) for section in self.sections],
                "shares": {name: [asdict(share) for share in shares] for name, shares in self.shares.items()},
                "distributions": {name: asdict(one) for name, one in self.distributions.items()},
                "timeline": None if self.timeline is None else asdict(self.timeline),
            }
        return found

    def check(self, name: str) -> Check | None:
        """Return a check by its name, or None where there is none of it."""
        return next((check for section in self.sections for check in section.checks if check.name == name), None)
