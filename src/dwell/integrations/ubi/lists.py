"""Which lists the queries and impressions of one query id tell of, what they are called, and who reacted to which.

A query id is no key: pages, refinements and repeats of a search share it. A list is known by what was asked and what
was returned. The first list of a query id is the event of that name, the second one `<query_id>.2`, and so on, in the
order in which they were served; a name once given in a store stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from dwell.errors import RecordError
from dwell.integrations.ubi.ordinals import Base
from dwell.integrations.ubi.records import UbiEvent, UbiQuery
from dwell.loop.recorded import RecordedList
from dwell.records import checks

__all__ = [
    "MAX_LISTS",
    "Chosen",
    "Named",
    "UbiList",
    "choose",
    "lists_of",
    "name_lists",
    "names_of",
    "safe_event_id",
    "segment_of",
]

MAX_LISTS: Final = 100  # per query id: a page for each of the first hundred; beyond it the id says nothing
_LONGEST_ID: Final = 128 - len(f".{MAX_LISTS}")  # room for the number of the list
SEGMENT: Final = "dwell.segment"


@dataclass(frozen=True, slots=True, kw_only=True)
class UbiList:
    """A list that was served.

    Attributes:
        query: What was asked.
        user: Who asked, or None.
        at: When it was served, UTC epoch seconds, or None where nothing tells it.
        documents: Object ids in order, each once.
        segment: Group of queries, or None.
        is_rebuilt: Whether it was put together from impressions.
        n_gaps: Places of a rebuilt list that no impression tells.
    """

    query: str
    user: str | None
    at: float | None
    documents: tuple[str, ...]
    segment: str | None = None
    is_rebuilt: bool = False
    n_gaps: int = 0


class Named(NamedTuple):
    """A list with its name.

    Attributes:
        event_id: The name.
        at: When it was served.
        documents: Object ids in order.
        new: What to record, or None where the store holds it.
    """

    event_id: str
    at: float
    documents: tuple[str, ...]
    new: UbiList | None


class Chosen(NamedTuple):
    """The list that a reaction belongs to.

    Attributes:
        event_id: The list.
        delay_s: Seconds from the list to the reaction, negative where the clocks disagree.
    """

    event_id: str
    delay_s: float


def safe_event_id(query_id: str) -> str:
    """Return the event id for a query id: itself where it can be one, else `ubi:` and a digest of it."""
    if len(query_id) <= _LONGEST_ID:
        try:
            return checks.event_id(query_id)
        except RecordError:
            pass
    return f"ubi:{hashlib.blake2b(query_id.encode(), digest_size=16).hexdigest()}"


def names_of(query_id: str) -> Iterator[str]:
    """Yield the event ids that the lists of a query id may have, in order."""
    first = safe_event_id(query_id)
    yield first
    yield from (f"{first}.{n}" for n in range(2, MAX_LISTS + 1))


def lists_of(queries: Sequence[UbiQuery], impressions: Sequence[UbiEvent], base: Base | None) -> list[UbiList]:
    """Return the lists of one query id, in the order served.

    Every different pair of question and hits is a list. Without any hits, lists are put together from impressions: by
    place, and a new one wherever another object stands in a place that is taken.

    Args:
        queries: The queries of this id, in time order, those without an instant first.
        impressions: Its impressions, in time order.
        base: From where its places are counted, for the gaps; None counts only those between them.
    """
    found: dict[tuple[str, tuple[str, ...]], UbiList] = {}
    for query in queries:
        key = (query.user_query, query.hits)
        if query.hits and key not in found:
            found[key] = UbiList(
                query=query.user_query, user=query.user, at=query.at, documents=query.hits, segment=segment_of(query)
            )
    return list(found.values()) if found or not queries else _rebuilt(queries, impressions, base)


def segment_of(query: UbiQuery) -> str | None:
    """Return the segment that an export of ours wrote beside a query, or None."""
    given = query.attributes.get(SEGMENT)
    try:
        return checks.optional_identifier(given, SEGMENT)
    except RecordError:
        return None


def _rebuilt(queries: Sequence[UbiQuery], impressions: Sequence[UbiEvent], base: Base | None) -> list[UbiList]:
    """Return lists put together from what was seen."""
    lists: list[UbiList] = []
    used: set[int] = set()
    for seen in _runs(impressions):
        began_at = seen[0].at
        before = [i for i, query in enumerate(queries) if query.at is None or query.at <= began_at]
        i = before[-1] if before else 0
        query = queries[i]
        placed = sorted((e for e in seen if e.ordinal is not None), key=lambda e: e.ordinal or 0)
        others = [e for e in seen if e.ordinal is None]
        documents = tuple(dict.fromkeys(e.object_id for e in (*placed, *others) if e.object_id is not None))
        lists.append(
            UbiList(
                query=query.user_query,
                user=query.user or seen[0].user,
                at=began_at if query.at is None or i in used else query.at,
                documents=documents,
                segment=segment_of(query),
                is_rebuilt=True,
                n_gaps=_gaps([e.ordinal for e in placed if e.ordinal is not None], base),
            )
        )
        used.add(i)
    return lists


def _runs(impressions: Sequence[UbiEvent]) -> list[list[UbiEvent]]:
    """Return impressions in runs without two objects in one place; an object seen again adds nothing."""
    runs: list[list[UbiEvent]] = []
    places: dict[int, str] = {}
    objects: set[str] = set()
    for event in impressions:
        if event.object_id is None:
            continue
        is_taken = event.ordinal is not None and places.get(event.ordinal, event.object_id) != event.object_id
        if not runs or is_taken:
            runs.append([])
            places, objects = {}, set()
        if event.ordinal is not None:
            places.setdefault(event.ordinal, event.object_id)
        if event.object_id not in objects:
            objects.add(event.object_id)
            runs[-1].append(event)
    return runs


def _gaps(places: Sequence[int], base: Base | None) -> int:
    if not places:
        return 0
    first = min(places) if base is None else min(base, *places)
    return max(places) - first + 1 - len(set(places))


def name_lists(
    query_id: str, lists: Sequence[UbiList], known: Sequence[RecordedList], now: float
) -> tuple[list[Named], int]:
    """Return the lists of a query id by name, those that the store holds first, and how many found no name left.

    A list is known where the store holds the same question and documents under one of the names. A list that the loop
    ranked itself under this query id is known by any document in common: what is told of it elsewhere is a part of it.

    Args:
        query_id: Their query id.
        lists: What is told, in the order served.
        known: What the store holds under its names, in the order of the names.
        now: When a list counts as served of which nothing tells the instant.
    """
    named = [Named(one.event_id, one.served_at, one.shown, None) for one in known]
    new = [one for one in lists if not any(_is_same(one, held) for held in known)]
    free = list(islice(names_of(query_id), len(known), len(known) + len(new)))
    named += [
        Named(event_id, now if one.at is None else one.at, one.documents, one)
        for event_id, one in zip(free, new, strict=False)
    ]
    return named, max(len(new) - len(free), 0)


def _is_same(told: UbiList, held: RecordedList) -> bool:
    if held.policy != "external":
        return not set(held.shown).isdisjoint(told.documents)
    return held.query == told.query and held.shown == told.documents


def choose(object_id: str | None, at: float, lists: Sequence[Named]) -> Chosen:
    """Return which of several lists of a query id a reaction belongs to.

    Among those that hold its object (all, where none does or it names none): the last one served before it; where it
    was before them all, the first one.

    Args:
        object_id: What it is about, or None.
        at: When it happened.
        lists: At least one.
    """
    holding = [one for one in lists if object_id is None or object_id in one.documents] or list(lists)
    before = [one for one in holding if one.at <= at]
    found = max(before, key=lambda one: one.at) if before else min(holding, key=lambda one: one.at)
    return Chosen(found.event_id, at - found.at)
