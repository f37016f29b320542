"""A node postprocessor of LlamaIndex that keeps the nodes which a loop puts first."""

from __future__ import annotations

from typing import Annotated, Any

from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from dwell.integrations.found import Reading, checked_loop
from dwell.integrations.llamaindex.nodes import ranked, who_asks

__all__ = ["DwellPostprocessor"]

_dispatcher = get_dispatcher(__name__)


class DwellPostprocessor(BaseNodePostprocessor):
    """The first `k` nodes in the order that a loop gives them, for `node_postprocessors` of any query engine.

    Each node comes back as a copy, with the score that it came with. Its metadata says `event_id`, the served list, and
    under `dwell` the same with the document's id, its position before, score, propensity and the version of the params;
    `fallback` with a code where the loop could not rank and the order is the one before. Both keys are excluded from
    what models and embeddings see. Where there are no nodes, nothing is served or recorded.

    A node is known by the metadata key `reading.id_key`, else by its `node_id`: LlamaIndex draws a new one whenever a
    document is split anew, so give a key where that happens. The feature `reading.score` is the node's score.

    Who asks is read from LlamaIndex's own tags: `with instrument_tags({"user_id": ...}):` around the query.

    Attributes:
        loop: A `dwell.Loop` or a `dwell.Client`; it stays the caller's, to close.
        k: Nodes to return, >= 1.
        reading: How features and identities are read from a node.
        user_key: The tag that says who asks.
        segment_key: The tag that names a group of queries.
        is_strict: Whether what the loop raises comes out, as it should while testing.

    Raises:
        pydantic.ValidationError: A field of another name or type, `k` below 1, or a client without `reading.features`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")  # `top_n` would be dropped silently

    loop: Annotated[Any, Field(exclude=True, repr=False)]
    k: Annotated[int, Field(ge=1, strict=True)] = 10
    reading: Reading = Reading()
    user_key: str = "user_id"
    segment_key: str = "segment"
    is_strict: bool = False

    @model_validator(mode="after")
    def _check_loop(self) -> DwellPostprocessor:
        checked_loop(self.loop, self.reading)
        return self

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "DwellPostprocessor"

    @override
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        _dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.k, model_name="dwell"))
        kept = ranked(
            self.loop,
            query_bundle,
            nodes,
            who_asks(self.user_key, self.segment_key),
            k=self.k,
            reading=self.reading,
            is_strict=self.is_strict,
        )
        _dispatcher.event(ReRankEndEvent(nodes=kept))
        return kept
