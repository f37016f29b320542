"""Documents of LangChain as a loop's candidates, and its answer in their metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.documents import Document

from dwell.integrations.found import EVENT_ID, NOTE, Found, RankingLoop, Reading, as_identifier, content_id, ordered

__all__ = ["Asked", "asked_by", "identity", "ranked"]


class Asked(NamedTuple):
    """What a call says beside its query.

    Attributes:
        k: Documents to return, >= 1.
        user: Who asks, or None.
        segment: Group of queries, or None.
        event_id: Identity of the list, or None.
    """

    k: int
    user: object = None
    segment: object = None
    event_id: str | None = None


def asked_by(config: Mapping[str, Any], key: str) -> object:
    """Return what a config says under a key: its `configurable` first, then its metadata; None where neither does."""
    for part in ("configurable", "metadata"):
        found: object = (config.get(part) or {}).get(key)
        if found is not None:
            return found
    return None


def identity(document: Document, id_key: str | None) -> object:
    """Return the metadata's id where a key is given, else the document's own, else a digest of its text."""
    if id_key is not None:
        return as_identifier(document.metadata.get(id_key))
    return content_id(document.page_content) if document.id is None else document.id


def ranked(
    loop: RankingLoop,
    query: str,
    documents: Sequence[Document],
    asked: Asked,
    *,
    reading: Reading,
    is_strict: bool,
) -> list[Document]:
    """Return the documents to show, in order, as copies that say in which list they were served.

    Raises:
        Exception: Whatever the loop raises, of a strict call.
    """
    if not documents:
        return []
    names = reading.names(loop)
    found = [
        Found(identity(document, reading.id_key), reading.values(names, document.metadata, position=i))
        for i, document in enumerate(documents)
    ]
    order = ordered(
        loop,
        query,
        found,
        k=asked.k,
        user=asked.user,
        segment=asked.segment,
        event_id=asked.event_id,
        is_strict=is_strict,
    )
    return [
        documents[i].model_copy(update={"metadata": {**documents[i].metadata, EVENT_ID: order.event_id, NOTE: note}})
        for i, note in zip(order.positions, order.notes, strict=True)
    ]
