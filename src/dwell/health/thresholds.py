"""Every check in one table: what its figure is held against, why there, and what to do beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from dwell.health.report import Check, Severity

__all__ = ["MIN_JUDGED", "RULES", "SECTIONS", "Rule", "judged", "shown"]

MIN_JUDGED: Final = 50  # below it shares and rates are chance

SECTIONS: Final[Mapping[str, str]] = {
    "buffer": "Buffer",
    "batches": "Last batches",
    "feedback": "Feedback",
    "learning": "Learning",
    "ranking": "Ranking",
    "features": "Features",
}


class Rule(NamedTuple):
    """What one figure is held against.

    Attributes:
        section: Where it is told.
        title: A few plain words.
        unit: As `Check.unit`.
        side: "most" or "least": the limit is the highest or the lowest value that is well; "shown": it is not judged.
        limit: The limit, in the figure's unit; 0 where it is not judged.
        severity: Of what is beyond it.
        remedy: What to do then.
        reason: Why the limit stands where it stands.
    """

    section: str
    title: str
    unit: str
    side: Literal["most", "least", "shown"] = "shown"
    limit: float = 0.0
    severity: Severity = "warning"
    remedy: str = ""
    reason: str = ""


RULES: Final[Mapping[str, Rule]] = {
    # ---- buffer
    "fill_ratio": Rule("buffer", "How full it is", "ratio"),
    "dropped": Rule(
        "buffer", "Lists lost to a full queue", "count", "most", 0.0, "critical",
        "The disk is slower than the traffic: check its load, or write less (counted as dropped_impressions).",
        "a list that is not recorded can not be learned from, and nothing else tells",
    ),
    "failed": Rule(
        "buffer", "Lists that the store refused", "count", "most", 0.0, "critical",
        "Check free space, permissions and health of the store's disk (counted as failed_impressions).",
        "as for dropped",
    ),
    "dominant_segment": Rule(
        "buffer", "Largest segment", "ratio", "most", 0.5, "warning",
        "Sample stratified by segment, or give quotas.",
        "beyond a half one group outweighs all others together",
    ),
    "dominant_query": Rule(
        "buffer", "Largest query", "ratio", "most", 0.5, "warning",
        "Check for a monitor or a bot that repeats one query.",
        "as for segments",
    ),
    "dominant_user": Rule(
        "buffer", "Largest user", "ratio", "most", 0.5, "warning",
        "Check for a bot; one account should not decide the ranking.",
        "as for segments",
    ),
    "users_unknown": Rule(
        "buffer", "Lists without a user", "ratio", "most", 0.999_999, "warning",
        "Pass user= to rank: distinct users then count, and hold-outs are by user.",
        "with a single known user there is something to count",
    ),
    # ---- feedback
    "no_feedback": Rule(
        "feedback", "Lists with a reward", "ratio", "least", 1e-12, "critical",
        "Send Loop.feedback with the event_id that rank returned.",
        "without any reward there is nothing to learn from",
    ),
    "little_feedback": Rule(
        "feedback", "Lists with a reward, at least", "ratio", "least", 0.01, "warning",
        "Log more signals, or check that event ids reach the client.",
        "explicit feedback alone arrives for 2 to 5 % of lists: below 1 % some of it is lost",
    ),
    # ---- learning
    "examination_rises": Rule(
        "learning", "Lower positions looked at more", "count", "most", 0.0, "warning", "",
        "users look from the top: beyond chance the opposite is a fault of what is logged",
    ),
    # ---- ranking
    "fallback": Rule(
        "ranking", "Calls served the caller's order", "ratio", "most", 0.01, "warning",
        "Served.fallback names the reason of a call; `dwell inspect` lists the newest ones as quarantined.",
        "single bad values happen; beyond one call in a hundred it is the caller's code",
    ),
}  # fmt: skip


def judged(
    name: str,
    value: float | None,
    sentence: str,
    *,
    remedy: str | None = None,
    limit: float | None = None,
) -> Check:
    """Return a check: its value against the limit of its rule, `unknown` without a value.

    Args:
        name: Of the rule.
        value: Finite, or None where there is too little to judge by.
        sentence: What is seen.
        remedy: In place of the rule's.
        limit: In place of the rule's, where it depends on settings.
    """
    rule = RULES[name]
    at = rule.limit if limit is None else limit
    words = "" if rule.side == "shown" else f"at {rule.side} {shown(at, rule.unit)}"
    if rule.unit == "ratio" and 0.0 < at < 1e-9:
        words = "above 0 %"
    if value is None:
        return Check(name, rule.title, None, rule.unit, words, "unknown", sentence)
    is_bad = (rule.side == "most" and value > at) or (rule.side == "least" and value < at)
    if not is_bad:
        return Check(name, rule.title, value, rule.unit, words, "ok", sentence)
    return Check(
        name, rule.title, value, rule.unit, words, rule.severity, sentence, rule.remedy if remedy is None else remedy
    )


def shown(value: float, unit: str) -> str:
    """Return a figure in words."""
    if unit == "ratio":
        return f"{100.0 * value:.3g} %"
    if unit == "count":
        return f"{value:,.0f}" if abs(value) >= 100.0 or float(value).is_integer() else f"{value:,.1f}"
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if unit == "s":
        return f"{value:.3g} s" if value < 300.0 else f"{value / 60.0:,.0f} min"
    return f"{value:.3g} h" if unit == "hours" else f"{value:.3g}"
