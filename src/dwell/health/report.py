"""The report: figures, a status, and alerts that say what is wrong and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from dwell.health.snapshot import ExaminationSeen, HealthSnapshot

__all__ = ["Alert", "HealthReport", "effective_number", "report_health"]

Severity = Literal["warning", "critical"]
Status = Literal["empty", "healthy", "warning", "critical"]

_MIN_JUDGED: Final = 50  # below it shares and rates are chance
_DOMINANT_SHARE: Final = 0.5  # one group outweighs all others together
_LOW_FEEDBACK_SHARE: Final = 0.01  # product study: explicit feedback alone arrives for 2 to 5 % of lists
_FAILED_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong.

    Attributes:
        code: Stable identifier.
        severity: "warning" or "critical".
        message: What is seen, with its figure.
        remedy: What to do.
    """

    code: str
    severity: Severity
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How a loop is.

    Attributes:
        status: "warning" or "critical", that of the worst alert; without one "healthy", or "empty" before any event.
        alerts: What is wrong, worst first.
        figures: Everything measured, by name, units in the names.
        examination: Who is taken to look at which position, how that was found, and whether clicks agree.
    """

    status: Status
    alerts: list[Alert]
    figures: dict[str, float | int | str]
    examination: ExaminationSeen | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        found = {"status": self.status, "alerts": [asdict(alert) for alert in self.alerts], **self.figures}
        return found if self.examination is None else found | {"examination": asdict(self.examination)}


def effective_number(counts: Mapping[object, int]) -> float:
    """Return how many equally large groups are as diverse as these, the exponential of their entropy; 0 for none.

    Source:
        Hill 1973, "Diversity and Evenness", order 1.
    """
    total = sum(counts.values())
    if not total:
        return 0.0
    return math.exp(-sum(n / total * math.log(n / total) for n in counts.values() if n))


def _largest_share(counts: Mapping[object, int]) -> tuple[object, float]:
    total = sum(counts.values())
    if not total:
        return None, 0.0
    name = max(counts, key=lambda key: (counts[key], str(key)))
    return name, counts[name] / total


def report_health(snapshot: HealthSnapshot) -> HealthReport:
    """Return the report on one loop at one instant."""
    n = int(snapshot.rewards.size)
    n_events = sum(snapshot.states.values())
    figures = _figures(snapshot, n, n_events)
    # first the alerts: a loop that keeps nothing because every call fails is not merely empty
    alerts = sorted(_alerts(snapshot, n), key=lambda alert: alert.severity != "critical")
    status: Status = "healthy" if n_events else "empty"
    return HealthReport(alerts[0].severity if alerts else status, alerts, figures, snapshot.examination)


def _figures(snapshot: HealthSnapshot, n: int, n_events: int) -> dict[str, float | int | str]:
    ages = snapshot.now - snapshot.served_at
    figures: dict[str, float | int | str] = {
        "n_events": n_events,
        "size": n,
        "capacity": snapshot.capacity,
        "capacity_pct": n / snapshot.capacity,
        "n_signals": snapshot.n_signals,
        "live_version": snapshot.live_version,
        "n_promotions": snapshot.n_promotions,
        "last_verdict": snapshot.last_verdict,
        "replay_ratio": snapshot.replay_ratio,
    }
    if snapshot.oldest_params_version is not None:
        figures["oldest_params_version"] = snapshot.oldest_params_version
    figures |= {f"n_{state}": count for state, count in sorted(snapshot.states.items())}
    figures |= {name: count for name, count in sorted(snapshot.counters.items()) if not name.endswith("_seen")}
    if snapshot.examination is not None:
        figures["examination_source"] = snapshot.examination.source
        figures["examinations_measured"] = snapshot.counters.get("examinations_measured", 0)
    if n:
        figures |= {
            "avg_reward": float(snapshot.rewards.mean()),
            "reward_std": float(snapshot.rewards.std(ddof=1)) if n > 1 else 0.0,
            "rewarded_share": float((snapshot.rewards != 0.0).mean()),
            "avg_age_hours": float(ages.mean()) / 3600.0,
            "oldest_hours": float(ages.max()) / 3600.0,
            "newest_hours": float(ages.min()) / 3600.0,
            "unique_contexts": len([user for user in snapshot.user_counts if user is not None]),
            "effective_users": effective_number({u: c for u, c in snapshot.user_counts.items() if u is not None}),
            "effective_queries": effective_number(snapshot.query_counts),
        }
    return figures


def _alerts(snapshot: HealthSnapshot, n: int) -> list[Alert]:
    counters = snapshot.counters
    alerts = []
    dropped = counters.get("dropped_impressions", 0)
    if dropped:
        alerts.append(
            Alert(
                "dropped",
                "critical",
                f"{dropped} served lists were not recorded: the queue of writes was full",
                "The disk is slower than the traffic: check its load, or write less (counted as dropped_impressions).",
            )
        )
    failed = counters.get("failed_impressions", 0)
    if failed:
        alerts.append(
            Alert(
                "failed",
                "critical",
                f"{failed} served lists were not recorded: the store refused them",
                "Check free space, permissions and health of the store's disk (counted as failed_impressions).",
            )
        )
    served = counters.get("impressions", 0)
    fallbacks = counters.get("fallback", 0)
    if fallbacks > _FAILED_SHARE * max(served + fallbacks, 1):
        alerts.append(
            Alert(
                "fallback",
                "warning",
                f"{fallbacks} of {served + fallbacks} calls were served the caller's order",
                "Served.fallback names the reason of a call; `dwell inspect` lists the newest ones as quarantined.",
            )
        )
    seen = snapshot.examination
    if seen is not None and seen.rises:
        more = f", and {len(seen.rises) - 1} more" if len(seen.rises) > 1 else ""
        alerts.append(Alert("examination_rises", "warning", seen.rises[0] + more, seen.remedy))
    if n >= _MIN_JUDGED:
        alerts += _content_alerts(snapshot)
    return alerts


def _content_alerts(snapshot: HealthSnapshot) -> list[Alert]:
    alerts = []
    rewarded = float((snapshot.rewards != 0.0).mean())
    if rewarded == 0.0:
        alerts.append(
            Alert(
                "no_feedback",
                "critical",
                "no closed event has a reward: nothing can be learned",
                "Send Loop.feedback with the event_id that rank returned.",
            )
        )
    elif rewarded < _LOW_FEEDBACK_SHARE:
        alerts.append(
            Alert(
                "little_feedback",
                "warning",
                f"only {rewarded:.1%} of closed events have a reward",
                "Log more signals, or check that event ids reach the client.",
            )
        )
    for what, counts, remedy in (
        ("segment", snapshot.segment_counts, "Sample stratified by segment, or give quotas."),
        ("query", snapshot.query_counts, "Check for a monitor or a bot that repeats one query."),
        ("user", snapshot.user_counts, "Check for a bot; one account should not decide the ranking."),
    ):
        name, share = _largest_share(counts)
        if name is not None and share > _DOMINANT_SHARE and len(counts) > 1:
            alerts.append(
                Alert(
                    f"dominant_{what}",
                    "warning",
                    f"{what} {str(name)[:40]!r} makes up {share:.0%} of the experience",
                    remedy,
                )
            )
    if not any(user is not None for user in snapshot.user_counts):
        alerts.append(
            Alert(
                "users_unknown",
                "warning",
                "no event names a user",
                "Pass user= to rank: distinct users then count, and hold-outs are by user.",
            )
        )
    return alerts
