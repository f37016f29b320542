"""Any retriever of LlamaIndex, its nodes in the order that a loop gives them."""

from __future__ import annotations

import asyncio

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from typing_extensions import override

from dwell.integrations.found import RankingLoop, Reading, checked_loop
from dwell.integrations.llamaindex.nodes import ranked, who_asks
from dwell.records import checks

__all__ = ["DwellRetriever"]


class DwellRetriever(BaseRetriever):
    """A retriever whose nodes a loop orders, and remembers; nodes come back as from `DwellPostprocessor`.

    `aretrieve` waits for the wrapped retriever's own, and ranks in a thread beside the event loop.

    Args:
        base: The wrapped retriever; let it find more than `k`.
        loop: A `dwell.Loop` or a `dwell.Client`; it stays the caller's, to close.
        k: Nodes to return, >= 1.
        reading: How features and identities are read from a node.
        user_key: The tag that says who asks.
        segment_key: The tag that names a group of queries.
        is_strict: Whether what the loop raises comes out, as it should while testing.

    Raises:
        RecordError: `k` is no positive integer, or `loop` is no loop.
        ConfigError: A client without `reading.features`.
    """

    def __init__(
        self,
        base: BaseRetriever,
        loop: RankingLoop,
        *,
        k: int = 10,
        reading: Reading | None = None,
        user_key: str = "user_id",
        segment_key: str = "segment",
        is_strict: bool = False,
    ) -> None:
        self._base = base
        self._reading = Reading() if reading is None else reading
        self._loop = loop
        checked_loop(loop, self._reading)
        self._k = checks.positive_integer(k, "k")
        self._keys = (user_key, segment_key)
        self._is_strict = is_strict
        super().__init__()

    @override
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._ranked(query_bundle, self._base.retrieve(query_bundle))

    @override
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = await self._base.aretrieve(query_bundle)
        return await asyncio.to_thread(self._ranked, query_bundle, nodes)

    def _ranked(self, query: QueryBundle, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        who = who_asks(*self._keys)
        return ranked(self._loop, query, nodes, who, k=self._k, reading=self._reading, is_strict=self._is_strict)
