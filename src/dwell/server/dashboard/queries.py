"""Queries: most asked, worst, ignored, with hardly any results, and those whose order learning has changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
from starlette.responses import Response

from dwell.errors import RecordError
from dwell.loop.rows import aligned_features
from dwell.ranking import kendall_tau, order_of
from dwell.records import Impression, Params
from dwell.records.arrays import IntArray
from dwell.server.dashboard.asked import Group, by_place, groups_of, worst_first
from dwell.server.dashboard.charts import whisker
from dwell.server.dashboard.ledger import standing_of
from dwell.server.dashboard.visit import Visit
from dwell.server.recent_lists import MOST_LISTS, RecentLists
from dwell.storage import Reader

__all__ = ["Change", "change_of", "show"]

_MOST: Final = 15
_MOST_COMPARED: Final = 60  # most asked queries whose orders are compared: 20 ms
_FEW_CANDIDATES: Final = 3


class Change(NamedTuple):
    """How differently two versions order the documents of one list.

    Attributes:
        group: The query.
        tau: Kendall's tau of the two orders: 1 the same, -1 turned round.
        n: Documents ordered.
        first_now: The document that is first by the live params.
        first_then: The one that was first by the others.
    """

    group: Group
    tau: float
    n: int
    first_now: str
    first_then: str


async def show(visit: Visit) -> Response:
    """Show what was asked lately."""
    against = "previous" if visit.asked("against") == "previous" else "start"
    recent = visit.house.recent.setdefault(visit.tenant, RecentLists.empty())
    return await visit.show("queries.html", partial(_context, visit, against, recent), stamp=str(len(recent.known)))


def _context(visit: Visit, against: str, recent: RecentLists) -> Mapping[str, Any]:
    loop = visit.loop
    loop.refresh()
    live, other = loop.params, _other(visit, against)
    with loop.facts() as reader:
        looked = recent.look(reader, loop.rewards, loop._state.identity.naming_salt)  # noqa: SLF001 - names are told
        groups = groups_of(looked.lists)
        changes = [] if other is None else _changes(reader, groups[:_MOST_COMPARED], live, other)
    rewards = [seen.reward for seen in looked.lists if seen.reward is not None]
    places = by_place(looked.lists)
    middle = fmean(rewards) if rewards else None
    return {
        "n_lists": len(looked.lists),
        "n_left": looked.n_left,
        "most_lists": MOST_LISTS,
        "n_queries": len(groups),
        "n_over": len(rewards),
        "n_reacted": sum(bool(seen.signals) for seen in looked.lists),
        "mean": middle,
        "frequent": groups[:_MOST],
        "worst": [
            (group, mean, whisker(mean.value, mean.low, mean.high, 1.0), middle is not None and mean.high < middle)
            for group, mean in worst_first(groups, most=_MOST)
        ],
        "ignored": [group for group in groups if group.is_ignored][:_MOST],
        "scarce": [group for group in groups if group.fewest <= _FEW_CANDIDATES][:_MOST],
        "few": _FEW_CANDIDATES,
        "places": places,
        "highest": max((at.share for at in places), default=0.0) or 1.0,
        "changes": sorted(changes, key=lambda change: change.tau)[:_MOST],
        "n_compared": len(changes),
        "against": against,
        "live": live.version,
        "other": None if other is None else other.version,
    }


def _other(visit: Visit, against: str) -> Params | None:
    """Return the version that the live one is compared with: what was live before it, or the first of all."""
    loop = visit.loop
    live = loop.params
    if against == "previous":
        decision = standing_of(live.version, loop.history()).decision
        wanted = None if decision is None else decision.safe_version
    else:
        with loop.facts() as reader:
            wanted = min(reader.params_versions(), default=None)
    if wanted is None or wanted == live.version:
        return None
    try:
        return loop.version(wanted)
    except RecordError:
        return None


def _changes(reader: Reader, groups: Sequence[Group], live: Params, other: Params) -> list[Change]:
    newest = {group.newest.seq: group for group in groups if group.newest.has_features}
    found = (change_of(newest[i.seq], i, live, other) for i in reader.impressions(list(newest)))
    return [change for change in found if change is not None]


def change_of(group: Group, impression: Impression, live: Params, other: Params) -> Change | None:
    """Return how differently two versions order the documents of a list; None where either can not score them.

    Params without weights stand for the caller's order.

    Args:
        group: The query.
        impression: Its list.
        live: The params in force.
        other: Those that they are compared with.
    """
    if not impression.has_features or len(impression.documents) < 2:
        return None
    try:
        now, then = _order(impression, live), _order(impression, other)
    except RecordError:
        return None  # an embedding of another size than theirs
    documents = impression.documents
    return Change(group, kendall_tau(then, now), len(now), documents[int(now[0])], documents[int(then[0])])


def _order(impression: Impression, params: Params) -> IntArray:
    callers = impression.document_scores
    if not params.weights:
        return np.argsort(callers, kind="stable")
    embedding = impression.query_embedding if params.by_query is not None else None
    features = aligned_features(impression, params.feature_names)
    return order_of(params.score(features, segment=impression.segment, query_embedding=embedding), callers)
