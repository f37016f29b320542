"""LangGraph: any of its stores, searched in a learned order, with feedback (extra `langgraph`)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations.items import drop, numbers_in, recency
from dwell.integrations.reranking import Order, Ranks, Row, check_defaults, names_of, ordered, ordered_async
from dwell.records import Feedback, checks
from dwell.reward.provenance import Provenance, named_by

try:
    from langgraph.store.base import BaseStore, Item, Op, PutOp, Result, SearchItem, SearchOp
except ImportError as _error:  # a store is a class of LangGraph's: there is none without it
    raise MissingDependencyError(
        "langgraph-checkpoint is not installed", hint="pip install 'dwell[langgraph]'"
    ) from _error

__all__ = ["DwellStore", "RecalledItem", "doc_id"]

_N_CANDIDATES: Final = 20  # as many as a loop learns from by default (`max_results`)

Namespace = tuple[str, ...]


class RecalledItem(SearchItem):
    """What a search found: LangGraph's own item, its value and score untouched, and the list that it stood in.

    Attributes:
        event_id: What feedback is given to; None where nothing could be recorded.
        fallback: None, or the code of what went wrong: then the order is the store's.
    """

    __slots__ = ("event_id", "fallback")

    def __init__(self, found: SearchItem, event_id: str | None, fallback: str | None = None) -> None:
        super().__init__(found.namespace, found.key, found.value, found.created_at, found.updated_at, found.score)
        self.event_id = event_id
        self.fallback = fallback

    def dict(self) -> dict[str, Any]:
        """Return it as plain values, the event id and `fallback` among them."""
        return {**super().dict(), "event_id": self.event_id, "fallback": self.fallback}


def doc_id(namespace: Sequence[str], key: str) -> str:
    """Return the id by which the loop knows an item: a digest, for namespaces often name users."""
    return hashlib.blake2b(json.dumps([*namespace, key]).encode(), digest_size=16).hexdigest()


class DwellStore(BaseStore):
    """A store around another one: what is searched with a query comes in the learned order, all else is as there.

    Features are looked for among an item's `score` by the store, the numbers in its value, `recency` (-log2(1 + days
    since it changed)) and `reciprocal_rank`, 1 / its place. Only first pages are ranked: from the second on (`offset`)
    they are the store's own.

    Args:
        store: An `InMemoryStore`, `PostgresStore`, or any other.
        loop: An open loop, or a client of a service.
        n_candidates: Items to ask the store for, where that is more than the limit.
        features: Registered features; the loop's own when not given. A client's must be given.
        defaults: {feature: value} for items that lack it.
        user_of: Says who asks, by the namespace that is searched; the loop keeps a pseudonym. None: nobody is known.

    Raises:
        ConfigError: This is no store, or a client came without features.
        RecordError: `n_candidates` is no positive integer.
    """

    def __init__(
        self,
        store: BaseStore,
        loop: Ranks,
        *,
        n_candidates: int = _N_CANDIDATES,
        features: Sequence[str] | None = None,
        defaults: Mapping[str, float] | None = None,
        user_of: Callable[[Namespace], str | None] | None = None,
    ) -> None:
        if not isinstance(store, BaseStore):
            raise ConfigError(
                "this is no store of LangGraph", field="store", value=type(store).__name__, hint="Pass a BaseStore."
            )
        self._store = store
        self._loop: Any = loop
        self._n_candidates = checks.positive_integer(n_candidates, "n_candidates")
        self._names = names_of(loop, features)
        self._defaults = check_defaults(defaults, self._names)
        self._user_of = user_of
        self.supports_ttl = store.supports_ttl
        self.ttl_config = store.ttl_config

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Return what the store answers, searches in the learned order; deleted items lose their activation.

        Raises:
            RecordError: With a strict loop, whatever is malformed.
        """
        given = list(ops)
        results = self._store.batch([self._wider(op) for op in given])
        for i, op in enumerate(given):
            asked = self._asked(op, results[i])
            if asked is not None:
                order = ordered(self._loop, asked.query, asked.rows, names=self._names, k=asked.k, **asked.how)
                results[i] = _shown(asked, order)
        drop(self._loop, _deleted(given))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Return what `batch` does, without holding up the event loop.

        Raises:
            RecordError: As `batch`.
        """
        given = list(ops)
        results = await self._store.abatch([self._wider(op) for op in given])
        for i, op in enumerate(given):
            asked = self._asked(op, results[i])
            if asked is not None:
                order = await ordered_async(
                    self._loop, asked.query, asked.rows, names=self._names, k=asked.k, **asked.how
                )
                results[i] = _shown(asked, order)
        deleted = _deleted(given)
        if deleted:
            await asyncio.to_thread(drop, self._loop, deleted)
        return results

    def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        item: Item | None = None,
        value: float = 1.0,
        by: Provenance = "person",
        idempotency_key: str | None = None,
    ) -> Feedback:
        """Return what became of one reaction.

        Args:
            event_id: The list: `RecalledItem.event_id`.
            signal: "used", "helpful", "contradicted"... as the loop's rewards declare it.
            item: The item that it is about, or None for the whole list.
            value: Its value.
            by: "person", or "agent" for what an agent says of its own work: the signal `agent_<name>`.
            idempotency_key: The caller's key for retries.

        Raises:
            RecordError: `by` is neither, or `item` is no item: its key alone does not tell the namespace.
        """
        if item is not None and not isinstance(item, Item):
            raise RecordError(
                "an item of the store is due here",
                code="type",
                field="item",
                value=type(item).__name__,
                hint="Pass what a search found, or store.get(namespace, key).",
            )
        doc = None if item is None else doc_id(item.namespace, item.key)
        named = named_by(signal, by)
        told: Feedback = self._loop.feedback(event_id, named, doc=doc, value=value, idempotency_key=idempotency_key)
        return told

    def _wider(self, op: Op) -> Op:
        """Return an operation that asks for candidates where it asks for what is shown."""
        if not isinstance(op, SearchOp) or not _is_ranked(op):
            return op
        return op._replace(limit=max(op.limit, self._n_candidates))

    def _asked(self, op: Op, found: Result) -> _Asked | None:
        if not isinstance(op, SearchOp) or not _is_ranked(op) or not isinstance(found, list):
            return None
        items = [one for one in found if isinstance(one, SearchItem)]
        now = time.time()
        rows = [Row(doc_id(one.namespace, one.key), _numbers(one, now)) for one in items]
        user = None if self._user_of is None else self._user_of(op.namespace_prefix)
        return _Asked(op.query or "", items, rows, op.limit, {"defaults": self._defaults, "user": user})


class _Asked(NamedTuple):
    """A search that is to be ranked."""

    query: str
    items: list[SearchItem]
    rows: list[Row]
    k: int
    how: dict[str, Any]


def _is_ranked(op: SearchOp) -> bool:
    return bool(op.query) and op.offset == 0 and op.limit > 0


def _numbers(item: SearchItem, now: float) -> dict[str, object]:
    return {**numbers_in(item.value), **recency(item.updated_at, now), "score": item.score}


def _deleted(ops: Sequence[Op]) -> list[str]:
    return [doc_id(op.namespace, op.key) for op in ops if isinstance(op, PutOp) and op.value is None]


def _shown(asked: _Asked, order: Order) -> list[SearchItem]:
    return [RecalledItem(asked.items[i], order.event_id, order.fallback) for i in order.positions]
