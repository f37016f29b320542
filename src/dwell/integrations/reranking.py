"""Rows of somebody else's search through a loop: the order to show, and the event id that feedback needs.

As `dwell.integrations.found`, whose reading of features it is, for searches that give a document twice, that may have
no features, or that are awaited.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dwell.errors import ConfigError, DwellError, RecordError
from dwell.integrations.found import Reading
from dwell.records import Served, checks

__all__ = ["Order", "Ranks", "Row", "check_defaults", "names_of", "ordered", "ordered_async"]


class Ranks(Protocol):
    """A loop, a traced loop, a client of a service, or (in `ordered_async` alone) its asynchronous sister."""

    @property
    def rank(self) -> Any:  # noqa: ANN401 - Served, or an awaitable of it
        """As `Loop.rank`."""

    @property
    def log_retrieval(self) -> Any:  # noqa: ANN401 - an event id, or an awaitable of it
        """As `Loop.log_retrieval`."""


class Row(NamedTuple):
    """One document of somebody's search.

    Attributes:
        id: Its id.
        numbers: What is told of it by name; features are looked for here, and None counts as not told. What is told
            as `reciprocal_rank` is 1 / its place instead.
    """

    id: str
    numbers: Mapping[str, object]


class Order(NamedTuple):
    """What to show of some rows.

    Attributes:
        positions: Indices into the rows, the first to show first.
        event_id: What feedback is given to; None where nothing could be recorded.
        fallback: None, or the code of what went wrong: then the rows stand in the order given.
    """

    positions: tuple[int, ...]
    event_id: str | None
    fallback: str | None


def names_of(loop: object, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the registered features, as given or as the loop tells them.

    Raises:
        ConfigError: They are not given, and a client of a service knows none without asking.
        RecordError: A name is no feature's, or this is no loop.
    """
    if not callable(getattr(loop, "rank", None)):
        raise RecordError(
            "a dwell.Loop or a dwell.Client is due here",
            code="type",
            field="loop",
            value=type(loop).__name__,
            hint="Open one with dwell.open, or connect with dwell.Client.",
        )
    if given is not None:
        return checks.feature_names(given) if len(given) else ()
    told = getattr(loop, "feature_columns", None)
    if told is None:
        raise ConfigError(
            "a client does not know the registered features",
            field="features",
            value=None,
            hint="Pass features=[...] with the names that the service was started with.",
        )
    return tuple(told)


def check_defaults(given: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    """Return values for what documents lack.

    Raises:
        ConfigError: One is for a name that is not registered.
        RecordError: One is no finite number.
    """
    found = {name: checks.finite(value, f"defaults.{name}") for name, value in (given or {}).items()}
    for name, value in found.items():
        if name not in names:
            raise ConfigError(
                "a default stands for a feature that is not registered",
                field=f"defaults.{name}",
                value=value,
                hint=f"Registered are {', '.join(names) or 'none'}.",
            )
    return found


def ordered(
    loop: Ranks,
    query: str,
    rows: Sequence[Row],
    *,
    names: Sequence[str],
    k: int,
    defaults: Mapping[str, float] | None = None,
    **how: object,
) -> Order:
    """Return what to show; what goes wrong leaves the rows in their own order, with the reason as a code.

    Without registered features the order is recorded as somebody else's (`log_retrieval`): feedback joins, nothing is
    learned. Of a document that stands twice the first place counts. No rows: nothing is recorded.

    Args:
        loop: A loop, or a client.
        query: What was asked.
        rows: In the order of the search.
        names: Registered features.
        k: Documents to show, >= 1.
        defaults: {feature: value} for what a row does not tell; without one such a list falls back as `feature_schema`.
        how: What else `rank` takes: user, segment, query_embedding, event_id.

    Raises:
        RecordError: `k` is no positive integer; with a strict loop, any bad value.
    """
    checks.positive_integer(k, "k")
    if not rows:
        return Order((), None, None)
    candidates, where = _candidates(rows, names, defaults or {})
    if names:
        return _of_served(loop.rank(query, candidates, k=k, **how), where)
    try:
        return Order(tuple(where.values())[:k], loop.log_retrieval(query, candidates[:k], **how), None)
    except DwellError as error:
        return Order(tuple(where.values())[:k], None, error.code)


async def ordered_async(
    loop: Ranks,
    query: str,
    rows: Sequence[Row],
    *,
    names: Sequence[str],
    k: int,
    defaults: Mapping[str, float] | None = None,
    **how: object,
) -> Order:
    """Return what `ordered` does, without holding up the event loop: a loop is asked in a thread.

    Raises:
        RecordError: As `ordered`.
    """
    if not inspect.iscoroutinefunction(loop.rank):
        return await asyncio.to_thread(ordered, loop, query, rows, names=names, k=k, defaults=defaults, **how)
    checks.positive_integer(k, "k")
    if not rows:
        return Order((), None, None)
    candidates, where = _candidates(rows, names, defaults or {})
    if names:
        return _of_served(await loop.rank(query, candidates, k=k, **how), where)
    try:
        return Order(tuple(where.values())[:k], await loop.log_retrieval(query, candidates[:k], **how), None)
    except DwellError as error:
        return Order(tuple(where.values())[:k], None, error.code)


def _candidates(
    rows: Sequence[Row], names: Sequence[str], defaults: Mapping[str, float]
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Return what a loop takes, and {document id: its first place}."""
    reading = Reading(defaults=defaults)
    where: dict[str, int] = {}
    candidates: list[dict[str, object]] = []
    for i, row in enumerate(rows):
        if row.id not in where:
            candidates.append({"id": row.id, **reading.values(names, row.numbers, position=len(where))})
            where[row.id] = i
    return candidates, where


def _of_served(served: Served, where: Mapping[str, int]) -> Order:
    return Order(tuple(where[doc] for doc in served.ids), served.event_id, served.fallback)
