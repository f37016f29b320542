"""What User Behavior Insights tells of searches and reactions, as frozen values, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Kind", "Refusal", "UbiAnswer", "UbiEvent", "UbiQuery", "UbiReport"]

Kind = Literal["queries", "events"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UbiQuery:
    """One search, as any version of the schema tells it.

    Attributes:
        user_query: What was asked, at most 64 KB; may be empty.
        query_id: The id that reactions name, or None. It is no key: pages and refinements of one search share it.
        at: When it was asked, UTC epoch seconds, or None where it is not told.
        application: Which application asked, or None.
        client_id: The browser or device, or None.
        user_id: The user, or None.
        hits: Object ids in the order returned; empty where they were not told.
        attributes: `query_attributes` as they came, without nulls.
        extra: Every other key as it came, without nulls.
    """

    user_query: str
    query_id: str | None = None
    at: float | None = None
    application: str | None = None
    client_id: str | None = None
    user_id: str | None = None
    hits: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def user(self) -> str | None:
        """Who asked: the user where one is named, else the client."""
        return self.user_id or self.client_id


@dataclass(frozen=True, slots=True, kw_only=True)
class UbiEvent:
    """One reaction, or one object that was shown, as any version of the schema tells it.

    Attributes:
        action_name: What was done.
        at: When, by the sender's clock, UTC epoch seconds.
        query_id: The search that it belongs to, or None.
        application: Which application it happened in, or None.
        client_id: The browser or device, or None.
        user_id: The user, or None.
        session_id: The session, or None.
        user_query: What was asked, where the event repeats it, or None.
        object_id: What it is about, or None.
        ordinal: Place in the list, >= 0, counted from 0 or from 1: see `ordinals`; or None.
        xy: Place on the screen, or None.
        attributes: `event_attributes` as they came, without nulls.
        extra: Every other key as it came, without nulls.
    """

    action_name: str
    at: float
    query_id: str | None = None
    application: str | None = None
    client_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    user_query: str | None = None
    object_id: str | None = None
    ordinal: int | None = None
    xy: tuple[float, float] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def user(self) -> str | None:
        """Who acted: the user where one is named, else the client."""
        return self.user_id or self.client_id


@dataclass(frozen=True, slots=True)
class Refusal:
    """One item that could not be read.

    Attributes:
        index: Its place in what was given, from 0; in a log that is read by line, its line from 1.
        pointer: JSON pointer into the item; "" is the item itself.
        reason: A code, then words. Never the value, which may be somebody's text.
        source: The file that it stands in, or "".
    """

    index: int
    pointer: str
    reason: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UbiReport:
    """What an import found and did.

    Attributes:
        n_queries: Queries that could be read, repeats included.
        n_events: Events that could be read, repeats included.
        n_quarantined: Items that could not be read.
        quarantined: The first 1,000 of them.
        normalised: {name: how often} of everything that was read although no schema allows it.
        n_duplicates: Events of the same client, action, object, list and instant as one before.
        n_joins: Events whose query is among those given.
        n_without_query_id: Events that name no query: nothing can be joined to them.
        n_negative_delays: Events that happened before the list that they belong to, by the clocks of the senders.
        n_too_early: Of these, those that were further before it than a clock may be wrong: left out.
        ordinal_bases: {application: {"0", "1" or "undecided": queries whose impressions count from there}}.
        n_repeated_query_ids: Query ids that stand in more than one query.
        n_split_query_ids: Query ids with more than one list; the second list is the event `<query_id>.2`, and so on.
        n_lists: Lists recorded now.
        n_lists_known: Lists that the store had already.
        n_lists_without_features: Of those recorded now, the ones that nothing can be learned from.
        n_lists_rebuilt: Lists among both that were put together from impressions, for want of a list of hits.
        n_rebuilt_gaps: Places of the rebuilt lists that no impression tells.
        n_queries_without_list: Query ids with neither hits nor impressions.
        refused_lists: {code: lists that the loop refused}.
        feedback: {what became of a reaction: how many}.
        unknown_actions: {action: how many} that no signal is declared for.
        n_erased: Lists and reactions of users who were erased: left out.
    """

    n_queries: int = 0
    n_events: int = 0
    n_quarantined: int = 0
    quarantined: tuple[Refusal, ...] = ()
    normalised: Mapping[str, int] = field(default_factory=dict)
    n_duplicates: int = 0
    n_joins: int = 0
    n_without_query_id: int = 0
    n_negative_delays: int = 0
    n_too_early: int = 0
    ordinal_bases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    n_repeated_query_ids: int = 0
    n_split_query_ids: int = 0
    n_lists: int = 0
    n_lists_known: int = 0
    n_lists_without_features: int = 0
    n_lists_rebuilt: int = 0
    n_rebuilt_gaps: int = 0
    n_queries_without_list: int = 0
    refused_lists: Mapping[str, int] = field(default_factory=dict)
    feedback: Mapping[str, int] = field(default_factory=dict)
    unknown_actions: Mapping[str, int] = field(default_factory=dict)
    n_erased: int = 0

    @property
    def n_accepted(self) -> int:
        """Items that could be read."""
        return self.n_queries + self.n_events


@dataclass(frozen=True, slots=True, kw_only=True)
class UbiAnswer:
    """What became of one request: `accepted` and the length of `quarantined` add up to the items sent.

    Attributes:
        accepted: Items that could be read.
        normalised: {name: how often} of everything that was read although no schema allows it.
        quarantined: Items that could not be read.
        outcomes: {what became of an accepted item: how many}; they add up to `accepted`.
    """

    accepted: int
    normalised: Mapping[str, int]
    quarantined: tuple[Refusal, ...]
    outcomes: Mapping[str, int]
