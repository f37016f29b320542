"""What the search page says of its own learning: what one visitor did, what was made of it, and why nothing changed.

Every sentence is made of facts in the store and of the settings in force; none is written for a scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from dwell.evaluation.influence import MAX_USER_FACTOR
from dwell.records import GateDecision, Signal
from dwell.server.dashboard.ledger import Standing, moves
from dwell.storage import EventState

__all__ = ["Lesson", "Own", "Rules", "Waiting", "told", "version_before", "what_one_did", "what_was_learned"]

_RATING: Final = "thumbs"
_CLICK: Final = "click"
_MOST_REASONS: Final = 3


class Rules(NamedTuple):
    """The settings that decide how soon something can change.

    Attributes:
        window_s: How long reactions to a list are waited for, seconds.
        min_events: Lists that the gate wants, served after what it judges was made.
        min_users: Effective users that it wants behind them.
    """

    window_s: float
    min_events: int
    min_users: int


class Own(NamedTuple):
    """What one visitor did.

    Attributes:
        n_lists: Lists served to this visitor.
        n_open: Those whose window is not over.
        over_in_s: Seconds until the last of them is over, 0 where none is open.
        n_clicks: Clicks that count.
        n_ratings: Ratings that count.
        n_late: Reactions that came after their list was closed; its reward is computed again.
    """

    n_lists: int = 0
    n_open: int = 0
    over_in_s: float = 0.0
    n_clicks: int = 0
    n_ratings: int = 0
    n_late: int = 0


class Waiting(NamedTuple):
    """A proposal that is not live.

    Attributes:
        version: Its version.
        n_visitors: Named visitors whose lists were there to learn from; None where too many to count.
        decision: The gate's last word on it, or None.
    """

    version: int
    n_visitors: int | None
    decision: GateDecision | None


class Lesson(NamedTuple):
    """What the strip "learning from you" shows.

    Attributes:
        own: What this visitor did, or None where nobody says who it is.
        window_s: See `Rules`.
        n_refused: Reactions of anybody that were refused since the service began.
        live: The version that orders lists.
        now: Which order users get, and by whose word.
        why: What happens next, or why nothing has changed.
        verdict: The gate's last word on what waits or on what was given up last: "hold", "reject" or "".
        reasons: Its reasons, at most three.
        said: What the learner last answered, or "".
        waiting: Version that may be promoted by hand, or None.
        back_to: Version that one may go back to, or None.
    """

    own: Own | None
    window_s: float
    n_refused: int
    live: int
    now: str
    why: tuple[str, ...]
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    said: str = ""
    waiting: int | None = None
    back_to: int | None = None


def what_one_did(
    events: Sequence[EventState], signals: Mapping[int, Sequence[Signal]], *, window_s: float, now: float
) -> Own:
    """Return what one visitor did.

    Args:
        events: The visitor's lists.
        signals: Reactions by `seq`.
        window_s: How long reactions are waited for.
        now: UTC epoch seconds.
    """
    ends = [event.served_at + window_s for event in events]
    n_clicks = n_ratings = n_late = 0
    for event in events:
        for signal in signals.get(event.seq, ()):
            n_clicks += signal.name == _CLICK
            n_ratings += signal.name == _RATING
            n_late += event.closed_at is not None and event.state == "reopened" and signal.received_at > event.closed_at
    return Own(
        n_lists=len(events),
        n_open=sum(end > now for end in ends),
        over_in_s=max(0.0, max(ends, default=now) - now),
        n_clicks=n_clicks,
        n_ratings=n_ratings,
        n_late=n_late,
    )


def what_was_learned(report: Mapping[str, Any]) -> str:
    """Return the learner's answer to "learn now" as a sentence.

    Args:
        report: A `TrainReport` as plain values.
    """
    n_closed, reason = report["n_closed"], str(report["decision"]["reasons"][0])
    closed = f"{_count(n_closed, 'list')} closed"
    version = report["proposed"]["version"]
    if report["n_steps"]:
        return f"{closed}. Version {version} was learned from {_count(report['n_learned_from'], 'list')}."
    if report["decision"]["verdict"] == "promote":
        return f"{closed}. Version {report['live']['version']} went live: {_words(reason)}."
    if report["ended_by"] == "standing" and not n_closed:
        return f"No further list is over. Version {version} stands until it is decided."
    if report["ended_by"] == "standing":
        return f"{closed}, as evidence for or against version {version}, which stands until it is decided."
    return f"{closed}. Nothing was learned: {_words(reason)}."


def version_before(live: int, history: Sequence[GateDecision]) -> int | None:
    """Return the version that was live before, or None where there was no other.

    Args:
        live: The live version.
        history: The ledger, oldest first.
    """
    return next((d.proposed_version for d in reversed(moves(history)) if d.proposed_version != live), None)


def told(
    own: Own | None,
    standing: Standing,
    waiting: Waiting | None,
    history: Sequence[GateDecision],
    rules: Rules,
    *,
    n_refused: int = 0,
    said: str = "",
) -> Lesson:
    """Return the strip.

    Args:
        own: What this visitor did, or None where nobody says who it is.
        standing: What the ledger says of the live version.
        waiting: The proposal that is judged, or None.
        history: The ledger, oldest first.
        rules: The settings in force.
        n_refused: Reactions of anybody that were refused.
        said: What the learner last answered.
    """
    word = waiting.decision if waiting is not None else _given_up(history, standing)
    return Lesson(
        own=own,
        window_s=rules.window_s,
        n_refused=n_refused,
        live=standing.version,
        now=_order(standing),
        why=tuple(_next(own, rules) if waiting is None else _held(waiting, standing, rules)),
        verdict="" if word is None else word.verdict,
        reasons=() if word is None else tuple(word.reasons[:_MOST_REASONS]),
        said=said,
        waiting=None if waiting is None else waiting.version,
        back_to=version_before(standing.version, history),
    )


def _given_up(history: Sequence[GateDecision], standing: Standing) -> GateDecision | None:
    """Return the last rejection since the live version went live, or None."""
    last = next((d for d in reversed(history) if d.kind == "judged"), None)
    is_since = last is not None and (standing.since is None or last.decided_at >= standing.since)
    return last if last is not None and is_since and last.verdict == "reject" else None


def _order(standing: Standing) -> str:
    version, decision = standing.version, standing.decision
    if standing.word == "hand":
        return f"Version {version} orders the lists: promoted by hand, without the gate's word."
    if standing.word == "gate" and decision is not None:
        return f"Version {version} orders the lists: the gate promoted it. {_words(decision.reasons[0]).capitalize()}."
    if standing.word == "rollback":
        return f"Version {version} orders the lists again: the loop went back to it."
    return f"Version {version} orders the lists: what there was before anything was learned."


def _next(own: Own | None, rules: Rules) -> list[str]:
    """Return what comes next where no proposal waits."""
    if own is None:
        return [
            "Say who you are, in the field below the search: without a name your clicks can not be told from others'."
        ]
    if not own.n_lists:
        return ["Search, and open or rate what you looked for."]
    if not own.n_clicks + own.n_ratings:
        return ["Your lists have no click and no rating: that you wanted nothing in them is learned, too."]
    if own.n_open == own.n_lists:
        return [
            f"Until the window of {rules.window_s:g} s is over reactions may still come: then a list is learned from."
        ]
    return ["There are lists to learn from: press “Learn now”."]


def _held(waiting: Waiting, standing: Standing, rules: Rules) -> list[str]:
    """Return why a proposal has changed nothing so far."""
    version, decision, n_visitors = waiting.version, waiting.decision, waiting.n_visitors
    n_judged = 0 if decision is None else decision.difference.n
    n_users = None if decision is None else decision.diagnostics.get("n_effective_users")
    stands = "no visitor" if n_users is None else f"{n_users:.3g} effective"
    from_whom = "" if n_visitors is None else f" from the lists of {_count(n_visitors, 'visitor')}"
    still = f"is not live: the order is still that of version {standing.version}."
    wants = (
        f"The gate wants {rules.min_events} lists that were served after version {version} was made, with"
        f" {rules.min_users} effective visitors behind them; so far it has {n_judged} and {stands}."
    )
    one = (
        "To the gate one visitor is one visitor, after 30 clicks as after one; beside others each counts for at most"
        f" {MAX_USER_FACTOR:g} average ones. Promoted anyway, one visitor's wishes would order everybody's lists."
    )
    return [f"Version {version} was learned{from_whom} and {still}", wants, *([one] if n_visitors == 1 else [])]


def _words(reason: str) -> str:
    return (reason.partition(":")[2].strip() or reason).rstrip(".")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
