"""Sources and a loop as one search: gather candidates, rank them, hand back the list and its documents."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from dwell.errors import StoreBusyError
from dwell.records import Served, checks
from dwell.retrieval.gathering import DEADLINE_S, awaited, check_deadline, gathered
from dwell.retrieval.hybrid import Gathered, Start, declared_names, filling, reciprocal_rank_fusion
from dwell.retrieval.sources import CandidateSource, Filters, Found

__all__ = ["Answer", "HybridRetriever", "Ranks"]

#: Calls that one source may have under way: beyond, it hangs, and more threads would only wait with them.
#: A choice: as many as Python's own pool has on four cores.
_MAX_UNDER_WAY: Final = 8


class Ranks(Protocol):
    """What orders candidates: a `dwell.Loop` or a `dwell.Client`."""

    def rank(self, query: str, *args: Any, **kwargs: Any) -> Served:  # noqa: ANN401 - so every such signature fits
        """Return which candidates to show, in which order; arguments as `Loop.rank` has them."""
        ...


class Answer(NamedTuple):
    """What to show for one search.

    Attributes:
        served: The list, with the event id that feedback is given to; None where no source found anything.
        documents: The documents to show, in order, with the features that they were ranked by.
        left_out: {source: why it had no part}.
    """

    served: Served | None
    documents: list[Found]
    left_out: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Bounded:
    """A source that refuses at once while too many calls to it have not come back."""

    source: CandidateSource
    places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_MAX_UNDER_WAY))

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def features(self) -> tuple[str, ...]:
        return self.source.features

    def search(
        self, query: str, *, query_embedding: object = None, k: int = 50, filters: Filters | None = None
    ) -> list[Found]:
        if not self.places.acquire(blocking=False):
            raise StoreBusyError(f"{_MAX_UNDER_WAY} calls to the source have not come back", code="source_busy")
        try:
            return self.source.search(query, query_embedding=query_embedding, k=k, filters=filters)
        finally:
            self.places.release()

    def close(self) -> None:
        self.source.close()


class HybridRetriever:
    """A search over several sources in the order that a loop has learned; safe from several threads.

    Args:
        sources: What is asked, at least one; they stay the caller's to close.
        loop: What ranks, opened with `start` of these sources or with other weights on the same features.
        k_per_source: Most candidates of each source, in [1, 10000].
        fill: {feature: its value where a source did not find a document}; 0 for those that are left out.
        missing: Whether candidates have `<source>_missing` features.
        deadline_s: Longest wait for the sources.

    Raises:
        ConfigError: The sources or what is to be filled do not fit together, or the deadline is no time.
        RecordError: `k_per_source` is no such number.
    """

    def __init__(
        self,
        sources: Sequence[CandidateSource],
        loop: Ranks,
        *,
        k_per_source: int = 50,
        fill: Mapping[str, float] | None = None,
        missing: bool = False,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        declared_names(sources, missing=missing)
        filling(sources, fill)
        self._sources = [_Bounded(source) for source in sources]
        self._loop = loop
        self._k = checks.positive_integer(k_per_source, "k_per_source", most=10_000)
        self._fill, self._missing = dict(fill or {}), missing
        self._deadline_s = check_deadline(deadline_s)
        self._counted = threading.Lock()
        self._left_out: dict[str, int] = {source.name: 0 for source in sources}

    @property
    def start(self) -> Start:
        """Reciprocal rank fusion of these sources: what the loop may be opened with."""
        return reciprocal_rank_fusion(self._sources, missing=self._missing)

    @property
    def left_out(self) -> dict[str, int]:
        """How many searches went on without each source."""
        with self._counted:
            return dict(self._left_out)

    def gather(self, query: str, *, query_embedding: object = None, filters: Filters | None = None) -> Gathered:
        """Return the candidates of a query, not ranked; nothing is recorded."""
        found = gathered(
            self._sources,
            query,
            query_embedding=query_embedding,
            k=self._k,
            filters=filters,
            fill=self._fill,
            missing=self._missing,
            deadline_s=self._deadline_s,
        )
        with self._counted:
            for name in found.left_out:
                self._left_out[name] += 1
        return found

    def search(
        self,
        query: str,
        k: int = 10,
        user: str | None = None,
        *,
        query_embedding: object = None,
        filters: Filters | None = None,
        segment: str | None = None,
        event_id: str | None = None,
        now: float | None = None,
    ) -> Answer:
        """Return what to show for a query; the list is recorded by the loop.

        Args:
            query: What is asked for.
            k: Documents to show, >= 1.
            user: Who asks.
            query_embedding: The query's vector, for sources that need one and do not make it; the loop is given it too.
            filters: Given to each source.
            segment: Group of queries.
            event_id: The caller's id.
            now: When it is served, for a `dwell.Loop`; a server has a clock of its own.

        Raises:
            RecordError: A malformed argument.
        """
        checks.positive_integer(k, "k")
        found = self.gather(query, query_embedding=query_embedding, filters=filters)
        if not found.ids:
            return Answer(None, [], found.left_out)
        served = self._loop.rank(
            query,
            ids=list(found.ids),
            features=found.features,
            k=k,
            user=user,
            segment=segment,
            query_embedding=query_embedding,
            event_id=event_id,
            **({} if now is None else {"now": now}),
        )
        return Answer(served, [_shown(doc, found) for doc in served.ids if doc in found.found], found.left_out)

    async def asearch(
        self,
        query: str,
        k: int = 10,
        user: str | None = None,
        *,
        query_embedding: object = None,
        filters: Filters | None = None,
        segment: str | None = None,
        event_id: str | None = None,
        now: float | None = None,
    ) -> Answer:
        """Return what `search` returns, without holding up the event loop."""
        return await awaited(
            lambda: self.search(
                query,
                k,
                user,
                query_embedding=query_embedding,
                filters=filters,
                segment=segment,
                event_id=event_id,
                now=now,
            )
        )


def _shown(doc: str, found: Gathered) -> Found:
    row = found.features[found.ids.index(doc)]
    one = found.found[doc]
    return Found(doc, dict(zip(found.names, np.asarray(row).tolist(), strict=True)), one.text, one.metadata)
