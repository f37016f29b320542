"""Does what users do arrive, and does it count? Rewards, parked reactions, clocks, and calls that were put aside."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from dwell.health.doctor.diagnosis import Checked, Figures, Harm, Looked, finding
from dwell.health.doctor.evidence import LEAST_EVENTS, Evidence, SeenEvent

__all__ = ["clocks", "parked", "put_aside", "rewards"]

_SAME: Final = 1e-6  # rewards are kept as float32 per document
_PARKED_SHARE: Final = 0.1  # of all reactions; a few always come for lists that were erased or removed
_PARKED: Final = 20
_SKEWED_SHARE: Final = 0.05  # a producer that cuts its clock to whole seconds sends a few that are early by less
_SKEWED: Final = 10
_FUTURE_S: Final = 300.0  # what the service refuses: design, section 4
_ASIDE_SHARE: Final = 0.01  # as the health report has it for calls that fell back
_ASIDE: Final = 10
_FEEDBACK: Final = 'loop.feedback(served.event_id, "click", doc=clicked_id), with the event_id that rank returned'


def rewards(evidence: Evidence) -> Checked:
    """Return whether reactions arrive and count."""
    name, title = "rewards", "Do rewards arrive?"
    finished = evidence.finished
    if len(finished) < LEAST_EVENTS:
        words = f"{len(finished)} closed lists so far: from {LEAST_EVENTS} on it can be told"
        return Checked(Looked(name, title, words, is_judged=False))
    default = _default(finished)
    heard = [event for event in finished if event.signals]
    counted = sum(_counts(event, default) for event in heard)
    figures = {
        "n_closed": len(finished),
        "n_with_signals": len(heard),
        "n_with_counting_signals": counted,
        "default_reward": default,
        "n_orphans": evidence.counts.get("orphans", 0),
    }
    words = f"{counted} of {len(finished)} closed lists have a reward that a user gave ({counted / len(finished):.1%})"
    looked = Looked(name, title, words)
    if counted:
        return Checked(looked)
    if heard:
        seen = Counter(signal.name for event in heard for signal in event.signals)
        names = ", ".join(f"{one!r}" for one, _ in seen.most_common(3))
        message = (
            f"reactions arrive ({names}) and none of them counts: all {len(finished)} closed lists have the reward of"
            f" silence, {default:g}"
        )
        most = seen.most_common(1)[0][0]
        remedy = f'Give one a weight beside the others: dwell.open(..., rewards={{"{most}": 1.0, ...}}).'
        return Checked(looked, (finding("rewards_all_default", "critical", message, remedy, figures),))
    if default != 0.0:
        message = (
            f"no reaction came for any of {len(finished)} closed lists: the default reward {default:g} stands in for"
            " all of them, and nothing tells a good list from a bad one"
        )
        return Checked(looked, (finding("rewards_all_default", "critical", message, f"Send {_FEEDBACK}.", figures),))
    message = f"no reaction came for any of {len(finished)} closed lists: nothing can be learned"
    remedy = f"Send {_FEEDBACK}."
    orphans = evidence.counts.get("orphans", 0)
    if orphans:
        message += f"; {orphans} reactions wait for lists that nobody served: they come with other ids"
        remedy = f"Hand the event_id through to the page: {_FEEDBACK}."
    return Checked(looked, (finding("rewards_missing", "critical", message, remedy, figures),))


def _default(finished: list[SeenEvent]) -> float:
    """Return the reward of lists that nobody reacted to, 0 where somebody reacted to all."""
    silent = Counter(event.reward for event in finished if not event.signals)
    return float(silent.most_common(1)[0][0] or 0.0) if silent else 0.0


def _counts(event: SeenEvent, default: float) -> bool:
    """Return whether a reaction changed what an event is worth."""
    if abs((event.reward or 0.0) - default) > _SAME:
        return True
    # praise and blame of one list may make nothing of it, and still say which document was which
    credit = event.document_rewards
    return default == 0.0 and credit is not None and bool((np.abs(credit) > _SAME).any())


def parked(evidence: Evidence) -> Checked:
    """Return whether reactions wait for lists that are not known."""
    n_parked, n_joined = evidence.counts.get("orphans", 0), evidence.counts.get("signals", 0)
    share = n_parked / max(n_parked + n_joined, 1)
    words = f"{n_parked} reactions wait for lists that are not known, {n_joined} are joined"
    looked = Looked("parked", "Do reactions find their lists?", words, is_judged=n_parked + n_joined > 0)
    if n_parked < _PARKED or share <= _PARKED_SHARE:
        return Checked(looked)
    message = f"{n_parked} reactions ({share:.0%}) name lists that nobody served; they are dropped after a day"
    remedy = f"Hand the event_id through to the page: {_FEEDBACK}."
    figures = {"n_orphans": n_parked, "orphan_share": share}
    return Checked(looked, (finding("orphans", "warning", message, remedy, figures),))


def clocks(evidence: Evidence, counters: dict[str, int]) -> Checked:
    """Return whether reactions come before what they are about, or anything from the future.

    A reaction that was dated before its list is kept at the list's own instant, to the microsecond.

    Args:
        evidence: The store.
        counters: What this process counted of clocks, "feedback_future" and "feedback_skewed", as far as it did.
    """
    at = np.array([(s.at, s.received_at, e.impression.served_at) for e in evidence.events for s in e.signals])
    at = at.reshape(-1, 3)
    n = len(at)
    early = int(((at[:, 0] <= at[:, 2]) & (at[:, 1] > at[:, 2])).sum())
    early_share = early / max(n, 1)
    n_future = sum(event.impression.served_at > evidence.now + _FUTURE_S for event in evidence.events)
    ahead = counters.get("feedback_future", 0)
    words = f"{early} of {n} reactions are dated before their list was served, {n_future} lists lie in the future"
    looked = Looked("clocks", "Do the clocks agree?", words, is_judged=n > 0 or n_future > 0)
    figures = {"n_early": early, "early_share": early_share, "n_future_lists": n_future, "n_future_signals": ahead}
    remedy = "Leave at= out of feedback where the sender's clock is not synchronised: the time of arrival is taken."
    found = []
    if early >= _SKEWED and early_share >= _SKEWED_SHARE:
        found.append(f"{early} of {n} reactions ({early_share:.0%}) are dated before their list was served")
    if ahead >= _SKEWED and ahead >= _SKEWED_SHARE * max(n, 1):
        found.append(f"{ahead} reactions came from the future")
    if n_future >= _SKEWED:
        found.append(f"{n_future} lists were served later than now: their age counts as 0")
        if len(found) == 1:
            remedy = "Correct the clock of whoever calls rank, or leave now= out: the wall clock is taken."
    if not found:
        return Checked(looked)
    message = "; ".join(found) + ": their delay can not be told"
    return Checked(looked, (finding("clock_skew", "warning", message, remedy, figures),))


def put_aside(evidence: Evidence) -> Checked:
    """Return how many calls could not be recorded for what they held."""
    n_aside = evidence.counts.get("quarantined", 0)
    share = n_aside / max(n_aside + evidence.n_events, 1)
    words = f"{n_aside} of {n_aside + evidence.n_events} calls were put aside ({share:.1%})"
    looked = Looked("put_aside", "Can calls be recorded?", words, is_judged=n_aside + evidence.n_events > 0)
    if n_aside < _ASIDE or share < _ASIDE_SHARE:
        return Checked(looked)
    reason = max(evidence.quarantine_reasons, key=lambda one: evidence.quarantine_reasons[one], default="unknown")
    message = (
        f"{n_aside} calls ({share:.0%}) were served in the caller's order and put aside, most for {reason}: nothing is"
        " learned from them"
    )
    remedy = "`dwell inspect STORE` lists the newest ones with their reasons; dwell.open(..., strict=True) raises them."
    figures: Figures = {"n_quarantined": n_aside, "quarantined_share": share, "most_common": reason}
    severity: Harm = "critical" if share > 0.5 else "warning"
    return Checked(looked, (finding("quarantined", severity, message, remedy, figures),))
