"""Whose praise is it? Few users who hold most of it, bursts that no reader makes, and one document pushed."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final, NamedTuple

import numpy as np

from dwell.evaluation.influence import MAX_USER_FACTOR
from dwell.health.doctor.diagnosis import Checked, Figures, Looked, finding
from dwell.health.doctor.evidence import LEAST_EVENTS, Evidence, SeenEvent

__all__ = ["crowd"]

_TOP: Final = 3
_TOP_SHARE: Final = 0.5  # visits by Zipf's law: the top three of 30 users make 46 %, of 60 users 39 %
_LEAST_USERS: Final = 30
_BURST_S: Final = 60.0
_BURST: Final = 30  # lists in a minute that one user praised: nobody reads one every two seconds
_PUSHED: Final = 20  # praised lists of one user
_PUSHED_SHARE: Final = 0.9  # of a user's praise, for one document


class _Praise(NamedTuple):
    """What one user praised.

    Attributes:
        total: Sum of positive credit.
        at: When each praised list was served.
        documents: Positive credit by document.
    """

    total: float
    at: list[float]
    documents: Counter[str]


def crowd(evidence: Evidence) -> Checked:
    """Return whether the praise looks like that of many people."""
    name, title = "crowd", "Does the praise come from many people?"
    known = [event for event in evidence.finished if event.impression.user is not None]
    praise = _praise(known)
    total = sum(one.total for one in praise.values())
    n_praised = sum(len(one.at) for one in praise.values())
    if n_praised < LEAST_EVENTS or not total:
        words = f"{n_praised} lists were praised by users who are told apart: from {LEAST_EVENTS} on it can be told"
        return Checked(Looked(name, title, words, is_judged=False))
    n_users = len({event.impression.user for event in known})
    largest = sorted((one.total for one in praise.values()), reverse=True)
    top_share = sum(largest[:_TOP]) / total
    words = f"{n_users} users; the three who praised most hold {top_share:.0%} of all praise"
    looked = Looked(name, title, words)
    signs = []
    if n_users >= _LEAST_USERS and top_share > _TOP_SHARE:
        signs.append(f"three of {n_users} users hold {top_share:.0%} of all praise")
    rushed = [user for user, one in praise.items() if _most_in_a_burst(one.at) >= _BURST]
    if rushed:
        fastest = max(_most_in_a_burst(praise[user].at) for user in rushed)
        signs.append(f"{_people(rushed)} praised up to {fastest} lists within a minute")
    mean = total / max(n_users, 1)
    pushing = [user for user, one in praise.items() if one.total > MAX_USER_FACTOR * mean and _is_pushing(one)]
    if pushing:
        doc = praise[pushing[0]].documents.most_common(1)[0][0]
        signs.append(f"{_people(pushing)} praised hardly anything but one document ({doc!r:.60})")
    if not signs:
        return Checked(looked)
    worst = max({*rushed, *pushing} or praise, key=lambda user: (praise[user].total, user))
    message = (
        f"{'; '.join(signs)}: not what readers do. Each of them counts as {MAX_USER_FACTOR:g} average users at most"
    )
    remedy = (
        f"Look at the lists of pseudonym {worst} with `dwell export STORE FILE`; if they are a machine's, remove them:"
        " `dwell erase STORE --user USER`, by the name that rank was given."
    )
    figures: Figures = {
        "top_three_share": top_share,
        "n_users": n_users,
        "n_rushed": len(rushed),
        "n_pushing": len(pushing),
        "worst_user": worst,
    }
    return Checked(looked, (finding("suspicious_users", "critical", message, remedy, figures),))


def _people(users: list[str]) -> str:
    return "one user" if len(users) == 1 else f"{len(users)} users"


def _praise(events: list[SeenEvent]) -> dict[str, _Praise]:
    totals: Counter[str] = Counter()
    at: defaultdict[str, list[float]] = defaultdict(list)
    documents: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        user, credit = event.impression.user, event.document_rewards
        if user is None or credit is None or not event.signals:
            continue
        gained = [(doc, float(c)) for doc, c in zip(event.impression.served, credit, strict=False) if c > 0.0]
        if not gained:
            continue
        totals[user] += sum(c for _, c in gained)  # type: ignore[assignment]
        at[user].append(event.impression.served_at)
        for doc, c in gained:
            documents[user][doc] += c  # type: ignore[assignment]
    return {user: _Praise(float(totals[user]), at[user], documents[user]) for user in at}


def _most_in_a_burst(at: list[float]) -> int:
    """Return the most instants that fall within one minute."""
    times = np.sort(at)
    return int((np.searchsorted(times, times + _BURST_S, "left") - np.arange(times.size)).max())


def _is_pushing(one: _Praise) -> bool:
    return len(one.at) >= _PUSHED and one.documents.most_common(1)[0][1] >= _PUSHED_SHARE * one.total
