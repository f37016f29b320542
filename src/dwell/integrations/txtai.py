"""txtai: a search over its embeddings in a learned order. Nothing of txtai is imported: its objects are given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from dwell.errors import ConfigError, RecordError
from dwell.integrations.reranking import Order, Ranks, Row, check_defaults, names_of, ordered, ordered_async
from dwell.records import checks

__all__ = ["Found", "Searched", "searched"]

_LIMIT: Final = 3  # as `Embeddings.search`
_N_CANDIDATES: Final = 20  # as many as a loop learns from by default (`max_results`)


class Found(NamedTuple):
    """What a search found.

    Attributes:
        results: What `Embeddings.search` gave, in the order to show, shape unchanged.
        event_id: What feedback is given to; None where nothing was found or recorded.
        fallback: None, or the code of what went wrong: then the order is txtai's.
    """

    results: list[Any]
    event_id: str | None
    fallback: str | None = None


class Searched:
    """A search of txtai through a loop; made by `searched`."""

    def __init__(
        self,
        embeddings: Any,  # noqa: ANN401 - of txtai
        loop: Ranks,
        *,
        n_candidates: int,
        names: tuple[str, ...],
        defaults: Mapping[str, float],
    ) -> None:
        self._embeddings = embeddings
        self._loop = loop
        self._n_candidates = n_candidates
        self._names = names
        self._defaults = defaults

    def search(
        self,
        query: str,
        limit: int = _LIMIT,
        *,
        user: str | None = None,
        segment: str | None = None,
        event_id: str | None = None,
        **how: Any,  # noqa: ANN401 - what else `Embeddings.search` takes
    ) -> Found:
        """Return what to show; whatever goes wrong within the loop, the first of what txtai found.

        Args:
            query: A question, or SQL with its own LIMIT, which then bounds the candidates.
            limit: Results to return, >= 1.
            user: Who asks; only a pseudonym is kept.
            segment: Group of queries.
            event_id: Your own id of the list.
            how: `weights`, `index`, `parameters` of `Embeddings.search`.

        Raises:
            RecordError: `limit` is no positive integer, or a result has no id: SQL must select it.
        """
        results = self._asked(query, limit, how)
        asked = {"user": user, "segment": segment, "event_id": event_id}
        found = ordered(self._loop, query, _rows(results), names=self._names, k=limit, defaults=self._defaults, **asked)
        return _found(results, found)

    async def asearch(
        self,
        query: str,
        limit: int = _LIMIT,
        *,
        user: str | None = None,
        segment: str | None = None,
        event_id: str | None = None,
        **how: Any,  # noqa: ANN401 - what else `Embeddings.search` takes
    ) -> Found:
        """Return what `search` does; txtai, which knows no asyncio, searches in a thread.

        Raises:
            RecordError: As `search`.
        """
        results = await asyncio.to_thread(self._asked, query, limit, how)
        asked = {"user": user, "segment": segment, "event_id": event_id}
        found = await ordered_async(
            self._loop, query, _rows(results), names=self._names, k=limit, defaults=self._defaults, **asked
        )
        return _found(results, found)

    def _asked(self, query: str, limit: int, how: Mapping[str, Any]) -> list[Any]:
        n = max(checks.positive_integer(limit, "limit"), self._n_candidates)
        return list(self._embeddings.search(query, n, **how))


def searched(
    embeddings: Any,  # noqa: ANN401 - of txtai
    loop: Ranks,
    *,
    n_candidates: int = _N_CANDIDATES,
    features: Sequence[str] | None = None,
    defaults: Mapping[str, float] | None = None,
) -> Searched:
    """Return a search that asks txtai for candidates and shows them in the learned order.

    Features are looked for among a result's `score`, its other numbers where the index has a database and the query
    selects them, and `reciprocal_rank`, 1 / its place.

    Args:
        embeddings: A `txtai.Embeddings`, or whatever has its `search(query, limit)`.
        loop: An open loop, or a client of a service.
        n_candidates: Results to ask txtai for, where that is more than the limit.
        features: Registered features; the loop's own when not given. A client's must be given.
        defaults: {feature: value} for results that lack it.

    Raises:
        ConfigError: There is nothing to search with, or a client came without features.
        RecordError: `n_candidates` is no positive integer.
    """
    if not callable(getattr(embeddings, "search", None)):
        raise ConfigError(
            "embeddings have a search", field="embeddings", value=type(embeddings).__name__, hint="Pass a txtai index."
        )
    names = names_of(loop, features)
    return Searched(
        embeddings,
        loop,
        n_candidates=checks.positive_integer(n_candidates, "n_candidates"),
        names=names,
        defaults=check_defaults(defaults, names),
    )


def _rows(results: Sequence[Any]) -> list[Row]:
    rows = []
    for i, one in enumerate(results):
        told = one if isinstance(one, Mapping) else dict(zip(("id", "score"), one, strict=False))
        doc = told.get("id")
        if doc is None or isinstance(doc, bool):
            raise RecordError(
                "a result has no id",
                code="results_shape",
                field=f"results[{i}].id",
                value=None,
                hint="Select it: select id, text, score from txtai where similar(...).",
            )
        rows.append(Row(str(doc), told))
    return rows


def _found(results: Sequence[Any], order: Order) -> Found:
    return Found([results[i] for i in order.positions], order.event_id, order.fallback)
