"""mem0: its memories in a learned order, with feedback. Nothing of mem0 is imported: its object is given."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dwell.errors import ConfigError
from dwell.integrations.items import drop, numbers_in, recency
from dwell.integrations.reranking import Order, Ranks, Row, check_defaults, names_of, ordered, ordered_async
from dwell.records import Feedback, checks
from dwell.reward.provenance import Provenance, named_by

__all__ = ["DwellMem0"]

_TOP_K: Final = 20  # as `Memory.search` of mem0, and as many as a loop learns from by default (`max_results`)
_MOST_LISTED: Final = 10_000  # memories of one user whose activation is dropped with them


class DwellMem0:
    """A memory of mem0 whose searches go through a loop; every other call is mem0's own.

    Features are looked for among a memory's `score`, the numbers in its metadata, `recency` (-log2(1 + days since it
    changed)) and `reciprocal_rank`, 1 / its place.

    Args:
        memory: A `mem0.Memory`, or a `mem0.AsyncMemory` for the calls that begin with an a.
        loop: An open loop, or a client of a service.
        n_candidates: Memories to ask mem0 for, where that is more than what is to be shown.
        features: Registered features; the loop's own when not given. A client's must be given.
        defaults: {feature: value} for memories that lack it.

    Raises:
        ConfigError: There is nothing to search with, or a client came without features.
        RecordError: `n_candidates` is no positive integer.
    """

    def __init__(
        self,
        memory: Any,  # noqa: ANN401 - of mem0
        loop: Ranks,
        *,
        n_candidates: int = _TOP_K,
        features: Sequence[str] | None = None,
        defaults: Mapping[str, float] | None = None,
    ) -> None:
        if not callable(getattr(memory, "search", None)):
            raise ConfigError(
                "a memory has a search", field="memory", value=type(memory).__name__, hint="Pass a mem0.Memory."
            )
        self._memory = memory
        self._loop: Any = loop
        self._n_candidates = checks.positive_integer(n_candidates, "n_candidates")
        self._names = names_of(loop, features)
        self._defaults = check_defaults(defaults, self._names)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever mem0 has
        """Return what mem0 has of that name: `add`, `get`, `get_all`, `update`, `history`..."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._memory, name)

    def search(
        self,
        query: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        top_k: int | None = None,
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
        user: str | None = None,
        event_id: str | None = None,
        now: float | None = None,
        **how: Any,  # noqa: ANN401 - what else mem0's search takes
    ) -> dict[str, Any]:
        """Return `{"results": [...], "event_id": ..., "fallback": ...}`: mem0's own results in the order to show.

        Whatever goes wrong within the loop, they are the first ones in mem0's order, and `fallback` is the code.

        Args:
            query: The question.
            user_id: Whose memories; a filter, as mem0 2 has it.
            agent_id: Of which agent.
            run_id: Of which run.
            top_k: Memories to return, >= 1; 20 when not given.
            limit: The same, by mem0's older name.
            filters: mem0's; may name the three ids in place of the arguments.
            user: Who asks, where that is not `user_id`; the loop keeps a pseudonym.
            event_id: Your own id of the list.
            now: When, UTC epoch seconds.
            how: `threshold`, `rerank`, and whatever else mem0 takes.

        Raises:
            RecordError: The number of memories is no positive integer.
        """
        k, scope = _k(top_k, limit), _scope(filters, user_id, agent_id, run_id)
        moment = _moment(now)
        found = self._memory.search(query, **self._asked(k, scope, how))
        rows = _rows(found, moment)
        asked = self._said(scope, user, event_id, now)
        order = ordered(self._loop, query, rows, names=self._names, k=k, defaults=self._defaults, **asked)
        return _shown(found, order)

    async def asearch(
        self,
        query: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        top_k: int | None = None,
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
        user: str | None = None,
        event_id: str | None = None,
        now: float | None = None,
        **how: Any,  # noqa: ANN401 - what else mem0's search takes
    ) -> dict[str, Any]:
        """Return what `search` does; a memory that is not asynchronous is asked in a thread.

        Raises:
            RecordError: As `search`.
        """
        k, scope = _k(top_k, limit), _scope(filters, user_id, agent_id, run_id)
        moment = _moment(now)
        found = await _called(self._memory.search, query, **self._asked(k, scope, how))
        rows = _rows(found, moment)
        asked = self._said(scope, user, event_id, now)
        order = await ordered_async(self._loop, query, rows, names=self._names, k=k, defaults=self._defaults, **asked)
        return _shown(found, order)

    def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        memory_id: str | None = None,
        value: float = 1.0,
        by: Provenance = "person",
        idempotency_key: str | None = None,
    ) -> Feedback:
        """Return what became of one reaction.

        Args:
            event_id: The list, as `search` named it.
            signal: "used", "helpful", "contradicted"... as the loop's rewards declare it.
            memory_id: The memory that it is about, or None for the whole list.
            value: Its value.
            by: "person", or "agent" for what an agent says of its own work: the signal `agent_<name>`.
            idempotency_key: The caller's key for retries.

        Raises:
            RecordError: `by` is neither.
        """
        named = named_by(signal, by)
        told: Feedback = self._loop.feedback(
            event_id, named, doc=memory_id, value=value, idempotency_key=idempotency_key
        )
        return told

    def delete(self, memory_id: str) -> Any:  # noqa: ANN401 - mem0's answer
        """Delete a memory, and its activation; return mem0's answer."""
        answer = self._memory.delete(memory_id)
        drop(self._loop, [memory_id])
        return answer

    async def adelete(self, memory_id: str) -> Any:  # noqa: ANN401 - mem0's answer
        """Do as `delete`."""
        answer = await _called(self._memory.delete, memory_id)
        await asyncio.to_thread(drop, self._loop, [memory_id])
        return answer

    def delete_all(self, user_id: str | None = None, agent_id: str | None = None, run_id: str | None = None) -> Any:  # noqa: ANN401 - mem0's answer
        """Delete memories with their activation; of a whole user, also all that the loop has on record of it.

        Raises:
            StorageError: mem0 has deleted them, and the loop could not: call again.
        """
        scope = _scope(None, user_id, agent_id, run_id)
        ids = [row.id for row in _rows(self._listed(scope), 0.0)] if scope else []
        answer = self._memory.delete_all(user_id=user_id, agent_id=agent_id, run_id=run_id)
        if user_id is not None and agent_id is None and run_id is None and hasattr(self._loop, "erase"):
            self._loop.erase(user_id)  # takes away what these events added; so their items go after it
        drop(self._loop, ids)
        return answer

    def _listed(self, scope: Mapping[str, Any]) -> Any:  # noqa: ANN401 - mem0's answer
        if "filters" in inspect.signature(self._memory.get_all).parameters:
            return self._memory.get_all(filters=dict(scope), top_k=_MOST_LISTED)
        return self._memory.get_all(**scope, limit=_MOST_LISTED)

    def _asked(self, k: int, scope: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
        n = max(k, self._n_candidates)
        if "top_k" in inspect.signature(self._memory.search).parameters:
            return {"top_k": n, "filters": dict(scope), **how}
        ids = {name: scope[name] for name in _IDS if name in scope}
        rest = {name: value for name, value in scope.items() if name not in ids}
        return {"limit": n, **ids, **({"filters": rest} if rest else {}), **how}

    def _said(
        self, scope: Mapping[str, Any], user: str | None, event_id: str | None, now: float | None
    ) -> dict[str, Any]:
        who = user if user is not None else scope.get("user_id")
        return {"user": who if isinstance(who, str) else None, "event_id": event_id, "now": now}


_IDS: Final = ("user_id", "agent_id", "run_id")


def _moment(now: float | None) -> float:
    return time.time() if now is None else checks.timestamp(now, "now")


def _k(top_k: int | None, limit: int | None) -> int:
    given = limit if top_k is None else top_k
    return checks.positive_integer(_TOP_K if given is None else given, "limit" if top_k is None else "top_k")


def _scope(
    filters: Mapping[str, Any] | None, user_id: str | None, agent_id: str | None, run_id: str | None
) -> dict[str, Any]:
    ids = {"user_id": user_id, "agent_id": agent_id, "run_id": run_id}
    return {**(filters or {}), **{name: value for name, value in ids.items() if value is not None}}


async def _called(call: Any, *args: Any, **how: Any) -> Any:  # noqa: ANN401 - of mem0
    if inspect.iscoroutinefunction(call):
        return await call(*args, **how)
    return await asyncio.to_thread(call, *args, **how)


def _results(found: Any) -> list[Any]:  # noqa: ANN401 - mem0's answer
    return list(found.get("results", ())) if isinstance(found, Mapping) else list(found)


def _rows(found: Any, now: float) -> list[Row]:  # noqa: ANN401 - mem0's answer
    rows = []
    for one in _results(found):
        beside = one.get("metadata")
        numbers = numbers_in(beside) if isinstance(beside, Mapping) else {}
        changed = one.get("updated_at") or one.get("created_at")
        rows.append(Row(str(one["id"]), {**numbers, **recency(changed, now), "score": one.get("score")}))
    return rows


def _shown(found: Any, order: Order) -> dict[str, Any]:  # noqa: ANN401 - mem0's answer
    results = _results(found)
    beside = dict(found) if isinstance(found, Mapping) else {}
    shown = [results[i] for i in order.positions]
    return {**beside, "results": shown, "event_id": order.event_id, "fallback": order.fallback}
