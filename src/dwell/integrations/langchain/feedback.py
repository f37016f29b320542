"""What users did with a run's documents, for the loop that ordered them."""

from __future__ import annotations

from uuid import UUID

from langchain_core.documents import Document

from dwell.integrations.found import NOTE, RankingLoop, event_id_in
from dwell.integrations.langchain.trail import RunTrail
from dwell.records import Feedback

__all__ = ["feedback_for_run"]


def feedback_for_run(
    loop: RankingLoop,
    run_id: UUID | str,
    signal: str,
    *,
    doc: Document | str | None = None,
    value: float = 1.0,
    at: float | None = None,
    idempotency_key: str | None = None,
    trail: RunTrail | None = None,
) -> list[Feedback]:
    """Return what became of one reaction, for each list that it is about; never raises on data.

    Args:
        loop: The loop or client that ordered the documents.
        run_id: The run of the retriever, which is the list's event id; with a trail, any run above it too.
        signal: Name of the signal, as the loop's rewards declare it.
        doc: The document that it is about, or its id; None for the whole list. A document that dwell served knows its
            own list, which is the one meant whatever else was served in the run.
        value: Its value, in the unit and range of the signal's declaration.
        at: When the user acted, UTC epoch seconds.
        idempotency_key: The caller's key for retries.
        trail: What was served below a run; without it, or where it knows of nothing, the run itself is meant.
    """
    event_ids = (trail.events_of(run_id) if trail is not None else []) or [str(run_id)]
    name = doc if isinstance(doc, str) else None
    if isinstance(doc, Document):
        own = event_id_in(doc.metadata)
        name = doc.metadata[NOTE].get("doc") if own is not None else doc.id
        event_ids = event_ids if own is None else [own]
    return [
        loop.feedback(
            event_id,
            signal,
            doc=name,
            value=value,
            at=at,
            # one key may stand for several lists here, and for one alone at the loop
            idempotency_key=idempotency_key
            if len(event_ids) == 1 or idempotency_key is None
            else f"{idempotency_key}:{event_id}",
        )
        for event_id in event_ids
    ]
