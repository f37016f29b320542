"""The questions that people have of a loop, answered in words: is it better, does it learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dwell.health import HealthReport
from dwell.records import GateDecision
from dwell.server.dashboard.ledger import Standing, relative_gain

__all__ = ["Answer", "is_it_better", "is_it_learning"]


class Answer(NamedTuple):
    """The answer to a question that people have.

    Attributes:
        tone: "good", "wait", "bad" or "".
        says: It, in a sentence or two.
        next_step: What to do now, or "".
    """

    tone: str
    says: str
    next_step: str = ""


def is_it_better(standing: Standing, mode: str, earned: float | None) -> Answer:
    """Return whether what users get is better than what they got before, by how much, since when, by whose word.

    Args:
        standing: What the ledger says of the live params.
        mode: What users are served.
        earned: Mean reward of a list, or None where that is not known.
    """
    decision, version = standing.decision, standing.version
    if mode in {"log-only", "shadow"}:
        told = f"Users get the caller's own order: the mode is {mode}."
        return Answer("", told, 'Mode "canary" or "live" serves what was learned.')
    if decision is None or standing.word != "gate":
        return _without_evidence(standing)
    d = decision.difference
    if not d.n:
        return Answer("", f"Version {version} is live; no figure came with its promotion.")
    gain = relative_gain(decision, earned)
    words = "" if gain is None else f", about {100.0 * gain:+.1f} % of what a list earns now"
    return Answer(
        "good",
        f"Yes: version {version} was judged {d.value:+.4f} reward per list better than version "
        f"{decision.safe_version} ({d.low:+.4f} to {d.high:+.4f}, {d.n:,} lists){words}.",
    )


def _without_evidence(standing: Standing) -> Answer:
    decision, version = standing.decision, standing.version
    if standing.word == "hand":
        told = f"Nobody knows yet: version {version} was forced by hand, against or without the gate's word."
        return Answer("wait", told, "If the lists served since show that it is worse, the loop goes back by itself.")
    if standing.word == "rollback":
        return Answer("wait", f"The loop went back to version {version}: what replaced it was worse, or unwanted.")
    if decision is not None and decision.reasons[0].startswith("features"):
        before = decision.safe_version
        told = f"Features were added or dropped: version {version} weighs the others as version {before} did."
        return Answer("", told, "Decisions says how that one came to be live.")
    return Answer("", "Users get what was there from the start: nothing was promoted yet.")


def is_it_learning(report: HealthReport, history: Sequence[GateDecision], mode: str, *, has_features: bool) -> Answer:
    """Return whether the loop learns, and what is missing where it does not: the first thing in the chain that is."""
    missing = _missing(report, has_features=has_features)
    if missing is not None:
        return missing
    if mode == "log-only":
        return Answer("wait", 'No: the mode "log-only" only records.', 'Mode "shadow" learns and serves nothing.')
    judged = [d for d in history if d.kind == "judged"]
    if not judged:
        told = "There is something to learn from, and nothing was proposed yet."
        return Answer("wait", told, "The learner runs every minute; `dwell train` at once.")
    last = judged[-1]
    code, _, words = last.reasons[0].partition(":")
    n_live = sum(d.verdict == "promote" for d in judged)
    n_proposed = len({d.proposed_version for d in judged})
    told = f"Yes: {n_live:,} of {n_proposed:,} {'proposal' if n_proposed == 1 else 'proposals'} went live by the gate. "
    return Answer("good", f"{told}The last verdict is {last.verdict} ({code}:{words}).")


def _missing(report: HealthReport, *, has_features: bool) -> Answer | None:
    n_events, n_closed = (_count(report, name) for name in ("n_events", "size"))
    if not has_features:
        return Answer(
            "wait",
            "No features are registered: lists are recorded, and there is nothing to weigh.",
            "Open the store with features=[...], or serve it with --features bm25,cosine.",
        )
    if not n_events:
        told = "No list was served yet."
        return Answer("", told, "Call Loop.rank or POST /v1/rank where you search, and show its order.")
    if "size" not in report.figures:
        return Answer(
            "", "The learner has not told how it is yet: it may be starting, or learning.", "Ask again in a moment."
        )
    if not n_closed:
        told = f"{n_events:,} {'list was' if n_events == 1 else 'lists were'} served; none is over yet."
        return Answer(
            "", told, "A list closes once its attribution window is over: half an hour, unless you changed it."
        )
    if not report.figures.get("rewarded_share"):
        told = f"No: none of {n_closed:,} closed lists has a reward."
        return Answer("bad", told, "Send feedback with the event_id that rank answered with; Doctor says what is lost.")
    return None


def _count(report: HealthReport, name: str) -> int:
    found = report.figures.get(name, 0)
    return int(found) if isinstance(found, int | float) else 0
