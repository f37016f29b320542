"""Nodes of LlamaIndex as a loop's candidates, and its answer in their metadata, which no model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index_instrumentation.dispatcher import active_instrument_tags

from dwell.integrations.found import EVENT_ID, NOTE, Found, RankingLoop, Reading, as_identifier, ordered

__all__ = ["Who", "found_in", "identity", "marked", "ranked", "who_asks"]

_HIDDEN = (EVENT_ID, NOTE)


class Who(NamedTuple):
    """Who asks, and about what, as far as the tags of the instrumentation say so."""

    user: object = None
    segment: object = None


def who_asks(user_key: str, segment_key: str, tags: Mapping[str, Any] | None = None) -> Who:
    """Return who asks, from the tags given or those that `instrument_tags` set around the call."""
    said = active_instrument_tags.get() if tags is None else tags
    return Who(said.get(user_key), said.get(segment_key))


def identity(node: BaseNode, id_key: str | None) -> object:
    """Return the metadata's id where a key is given, else the node's own."""
    return node.node_id if id_key is None else as_identifier(node.metadata.get(id_key))


def found_in(nodes: Sequence[NodeWithScore], names: Sequence[str], reading: Reading) -> list[Found]:
    """Return the candidates that nodes make, in their order."""
    return [
        Found(
            identity(one.node, reading.id_key),
            reading.values(names, one.node.metadata, position=i, score=one.score),
        )
        for i, one in enumerate(nodes)
    ]


def marked(node: BaseNode, event_id: str | None, note: Mapping[str, Any]) -> BaseNode:
    """Return a copy of a node that says in which list it was served, to programs and to neither model nor embedding."""
    return node.model_copy(
        update={
            "metadata": {**node.metadata, EVENT_ID: event_id, NOTE: dict(note)},
            "excluded_llm_metadata_keys": _and_hidden(node.excluded_llm_metadata_keys),
            "excluded_embed_metadata_keys": _and_hidden(node.excluded_embed_metadata_keys),
        }
    )


def _and_hidden(keys: Sequence[str]) -> list[str]:
    return [*keys, *(key for key in _HIDDEN if key not in keys)]


def ranked(
    loop: RankingLoop,
    query: QueryBundle | None,
    nodes: Sequence[NodeWithScore],
    who: Who,
    *,
    k: int,
    reading: Reading,
    is_strict: bool,
) -> list[NodeWithScore]:
    """Return the nodes to show, in order, with the scores that they came with.

    Raises:
        Exception: Whatever the loop raises, of a strict call.
    """
    if not nodes:
        return []
    order = ordered(
        loop,
        "" if query is None else query.query_str,
        found_in(nodes, reading.names(loop), reading),
        k=k,
        user=who.user,
        segment=who.segment,
        is_strict=is_strict,
    )
    return [
        NodeWithScore(node=marked(nodes[i].node, order.event_id, note), score=nodes[i].score)
        for i, note in zip(order.positions, order.notes, strict=True)
    ]
