"""What users did with an answer or a node, for the loop that recorded the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import BaseNode, NodeWithScore

from dwell.errors import RecordError
from dwell.integrations.found import NOTE, RankingLoop, event_id_in
from dwell.records import Feedback

__all__ = ["event_ids_of", "feedback_for"]


def _nodes_of(about: object) -> list[BaseNode]:
    if isinstance(about, BaseNode | NodeWithScore):
        about = [about]
    sources: Any = about if isinstance(about, Sequence) else getattr(about, "source_nodes", None) or ()
    nodes = (one.node if isinstance(one, NodeWithScore) else one for one in sources)
    return [node for node in nodes if isinstance(node, BaseNode)]


def event_ids_of(about: object) -> list[str]:
    """Return the lists in which the nodes of a response, nodes, or one node were served, each once, in order."""
    found = (event_id_in(node.metadata) for node in _nodes_of(about))
    return list(dict.fromkeys(filter(None, found)))


def feedback_for(
    loop: RankingLoop,
    about: object,
    signal: str,
    *,
    value: float = 1.0,
    at: float | None = None,
    idempotency_key: str | None = None,
) -> list[Feedback]:
    """Return what became of one reaction, for each list that it is about; empty where dwell served none of it.

    Args:
        loop: The loop or client that recorded the lists.
        about: One node, for a reaction to that document; a response or a list of nodes, for one to the whole.
        signal: Name of the signal, as the loop's rewards declare it.
        value: Its value, in the unit and range of the signal's declaration.
        at: When the user acted, UTC epoch seconds.
        idempotency_key: The caller's key for retries.

    Raises:
        RecordError: `about` is text, which has no nodes.
    """
    if isinstance(about, str):
        raise RecordError(
            "a response, nodes or one node are due here",
            code="type",
            field="about",
            value=about,
            hint="With an event id: loop.feedback(event_id, signal, doc=...).",
        )
    doc = None
    if isinstance(about, BaseNode | NodeWithScore):
        doc = (about.metadata.get(NOTE) or {}).get("doc")
    event_ids = event_ids_of(about)
    return [
        loop.feedback(
            event_id,
            signal,
            doc=doc,
            value=value,
            at=at,
            # one key may stand for several lists here, and for one alone at the loop
            idempotency_key=idempotency_key
            if idempotency_key is None or len(event_ids) == 1
            else f"{idempotency_key}:{event_id}",
        )
        for event_id in event_ids
    ]
